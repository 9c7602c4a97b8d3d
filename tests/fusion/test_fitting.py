from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bdgf import checkpoint, config
from bdgf.diffusion.store import FeatureStore
from bdgf.fusion.fitting import SCENE_PIXELS, Fitting
from bdgf.fusion.training import Labelled
from bdgf.history import History
from bdgf.progress import Silent
from bdgf.scene.prepared import PreparedScene

Pixels = set[tuple[int, ...]]


@pytest.fixture
def fitting(prepared: PreparedScene, tiny_settings: config.Settings, tmp_path: Path) -> Fitting:
    names = [tile.name for tile in prepared.scene.tiles]
    shapes = [prepared.shape(tile) for tile in range(prepared.tiles)]
    history = History(tmp_path / "history.jsonl")
    store = FeatureStore(None, names, shapes)
    return Fitting(prepared, store, tiny_settings, tmp_path, {"of": "this"}, history, Silent())


def pixels(positions: np.ndarray) -> Pixels:
    return {tuple(place) for place in positions.tolist()}


def test_heads_are_compared_where_none_of_them_was_trained(fitting: Fitting) -> None:
    drawn = fitting._scene_pixels()
    assert SCENE_PIXELS // 2 < len(drawn) < SCENE_PIXELS, "training pixels had been drawn as well"
    assert not pixels(drawn) & pixels(fitting.labelled.positions)
    np.testing.assert_array_equal(drawn, fitting._scene_pixels())


def test_a_scene_that_is_all_labelled_has_none_but_training_pixels(fitting: Fitting) -> None:
    rows, cols = np.divmod(np.flatnonzero(fitting.prepared.valid(0)), fitting.prepared.shape(0)[1])
    everywhere = np.stack([np.zeros_like(rows), rows, cols], 1)
    fitting.labelled = Labelled(everywhere, np.zeros(len(rows), np.int64))
    drawn = fitting._scene_pixels()
    assert len(drawn) == SCENE_PIXELS
    assert pixels(drawn) <= pixels(everywhere)


def test_a_fold_of_an_older_version_is_not_taken(fitting: Fitting) -> None:
    path = fitting._fold_path(0)
    known = {"held_out": torch.zeros(2, 5, 3), "scene": torch.zeros(4, 5, 3)}
    checkpoint.save_tensors(path, known, fitting.origin)
    assert fitting._finished_fold(0) is not None
    checkpoint.save_tensors(path, {"held_out": known["held_out"]}, fitting.origin)
    assert fitting._finished_fold(0) is None
    checkpoint.save_tensors(path, known, {"of": "another"})
    assert fitting._finished_fold(0) is None
