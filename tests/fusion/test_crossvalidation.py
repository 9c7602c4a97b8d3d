from __future__ import annotations

import numpy as np
import pytest
import torch

from bdgf.fusion.crossvalidation import spatial_folds, trust_from
from bdgf.fusion.training import Labelled


def labelled(rng: np.random.Generator, blocks: int, per_block: int) -> Labelled:
    """Patches of neighbouring pixels, each of one of two classes."""
    positions, classes = [], []
    for block in range(blocks):
        row, col = 64 * (block // 4), 64 * (block % 4)
        for _ in range(per_block):
            positions.append((0, row + rng.integers(8), col + rng.integers(8)))
            classes.append(block % 2)
    return Labelled(np.array(positions), np.array(classes))


def test_neighbours_are_held_out_together() -> None:
    pixels = labelled(np.random.default_rng(0), blocks=12, per_block=10)
    folds = spatial_folds(pixels.positions, pixels.classes, 3, seed=0)
    assert set(folds) == {0, 1, 2}
    for block in range(12):
        assert len(set(folds[block * 10 : block * 10 + 10])) == 1
    for fold in range(3):
        assert set(pixels.classes[folds != fold]) == {0, 1}, "each fold can learn each class"


def test_tiles_are_held_out_whole() -> None:
    positions = np.array([(t, r, 3) for t in range(6) for r in range(5)])
    pixels = Labelled(positions, np.arange(6).repeat(5) % 2)
    folds = spatial_folds(pixels.positions, pixels.classes, 3, seed=0)
    for tile in range(6):
        assert len(set(folds[tile * 5 : tile * 5 + 5])) == 1


def test_a_few_neighbouring_pixels_still_divide() -> None:
    pixels = Labelled(np.array([(0, 0, c) for c in range(6)]), np.array([0, 0, 0, 1, 1, 1]))
    folds = spatial_folds(pixels.positions, pixels.classes, 3, seed=0)
    assert np.bincount(folds).tolist() == [2, 2, 2]
    pairs = Labelled(np.array([(0, 64 * c, 0) for c in range(8)]), np.arange(8) % 4)
    folds = spatial_folds(pairs.positions, pairs.classes, 3, seed=0)
    assert np.bincount(folds).tolist() == [3, 3, 2], "no class has as many pixels as folds"
    alone = Labelled(np.array([(0, 0, 0), (0, 0, 1)]), np.array([0, 1]))
    assert len(spatial_folds(alone.positions, alone.classes, 3, seed=0)) == 2


def test_weights_follow_held_out_accuracy() -> None:
    classes = np.array([0, 0, 0, 1])
    right = torch.eye(2)[torch.tensor(classes)]
    wrong = 1 - right
    log_probabilities = torch.stack([right, wrong, right], 1).log()
    trust = trust_from(log_probabilities.clamp(min=-9), classes, temperature=8.0)
    weights, marks = trust.weights, trust.marks
    assert marks == pytest.approx([100.0, 0.0, 100.0])
    assert weights[0] == pytest.approx(weights[2])
    assert weights[1] == pytest.approx(weights[0] * np.exp(-100 / 8))
    assert sum(weights) == pytest.approx(1.0)
    only_common = torch.tensor([[1.0, 0.0]]).repeat(4, 1)[:, None].log()
    found = trust_from(only_common.clamp(min=-9), classes, temperature=8.0)
    assert found.marks == pytest.approx([(75.0 + 50.0) / 2]), "OA and AA count alike"
