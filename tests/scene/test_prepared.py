"""Windows of a prepared scene: the same bits whatever is cached, and both kinds of edge."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import rasterio

from bdgf.config import PreparationSettings
from bdgf.errors import RunFolderError
from bdgf.scene.preparation import Preparation
from bdgf.scene.prepared import PreparedScene
from bdgf.scene.scene import Scene
from bdgf.scene.windows import Window, reflect_index, windows_of

H, W = 150, 301


@pytest.fixture(params=["strips", "squares"])
def scene(request, tmp_path, write_tif):
    """Two tiles, larger than a block and smaller, with holes, stored by rows or by squares."""
    rng = np.random.default_rng(0)
    stored = (
        {"tiled": True, "blockxsize": 32, "blockysize": 32} if request.param == "squares" else {}
    )
    for name, (height, width) in {"a": (H, W), "b": (7, 5)}.items():
        cube = rng.normal(size=(20, height, width)).astype(np.float32)
        cube[:, 2:4, 3:5] = np.nan
        dsm = rng.normal(size=(1, height, width)).astype(np.float32)
        dsm[:, 3:6, 3:5] = np.nan
        write_tif(f"{name}_hsi.tif", cube, **stored)
        write_tif(f"{name}_dsm.tif", dsm, **stored)
    (tmp_path / "scene.yaml").write_text(
        "name: two\ntiles: [a, b]\nmodalities:\n"
        "  hsi: {path: '{tile}_hsi.tif', role: spectral}\n"
        "  dsm: {path: '{tile}_dsm.tif', role: auxiliary}\n"
    )
    return Scene.open(tmp_path)


@pytest.fixture
def preparation(scene):
    return Preparation.fit(scene, PreparationSettings(components=6), 0)


def whole(prepared, tile):
    return prepared.window(tile, Window(0, 0, *prepared.shape(tile)), "missing")


def windows(seed=0, count=25):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        height, width = rng.integers(1, 80, size=2)
        yield Window(int(rng.integers(-30, H)), int(rng.integers(-30, W)), int(height), int(width))


# 0 keeps nothing, 300 kB a few blocks, so that old ones are dropped, and 1 GiB all.
@pytest.mark.parametrize("cache_bytes", [0, 300_000, 1 << 30])
def test_every_window_holds_the_same_bits_as_the_whole_tile(scene, preparation, cache_bytes):
    values, missing = whole(PreparedScene(scene, preparation), 0)
    prepared = PreparedScene(scene, preparation, cache_bytes)
    for window in windows():
        inside = window.inside(H, W)
        ours, gone = prepared.window(0, inside, "missing")
        rows, cols = inside.slices
        np.testing.assert_array_equal(ours, values[:, rows, cols])
        np.testing.assert_array_equal(gone, missing[:, rows, cols])


def test_cache_stays_below_its_limit(scene, preparation):
    limit = 400_000
    prepared = PreparedScene(scene, preparation, limit)
    for window in windows():
        prepared.window(0, window, "reflect")
        held = sum(v.nbytes + m.nbytes for v, m in prepared._cache.values())
        assert held == prepared._cached <= limit


def test_files_of_a_scene_that_fits_are_read_once(scene, preparation):
    prepared = PreparedScene(scene, preparation)
    values, _ = whole(prepared, 0)
    (scene.spec.folder / "a_hsi.tif").unlink()
    np.testing.assert_array_equal(whole(prepared, 0)[0], values)


def test_missing_edge_is_zero_and_marked(scene, preparation):
    prepared = PreparedScene(scene, preparation)
    for tile in (0, 1):
        values, missing = whole(prepared, tile)
        ours, gone = prepared.window(tile, Window(-4, -6, 12, 14), "missing")
        height, width = min(8, values.shape[1]), min(8, values.shape[2])
        inner = (slice(None), slice(4, 4 + height), slice(6, 6 + width))
        np.testing.assert_array_equal(ours[inner], values[:, :height, :width])
        np.testing.assert_array_equal(gone[inner], missing[:, :height, :width])
        outside = np.ones((12, 14), dtype=bool)
        outside[inner[1:]] = False
        assert (ours[:, outside] == 0).all()
        assert gone[:, outside].all()


def test_window_wholly_outside(scene, preparation):
    values, missing = PreparedScene(scene, preparation).window(0, Window(-9, 0, 5, 5), "missing")
    assert (values == 0).all()
    assert missing.all()


def test_reflected_edge_is_the_mirrored_tile(scene, preparation):
    prepared = PreparedScene(scene, preparation)
    for tile in (0, 1):
        values, missing = whole(prepared, tile)
        height, width = prepared.shape(tile)
        for window in [Window(-5, -3, 20, 20), *windows(1, 10), Window(-40, 2, 90, 3)]:
            ours, gone = prepared.window(tile, window, "reflect")
            rows = reflect_index(window.row, window.height, height)
            cols = reflect_index(window.col, window.width, width)
            np.testing.assert_array_equal(ours, values[:, rows][:, :, cols])
            np.testing.assert_array_equal(gone, missing[:, rows][:, :, cols])


def test_windows_are_the_callers_own(scene, preparation):
    prepared = PreparedScene(scene, preparation)
    first, missing = whole(prepared, 1)
    kept = first.copy()
    first += 1
    missing[:] = True
    prepared.valid(1)[:] = False
    np.testing.assert_array_equal(whole(prepared, 1)[0], kept)
    assert not whole(prepared, 1)[1].all()
    assert prepared.valid(1).any()


def test_valid_pixels_have_a_spectral_modality(scene, preparation):
    prepared = PreparedScene(scene, preparation)
    assert prepared.tiles == 2
    assert prepared.shape(1) == (7, 5)
    for tile in (0, 1):
        valid = prepared.valid(tile)
        assert valid.shape == prepared.shape(tile)
        assert (~valid).sum() == 4
        assert not valid[2:4, 3:5].any()


def test_valid_pixels_without_a_spectral_modality_have_any(tmp_path, write_scene):
    rng = np.random.default_rng(0)
    sar, dsm = rng.normal(size=(2, 2, 9, 9)).astype(np.float32)
    sar[:, 2:5], dsm[:, 4:7] = np.nan, np.nan
    scene = Scene.open(write_scene({"sar": sar, "dsm": dsm}))
    prepared = PreparedScene(scene, Preparation.fit(scene, PreparationSettings(), 0))
    assert np.flatnonzero(~prepared.valid(0).all(axis=1)).tolist() == [4]


def test_preparation_of_another_scene_is_refused(scene, write_scene):
    other = Scene.open(write_scene({"hsi": np.random.default_rng(0).normal(size=(3, 9, 9))}))
    foreign = Preparation.fit(other, PreparationSettings(), 0)
    with pytest.raises(RunFolderError, match="fits scenes with the same modalities"):
        PreparedScene(scene, foreign)


def test_valid_pixels_of_windows_and_places_are_those_of_the_tile(scene, preparation):
    prepared = PreparedScene(scene, preparation, 0)
    valid = [prepared.valid(tile) for tile in (0, 1)]
    for window in windows():
        inside = window.inside(H, W)
        np.testing.assert_array_equal(prepared.valid_in(0, inside), valid[0][inside.slices])
    rng = np.random.default_rng(0)
    places = [(0, *p) for p in rng.integers(0, (H, W), (200, 2))]
    places += [(tile, *p) for tile in (0, 1) for p in rng.integers(0, (7, 5), (20, 2))]
    expected = [valid[tile][row, col] for tile, row, col in places]
    np.testing.assert_array_equal(prepared.valid_at(np.array(places)), expected)
    assert 0 < np.mean(expected) < 1


def test_blocks_that_are_not_stored_are_not_read(tmp_path, monkeypatch):
    """A sparse GeoTIFF says what it does not hold, and a large scene asks it."""
    kind = {"driver": "GTiff", "height": 700, "width": 700, "nodata": -1.0, "dtype": "float32"}
    for name, count in (("hsi", 4), ("sar", 1)):
        with rasterio.open(
            tmp_path / f"{name}.tif", "w", count=count, tiled=True, blockxsize=64, blockysize=64,
            sparse_ok=True, **kind,
        ) as file:  # fmt: skip
            values = np.random.default_rng(0).random((count, 100, 90)).astype(np.float32)
            file.write(values, window=rasterio.windows.Window(300, 260, 90, 100))
    (tmp_path / "scene.yaml").write_text(
        "name: sparse\nmodalities:\n  hsi: {path: hsi.tif, role: spectral}\n"
        "  sar: {path: sar.tif, role: auxiliary}\n"
    )
    scene = Scene.open(tmp_path)
    prepared = PreparedScene(scene, Preparation.fit(scene, PreparationSettings(), 0))
    expected = prepared.valid(0)
    assert expected.sum() == 9000
    monkeypatch.setattr("bdgf.scene.scene.WHOLE_PIXELS", 1000)
    source, read = scene.tiles[0].sources[0], []
    monkeypatch.setattr(
        source, "read", lambda window, whole=source.read: read.append(window) or whole(window)
    )
    again = PreparedScene(scene, prepared.preparation)
    for window in windows_of(700, 700, 64):
        np.testing.assert_array_equal(again.valid_in(0, window), expected[window.slices])
    areas = {(w.row // 64, w.col // 64) for w in read if w.height == 64}
    assert areas <= {(row, col) for row in range(4, 6) for col in range(4, 7)}
    assert areas


def test_several_threads_read_the_same(scene, preparation):
    prepared = PreparedScene(scene, preparation, 300_000)
    expected = [PreparedScene(scene, preparation).window(0, w, "reflect") for w in windows()]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda w: prepared.window(0, w, "reflect"), windows()))
    for (values, missing), (ours, gone) in zip(expected, found, strict=True):
        np.testing.assert_array_equal(values, ours)
        np.testing.assert_array_equal(missing, gone)
    held = sum(v.nbytes + m.nbytes for v, m in prepared._cache.values())
    assert held == prepared._cached <= 300_000
