"""Splits of labelled pixels into training and test pixels, and how far they leak."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bdgf.errors import SceneError
from bdgf.scene.description import SplitSpec
from bdgf.scene.labels.codes import UNLABELLED

logger = logging.getLogger(__name__)

Labels = list[NDArray[np.int16]]
"""Class indices (H, W) of every tile, -1 where unlabelled."""


def split_labels(labels: Labels, spec: SplitSpec) -> tuple[Labels, Labels]:
    """Divide labels into training and test labels.

    Args:
        labels: Class indices (H, W) of every tile.
        spec: A random or blocks split; its own seed decides.

    Returns:
        Training and test labels, each as ``labels``, with no pixel in both.

    Raises:
        SceneError: There is no labelled pixel.
    """
    if not any((tile >= 0).any() for tile in labels):
        raise SceneError(
            "the label files hold no labelled pixel (all are 0 or nodata); a split needs labels."
        )
    rng = np.random.default_rng(spec.seed)
    if spec.kind == "random":
        return _random(labels, spec.per_class, rng)
    return _blocks(labels, spec, rng)


def _random(labels: Labels, per_class: int, rng: np.random.Generator) -> tuple[Labels, Labels]:
    """Draw ``per_class`` training pixels of every class from all tiles together.

    A class with fewer than twice as many gives half of its pixels, at least one; all others are
    test pixels.
    """
    flat = np.concatenate([tile.ravel() for tile in labels])
    train = np.full_like(flat, UNLABELLED)
    test = flat.copy()
    for index in range(int(flat.max()) + 1):
        pixels = np.flatnonzero(flat == index)
        if pixels.size == 0:
            continue
        number = min(per_class, max(1, pixels.size // 2))
        drawn = rng.choice(pixels, size=number, replace=False)
        train[drawn] = index
        test[drawn] = UNLABELLED
    return _as_tiles(train, labels), _as_tiles(test, labels)


def thin_labels(labels: Labels, per_class: int, seed: int) -> Labels:
    """Keep at most ``per_class`` labelled pixels of every class, drawn from all tiles together.

    Args:
        labels: Class indices (H, W) of every tile.
        per_class: Pixels of a class that are kept; a smaller class keeps all of its own.
        seed: Seed of the draw. A larger number keeps the pixels of a smaller one and adds more.
    """
    flat = np.concatenate([tile.ravel() for tile in labels])
    kept = np.full_like(flat, UNLABELLED)
    for index in range(int(flat.max(initial=UNLABELLED)) + 1):
        rng = np.random.default_rng([seed, index])
        kept[rng.permutation(np.flatnonzero(flat == index))[:per_class]] = index
    return _as_tiles(kept, labels)


def _as_tiles(values: NDArray[np.int16], labels: Labels) -> Labels:
    ends = np.cumsum([tile.size for tile in labels])[:-1]
    parts = np.split(values, ends)
    return [part.reshape(tile.shape) for part, tile in zip(parts, labels, strict=True)]


@dataclass(frozen=True)
class _Block:
    tile: int
    rows: slice
    cols: slice


def _blocks(labels: Labels, spec: SplitSpec, rng: np.random.Generator) -> tuple[Labels, Labels]:
    """Draw whole squares of pixels for training; the rest, less a guard band, is for testing.

    Squares are drawn in random order until training holds ``train_share`` of the labelled pixels.
    Before that, every class gets a training square, rarest class first; the last square of a class
    stays for testing where the class has more than one. The guard band is taken from the test
    pixels alone: those up to ``guard`` pixels (rows or columns, whichever is more) from a training
    square are in neither part, so training keeps what few labels there are.
    """
    classes = max(int(tile.max(initial=UNLABELLED)) for tile in labels) + 1
    blocks, counts = _labelled_blocks(labels, spec.size, classes)
    order = rng.permutation(len(blocks))
    left = (counts > 0).sum(axis=0)  # squares of each class that are not in training
    spare = np.minimum(left, 2) - 1  # 1 where one square has to stay for testing
    chosen: set[int] = set()

    def take(block: int) -> None:
        nonlocal left
        chosen.add(block)
        left = left - (counts[block] > 0)

    for index in np.argsort(left, kind="stable"):
        members = [b for b in order if counts[b, index] > 0]
        if members and not chosen.intersection(members):
            kind = [b for b in members if not _empties_test(counts[b], left, spare)]
            take((kind or members)[0])
    target = spec.train_share * counts.sum()
    for block in order:
        if block in chosen or _empties_test(counts[block], left, spare):
            continue
        if counts[sorted(chosen)].sum() + counts[block].sum() <= target:
            take(int(block))

    train = [np.full_like(tile, UNLABELLED) for tile in labels]
    test = [tile.copy() for tile in labels]
    near = [np.zeros(tile.shape, dtype=bool) for tile in labels]
    for number in chosen:
        block = blocks[number]
        area = (block.rows, block.cols)
        train[block.tile][area] = labels[block.tile][area]
        near[block.tile][_grown(block.rows, spec.guard), _grown(block.cols, spec.guard)] = True
    for part, close in zip(test, near, strict=True):
        part[close] = UNLABELLED
    return train, test


def _labelled_blocks(
    labels: Labels, size: int, classes: int
) -> tuple[list[_Block], NDArray[np.int64]]:
    """Squares with a label on all tiles, and their pixels of every class (squares, K)."""
    blocks, counts = [], []
    for number, tile in enumerate(labels):
        height, width = tile.shape
        for row in range(0, height, size):
            for col in range(0, width, size):
                rows, cols = slice(row, min(row + size, height)), slice(col, min(col + size, width))
                inside = tile[rows, cols]
                inside = inside[inside >= 0]
                if inside.size:
                    blocks.append(_Block(number, rows, cols))
                    counts.append(np.bincount(inside, minlength=classes))
    return blocks, np.stack(counts).astype(np.int64)


def _empties_test(
    block: NDArray[np.int64], left: NDArray[np.int64], spare: NDArray[np.int64]
) -> bool:
    """Whether training would take the last test square of a class that has more than one."""
    return bool(((block > 0) & (left <= spare)).any())


def _grown(side: slice, guard: int) -> slice:
    return slice(max(0, side.start - guard), side.stop + guard)
