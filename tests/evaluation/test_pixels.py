"""Features of single pixels against a plain loop."""

from __future__ import annotations

import time

import numpy as np
import pytest

from bdgf.evaluation.pixels import band_features, component_features, filled, seen
from bdgf.scene.windows import Window


def _whole(tile, modalities):
    """All bands of a tile, NaN where missing."""
    parts = [tile.read(m, Window(0, 0, tile.height, tile.width)) for m in range(modalities)]
    return np.concatenate([np.where(valid, values, np.nan) for values, valid in parts])


def _everywhere(scene):
    return np.concatenate(
        [
            np.column_stack(
                [np.full(t.height * t.width, i), np.argwhere(np.ones((t.height, t.width)))]
            )
            for i, t in enumerate(scene.tiles)
        ]
    )


@pytest.mark.parametrize("name", ["scene", "tiles"])
def test_neighbourhoods_equal_a_plain_loop(name, request):
    scene = request.getfixturevalue(name)
    rng = np.random.default_rng(0)
    positions = _everywhere(scene)
    positions = positions[rng.permutation(len(positions))[:600]]
    table = filled(band_features(scene, "5x5")(positions))
    wholes = [
        np.pad(
            _whole(t, len(scene.modalities)).astype(np.float64), ((0, 0), (2, 2), (2, 2)), "reflect"
        )
        for t in scene.tiles
    ]
    for (tile, row, col), found in zip(positions, table, strict=True):
        around = wholes[tile][:, row : row + 5, col : col + 5].reshape(len(wholes[tile]), -1)
        known = ~np.isnan(around).all(axis=1)
        wanted = np.concatenate(
            [np.nanmean(around[known], axis=1), np.nanstd(around[known], axis=1)]
        )
        np.testing.assert_allclose(found[np.tile(known, 2)], wanted, rtol=2e-4, atol=2e-3)


def test_raw_values_and_what_fills_the_gaps(scene):
    positions = _everywhere(scene)
    whole = _whole(scene.tiles[0], len(scene.modalities)).reshape(-1, len(positions)).T
    table = filled(band_features(scene, "raw")(positions))
    missing = np.isnan(whole)
    assert missing.any()
    np.testing.assert_array_equal(table[~missing], whole[~missing])
    means = np.broadcast_to(np.nanmean(whole.astype(np.float64), axis=0), whole.shape)
    np.testing.assert_allclose(table[missing], means[missing], rtol=1e-5)
    given = filled(band_features(scene, "raw")(positions), np.arange(9, dtype=np.float32))
    np.testing.assert_array_equal(
        given[missing], np.broadcast_to(np.arange(9), whole.shape)[missing]
    )


def test_a_band_that_is_missing_everywhere_is_zero(scene):
    corner = np.array([[0, 0, 0], [0, 1, 1]])
    table = filled(band_features(scene, "raw")(corner))
    assert (table[:, :6] == 0).all()
    assert (table[:, 6:] != 0).all()


def test_no_pixels_have_an_empty_table(scene):
    assert filled(band_features(scene, "5x5")(np.zeros((0, 3), dtype=np.int64))).shape == (0, 18)


def test_components_are_the_prepared_channels(prepared):
    rng = np.random.default_rng(0)
    height, width = prepared.shape(0)
    positions = np.column_stack(
        [np.zeros(50, int), rng.integers(height, size=50), rng.integers(width, size=50)]
    )
    table = component_features(prepared)(positions)
    values, missing = prepared.window(0, Window(0, 0, height, width), edge="missing")
    gone = missing[list(prepared.layout.modality_of_channel)]
    wanted = np.where(gone, np.nan, values)[:, positions[:, 1], positions[:, 2]].T
    np.testing.assert_array_equal(table, wanted)
    assert np.isnan(table).any()


def test_rows_without_any_feature_are_not_seen():
    nan = np.nan
    table = np.array([[1, nan], [nan, nan], [nan, 2]], np.float32)
    assert seen(table).tolist() == [True, False, True]
    assert seen(np.full((2, 3), nan, np.float32)).all()


def test_few_pixels_of_a_huge_scene_cost_no_look_at_all_its_windows(prepared, monkeypatch):
    """A million windows of 128 x 128 pixels, of which two are read."""
    monkeypatch.setattr(type(prepared), "shape", lambda self, tile: (128_000, 128_000))
    read, layout = [], prepared.layout

    def window(tile, window, edge):
        read.append(window)
        shape = (window.height, window.width)
        gone = np.zeros((len(layout.modalities), *shape), dtype=bool)
        return np.full((layout.channels, *shape), window.row, np.float32), gone

    monkeypatch.setattr(prepared, "window", window)
    positions = np.array([[0, 127_999, 5], [0, 3, 4], [0, 127_900, 9]])
    start = time.process_time()
    found = component_features(prepared)(positions)
    assert time.process_time() - start < 1.0
    assert sorted(w.row for w in read) == [0, 127_872]
    assert found[:, 0].tolist() == [127_872, 0, 127_872]
