from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bdgf.config import PreparationSettings
from bdgf.scene import sampling
from bdgf.scene.preparation import Preparation
from bdgf.scene.prepared import PreparedScene
from bdgf.scene.sampling import draw_blocks, windows_with_data
from bdgf.scene.scene import Scene


@pytest.fixture
def gappy(tmp_path: Path, write_scene: Callable[..., Path]) -> PreparedScene:
    """A scene of which a few corners alone have data."""
    cube = np.random.default_rng(0).normal(size=(3, 300, 410)).astype(np.float32)
    filled = np.zeros((300, 410), dtype=bool)
    filled[10:60, 20:50] = filled[280:300, 400:410] = filled[140:150, 130:250] = True
    cube[:, ~filled] = np.nan
    scene = Scene.open(write_scene({"hsi": cube}))
    return PreparedScene(scene, Preparation.fit(scene, PreparationSettings(), 0))


def test_every_window_with_data_comes_once(gappy: PreparedScene) -> None:
    valid, found = gappy.valid(0), np.zeros((300, 410), dtype=int)
    for sample in windows_with_data(gappy, 32, np.random.default_rng(0)):
        np.testing.assert_array_equal(sample.valid, valid[sample.window.slices])
        assert sample.valid.any()
        found[sample.window.slices] += 1
    assert found.max() == 1
    assert (found[valid] == 1).all()


def test_blocks_are_as_many_as_fit_and_seeded(
    gappy: PreparedScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(draw_blocks(gappy, 0)) == 3, "of twelve blocks three have data"
    assert {s.window.width for s in draw_blocks(gappy, 0, 200)} <= {256, 410 - 256}
    monkeypatch.setattr(sampling, "BLOCKS", 2)
    drawn = [[s.window for s in draw_blocks(gappy, seed)] for seed in range(8)]
    assert all(len(windows) == 2 for windows in drawn)
    assert drawn[0] == [s.window for s in draw_blocks(gappy, 0)]
    assert len({tuple(windows) for windows in drawn}) > 1


def test_blocks_of_many_channels_are_fewer(gappy: PreparedScene) -> None:
    whole = [sample.window for sample in draw_blocks(gappy, 0)]
    of_a_block = 128 * 128 * (4 * gappy.layout.channels + 1)
    for fit in (1, 2):
        prepared = PreparedScene(gappy.scene, gappy.preparation, fit * of_a_block)
        assert prepared.kept_pixels == fit * 128 * 128
        assert [sample.window for sample in draw_blocks(prepared, 0)] == whole[:fit]
