"""Labels become a training and a test part, and what does not fit is said."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
import rasterio
import scipy.io
import shapely
from affine import Affine
from pyogrio import raw
from rasterio.crs import CRS

from bdgf.errors import SceneError
from bdgf.scene.grid import Grid
from bdgf.scene.labels import parts, reading
from bdgf.scene.labels.vector import VectorLabels
from bdgf.scene.scene import Scene

RNG = np.random.default_rng(0)
CUBE = RNG.normal(size=(5, 12, 17)).astype(np.float32)
PLACE = {"crs": "EPSG:32632", "transform": Affine(10, 0, 5e5, 0, -10, 5e6)}


def some_labels():
    train, test = np.zeros((12, 17), int), np.zeros((12, 17), int)
    train[2, :3], train[5, 4] = 1, 2
    test[7, :6], test[8, 4:9] = 1, 2
    return train, test


def test_split_of_train_and_test_merged(write_scene):
    changes = {"split": {"random": 3}}
    scene = Scene.open(write_scene({"hsi": CUBE}, *some_labels(), changes=changes))
    assert np.bincount(scene.labels_at("train")).tolist() == [3, 3]
    assert len(scene.labels_at("train")) + len(scene.labels_at("test")) == 15


def test_labels_of_another_grid_are_brought_to_the_nearest_pixel(write_scene, write_tif):
    train, test = some_labels()
    path = write_scene({"hsi": CUBE}, train, test, georeferenced=PLACE)
    finer = np.kron(test, np.ones((2, 2), int)).astype(np.uint8)
    write_tif("test.tif", finer, crs=PLACE["crs"], transform=Affine(5, 0, 5e5, 0, -5, 5e6))
    scene = Scene.open(path)
    np.testing.assert_array_equal(scene.tiles[0].test, test - 1)
    assert any("test.tif" in note and "nearest" in note for note in scene.notes)


@pytest.mark.parametrize("nodata", [None, 0, 255])
def test_strips_that_a_sparse_file_does_not_store_are_not_read(tmp_path, monkeypatch, nodata):
    high, wide = 30_000, 4_096
    place = {"crs": PLACE["crs"], "transform": PLACE["transform"], "height": high, "width": wide}
    kind = {"driver": "GTiff", "count": 1, "tiled": True, "SPARSE_OK": True, "dtype": "uint8"}
    with rasterio.open(tmp_path / "image.tif", "w", **kind, **place, nodata=0) as raster:
        raster.write(np.full((256, 256), 7, np.uint8), 1, window=((9984, 10240), (256, 512)))
    codes = np.zeros((256, 256), np.uint8)
    codes[3, :5], codes[200, 7:9] = 1, 2
    with rasterio.open(tmp_path / "labels.tif", "w", **kind, **place, nodata=nodata) as raster:
        raster.write(codes, 1, window=((9984, 10240), (256, 512)))
    (tmp_path / "scene.yaml").write_text(
        "name: x\nmodalities: {a: {path: image.tif, role: spectral}}\n"
        "labels: {all: labels.tif, classes: {1: A, 2: B}}\nsplit: {random: 1}\n"
    )
    read = []

    own = reading.read_codes

    def read_codes(source, window, ignore):
        read.append(window.height)
        return own(source, window, ignore)

    monkeypatch.setattr(reading, "read_codes", read_codes)
    scene = Scene.open(tmp_path / "scene.yaml")
    found = np.concatenate([scene.positions("train"), scene.positions("test")])
    expected = np.argwhere(codes) + np.array([9984, 256])
    np.testing.assert_array_equal(found[np.lexsort(found.T[::-1])][:, 1:], expected)
    assert len(read) == 1, "of eight strips one has labels"


def test_more_pixels_than_anybody_looks_through_are_refused(write_scene, monkeypatch):
    train, test = some_labels()
    path = write_scene({"hsi": CUBE}, train, test)
    monkeypatch.setattr(parts, "_STRIP_PIXELS", 17)
    Scene.open(path)
    monkeypatch.setattr(reading, "MOST_STORED", 12 * 17 - 1)
    with pytest.raises(
        SceneError, match=r"2e\+02 pixels to be looked through.*as polygons or points"
    ):
        Scene.open(path)


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


def test_codes_to_ignore_in_lists_of_pixels(write_scene, tmp_path):
    train, test = some_labels()
    for name, codes, code in (("train", train, -1), ("test", test, 255)):
        where = np.argwhere(codes)
        listed = np.column_stack([where, codes[codes > 0]])
        np.save(tmp_path / f"{name}.npy", np.vstack([listed, [[11, 0, code]]]))
    labels = {
        "train": {"path": "train.npy", "index_base": 0},
        "test": {"path": "test.npy", "index_base": 0},
        "classes": {1: "a", 2: "b"},
        "ignore": [-1, 255],
    }
    scene = Scene.open(write_scene({"hsi": CUBE}, changes={"labels": labels}))
    np.testing.assert_array_equal(scene.tiles[0].train, train - 1)
    np.testing.assert_array_equal(scene.tiles[0].test, test - 1)


def test_codes_to_ignore_in_regions_of_interest(write_scene, tmp_path):
    lines = ["; Number of ROIs: 3", "; File Dimension: 17 x 12"]
    for name in ("a", "2", "255"):
        lines += [f"; ROI name: {name}", "; ROI rgb value: {1, 2, 3}", "; ROI npts: 1"]
    lines += [";  ID  X  Y", "1 1 1", "2 2 1", "3 3 1"]
    (tmp_path / "all.txt").write_text("\n".join(lines) + "\n")
    labels = {"train": "all.txt", "classes": {1: "a", 2: "b"}, "ignore": [255]}
    scene = Scene.open(write_scene({"hsi": CUBE}, changes={"labels": labels}))
    assert scene.tiles[0].train[0, :4].tolist() == [0, 1, -1, -1]


def test_codes_to_ignore_in_a_column_of_text(tmp_path, write_scene):
    rings = [
        [[[10 * i, 0], [10 * i + 9, 0], [10 * i + 9, 9], [10 * i, 9], [10 * i, 0]]]
        for i in range(3)
    ]
    features = [
        {
            "type": "Feature",
            "properties": {"c": code},
            "geometry": {"type": "Polygon", "coordinates": ring},
        }
        for ring, code in zip(rings, ("1", "2", "-1"), strict=True)
    ]
    crs = {"type": "name", "properties": {"name": "EPSG:32632"}}
    found = {"type": "FeatureCollection", "crs": crs, "features": features}
    (tmp_path / "a.geojson").write_text(json.dumps(found))
    known = {1: "a", 2: "b", -1: "ignored -1"}
    labels = VectorLabels(tmp_path / "a.geojson", "c", None, known)
    codes = labels.codes(Grid(10, 30, Affine(1, 0, 0, 0, -1, 10), CRS.from_epsg(32632)))
    assert [int(codes[5, 10 * i + 4]) for i in range(3)] == [1, 2, -1]


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


def test_every_tile_s_own_polygons_have_their_say(tmp_path, write_tif):
    for tile in ("a", "b"):
        write_tif(f"{tile}/hsi.tif", CUBE, **PLACE)
        inside = shapely.box(5e5 + 20, 5e6 - 60, 5e5 + 60, 5e6 - 20)
        outside = [shapely.box(0, 0, 10, 10)] * (1 if tile == "a" else 2)
        raw.write(
            tmp_path / tile / "labels.gpkg",
            shapely.to_wkb([inside, *outside]),
            [np.array([1, *[2] * len(outside)])],
            ["class"],
            geometry_type="Polygon",
            crs=PLACE["crs"],
            driver="GPKG",
        )
    (tmp_path / "scene.yaml").write_text(
        "name: x\nmodalities: {hsi: {path: '{tile}/hsi.tif', role: spectral}}\ntiles: [a, b]\n"
        "labels: {train: '{tile}/labels.gpkg', classes: {1: A, 2: B}}\n"
    )
    scene = Scene.open(tmp_path / "scene.yaml")
    scene.labels_at("train")
    notes = " ".join(scene.notes)
    assert "a/labels.gpkg: 1 features lie in no tile." in notes
    assert "b/labels.gpkg: 2 features lie in no tile." in notes


def test_pixels_of_one_tile_are_no_ground_of_another(tmp_path, write_tif):
    """Tiles of 2 m and of 1 m: four pixels of the second share one of the first by its lattice."""
    for name, side, east in (("a", 2.0, 0), ("b", 1.0, 1000)):
        place = {"crs": "EPSG:32632", "transform": Affine(side, 0, 5e5 + east, 0, -side, 5e6)}
        write_tif(f"{name}/hsi.tif", CUBE, **place)
        write_tif(f"{name}/labels.tif", RNG.integers(1, 3, (12, 17)).astype(np.uint8), **place)
    (tmp_path / "scene.yaml").write_text(
        "name: two\nmodalities: {hsi: {path: '{tile}/hsi.tif', role: spectral}}\ntiles: [a, b]\n"
        "labels: {all: '{tile}/labels.tif', classes: {1: x, 2: y}}\nsplit: {random: 60}\n"
    )
    scene = Scene.open(tmp_path / "scene.yaml")
    assert len(scene.positions("train")) == 120
    assert len(scene.positions("test")) == 2 * 12 * 17 - 120
    assert not any("trained in another" in note for note in scene.notes)
