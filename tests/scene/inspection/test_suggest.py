"""Suggested scene files open, for every layout of files that is recognised."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pyogrio
import pytest
import scipy.io
import shapely
import yaml
from affine import Affine

from bdgf.errors import SceneError
from bdgf.scene.inspection.gather import gather
from bdgf.scene.inspection.suggest import suggest_scene_file
from bdgf.scene.scene import Scene


@pytest.fixture
def opened(tmp_path):
    """Suggest a scene file for paths, write it and open it; returns the text and the scene."""

    def run(*paths, target=None):
        target = target or tmp_path / "scene.yaml"
        text = suggest_scene_file(gather(paths or [tmp_path], scenes=False), target)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return text, Scene.open(target)

    return run


def roles(scene):
    return {m.name: m.role for m in scene.modalities}


def boxes(
    land, path, *, names=None, layer=None, append=False, encoding=None, keep=lambda row, col: True
):
    """Write the classes in blocks of 5 × 5 pixels as polygons with their code or name."""
    rows = [(r, c) for r in range(0, 40, 5) for c in range(0, 45, 5) if keep(r, c)]
    corner = [(5e5 + 2 * c, 5e6 - 2 * r) for r, c in rows]
    shapes = [shapely.box(x + 0.5, y - 9.5, x + 9.5, y - 0.5) for x, y in corner]
    codes = np.array([int(land.classes[r + 2, c + 2]) for r, c in rows])
    fields = {"class": codes} if names is None else {"type": np.array([names[k] for k in codes])}
    pyogrio.raw.write(
        path,
        shapely.to_wkb(np.array(shapes)),
        list(fields.values()),
        list(fields),
        geometry_type="Polygon",
        crs="EPSG:32632",
        layer=layer,
        append=append,
        encoding=encoding,
    )
    return path


def test_geotiffs(write_tif, land, opened, place):
    for name in ("hsi", "s1_vv", "dsm", "train", "test"):
        write_tif(f"{name}.tif", getattr(land, {"s1_vv": "sar"}.get(name, name)), **place)
    text, scene = opened()
    assert roles(scene) == {"hsi": "spectral", "s1": "auxiliary", "dsm": "auxiliary"}
    assert scene.class_codes == (1, 2, 3)
    assert len(scene.positions("train")) == (land.train > 0).sum()
    assert len(scene.positions("test")) == (land.test > 0).sum()
    assert "split: given" in text
    assert "align" not in text
    assert "brought to decibels" in text


def test_mat_files_with_one_array_among_several(tmp_path, land, opened):
    cubes = {"data_HS_LR": land.hsi.transpose(1, 2, 0), "data_SAR_HR": land.sar.transpose(1, 2, 0)}
    scipy.io.savemat(tmp_path / "all.mat", {**cubes, "wave": np.arange(8.0)})
    scipy.io.savemat(tmp_path / "TrainImage.mat", {"TrainImage": land.train.astype(float)})
    scipy.io.savemat(tmp_path / "TestImage.mat", {"TestImage": land.test.astype(float)})
    _, scene = opened()
    assert {m.name: (m.key, m.role) for m in scene.modalities} == {
        "hs": ("data_HS_LR", "spectral"),
        "sar": ("data_SAR_HR", "auxiliary"),
    }
    assert len(scene.positions("test")) == (land.test > 0).sum()


def test_lists_of_pixels_pick_from_their_map(tmp_path, land, opened):
    scipy.io.savemat(tmp_path / "augsburg_hsi.mat", {"hsi": land.hsi.transpose(1, 2, 0)})
    scipy.io.savemat(tmp_path / "augsburg_gt.mat", {"augsburg_gt": land.classes})
    lists = {f"augsburg_{part}": np.argwhere(getattr(land, part) > 0) for part in ("train", "test")}
    scipy.io.savemat(tmp_path / "augsburg_index.mat", lists)
    text, scene = opened()
    labels = yaml.safe_load(text)["labels"]
    assert labels["map"] == {"path": "augsburg_gt.mat", "key": "augsburg_gt"}
    assert labels["train"] == {"path": "augsburg_index.mat", "key": "augsburg_train"}
    np.testing.assert_array_equal(scene.tiles[0].train + 1, land.train)
    np.testing.assert_array_equal(scene.tiles[0].test + 1, land.test)


@pytest.mark.parametrize("label", [{"path": "one.mat"}, {"path": "two.mat", "key": "split/train"}])
def test_a_list_needs_no_more_of_a_key_than_a_raster(tmp_path, land, opened, label):
    scipy.io.savemat(tmp_path / "hsi.mat", {"hsi": land.hsi.transpose(1, 2, 0)})
    scipy.io.savemat(tmp_path / "gt.mat", {"gt": land.classes})
    places = np.argwhere(land.train > 0)
    scipy.io.savemat(tmp_path / "one.mat", {"train": places})
    scipy.io.savemat(tmp_path / "two.mat", {"split": {"train": places, "test": places[:9]}})
    values = {
        "name": "a",
        "modalities": {"hsi": {"path": "hsi.mat", "role": "spectral"}},
        "labels": {"map": "gt.mat", "train": label, "classes": {1: "a", 2: "b", 3: "c"}},
    }
    (tmp_path / "scene.yaml").write_text(yaml.safe_dump(values))
    scene = Scene.open(tmp_path / "scene.yaml")
    np.testing.assert_array_equal(scene.tiles[0].train + 1, land.train)


def test_arrays_with_bands_first_are_read_as_the_others_say(tmp_path, land, opened):
    scipy.io.savemat(tmp_path / "hsi.mat", {"hsi": land.hsi})
    scipy.io.savemat(tmp_path / "gt.mat", {"gt": land.classes})
    scipy.io.savemat(tmp_path / "dsm.mat", {"dsm": land.dsm})
    text, scene = opened()
    assert yaml.safe_load(text)["modalities"]["hsi"]["axes"] == "CHW"
    assert scene.tiles[0].sources[0].bands == 8


def test_numpy_files(tmp_path, land, opened):
    np.save(tmp_path / "hsi.npy", land.hsi)
    np.savez(tmp_path / "labels.npz", train=land.train, test=land.test)
    _, scene = opened()
    assert len(scene.positions("train")) == (land.train > 0).sum()


def test_one_label_file_gets_blocks_that_leave_every_class_in_both_parts(write_tif, land, opened):
    labels = land.classes.copy()
    labels[32:], labels[:, 32:] = 0, 0  # all in one block of 32 pixels
    write_tif("hsi.tif", land.hsi)
    write_tif("ground_truth.tif", labels)
    text, scene = opened()
    assert yaml.safe_load(text)["split"]["blocks"]["size"] < 32
    assert {*scene.labels_at("train")} == {*scene.labels_at("test")} == {0, 1, 2}


def test_a_class_in_one_place_gets_a_random_split(write_tif, land, opened):
    labels = land.classes.copy()
    labels[3, 3:5] = 9
    write_tif("hsi.tif", land.hsi)
    write_tif("gt.tif", labels)
    text, scene = opened()
    assert "split: {random: 20 per class}  # blocks would leave a class" in text
    assert 3 in scene.labels_at("train")


def test_bands_in_files_of_their_own(write_tif, land, opened, place):
    coarse = {**place, "transform": Affine(4, 0, 5e5, 0, -4, 5e6)}
    names = ("B02", "B03", "B04", "B08", "B8A", "B11")
    for number, name in enumerate(names):
        values = land.hsi[number]
        if name in ("B8A", "B11"):
            write_tif(f"T32_2020_{name}_20m.tif", values[::2, ::2][:20, :23], **coarse)
        else:
            write_tif(f"T32_2020_{name}_10m.tif", values, **place)
    write_tif("gt.tif", land.classes, **place)
    text, scene = opened()
    entry = yaml.safe_load(text)["modalities"]["s2"]
    assert [path[9:12].rstrip("_") for path in entry["path"]] == list(names)
    assert entry["role"] == "spectral"
    assert scene.tiles[0].sources[0].bands == 6
    assert (scene.tiles[0].height, scene.tiles[0].width) == (40, 45)


def test_another_resolution_is_resampled_and_said(write_tif, land, opened, place):
    write_tif("hsi.tif", land.hsi, **place)
    fine = {**place, "transform": Affine(0.5, 0, 5e5, 0, -0.5, 5e6)}
    rgb = np.repeat(np.repeat(land.hsi[:3], 4, axis=1), 4, axis=2)
    write_tif("rgb.tif", (rgb / 20).astype(np.uint8), **fine)
    write_tif("gt.tif", land.classes, **place)
    text, scene = opened()
    assert "align: hsi  #" in text
    assert "# rgb: " in text
    assert (scene.tiles[0].sources[1].height, scene.tiles[0].sources[1].width) == (40, 45)


def test_what_lies_elsewhere_is_left_out(write_tif, land, opened, place):
    write_tif("hsi.tif", land.hsi, **place)
    far = {**place, "transform": Affine(2, 0, 7e5, 0, -2, 5e6)}
    write_tif("dsm.tif", land.dsm, **far)
    text, scene = opened()
    assert "# dsm is left out: " in text
    assert len(scene.modalities) == 1


def test_a_folder_per_tile(write_tif, land, opened, place):
    for number, name in enumerate(("plot 1", "plot 2", "plot 3")):
        there = {**place, "transform": Affine(2, 0, 5e5 + 200 * number, 0, -2, 5e6)}
        part = slice(0, 30 + number)
        write_tif(f"{name}/hsi.tif", land.hsi[:, part], **there)
        write_tif(f"{name}/chm.tif", land.dsm[part] - 400, **there)
        labels = land.classes if name != "plot 2" else np.where(land.classes == 3, 4, land.classes)
        write_tif(f"{name}/labels.tif", labels[part], **there)
    write_tif("extra/notes.tif", land.dsm)
    text, scene = opened()
    assert "tiles: '*'" in text
    assert [tile.name for tile in scene.tiles] == ["plot 1", "plot 2", "plot 3"]
    assert scene.class_codes == (1, 2, 3, 4)  # code 4 is on one tile only
    assert roles(scene) == {"hsi": "spectral", "chm": "auxiliary"}


def test_tiles_below_a_folder_whose_name_is_a_pattern(write_tif, land, opened, tmp_path):
    for name in ("a b", "c"):
        write_tif(f"area [1]/{name}/hsi.tif", land.hsi)
        write_tif(f"area [1]/{name}/gt.tif", land.classes)
    _, scene = opened(tmp_path / "area [1]", target=tmp_path / "scene.yaml")
    assert [tile.name for tile in scene.tiles] == ["a b", "c"]


def test_tiles_without_all_files_are_left_out_by_a_list(write_tif, land, opened):
    for number in range(12):
        write_tif(f"p{number}/hsi.tif", land.hsi[:, :20, :20])
        if number != 5:
            write_tif(f"p{number}/gt.tif", land.classes[:20, :20])
    text, scene = opened()
    assert len(scene.tiles) == 11
    assert "p5" not in yaml.safe_load(text)["tiles"]


def test_a_folder_per_sensor(write_tif, land, opened):
    for name in ("Ghana_1", "Spain_22"):
        write_tif(f"S2Hand/{name}_S2Hand.tif", land.hsi)
        write_tif(f"S1Hand/{name}_S1Hand.tif", land.sar)
        write_tif(f"LabelHand/{name}_LabelHand.tif", land.classes)
    _, scene = opened()
    assert {tile.name for tile in scene.tiles} == {"Ghana_1", "Spain_22"}
    assert sorted(m.path for m in scene.modalities) == [
        "S1Hand/{tile}_S1Hand.tif",
        "S2Hand/{tile}_S2Hand.tif",
    ]


def test_polygons_with_codes(write_tif, land, tmp_path, opened, place):
    write_tif("hsi.tif", land.hsi, **place)
    boxes(land, tmp_path / "fields_train.gpkg", keep=lambda r, c: c < 20)
    boxes(land, tmp_path / "fields_test.gpkg", keep=lambda r, c: c >= 20)
    text, scene = opened()
    assert yaml.safe_load(text)["labels"]["train"] == {
        "path": "fields_train.gpkg",
        "column": "class",
    }
    assert len(scene.positions("train"))
    assert len(scene.positions("test"))


def test_polygons_whose_codes_are_stored_as_texts(write_tif, land, tmp_path, opened, place):
    write_tif("hsi.tif", land.hsi, **place)
    boxes(land, tmp_path / "fields.gpkg", names={1: "10", 2: "2", 3: "1"})
    text, scene = opened()
    assert list(yaml.safe_load(text)["labels"]["classes"]) == [1, 2, 10]
    at = scene.positions("train")
    found = np.array(scene.class_codes)[scene.labels_at("train")]
    truth = {1: 10, 2: 2, 3: 1}
    assert found.tolist() == [
        truth[int(land.classes[r // 5 * 5 + 2, c // 5 * 5 + 2])] for _, r, c in at
    ]


def test_polygons_without_a_class_are_ignored(write_tif, land, tmp_path, opened, place):
    write_tif("hsi.tif", land.hsi, **place)
    codes = land.classes.astype(np.int64)
    codes[:, :20] = -1
    boxes(SimpleNamespace(classes=codes), tmp_path / "fields.gpkg")
    text, scene = opened()
    assert yaml.safe_load(text)["labels"]["ignore"] == [-1]
    assert scene.class_codes == (1, 2, 3)


def test_polygons_with_names_number_their_classes_together(
    write_tif, land, tmp_path, opened, place
):
    names = {1: "wheat", 2: "maize", 3: "barley"}
    write_tif("hsi.tif", land.hsi, **place)
    boxes(land, tmp_path / "train.geojson", names=names, keep=lambda r, c: c < 20)
    boxes(land, tmp_path / "test.geojson", names=names, keep=lambda r, c: c >= 20)
    _, scene = opened()
    assert scene.class_names == ("barley", "maize", "wheat")
    at = scene.positions("train")
    found = np.array(scene.class_names)[scene.labels_at("train")]
    truth = [names[int(land.classes[r // 5 * 5 + 2, c // 5 * 5 + 2])] for _, r, c in at]
    assert found.tolist() == truth


def test_a_column_of_numbers_and_texts_is_one_of_names(write_tif, land, tmp_path, opened, place):
    write_tif("hsi.tif", land.hsi, **place)
    path = boxes(land, tmp_path / "all.geojson", names={1: "5", 2: "2", 3: "oats"})
    written = json.loads(path.read_text())
    for feature in written["features"]:
        name = feature["properties"]["type"]
        feature["properties"]["type"] = int(name) if name.isdigit() else name
    path.write_text(json.dumps(written))
    text, scene = opened()
    assert yaml.safe_load(text)["labels"]["classes"] == {1: "2", 2: "5", 3: "oats"}
    at = scene.positions("train")
    found = np.array(scene.class_names)[scene.labels_at("train")]
    truth = {1: "5", 2: "2", 3: "oats"}
    assert found.tolist() == [
        truth[int(land.classes[r // 5 * 5 + 2, c // 5 * 5 + 2])] for _, r, c in at
    ]


def test_a_column_beside_one_of_codes_too_large(write_tif, land, tmp_path, opened, place):
    write_tif("hsi.tif", land.hsi, **place)
    path = boxes(land, tmp_path / "fields.geojson", names={1: "wheat", 2: "maize", 3: "barley"})
    written = json.loads(path.read_text())
    large = {"wheat": 111_000, "maize": 211_000, "barley": 311_000}
    for feature in written["features"]:
        feature["properties"]["code"] = large[feature["properties"]["type"]]
    path.write_text(json.dumps(written))
    text, scene = opened()
    assert yaml.safe_load(text)["labels"]["all"] == {"path": "fields.geojson", "column": "type"}
    assert scene.class_names == ("barley", "maize", "wheat")


def test_shapefiles_without_a_named_encoding(write_tif, land, tmp_path, opened, place):
    names = {1: "Äcker", 2: "Straße", 3: "Öde"}
    write_tif("hsi.tif", land.hsi, **place)
    for encoding in ("UTF-8", "ISO-8859-1"):
        path = boxes(land, tmp_path / "felder.shp", names=names, encoding=encoding)
        path.with_suffix(".cpg").unlink()
        _, scene = opened()
        assert set(scene.class_names) == set(names.values())


@pytest.mark.parametrize("name", ["hsi_{a}.tif", "hsi_{tile}.tif", "hsi_{.tif"])
def test_names_with_braces_are_refused(write_tif, land, opened, name):
    write_tif(name, land.hsi)
    write_tif("labels.tif", land.classes)
    with pytest.raises(SceneError, match="rename it"):
        opened()


def test_regions_of_interest(write_tif, land, tmp_path, opened):
    write_tif("hsi.tif", land.hsi)
    lines = ["; ENVI Output of ROIs", "; Number of ROIs: 2", "; File Dimension: 45 x 40", ";"]
    for name, color, count in (("water", "0, 0, 255", 40), ("grass", "0, 255, 0", 30)):
        lines += [f"; ROI name: {name}", f"; ROI rgb value: {{{color}}}", f"; ROI npts: {count}"]
        lines += [";  ID  X  Y"] if name == "grass" else []
    points = [(c + 1, 3 * r + 1) for r in range(7) for c in range(10)]
    lines += [f"{i} {x} {y}" for i, (x, y) in enumerate(points, 1)]
    (tmp_path / "rois.txt").write_text("\n".join(lines) + "\n")
    text, scene = opened()
    assert scene.class_names == ("water", "grass")
    assert scene.class_colors == ("#0000ff", "#00ff00")
    total = len(scene.positions("train")) + len(scene.positions("test"))
    assert total <= 70
    assert "rois.txt" in text


def test_codes_that_mean_no_label_are_ignored(write_tif, land, opened):
    labels = np.where(land.train > 0, land.train, 255).astype(np.uint8)
    write_tif("hsi.tif", land.hsi)
    write_tif("train.tif", labels)
    write_tif("test.tif", land.test)
    text, scene = opened()
    assert "ignore: [255]" in text
    assert len(scene.positions("train")) == (land.train > 0).sum()


def test_undeclared_nodata_is_written(write_tif, land, opened):
    land.hsi[:, :5] = -9999
    write_tif("hsi.tif", land.hsi)
    text, scene = opened()
    assert "nodata: -9999" in text
    assert scene.tiles[0].sources[0].nodata == -9999


def test_a_declared_value_stays_the_one_that_means_no_data(write_tif, land, opened):
    land.hsi[:, :5] = -9999
    land.hsi[:, 5:8] = -32768
    write_tif("hsi.tif", land.hsi, nodata=-32768)
    text, scene = opened()
    assert "nodata" not in text
    assert scene.tiles[0].sources[0].nodata == -32768


def test_names_and_colours_of_a_classified_raster(write_tif, land, tmp_path, opened):
    import rasterio

    write_tif("hsi.tif", land.hsi)
    path = write_tif("gt.tif", land.classes)
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, {1: (255, 0, 0), 2: (0, 255, 0), 3: (0, 0, 255)})
    names = "".join(f"<Category>{n}</Category>" for n in ("none", "Roof", "Lawn", "Pond"))
    (tmp_path / "gt.tif.aux.xml").write_text(
        "<PAMDataset><PAMRasterBand band='1'><CategoryNames>"
        f"{names}</CategoryNames></PAMRasterBand></PAMDataset>"
    )
    _, scene = opened()
    assert scene.class_names == ("Roof", "Lawn", "Pond")
    assert scene.class_colors == ("#ff0000", "#00ff00", "#0000ff")


def test_one_class_is_no_map(write_tif, land, opened):
    write_tif("hsi.tif", land.hsi)
    write_tif("water_mask.tif", (land.classes == 2).astype(np.uint8))
    text, scene = opened()
    assert not scene.has_labels
    assert "# labels:" in text
    assert "two classes" in text


def test_no_labels(write_tif, land, opened):
    write_tif("hsi.tif", land.hsi)
    text, scene = opened()
    assert "No labels were found" in text
    assert not scene.has_labels


def test_paths_are_relative_to_the_target(write_tif, land, tmp_path, opened):
    write_tif("data/hsi.tif", land.hsi)
    text, scene = opened(tmp_path / "data", target=tmp_path / "scenes" / "a.yaml")
    assert yaml.safe_load(text)["modalities"]["hsi"]["path"] == "../data/hsi.tif"
    assert scene.name == "data"


def test_a_link_is_written_by_its_own_name(write_tif, land, tmp_path, opened):
    kept = tmp_path / "store" / "abc123"
    kept.parent.mkdir()
    scipy.io.savemat(tmp_path / "hsi.mat", {"a": land.hsi.transpose(1, 2, 0)})
    (tmp_path / "hsi.mat").rename(kept)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "hsi.mat").symlink_to(kept)
    write_tif("data/gt.tif", land.classes)
    text, scene = opened(tmp_path / "data")
    assert "data/hsi.mat" in text
    assert scene.modalities[0].name == "hsi"


def test_labels_alone_are_no_scene(write_tif, land, tmp_path):
    with pytest.raises(SceneError, match="can be a modality"):
        suggest_scene_file(gather([write_tif("train.tif", land.train)]), tmp_path / "s.yaml")


def test_real_scenes(shared_data, tmp_path):
    for name, expected in {
        "spain_s1s2": {"s2": "spectral", "s1": "auxiliary"},
        "augsburg_like": {"hsi": "spectral", "dsm": "auxiliary", "sar": "auxiliary"},
        "idtrees": {"hsi": "spectral", "chm": "auxiliary", "rgb": "auxiliary"},
        "trento_lidar": {"lidar": "auxiliary"},
    }.items():
        target = tmp_path / f"{name}.yaml"
        target.write_text(suggest_scene_file(gather([shared_data / name], scenes=False), target))
        scene = Scene.open(target)
        assert roles(scene) == expected
        assert len(scene.positions("test"))
    assert "named as in crowns_t" in (tmp_path / "idtrees.yaml").read_text()


def test_names_with_hyphens_are_not_broken(write_tif, land, opened):
    names = [f"forest-{4 * letter}-east" for letter in "abcdefghijklmn"]
    for name in names:
        write_tif(f"{name}/hsi.tif", land.hsi[:, :20, :20])
        if name != names[5]:
            write_tif(f"{name}/gt.tif", land.classes[:20, :20])
    _, scene = opened()
    assert [tile.name for tile in scene.tiles] == names[:5] + names[6:]
