"""The rasters of a tile are opened and brought to one grid."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.io
from affine import Affine

from bdgf.config import PreparationSettings
from bdgf.errors import SceneError
from bdgf.scene.formats.base import known_empty
from bdgf.scene.preparation import Preparation
from bdgf.scene.prepared import PreparedScene
from bdgf.scene.scene import Scene
from bdgf.scene.windows import Window

RNG = np.random.default_rng(0)
CUBE = RNG.normal(size=(5, 12, 17)).astype(np.float32)
SAR = RNG.normal(size=(2, 12, 17)).astype(np.float32)
PLACE = {"crs": "EPSG:32632", "transform": Affine(10, 0, 5e5, 0, -10, 5e6)}


def some_labels():
    train, test = np.zeros((12, 17), int), np.zeros((12, 17), int)
    train[2, :3], train[5, 4] = 1, 2
    test[7, :6], test[8, 4:9] = 1, 2
    return train, test


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


def test_coordinates_are_those_of_the_files(write_scene):
    transform = Affine(10, 0, 5e5, 0, -10, 5e6)
    place = {"crs": "EPSG:32632", "transform": transform}
    scene = Scene.open(write_scene({"hsi": CUBE}, *some_labels(), georeferenced=place))
    assert scene.tiles[0].transform == transform
    assert scene.tiles[0].crs.to_epsg() == 32632


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


@pytest.mark.parametrize("first", ["sar", "dsm"])
def test_a_placed_raster_places_the_tile_of_a_reference_without_coordinates(
    write_scene, write_tif, first
):
    rows, cols = SAR.shape[1:]
    rasters = {"hsi": CUBE, "sar": SAR, "dsm": SAR} if first == "sar" else None
    path = write_scene(rasters or {"hsi": CUBE, "dsm": SAR, "sar": SAR}, *some_labels())
    place = Affine(10, 0, 5e5, 0, -10, 5e6)
    write_tif("sar.tif", SAR, crs="EPSG:32632", transform=place)
    # another extent: it can only be laid where the radar lies
    wider = np.pad(SAR, ((0, 0), (0, 0), (2, 2)), constant_values=7.0)
    shifted = place @ Affine.translation(-2, 0)
    write_tif("dsm.tif", wider, crs="EPSG:32632", transform=shifted)
    tile = Scene.open(path).tiles[0]
    assert (tile.transform, tile.crs.to_epsg()) == (place, 32632)
    values, valid = tile.read(2 if first == "sar" else 1, Window(0, 0, rows, cols))
    assert valid.all()
    np.testing.assert_allclose(values, SAR, atol=1e-5)


def test_a_system_without_coordinates_is_no_place(write_scene, write_tif):
    path = write_scene({"hsi": CUBE, "sar": SAR}, *some_labels())
    write_tif("hsi.tif", CUBE, crs="EPSG:4326")
    place = Affine(10, 0, 5e5, 0, -10, 5e6)
    write_tif("sar.tif", SAR, crs="EPSG:32632", transform=place)
    tile = Scene.open(path).tiles[0]
    assert (tile.transform, tile.crs.to_epsg()) == (place, 32632)


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


def test_tiles_with_different_bands(tmp_path, write_tif):
    write_tif("a.tif", np.ones((3, 4, 4)))
    write_tif("b.tif", np.ones((2, 4, 4)))
    (tmp_path / "scene.yaml").write_text(
        "name: two\ntiles: [a, b]\nmodalities: {hsi: {path: '{tile}.tif', role: spectral}}\n"
    )
    with pytest.raises(SceneError, match=r"b\.tif has 2 bands, a\.tif has 3"):
        Scene.open(tmp_path)


def two_tiles(tmp_path, write_tif, radar_at, label_at=0.0):
    """Tiles a and b side by side, 170 m apart, a radar raster and labels of tile a's size."""
    rng = np.random.default_rng(1)
    utm = {"crs": "EPSG:32632"}
    for tile, left in (("a", 0.0), ("b", 170.0)):
        place = Affine(10, 0, left, 0, -10, 120)
        write_tif(f"{tile}/hsi.tif", rng.normal(size=(3, 12, 17)), transform=place, **utm)
    write_tif("sar.tif", SAR, transform=Affine(10, 0, radar_at, 0, -10, 120), **utm)
    codes = rng.integers(1, 3, (12, 17)).astype(np.uint8)
    write_tif("labels.tif", codes, transform=Affine(10, 0, label_at, 0, -10, 120), **utm)
    (tmp_path / "scene.yaml").write_text(
        "name: two\ntiles: [a, b]\nmodalities:\n  hsi: {path: '{tile}/hsi.tif', role: spectral}\n"
        "  sar: {path: sar.tif, role: auxiliary}\n"
        "labels: {all: labels.tif, classes: {1: x, 2: y}}\nsplit: {random: 5 per class}\n"
    )
    return tmp_path


def test_a_sensor_may_miss_some_tiles(tmp_path, write_tif):
    scene = Scene.open(two_tiles(tmp_path, write_tif, radar_at=170.0))
    whole = Window(0, 0, 12, 17)
    for tile, there in zip(scene.tiles, (False, True), strict=True):
        values, valid = tile.read(1, whole)
        assert valid.all() if there else not valid.any()
        np.testing.assert_array_equal(values, SAR if there else 0)
    assert known_empty(scene.tiles[0].sources[1], whole)
    assert "sar does not reach tile a and is missing there" in scene.notes
    prepared = PreparedScene(scene, Preparation.fit(scene, PreparationSettings(), 0))
    assert len(prepared.preparation.fitted) == 2


def test_labels_may_miss_some_tiles(tmp_path, write_tif):
    scene = Scene.open(two_tiles(tmp_path, write_tif, radar_at=0.0, label_at=170.0))
    assert set(scene.positions("test")[:, 0]) == {1}
    assert "labels.tif does not reach tile a, which has no label of it" in scene.notes


@pytest.mark.parametrize("place", [{"radar_at": 1e6}, {"radar_at": 0.0, "label_at": 1e6}])
def test_what_reaches_no_tile_is_an_error(tmp_path, write_tif, place):
    with pytest.raises(SceneError, match="do not overlap"):
        Scene.open(two_tiles(tmp_path, write_tif, **place))


@pytest.mark.parametrize(("raster", "named"), [("sar", "sar.tif"), ("labels", "labels.tif")])
def test_a_tiles_own_file_lies_where_the_tile_is(tmp_path, write_tif, raster, named):
    path = two_tiles(tmp_path, write_tif, radar_at=0.0) / "scene.yaml"
    for tile in ("a", "b"):  # both get the file of tile a
        (tmp_path / tile / named).write_bytes((tmp_path / named).read_bytes())
    text = path.read_text()
    path.write_text(text.replace(f" {raster}.tif", f" '{{tile}}/{raster}.tif'"))
    assert path.read_text() != text
    with pytest.raises(SceneError, match="do not overlap"):
        Scene.open(path)
