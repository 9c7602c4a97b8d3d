"""Features of other models: arrays on the scene's grid, and rasters on grids of their own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import yaml
from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import transform as convert

from bdgf import config, presets
from bdgf.diffusion.external import ExternalFeatures, adopt, external_signature
from bdgf.diffusion.store import FeatureStore
from bdgf.errors import SceneError
from bdgf.progress import Silent
from bdgf.scene.scene import Scene
from bdgf.scene.windows import Window

UTM = CRS.from_epsg(32632)
DEGREES = CRS.from_epsg(4326)
PIXEL = 10.0
CORNER = (600_000.0, 5_300_000.0)
SIDES = (24, 30)


class Told(Silent):
    """Keeps the lines."""

    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


def write(path, values, crs=None, transform=None, nodata=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", count=len(values), height=values.shape[1],
        width=values.shape[2], dtype=values.dtype, crs=crs, nodata=nodata,
        transform=transform or Affine.identity(),
    ) as file:  # fmt: skip
        file.write(values)
    return path


def grid_transform(col=0.0, row=0.0, pixel=PIXEL):
    """A grid of UTM whose corner lies some of the scene's pixels from the scene's corner."""
    x, y = CORNER[0] + col * PIXEL, CORNER[1] - row * PIXEL
    return Affine(pixel, 0.0, x, 0.0, -pixel, y)


def make_scene(folder, tiles=("only",), crs=UTM, placed=True):
    """Tiles side by side, 30 pixels apart, without labels."""
    rng = np.random.default_rng(0)
    for number, tile in enumerate(tiles):
        image = rng.normal(size=(3, *SIDES)).astype(np.float32)
        transform = grid_transform(col=number * SIDES[1]) if placed else None
        write(folder / tile / "hsi.tif", image, crs if placed else None, transform)
    path = folder / "scene.yaml"
    content = {
        "name": "placed",
        "modalities": {"hsi": {"path": "{tile}/hsi.tif", "role": "spectral"}},
        "tiles": list(tiles),
    }
    path.write_text(yaml.safe_dump(content))
    return path


def taken(prepared, source, tmp_path, components=2, **others):
    told = Told()
    settings = config.FeatureSettings(components=components, **others)
    folder = tmp_path / "features"
    adopt(prepared, source, prepared.scene.spec.folder, folder, settings, 0, told)
    names = [tile.name for tile in prepared.scene.tiles]
    shapes = [prepared.shape(tile) for tile in range(prepared.tiles)]
    return FeatureStore(folder, names, shapes), told.lines


def slopes(transform, shape):
    """Two features that grow with the UTM coordinates, in the scene's pixels."""
    cols, rows = np.meshgrid(np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5)
    x = (transform.a * cols + transform.c - CORNER[0]) / PIXEL
    y = (CORNER[1] - transform.e * rows - transform.f) / PIXEL
    return np.stack([x, y]).astype(np.float32)


def expected_slopes(tile=0):
    cols, rows = np.meshgrid(np.arange(SIDES[1]) + 0.5, np.arange(SIDES[0]) + 0.5)
    return np.stack([cols + tile * SIDES[1], rows])


def recovered(store, tile):
    """The two slopes of a tile, as the best linear function of its components."""
    components = store.window(tile, Window(0, 0, *SIDES)).reshape(store.channels, -1).T
    design = np.column_stack([components, np.ones(len(components))])
    wanted = expected_slopes(tile).reshape(2, -1).T
    fit, *_ = np.linalg.lstsq(design, wanted, rcond=None)
    return np.abs(design @ fit - wanted).max()


def test_an_array_takes_the_place_of_our_features(prepared, tmp_path, tiny_settings):
    shape = prepared.shape(0)
    array = np.random.default_rng(0).normal(size=(6, *shape)).astype(np.float32)
    np.save(tmp_path / "elsewhere.npy", array)
    folder = tmp_path / "features"
    adopt(prepared, "elsewhere.npy", tmp_path, folder, tiny_settings.features, 0, Silent())
    store = FeatureStore(folder, [prepared.scene.tiles[0].name], [shape])
    assert store.level_channels == (4, 4, 4)
    assert store.channels == 4
    fine = presets.replace(tiny_settings, {"features.levels": ("none", "none", "fine")}).features
    adopt(prepared, "elsewhere.npy", tmp_path, tmp_path / "fine", fine, 0, Silent())
    only = FeatureStore(tmp_path / "fine", [prepared.scene.tiles[0].name], [shape])
    assert only.level_channels == (0, 0, 4)
    np.testing.assert_array_equal(only.arrays[0], store.arrays[0])
    np.save(tmp_path / "wrong.npy", array[:, 1:])
    with pytest.raises(SceneError, match=r"wrong\.npy has shape .* on the scene's grid"):
        adopt(prepared, "wrong.npy", tmp_path, folder, tiny_settings.features, 0, Silent())
    array[0, 0, 0] = np.nan
    np.save(tmp_path / "nan.npy", array)
    with pytest.raises(SceneError, match="not finite"):
        adopt(prepared, "nan.npy", tmp_path, folder, tiny_settings.features, 0, Silent())
    for kind in ("<U3", "complex64", "datetime64[s]", [("a", "f4")]):
        np.save(tmp_path / "kind.npy", np.zeros((6, *shape), kind))
        with pytest.raises(SceneError, match=r"kind\.npy holds values of type"):
            adopt(prepared, "kind.npy", tmp_path, folder, tiny_settings.features, 0, Silent())
    with pytest.raises(SceneError, match="cannot be read"):
        adopt(prepared, "absent.npy", tmp_path, folder, tiny_settings.features, 0, Silent())


def test_a_raster_with_finer_pixels_is_averaged_where_it_lies(tmp_path, prepare):
    prepared = prepare(make_scene(tmp_path))
    # half the pixel size, and more than the scene on every side
    transform = grid_transform(col=-3, row=-4, pixel=PIXEL / 2)
    write(tmp_path / "embedding.tif", slopes(transform, (70, 80)), UTM, transform)
    store, lines = taken(prepared, "embedding.tif", tmp_path)
    assert recovered(store, 0) < 0.05
    assert any("resampled onto the grid of only/hsi.tif" in line for line in lines)
    assert any("mean of the pixels covered, 2 × coarser" in line for line in lines)
    index = json.loads((tmp_path / "features" / "features.json").read_text())
    assert index["origin"]["notes"] == [line.removeprefix("features: ") for line in lines]


def test_a_raster_in_another_crs_is_placed_by_its_coordinates(tmp_path, prepare):
    prepared = prepare(make_scene(tmp_path))
    lon, lat = convert(UTM, DEGREES, [CORNER[0] - 100], [CORNER[1] + 100])
    step = 1e-4
    transform = Affine(step, 0, lon[0], 0, -step, lat[0])
    cols, rows = np.meshgrid(np.arange(70) + 0.5, np.arange(60) + 0.5)
    x, y = convert(DEGREES, UTM, (lon[0] + cols * step).ravel(), (lat[0] - rows * step).ravel())
    values = np.stack([(np.array(x) - CORNER[0]) / PIXEL, (CORNER[1] - np.array(y)) / PIXEL])
    write(
        tmp_path / "embedding.tif", values.reshape(2, 60, 70).astype(np.float32), DEGREES, transform
    )
    store, lines = taken(prepared, "embedding.tif", tmp_path)
    assert recovered(store, 0) < 0.1
    assert any("EPSG:4326" in line for line in lines)


def test_a_raster_on_the_scenes_grid_is_taken_as_it_is(tmp_path, prepare):
    prepared = prepare(make_scene(tmp_path))
    values = np.random.default_rng(1).normal(size=(2, *SIDES)).astype(np.float32)
    write(tmp_path / "embedding.tif", values, UTM, grid_transform())
    source = ExternalFeatures(tmp_path / "embedding.tif", prepared.scene, 0)
    found, known = source.read(Window(3, 2, 9, 11))
    np.testing.assert_array_equal(found, values[:, 3:12, 2:13])
    assert known.all()
    _, lines = taken(prepared, "embedding.tif", tmp_path)
    assert lines == []


def test_one_raster_serves_all_tiles(tmp_path, prepare):
    prepared = prepare(make_scene(tmp_path, tiles=("west", "east")))
    transform = grid_transform(col=-2, row=-2, pixel=2 * PIXEL)
    write(tmp_path / "embedding.tif", slopes(transform, (16, 34)), UTM, transform)
    store, lines = taken(prepared, "embedding.tif", tmp_path)
    assert recovered(store, 0) < 0.05
    assert recovered(store, 1) < 0.05
    assert any("and alike in 1 more tiles" in line for line in lines)


def test_one_raster_may_miss_some_tiles(tmp_path, prepare):
    prepared = prepare(make_scene(tmp_path, tiles=("west", "east")))
    transform = grid_transform(col=SIDES[1])
    write(tmp_path / "embedding.tif", slopes(transform, SIDES), UTM, transform)
    store, lines = taken(prepared, "embedding.tif", tmp_path)
    assert not store.window(0, Window(0, 0, *SIDES)).any()
    assert recovered(store, 1) < 0.05
    assert "features: embedding.tif does not reach tile west, where nothing guides" in lines


def test_one_file_without_coordinates_is_refused_for_many_tiles(tmp_path, prepare):
    prepared = prepare(make_scene(tmp_path, tiles=("west", "east")))
    np.save(tmp_path / "embedding.npy", np.zeros((2, *SIDES), np.float32))
    write(tmp_path / "bare.tif", np.zeros((2, *SIDES), np.float32))
    for name in ("embedding.npy", "bare.tif"):
        with pytest.raises(SceneError, match=r"one file for 2 tiles.*\{tile\}"):
            external_signature(name, tmp_path, prepared.scene)


def test_without_coordinates_the_shape_must_match(tmp_path, prepare):
    scene = prepare(make_scene(tmp_path)).scene
    write(tmp_path / "same.tif", np.ones((2, *SIDES), np.float32))
    assert external_signature("same.tif", tmp_path, scene).startswith("same.tif ")
    write(tmp_path / "other.tif", np.ones((2, SIDES[0], SIDES[1] + 1), np.float32))
    with pytest.raises(SceneError, match=r"other\.tif is 31 columns wide.* is 30"):
        external_signature("other.tif", tmp_path, scene)


def test_a_raster_of_another_place_is_refused(tmp_path, prepare):
    scene = prepare(make_scene(tmp_path)).scene
    write(tmp_path / "far.tif", np.ones((2, 9, 9), np.float32), UTM, grid_transform(col=900))
    with pytest.raises(SceneError, match="do not overlap"):
        external_signature("far.tif", tmp_path, scene)
    with pytest.raises(SceneError, match="does not exist"):
        external_signature("absent.tif", tmp_path, scene)


def test_nodata_becomes_zero_features_and_is_said(tmp_path, prepare):
    prepared = prepare(make_scene(tmp_path))
    values = np.random.default_rng(1).normal(5, 1, size=(3, *SIDES)).astype(np.float32)
    values[:, :6] = -1e4
    values[1, 6, 0] = np.nan
    write(tmp_path / "embedding.tif", values, UTM, grid_transform(), nodata=-1e4)
    store, lines = taken(prepared, "embedding.tif", tmp_path)
    found = store.window(0, Window(0, 0, *SIDES))
    assert not found[:, :6].any()
    assert not found[:, 6, 0].any()
    assert np.abs(found[:, 7:]).min() > 0
    assert np.abs(found[:, 7:].mean((1, 2))).max() < 0.2, "nodata has no part in the mean"
    without = 6 * SIDES[1] + 1
    assert any(f"no value at {without} of the 720 pixels" in line for line in lines)
    index = json.loads((tmp_path / "features" / "features.json").read_text())
    assert index["origin"]["pixels_without"] == without


def test_a_raster_of_nodata_alone_is_refused(tmp_path, prepare):
    prepared = prepare(make_scene(tmp_path))
    write(tmp_path / "e.tif", np.full((2, *SIDES), -1.0, np.float32), UTM, grid_transform(), -1.0)
    with pytest.raises(SceneError, match="no value at any"):
        taken(prepared, "e.tif", tmp_path)


def test_every_level_reads_its_own_file(tmp_path, prepare):
    prepared = prepare(make_scene(tmp_path))
    rng = np.random.default_rng(1)
    for level, channels in (("1", 5), ("2", 2), ("3", 1)):
        (tmp_path / level).mkdir()
        np.save(tmp_path / level / "only.npy", rng.normal(size=(channels, *SIDES)))
    store, _ = taken(prepared, "{level}/{tile}.npy", tmp_path, components=3)
    assert store.levels == [[0, 1, 2], [3, 4], [5]]
    guides = ("fine", "none", "coarse")
    some, _ = taken(prepared, "{level}/{tile}.npy", tmp_path / "some", components=3, levels=guides)
    assert some.levels == [[3], [], [0, 1, 2]]
    np.testing.assert_array_equal(some.arrays[0][3], store.arrays[0][5])
    finest = np.load(tmp_path / "3" / "only.npy")[0]
    found = store.window(0, Window(0, 0, *SIDES))[5]
    assert abs(np.corrcoef(finest.ravel(), found.ravel())[0, 1]) > 0.999


def test_a_changed_file_changes_the_signature(tmp_path, prepare):
    scene: Scene = prepare(make_scene(tmp_path)).scene
    assert external_signature("none", tmp_path, scene) == ""
    np.save(tmp_path / "e.npy", np.zeros((2, *SIDES), np.float32))
    before = external_signature("e.npy", tmp_path, scene)
    np.save(tmp_path / "e.npy", np.zeros((3, *SIDES), np.float32))
    assert external_signature("e.npy", tmp_path, scene) != before


def test_a_changed_source_of_a_mosaic_changes_the_signature(tmp_path, prepare):
    scene: Scene = prepare(make_scene(tmp_path)).scene
    image = tmp_path / "behind.tif"
    place = Affine(PIXEL, 0, CORNER[0], 0, -PIXEL, CORNER[1])
    shape = {"height": SIDES[0], "width": SIDES[1], "count": 1, "dtype": "float32"}

    def write(value: float) -> None:
        with rasterio.open(image, "w", driver="GTiff", crs=UTM, transform=place, **shape) as file:
            file.write(np.full((1, *SIDES), value, np.float32))

    write(1.0)
    with rasterio.open(image) as file:
        rasterio.shutil.copy(file, tmp_path / "e.vrt", driver="VRT")
    before = external_signature("e.vrt", tmp_path, scene)
    write(2.5)
    assert external_signature("e.vrt", tmp_path, scene) != before


def test_a_raster_of_the_real_scene_comes_back_where_it_was(shared_data: Path, tmp_path: Path):
    """The Sentinel-1 image of a real scene as an embedding in UTM gives the scene's own values."""
    scene = Scene.open(shared_data / "spain_s1s2" / "scene.yaml")
    tile = scene.tiles[0]
    with rasterio.open(shared_data / "spain_s1s2" / "s1.tif") as file:
        values, transform, crs = file.read(), file.transform, file.crs
    # another grid in the same CRS: shifted by a third of a pixel and half as fine
    t = transform
    corner = (t.c - (t.a + t.b) / 2, t.f - (t.d + t.e) / 2)
    moved = Affine(t.a / 2, t.b / 2, corner[0], t.d / 2, t.e / 2, corner[1])
    fine = np.kron(values, np.ones((1, 2, 2), np.float32))
    write(tmp_path / "fine.tif", fine.astype(np.float32), crs, moved)
    source = ExternalFeatures(tmp_path / "fine.tif", scene, 0)
    window = Window(100, 200, 40, 40)
    found, known = source.read(window)
    assert known.all()
    own, _ = tile.read(1, Window(100, 200, 41, 41))
    mean = (own[:, :-1, :-1] + own[:, 1:, :-1] + own[:, :-1, 1:] + own[:, 1:, 1:]) / 4
    np.testing.assert_allclose(found, mean, atol=1e-3)
