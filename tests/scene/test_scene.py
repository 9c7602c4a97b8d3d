"""A scene checks that its files fit together, and says what does not."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS

from bdgf.errors import SceneError
from bdgf.scene.description import NAMING, LabelFile, LabelSpec, ModalitySpec, SceneSpec
from bdgf.scene.formats.opening import open_source
from bdgf.scene.labels.reading import ROI_SUFFIXES
from bdgf.scene.labels.vector_files import VECTOR_SUFFIXES
from bdgf.scene.leak import leakage
from bdgf.scene.palette import palette
from bdgf.scene.scene import Scene
from bdgf.scene.windows import Window

RNG = np.random.default_rng(0)
CUBE = RNG.normal(size=(5, 12, 17)).astype(np.float32)
SAR = RNG.normal(size=(2, 12, 17)).astype(np.float32)


def some_labels():
    train, test = np.zeros((12, 17), int), np.zeros((12, 17), int)
    train[2, :3], train[5, 4] = 1, 2
    test[7, :6], test[8, 4:9] = 1, 2
    return train, test


def test_scene_of_one_tile(write_scene):
    train, test = some_labels()
    scene = Scene.open(write_scene({"hsi": CUBE, "sar": SAR}, train, test))
    tile = scene.tiles[0]
    assert (scene.name, tile.name, tile.height, tile.width) == ("tiny", "tiny", 12, 17)
    assert [m.name for m in scene.modalities] == ["hsi", "sar"]
    assert scene.class_codes == (1, 2)
    assert scene.class_names == ("water", "forest")
    values, valid = tile.read(1, Window(3, 4, 5, 6))
    np.testing.assert_array_equal(values, SAR[:, 3:8, 4:10])
    assert valid.all()
    np.testing.assert_array_equal(tile.train, train - 1)
    np.testing.assert_array_equal(tile.test, test - 1)
    assert tile.train.dtype == np.int16


def test_positions_and_labels_share_their_order(write_scene):
    scene = Scene.open(write_scene({"hsi": CUBE}, *some_labels()))
    for which in ("train", "test"):
        positions, labels = scene.positions(which), scene.labels_at(which)
        assert positions.dtype == np.int64
        part = getattr(scene.tiles[0], which)
        np.testing.assert_array_equal(part[positions[:, 1], positions[:, 2]], labels)
        order = np.lexsort(positions.T[::-1])
        np.testing.assert_array_equal(order, np.arange(len(order)))
    assert len(scene.positions("train")) == 4


def test_scene_without_labels_opens_and_says_what_needs_them(write_scene):
    scene = Scene.open(write_scene({"hsi": CUBE}))
    assert not scene.has_labels
    assert scene.class_codes == ()
    for need in (lambda: scene.tiles[0].train, lambda: scene.positions("test")):
        with pytest.raises(SceneError, match="has no labels"):
            need()


def test_colors_given_and_default(write_scene):
    train, test = some_labels()
    classes = {"train": "train.tif", "test": "test.tif", "classes": {1: "a", 2: "b"}}
    changes = {"labels": {**classes, "colors": {2: "#123456"}}}
    scene = Scene.open(write_scene({"hsi": CUBE}, train, test, changes=changes))
    assert scene.class_colors == (palette(1)[0], "#123456")


def signatures(path):
    scene = Scene.open(path)
    return scene.signature("images"), scene.signature("labels")


def test_signature_of_a_part_changes_with_its_inputs_alone(write_scene, tmp_path):
    path = write_scene({"hsi": CUBE, "sar": SAR}, *some_labels())
    images, labels = signatures(path)
    assert signatures(path) == (images, labels)
    os.utime(tmp_path / "sar.tif", ns=(1, 1))
    touched, same = signatures(path)
    assert (touched != images, same == labels) == (True, True)
    os.utime(tmp_path / "train.tif", ns=(1, 1))
    same, touched_labels = signatures(path)
    assert (same == touched, touched_labels != labels) == (True, True)
    path.write_text(path.read_text().replace("forest", "moor"))
    assert signatures(path) == (touched, touched_labels)  # a raster of codes knows no names
    path.write_text(path.read_text().replace("2: moor", "2: moor\n    3: heath"))
    same, recoded = signatures(path)
    assert (same == touched, recoded != touched_labels) == (True, True)
    path.write_text(path.read_text().replace("role: auxiliary", "role: spectral"))
    changed, same = signatures(path)
    assert (changed != touched, same == recoded) == (True, True)


@pytest.mark.parametrize(
    ("labels", "named"),
    [
        ({"train": "train.tif"}, False),
        ({"train": "train.tif", "test": "polygons.GPKG"}, True),
        ({"train": "list.mat", "map": "polygons.geojson"}, True),
        ({"train": "labels/{tile}"}, True),
    ],
)
def test_names_count_where_files_tell_classes_by_them(tmp_path, labels, named):
    def described(name, color):
        files = {which: LabelFile(path) for which, path in labels.items()}
        spec = LabelSpec(**files, classes={1: name}, colors={1: color})
        modality = ModalitySpec("hsi", "{tile}.tif")
        return SceneSpec(
            "x", tmp_path / "x.yaml", tmp_path, (modality,), ("a.gpkg",), spec
        ).described("labels")

    assert (described("water", "#000000") != described("lake", "#ffffff")) == named
    assert described("water", "#000000") == described("water", "#ffffff")
    assert VECTOR_SUFFIXES | set(ROI_SUFFIXES) == NAMING


def test_signature_changes_with_the_values_beside_a_header(tmp_path, write_tif, write_scene):
    path = write_scene({"hsi": CUBE})
    values = tmp_path / "cube.dat"
    with rasterio.open(
        values, "w", driver="ENVI", count=5, height=12, width=17, dtype="float32"
    ) as dataset:
        dataset.write(CUBE)
    path.write_text(path.read_text().replace("hsi.tif", "cube.hdr"))
    before = Scene.open(path).signature("images")
    os.utime(values, ns=(1, 1))
    assert Scene.open(path).signature("images") != before


def _vrt(folder, name, source):
    text = (
        f'<VRTDataset rasterXSize="17" rasterYSize="12">{PLACES}'
        '<VRTRasterBand dataType="Float32" band="1"><SimpleSource>'
        f'<SourceFilename relativeToVRT="1">{source}</SourceFilename><SourceBand>1</SourceBand>'
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )
    (folder / name).write_text(text)


PLACES = "<GeoTransform>0, 1, 0, 0, 0, -1</GeoTransform>"


@pytest.mark.parametrize("named", ["outer.vrt", "cube.dat", "hsi.tif"])
def test_signature_changes_with_all_that_is_read_with_a_raster(
    tmp_path, write_tif, write_scene, named
):
    path = write_scene({"hsi": CUBE})
    _vrt(tmp_path, "inner.vrt", "hsi.tif")
    _vrt(tmp_path, "outer.vrt", "inner.vrt")
    with rasterio.open(
        tmp_path / "cube.dat", "w", driver="ENVI", count=5, height=12, width=17, dtype="float32"
    ) as dataset:
        dataset.write(CUBE)
    path.write_text(path.read_text().replace("hsi.tif", named))
    spec = Scene.open(path).spec
    seen = {spec.signature("images")}
    if named == "outer.vrt":
        os.utime(tmp_path / "hsi.tif", ns=(1, 1))
    elif named == "cube.dat":
        os.utime(tmp_path / "cube.hdr", ns=(1, 1))
    else:
        for name in ("hsi.tfw", "hsi.prj", "hsi.tif.msk", "hsi.tif.aux.xml"):
            (tmp_path / name).write_text(f"<PAMDataset>{PLACES}</PAMDataset>")
            seen.add(spec.signature("images"))
            (tmp_path / name).unlink()
        assert len(seen) == 5
    seen.add(Scene.open(path).signature("images"))
    assert len(seen) > 1
    # statistics that a viewer leaves beside a raster say nothing of its values
    last = Scene.open(path).signature("images")
    statistics = "<PAMDataset><MDI key='STATISTICS_MEAN'>1</MDI></PAMDataset>"
    (tmp_path / f"{named}.aux.xml").write_text(statistics)
    assert Scene.open(path).signature("images") == last


def test_a_system_that_comes_beside_a_raster_changes_the_signature(write_scene, tmp_path):
    rows = "\n".join(" ".join("3" for _ in range(17)) for _ in range(12))
    head = "ncols 17\nnrows 12\nxllcorner 0\nyllcorner -12\ncellsize 1\n"
    (tmp_path / "dem.asc").write_text(head + rows)
    path = write_scene({"hsi": CUBE, "dem": CUBE[:1]})
    path.write_text(path.read_text().replace("dem.tif", "dem.asc"))
    before = Scene.open(path).signature("images")
    assert open_source(tmp_path / "dem.asc").crs is None
    (tmp_path / "dem.prj").write_text(CRS.from_epsg(32633).to_wkt())
    assert open_source(tmp_path / "dem.asc").crs == CRS.from_epsg(32633)
    assert Scene.open(path).signature("images") != before


def test_signature_of_a_file_that_is_gone(write_scene, tmp_path):
    scene = Scene.open(write_scene({"hsi": CUBE}))
    (tmp_path / "hsi.tif").unlink()
    with pytest.raises(SceneError, match=r"hsi\.tif is gone"):
        scene.signature("images")


@pytest.mark.parametrize(
    ("name", "train", "test"),
    [
        ("spain_s1s2", 200, 216_424),
        ("idtrees", 10_579, 9_411),
        ("augsburg_like", 761, 77_533),
    ],
)
def test_real_scenes_have_their_published_label_counts(shared_data, name, train, test):
    scene = Scene.open(shared_data / name)
    assert len(scene.positions("train")) == train
    assert len(scene.labels_at("test")) == test


def test_real_coordinates(shared_data):
    scene = Scene.open(shared_data / "idtrees")
    assert len(scene.tiles) > 80
    assert {tile.crs.to_epsg() for tile in scene.tiles} == {32617}


def test_tiles_with_coordinates_are_seen_to_be_near(tiles_scene: Path) -> None:
    scene = Scene.open(tiles_scene)
    ground, positions = scene.ground_positions("test"), scene.positions("test")
    assert (ground[:, 0] == 0).all()
    first = scene.tiles[0].transform
    for (_, row, col), (tile, tile_row, tile_col) in zip(ground, positions, strict=True):
        own = scene.tiles[tile].transform
        assert first.c + first.a * col == pytest.approx(own.c + own.a * tile_col)
        assert first.f + first.e * row == pytest.approx(own.f + own.e * tile_row)


def test_a_single_tile_keeps_its_positions(tiny_scene: Path) -> None:
    scene = Scene.open(tiny_scene)
    assert (scene.ground_positions("train") == scene.positions("train")).all()


def test_ground_that_is_trained_in_one_tile_is_not_tested_in_another(tmp_path, write_tif):
    rng = np.random.default_rng(0)
    utm = {"crs": "EPSG:32632"}
    for tile, left in (("a", 0.0), ("b", 8.0)):  # nine columns of ten metres lie in both
        place = Affine(10, 0, 10 * left, 0, -10, 200)
        write_tif(f"{tile}/hsi.tif", rng.normal(size=(3, 20, 17)), transform=place, **utm)
    codes = rng.integers(1, 3, (20, 25)).astype(np.uint8)
    write_tif("labels.tif", codes, transform=Affine(10, 0, 0, 0, -10, 200), **utm)
    text = (
        "name: two\nmodalities:\n  hsi: {path: '{tile}/hsi.tif', role: spectral}\n"
        "tiles: [a, b]\nlabels: {all: labels.tif, classes: {1: x, 2: y}}\n"
    )
    for split, guard in (("{random: 15 per class}", 0), ("{blocks: {size: 4, guard: 1}}", 1)):
        path = tmp_path / "scene.yaml"
        path.write_text(f"{text}split: {split}\n")
        scene = Scene.open(path)
        train, test = (scene.ground_positions(part)[:, 1:] for part in ("train", "test"))
        distance = np.abs(test[:, None] - train[None]).max(axis=2).min(axis=1)
        assert len(test) > 50
        assert distance.min() == guard + 1
        assert any("ground that is trained in another tile" in note for note in scene.notes)
        leak = leakage(scene, 3)
        assert leak.inside == pytest.approx((distance <= 1).mean())
        assert sum(map(len, leak.far_pixels)) == (distance > 3).sum()


def test_a_split_without_test_pixels_is_said(write_scene):
    codes = np.ones((12, 17), int)
    codes[:, 9:] = 2
    split = {"blocks": {"size": 9, "guard": 9}}
    path = write_scene({"hsi": np.zeros((3, 12, 17))}, codes, changes={"split": split})
    scene = Scene.open(path)
    assert len(scene.positions("train")) > 0
    assert len(scene.positions("test")) == 0
    assert any("leaves no pixel for testing" in note for note in scene.notes)
