"""A scene checks that its files fit together, and says what does not."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
import scipy.io
from affine import Affine

from bdgf.errors import SceneError
from bdgf.scene.layout import Window
from bdgf.scene.scene import Scene, palette

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


def test_tiles_of_different_sizes(tmp_path, write_tif):
    for name, (height, width) in {"a": (8, 9), "b": (5, 13)}.items():
        write_tif(f"{name}/hsi.tif", RNG.normal(size=(3, height, width)))
        codes = np.zeros((height, width), np.uint8)
        codes[1, :2], codes[2, 3] = (1, 2), 1 if name == "a" else 2
        write_tif(f"{name}/gt.tif", codes)
    (tmp_path / "scene.yaml").write_text(
        "name: two\ntiles: [b, a]\nmodalities: {hsi: {path: '{tile}/hsi.tif', role: spectral}}\n"
        "labels: {all: '{tile}/gt.tif', classes: {1: x, 2: y}}\nsplit: {random: 2}\n"
    )
    scene = Scene.open(tmp_path)
    assert [(t.name, t.height, t.width) for t in scene.tiles] == [("b", 5, 13), ("a", 8, 9)]
    assert len(scene.positions("train")) == 2  # half of three labels of each class
    assert len(scene.positions("test")) == 4
    assert set(scene.positions("test")[:, 0]) | set(scene.positions("train")[:, 0]) == {0, 1}


def test_split_of_train_and_test_merged(write_scene):
    changes = {"split": {"random": 3}}
    scene = Scene.open(write_scene({"hsi": CUBE}, *some_labels(), changes=changes))
    assert np.bincount(scene.labels_at("train")).tolist() == [3, 3]
    assert len(scene.labels_at("train")) + len(scene.labels_at("test")) == 15


def test_scene_without_labels_opens_and_says_what_needs_them(write_scene):
    scene = Scene.open(write_scene({"hsi": CUBE}))
    assert not scene.has_labels
    assert scene.class_codes == ()
    for need in (lambda: scene.tiles[0].train, lambda: scene.positions("test")):
        with pytest.raises(SceneError, match="has no labels"):
            need()


def test_coordinates_are_those_of_the_files(write_scene):
    transform = Affine(10, 0, 5e5, 0, -10, 5e6)
    place = {"crs": "EPSG:32632", "transform": transform}
    scene = Scene.open(write_scene({"hsi": CUBE}, *some_labels(), georeferenced=place))
    assert scene.tiles[0].transform == transform
    assert scene.tiles[0].crs.to_epsg() == 32632


def test_colors_given_and_default(write_scene):
    train, test = some_labels()
    classes = {"train": "train.tif", "test": "test.tif", "classes": {1: "a", 2: "b"}}
    changes = {"labels": {**classes, "colors": {2: "#123456"}}}
    scene = Scene.open(write_scene({"hsi": CUBE}, train, test, changes=changes))
    assert scene.class_colors == (palette(1)[0], "#123456")
    assert len(set(palette(40))) == 40
    assert palette(40)[:5] == palette(5)


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
    same, renamed = signatures(path)
    assert (same == touched, renamed != touched_labels) == (True, True)
    path.write_text(path.read_text().replace("role: auxiliary", "role: spectral"))
    changed, same = signatures(path)
    assert (changed != touched, same == renamed) == (True, True)


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


def test_signature_of_a_file_that_is_gone(write_scene, tmp_path):
    scene = Scene.open(write_scene({"hsi": CUBE}))
    (tmp_path / "hsi.tif").unlink()
    with pytest.raises(SceneError, match=r"hsi\.tif is gone"):
        scene.signature("images")


def test_sizes_that_differ_name_both_files(write_scene):
    path = write_scene({"hsi": CUBE, "lidar": SAR[:, :, :-1]})
    message = (
        r"lidar\.tif is 16 columns wide, hsi\.tif is 17\. All rasters of a scene share one grid"
    )
    with pytest.raises(SceneError, match=message):
        Scene.open(path)


@pytest.mark.parametrize("order", [(2, 1, 0), (0, 1, 2), (0, 2, 1)])
def test_axes_of_an_array_are_put_right_and_said(write_scene, tmp_path, order):
    path = write_scene({"hsi": CUBE, "sar": SAR})
    scipy.io.savemat(tmp_path / "sar.mat", {"sar": SAR.transpose(order)})
    path.write_text(path.read_text().replace("sar.tif", "sar.mat"))
    scene = Scene.open(path)
    np.testing.assert_array_equal(scene.tiles[0].read(1, Window(0, 0, 12, 17))[0], SAR)
    assert any("sar.mat" in note and "axes" in note for note in scene.notes)


def test_the_reference_array_is_put_right_by_the_others(write_scene, tmp_path):
    path = write_scene({"hsi": CUBE}, *some_labels())
    scipy.io.savemat(tmp_path / "hsi.mat", {"hsi": CUBE})  # bands first
    path.write_text(path.read_text().replace("hsi.tif", "hsi.mat"))
    scene = Scene.open(path)
    assert (scene.tiles[0].height, scene.tiles[0].width) == (12, 17)
    np.testing.assert_array_equal(scene.tiles[0].read(0, Window(0, 0, 12, 17))[0], CUBE)


PLACE = {"crs": "EPSG:32632", "transform": Affine(10, 0, 5e5, 0, -10, 5e6)}


def test_a_shifted_modality_is_resampled_and_said(write_scene, write_tif):
    path = write_scene({"hsi": CUBE, "sar": SAR}, *some_labels(), georeferenced=PLACE)
    write_tif("sar.tif", SAR, crs=PLACE["crs"], transform=Affine(10, 0, 5e5 + 0.05, 0, -10, 5e6))
    assert not Scene.open(path).notes
    write_tif("sar.tif", SAR, crs=PLACE["crs"], transform=Affine(10, 0, 5e5 + 5, 0, -10, 5e6))
    scene = Scene.open(path)
    (note,) = scene.notes
    assert "sar.tif" in note
    assert "hsi.tif" in note
    assert "bilinear" in note
    values, valid = scene.tiles[0].read(1, Window(0, 0, 12, 17))
    assert valid[:, :, 1:].all()
    between = (SAR[:, :, :-1] + SAR[:, :, 1:]) / 2
    np.testing.assert_allclose(values[:, :, 1:], between, atol=1e-5)


def test_labels_of_another_grid_are_brought_to_the_nearest_pixel(write_scene, write_tif):
    train, test = some_labels()
    path = write_scene({"hsi": CUBE}, train, test, georeferenced=PLACE)
    finer = np.kron(test, np.ones((2, 2), int)).astype(np.uint8)
    write_tif("test.tif", finer, crs=PLACE["crs"], transform=Affine(5, 0, 5e5, 0, -5, 5e6))
    scene = Scene.open(path)
    np.testing.assert_array_equal(scene.tiles[0].test, test - 1)
    assert any("test.tif" in note and "nearest" in note for note in scene.notes)


def test_bands_of_several_files_are_brought_to_the_finest(write_scene, write_tif):
    path = write_scene({"msi": CUBE}, *some_labels(), georeferenced=PLACE)
    coarse = RNG.normal(size=(1, 6, 9)).astype(np.float32)
    write_tif("b5.tif", coarse, crs=PLACE["crs"], transform=Affine(20, 0, 5e5, 0, -20, 5e6))
    path.write_text(path.read_text().replace("path: msi.tif", "path: [b5.tif, msi.tif]"))
    scene = Scene.open(path)
    assert scene.tiles[0].sources[0].bands == 6
    values, valid = scene.tiles[0].read(0, Window(0, 0, 12, 17))
    np.testing.assert_array_equal(values[1:], CUBE)
    assert valid.all()
    assert coarse.min() <= values[0].min()
    assert values[0].max() <= coarse.max()


def test_chosen_bands(write_scene):
    path = write_scene({"hsi": CUBE, "sar": SAR})
    path.write_text(path.read_text().replace("path: hsi.tif", "path: hsi.tif\n    bands: [4, 1]"))
    values, _ = Scene.open(path).tiles[0].read(0, Window(0, 0, 12, 17))
    np.testing.assert_array_equal(values, CUBE[[3, 0]])
    np.save(path.parent / "hsi.npy", CUBE.transpose(2, 0, 1))  # axes that only the SAR puts right
    path.write_text(path.read_text().replace("hsi.tif", "hsi.npy"))
    values, _ = Scene.open(path).tiles[0].read(0, Window(0, 0, 12, 17))
    np.testing.assert_array_equal(values, CUBE[[3, 0]])


@pytest.mark.parametrize("align", [False, True])
def test_integer_multiples_only_when_the_scene_says_so(write_scene, align):
    coarse = RNG.normal(size=(1, 6, 8)).astype(np.float32)
    changes = {"align": "hsi"} if align else {}
    path = write_scene({"hsi": CUBE[:, :, :16], "sar": coarse}, changes=changes)
    if not align:
        with pytest.raises(SceneError, match="align: hsi"):
            Scene.open(path)
        return
    values, _ = Scene.open(path).tiles[0].read(1, Window(0, 0, 12, 16))
    np.testing.assert_array_equal(values, np.kron(coarse, np.ones((1, 2, 2))))


def test_one_raster_for_all_tiles_is_cut_to_each(tmp_path, write_tif):
    whole = RNG.normal(size=(1, 20, 30)).astype(np.float32)
    write_tif("chm.tif", whole, **PLACE)
    for name, col in (("a", 0), ("b", 18)):
        place = {"crs": PLACE["crs"], "transform": Affine(10, 0, 5e5 + 10 * col, 0, -10, 5e6)}
        write_tif(f"{name}.tif", RNG.normal(size=(3, 10, 12)), **place)
    (tmp_path / "scene.yaml").write_text(
        "name: two\ntiles: [a, b]\nmodalities:\n  hsi: {path: '{tile}.tif', role: spectral}\n"
        "  chm: {path: chm.tif, role: auxiliary}\n"
    )
    scene = Scene.open(tmp_path)
    for tile, col in zip(scene.tiles, (0, 18), strict=True):
        values, valid = tile.read(1, Window(0, 0, 10, 12))
        np.testing.assert_allclose(values, whole[:, :10, col : col + 12], atol=1e-5)
        assert valid.all()
    assert len(scene.notes) == 1
    assert "1 more tile" in scene.notes[0]


def test_lists_of_pixels_pick_from_the_map(write_scene, tmp_path):
    train, test = some_labels()
    lists = {"train": np.argwhere(train), "test": np.argwhere(test), "gt": train + test}
    scipy.io.savemat(tmp_path / "index.mat", lists)
    labels = {
        "train": {"path": "index.mat", "key": "train"},
        "test": {"path": "index.mat", "key": "test"},
        "map": {"path": "index.mat", "key": "gt"},
        "classes": {1: "a", 2: "b"},
    }
    scene = Scene.open(write_scene({"hsi": CUBE}, changes={"labels": labels}))
    np.testing.assert_array_equal(scene.tiles[0].train, train - 1)
    np.testing.assert_array_equal(scene.tiles[0].test, test - 1)


def test_a_list_of_pixels_with_codes_in_a_file_of_its_own(write_scene, tmp_path):
    train, test = some_labels()
    for name, codes in (("train", train), ("test", test)):
        where = np.argwhere(codes)
        np.save(tmp_path / f"{name}.npy", np.column_stack([where, codes[codes > 0]]))
    labels = {
        "train": {"path": "train.npy", "index_base": 0},
        "test": {"path": "test.npy", "index_base": 0},
        "classes": {1: "a", 2: "b"},
    }
    scene = Scene.open(write_scene({"hsi": CUBE}, changes={"labels": labels}))
    np.testing.assert_array_equal(scene.tiles[0].train, train - 1)
    np.testing.assert_array_equal(scene.tiles[0].test, test - 1)


def test_codes_to_ignore(write_scene, write_tif):
    train, test = some_labels()
    path = write_scene({"hsi": CUBE}, train, test)
    write_tif("test.tif", np.where(test == 0, -1, test).astype(np.int16))
    with pytest.raises(SceneError, match="code -1"):
        Scene.open(path)
    path.write_text(path.read_text().replace("labels:\n", "labels:\n  ignore: [-1]\n"))
    np.testing.assert_array_equal(Scene.open(path).tiles[0].test, test - 1)


def test_crowns_give_the_labels_of_their_rasters(shared_data, tmp_path):
    """Every label of the rasters; the file has 237 pixels more, of crowns the rasters leave out."""
    folder = shared_data / "idtrees"
    text = (folder / "scene.yaml").read_text()
    rasters = Scene.open(folder)
    for which in ("train", "test"):
        text = text.replace(
            f"'{{tile}}/{which}.tif'", f"{{path: '{folder}/crowns_{which}.gpkg', column: class}}"
        )
    text = text.replace("'{tile}/", f"'{folder}/{{tile}}/")
    (tmp_path / "scene.yaml").write_text(text)
    vectors = Scene.open(tmp_path)
    more = {"train": 91, "test": 146}
    for ours, theirs in zip(vectors.tiles, rasters.tiles, strict=True):
        for part in more:
            drawn, known = getattr(ours, part), getattr(theirs, part)
            np.testing.assert_array_equal(drawn[known >= 0], known[known >= 0])
            more[part] -= int(((drawn >= 0) & (known < 0)).sum())
    assert more == {"train": 0, "test": 0}


def test_label_raster_of_another_size(write_scene, write_tif):
    path = write_scene({"hsi": CUBE}, *some_labels())
    write_tif("test.tif", np.zeros((13, 17), np.uint8))
    with pytest.raises(SceneError, match=r"test\.tif is 13 rows high, hsi\.tif is 12"):
        Scene.open(path)


def test_overlap_of_train_and_test_is_counted(write_scene):
    train, test = some_labels()
    test[2, :2] = 1
    with pytest.raises(SceneError, match=r"2 pixels are labelled for training and for testing"):
        Scene.open(write_scene({"hsi": CUBE}, train, test))


def test_class_in_test_but_not_in_train(write_scene):
    train, test = some_labels()
    train[train == 2] = 0
    with pytest.raises(SceneError, match=r"class 2 \(forest\) has 5 test pixels and no training"):
        Scene.open(write_scene({"hsi": CUBE}, train, test))


def test_code_without_a_class(write_scene):
    train, test = some_labels()
    test[0, :3] = 9
    with pytest.raises(SceneError, match=r"test\.tif has code 9 on 3 pixels"):
        Scene.open(write_scene({"hsi": CUBE}, train, test))


def test_no_training_pixel_at_all(write_scene):
    nothing = np.zeros((12, 17), int)
    with pytest.raises(SceneError, match="no training pixel"):
        Scene.open(write_scene({"hsi": CUBE}, nothing, nothing))


def test_labels_that_disagree_cannot_be_merged(write_scene):
    train, test = some_labels()
    test[2, 0] = 2
    with pytest.raises(SceneError, match="disagree on 1 pixels"):
        Scene.open(write_scene({"hsi": CUBE}, train, test, changes={"split": {"random": 2}}))


def test_class_without_a_pixel_is_warned_of(write_scene, caplog):
    train, test = some_labels()
    labels = {"train": "train.tif", "test": "test.tif", "classes": {1: "a", 2: "b", 3: "moor"}}
    with caplog.at_level(logging.WARNING):
        scene = Scene.open(write_scene({"hsi": CUBE}, train, test, changes={"labels": labels}))
    assert "Class 3 (moor) has no labelled pixel" in caplog.text
    assert len(scene.class_codes) == 3


def test_tiles_with_different_bands(tmp_path, write_tif):
    write_tif("a.tif", np.ones((3, 4, 4)))
    write_tif("b.tif", np.ones((2, 4, 4)))
    (tmp_path / "scene.yaml").write_text(
        "name: two\ntiles: [a, b]\nmodalities: {hsi: {path: '{tile}.tif', role: spectral}}\n"
    )
    with pytest.raises(SceneError, match=r"b\.tif has 2 bands, a\.tif has 3"):
        Scene.open(tmp_path)


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
