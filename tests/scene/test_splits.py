"""Splits are disjoint, seeded and keep their promises; the leak is measured exactly."""

from __future__ import annotations

import numpy as np
import pytest

from bdgf.errors import SceneError
from bdgf.scene.description import SplitSpec
from bdgf.scene.labels.pixels import TileLabels
from bdgf.scene.splits import split_labels, thin_pixels


def parcels(seed, height=96, width=120, classes=4, side=12):
    """Labels in square parcels with gaps between them."""
    rng = np.random.default_rng(seed)
    rows, cols = -(-height // side), -(-width // side)
    codes = rng.integers(-1, classes, size=(rows, cols)).repeat(side, 0).repeat(side, 1)
    return codes[:height, :width].astype(np.int16)


TILES = [parcels(0), parcels(1, 41, 77), np.full((20, 20), -1, dtype=np.int16)]


@pytest.mark.parametrize("spec", [SplitSpec("random", per_class=30), SplitSpec("blocks", size=16)])
def test_parts_are_disjoint_and_keep_their_class(spec):
    train, test = split_labels(TILES, spec)
    for whole, ours, theirs in zip(TILES, train, test, strict=True):
        assert ours.shape == theirs.shape == whole.shape
        assert not ((ours >= 0) & (theirs >= 0)).any()
        for part in (ours, theirs):
            np.testing.assert_array_equal(part[part >= 0], whole[part >= 0])


@pytest.mark.parametrize("kind", ["random", "blocks"])
def test_seed_decides(kind):
    first, again, other = (
        split_labels(TILES, SplitSpec(kind, size=16, seed=seed))[0] for seed in (3, 3, 4)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_random_split_counts_over_all_tiles():
    train, test = split_labels(TILES, SplitSpec("random", per_class=25))
    labelled = sum((tile >= 0).sum() for tile in TILES)
    for index in range(4):
        assert sum((tile == index).sum() for tile in train) == 25
    assert sum((tile >= 0).sum() for tile in [*train, *test]) == labelled


@pytest.mark.parametrize(("pixels", "expected"), [(1, 1), (2, 1), (3, 1), (9, 4), (100, 20)])
def test_random_split_leaves_half_of_a_small_class(pixels, expected):
    tile = np.full((10, 20), -1, dtype=np.int16)
    tile.ravel()[:pixels] = 0
    train, _ = split_labels([tile], SplitSpec("random", per_class=20))
    assert (train[0] == 0).sum() == expected


@pytest.mark.parametrize("guard", [0, 5, 8])
def test_blocks_are_whole_and_test_keeps_the_guard_distance(guard):
    size = 16
    train, test = split_labels(TILES, SplitSpec("blocks", size=size, guard=guard))
    for whole, ours, theirs in zip(TILES, train, test, strict=True):
        for row in range(0, whole.shape[0], size):
            for col in range(0, whole.shape[1], size):
                part = (slice(row, row + size), slice(col, col + size))
                taken = (ours[part] >= 0).sum()
                assert taken in (0, (whole[part] >= 0).sum())
        ours_at, theirs_at = np.argwhere(ours >= 0), np.argwhere(theirs >= 0)
        if len(ours_at) and len(theirs_at):
            steps = np.abs(theirs_at[:, None].astype(np.int16) - ours_at[None]).max(axis=2)
            assert steps.min() > guard


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_blocks_put_every_class_in_training_and_spread_ones_in_test(seed, share):
    spec = SplitSpec("blocks", size=8, guard=0, train_share=share, seed=seed)
    tiles = [tile.copy() for tile in TILES]
    tiles[2][3, 3] = 4  # a class of a single pixel
    train, test = split_labels(tiles, spec)
    assert {int(i) for tile in train for i in np.unique(tile)} >= {0, 1, 2, 3, 4}
    assert {int(i) for tile in test for i in np.unique(tile)} >= {0, 1, 2, 3}


def test_blocks_reach_the_share_of_labels():
    train, _ = split_labels(TILES, SplitSpec("blocks", size=8, guard=0, train_share=0.3))
    labelled = sum((tile >= 0).sum() for tile in TILES)
    share = sum((tile >= 0).sum() for tile in train) / labelled
    assert 0.28 < share <= 0.3


def test_split_without_labels():
    with pytest.raises(SceneError, match="no labelled pixel"):
        split_labels([TILES[2]], SplitSpec("random"))


def thinned(per_class: int, seed: int) -> list[np.ndarray]:
    kept = thin_pixels([TileLabels.of(tile) for tile in TILES], per_class, seed)
    return [tile.whole() for tile in kept]


def test_thinned_labels_are_nested_and_as_many_as_asked_for():
    few, more = thinned(5, 3), thinned(400, 3)
    for small, large, whole in zip(few, more, TILES, strict=True):
        assert (small[small >= 0] == large[small >= 0]).all()
        assert (large[large >= 0] == whole[large >= 0]).all()
    counts = np.bincount(np.concatenate([tile[tile >= 0] for tile in few]))
    assert counts.tolist() == [5] * 4
    everything = thinned(10**6, 0)
    assert all((a == b).all() for a, b in zip(everything, TILES, strict=True))
    other = thinned(5, 4)
    assert any((a != b).any() for a, b in zip(few, other, strict=True))


@pytest.mark.parametrize("share", [0.5, 0.9, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_blocks_of_one_pixel_reach_the_share_exactly(share, seed):
    tile = np.full((8, 80), -1, dtype=np.int16)
    tile[3, 3::8] = 0  # one pixel in each of ten squares
    spec = SplitSpec("blocks", size=8, guard=0, train_share=share, seed=seed)
    train, test = split_labels([tile], spec)
    assert (train[0] == 0).sum() == min(9, 10 * share), "the last square stays for testing"
    assert (train[0] == 0).sum() + (test[0] == 0).sum() == 10


def test_a_class_that_no_pixel_has_is_left_out():
    tile = np.full((8, 8), -1, dtype=np.int16)
    tile[:4], tile[4:] = 0, 2
    train, test = split_labels([tile], SplitSpec("random", per_class=5))
    assert [(part[0] == index).sum() for index in (0, 2) for part in (train, test)] == [5, 27] * 2


@pytest.mark.parametrize("seed", range(3))
def test_a_class_of_two_squares_keeps_one_for_testing(seed):
    tile = np.zeros((40, 40), dtype=np.int16)
    tile[:8, :8], tile[32:, 32:] = 1, 1
    spec = SplitSpec("blocks", size=8, guard=0, train_share=0.99, seed=seed)
    train, test = split_labels([tile], spec)
    assert [(part[0] == 1).sum() for part in (train, test)] == [64, 64]
    assert (train[0] == 0).sum() == 22 * 64, "all others but one are for training"


@pytest.mark.parametrize("guard", [0, 3, 8, 11])
def test_no_more_than_the_guard_is_lost(guard):
    tile = np.random.default_rng(0).integers(0, 3, (45, 61)).astype(np.int16)
    spec = SplitSpec("blocks", size=8, guard=guard, train_share=0.1)
    train, test = split_labels([tile], spec)
    lost, ours = (np.argwhere(part) for part in ((train[0] < 0) & (test[0] < 0), train[0] >= 0))
    steps = np.abs(lost[:, None] - ours[None]).max(axis=2).min(axis=1)
    assert (steps <= guard).all()
    assert (guard == 0) == (len(lost) == 0)
