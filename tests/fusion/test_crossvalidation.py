from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from bdgf.fusion.crossvalidation import (
    agreement,
    patch_leads,
    spatial_folds,
    trust_before,
    trust_from,
)
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
    for index in range(4):
        apart = folds[pairs.classes == index]
        assert apart[0] != apart[1], "what one fold holds out, another one has learned"
    alone = Labelled(np.array([(0, 0, 0), (0, 0, 1)]), np.array([0, 1]))
    assert len(spatial_folds(alone.positions, alone.classes, 3, seed=0)) == 2


def test_weights_follow_held_out_accuracy() -> None:
    classes = np.array([0, 0, 0, 1])
    right = torch.eye(2)[torch.tensor(classes)]
    wrong = 1 - right
    held_out = torch.stack([right, wrong, right], 1).log().clamp(min=-9)
    trust = trust_from(held_out, classes, held_out, temperature=8.0)
    weights, marks = trust.weights, trust.marks
    assert marks == pytest.approx([100.0, 0.0, 100.0])
    assert trust.shifts == pytest.approx([0.0, 0.0, 0.0])
    assert weights[0] == pytest.approx(weights[2])
    assert weights[1] == pytest.approx(weights[0] * np.exp(-100 / 8))
    assert sum(weights) == pytest.approx(1.0)
    only_common = torch.tensor([[1.0, 0.0]]).repeat(4, 1)[:, None].repeat(1, 2, 1).log()
    found = trust_from(only_common.clamp(min=-9), classes, held_out[:, :2], temperature=8.0)
    assert found.marks == pytest.approx([(75.0 + 50.0) / 2] * 2), "OA and AA count alike"


def test_a_head_that_leaves_the_others_on_the_scene_is_trusted_less() -> None:
    classes = np.arange(100) % 4
    sure = (torch.eye(4)[torch.tensor(classes)] + 0.01).log()[:, None].repeat(1, 3, 1)
    astray = sure.clone()
    astray[:20, 2] = sure[:20, 2].roll(1, dims=-1)  # one head says another class on a fifth of it
    trust = trust_from(sure, classes, astray, temperature=5.0)
    assert trust.marks == pytest.approx([100.0] * 3)
    assert trust.shifts[2] == pytest.approx(-20.0)
    assert trust.weights[2] < trust.weights[0]
    ratio = np.exp((trust.shifts[2] - trust.shifts[0]) / 5.0)
    assert trust.weights[2] / trust.weights[0] == pytest.approx(ratio)


def test_with_few_labels_what_is_known_before_counts_beside_the_held_out_pixels() -> None:
    classes = np.arange(25) % 4
    right = (torch.eye(4)[torch.tensor(classes)] + 0.01).log()
    held_out = torch.stack([right, right.roll(1, dims=-1)], 1)  # marks of 100 and 0
    leads = patch_leads(("cnn", "guided patch"), 30.0)
    assert leads == [0.0, 30.0]
    before = trust_before(leads, 16.0)
    assert before.weights[1] / before.weights[0] == pytest.approx(np.exp(30 / 16))

    def gap(**changes: Any) -> float:
        first, second = trust_from(held_out, classes, held_out, 16.0, **changes).weights
        return 16.0 * float(np.log(first / second))

    assert gap() == pytest.approx(100.0)
    assert gap(leads=leads) == pytest.approx((25 * 100.0 - 100 * 30.0) / 125)
    assert gap(leads=leads, weighed=False) == pytest.approx(-30.0)
    assert gap(weighed=False) == pytest.approx(0.0)


def test_agreement_is_with_the_mean_of_the_others() -> None:
    rng = np.random.default_rng(0)
    spoken = torch.from_numpy(rng.standard_normal((50, 4, 3))).log_softmax(-1)
    found = agreement(spoken.float())
    for head in range(4):
        others = np.delete(spoken.float().numpy(), head, axis=1).mean(1).argmax(-1)
        same = spoken[:, head].argmax(-1).numpy() == others
        assert float(found[head]) == pytest.approx(100 * same.mean())


def test_held_out_pixels_soften_the_fusion_and_never_sharpen_it():
    classes = np.arange(40) % 2
    right = torch.full((40, 2, 2), 0.3)
    right[torch.arange(40), :, torch.from_numpy(classes)] = 0.7
    timid = right.log()
    assert trust_from(timid, classes, timid, temperature=8.0).temperature == 1.0
    bold = torch.log_softmax(timid * 20.0, 2)
    bold[:10] = bold[:10].flip(2)  # a quarter is wrong, and as sure
    assert trust_from(bold, classes, bold, temperature=8.0).temperature > 5.0


@pytest.mark.parametrize(("pixels", "highest"), [(3, 2.5), (6, 4.0), (600, 20.0)])
def test_a_handful_of_pixels_does_not_take_the_confidence_away(pixels: int, highest: float) -> None:
    sure = torch.full((pixels, 7, 6), 0.02)
    sure[:, :, 0] = 0.9
    wrong = np.ones(pixels, np.int64)
    found = trust_from(sure.log(), wrong, sure.log(), temperature=16.0).temperature
    assert 1.0 < found <= highest
    assert pixels < 600 or found == highest
