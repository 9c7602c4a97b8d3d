"""A scene checks that its files fit together, and says what does not."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import rasterio

from bdgf.errors import SceneError
from bdgf.scene.layout import Window
from bdgf.scene.palette import palette
from bdgf.scene.scene import Scene

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
