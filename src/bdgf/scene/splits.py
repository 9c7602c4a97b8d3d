"""Splits of labelled pixels into training and test pixels, and how far they leak."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bdgf.errors import SceneError
from bdgf.scene.description import SplitSpec
from bdgf.scene.labels.pixels import TileLabels

Labels = list[NDArray[np.int16]]
"""Class indices (H, W) of every tile, -1 where unlabelled."""

Pixels = list[TileLabels]
"""The labelled pixels of every tile."""


def split_labels(labels: Labels, spec: SplitSpec) -> tuple[Labels, Labels]:
    """Divide labels into training and test labels; see `split_pixels`.

    Args:
        labels: Class indices (H, W) of every tile.
        spec: A random or blocks split; its own seed decides.

    Returns:
        Training and test labels, each as ``labels``, with no pixel in both.

    Raises:
        SceneError: There is no labelled pixel.
    """
    train, test = split_pixels([TileLabels.of(tile) for tile in labels], spec)
    return [tile.whole() for tile in train], [tile.whole() for tile in test]


def split_pixels(labels: Pixels, spec: SplitSpec) -> tuple[Pixels, Pixels]:
    """Divide labelled pixels into training and test pixels.

    Args:
        labels: The labelled pixels of every tile.
        spec: A random or blocks split; its own seed decides.

    Returns:
        Training and test pixels, with no pixel in both.

    Raises:
        SceneError: There is no labelled pixel.
    """
    if not any(len(tile) for tile in labels):
        raise SceneError(
            "the label files hold no labelled pixel (all are 0 or nodata); a split needs labels."
        )
    rng = np.random.default_rng(spec.seed)
    if spec.kind == "random":
        return _random(labels, spec.per_class, rng)
    return _blocks(labels, spec, rng)


def thin_pixels(labels: Pixels, per_class: int, seed: int) -> Pixels:
    """Keep at most ``per_class`` labelled pixels of every class, drawn from all tiles together.

    Args:
        labels: The labelled pixels of every tile.
        per_class: Pixels of a class that are kept; a smaller class keeps all of its own.
        seed: Seed of the draw. A larger number keeps the pixels of a smaller one and adds more.
    """
    classes = _classes(labels)
    kept = np.zeros(len(classes), dtype=bool)
    for index in range(int(classes.max(initial=-1)) + 1):
        rng = np.random.default_rng([seed, index])
        kept[rng.permutation(np.flatnonzero(classes == index))[:per_class]] = True
    return _selected(labels, kept)


def _random(labels: Pixels, per_class: int, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
    """Draw ``per_class`` training pixels of every class from all tiles together.

    A class with fewer than twice as many gives half of its pixels, at least one; all others are
    test pixels.
    """
    classes = _classes(labels)
    train = np.zeros(len(classes), dtype=bool)
    for index in range(int(classes.max()) + 1):
        pixels = np.flatnonzero(classes == index)
        if pixels.size == 0:
            continue
        number = min(per_class, max(1, pixels.size // 2))
        train[rng.choice(pixels, size=number, replace=False)] = True
    return _selected(labels, train), _selected(labels, ~train)


def _classes(labels: Pixels) -> NDArray[np.int16]:
    return np.concatenate([tile.classes for tile in labels])


def _selected(labels: Pixels, keep: NDArray[np.bool_]) -> Pixels:
    """Keep some of the pixels of all tiles, in their order (n,)."""
    parts = np.split(keep, np.cumsum([len(tile) for tile in labels])[:-1])
    return [tile.select(part) for tile, part in zip(labels, parts, strict=True)]


def _blocks(labels: Pixels, spec: SplitSpec, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
    """Draw whole squares of pixels for training; the rest, less a guard band, is for testing.

    Squares are drawn in random order until training holds ``train_share`` of the labelled pixels.
    Before that, every class gets a training square, rarest class first; the last square of a class
    stays for testing where the class has more than one. The guard band is taken from the test
    pixels alone: those up to ``guard`` pixels (rows or columns, whichever is more) from a training
    square are in neither part, so training keeps what few labels there are.
    """
    squares, counts = _labelled_squares(labels, spec.size)
    order = rng.permutation(len(squares))
    left = (counts > 0).sum(axis=0)  # squares of each class that are not in training
    spare = np.minimum(left, 2) - 1  # 1 where one square has to stay for testing
    pixels = counts.sum(axis=1)
    chosen: set[int] = set()
    taken = 0

    def take(block: int) -> None:
        nonlocal left, taken
        chosen.add(block)
        taken += int(pixels[block])
        left = left - (counts[block] > 0)

    for index in np.argsort(left, kind="stable"):
        members = [b for b in order if counts[b, index] > 0]
        if members and not chosen.intersection(members):
            kind = [b for b in members if not _empties_test(counts[b], left, spare)]
            take((kind or members)[0])
    target = spec.train_share * pixels.sum()
    for block in order:
        if block in chosen or _empties_test(counts[block], left, spare):
            continue
        if taken + pixels[block] <= target:
            take(int(block))

    train, test = [], []
    for number, tile in enumerate(labels):
        ours = squares[sorted(chosen)]
        ours = ours[ours[:, 0] == number, 1:]
        train.append(tile.select(_near(tile, ours, spec.size, 0)))
        test.append(tile.select(~_near(tile, ours, spec.size, spec.guard)))
    return train, test


def _labelled_squares(labels: Pixels, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Squares with a label (m, 3) as tile, row and column of squares, and their pixels (m, K)."""
    places = np.concatenate(
        [
            np.column_stack([np.full(len(tile), number), tile.positions // size])
            for number, tile in enumerate(labels)
        ]
    )
    # one number for each square: numpy sorts numbers much faster than rows of three
    shape = tuple(places.max(axis=0) + 1)
    numbers, owner = np.unique(np.ravel_multi_index(tuple(places.T), shape), return_inverse=True)
    squares = np.column_stack(np.unravel_index(numbers, shape))
    classes = _classes(labels).astype(np.int64)
    number = int(classes.max()) + 1
    counts = np.bincount(owner.reshape(-1) * number + classes, minlength=len(squares) * number)
    return squares, counts.reshape(-1, number).astype(np.int64)


def _near(tile: TileLabels, squares: NDArray[np.int64], size: int, guard: int) -> NDArray[np.bool_]:
    """Whether a labelled pixel (n,) of a tile lies in a square or up to ``guard`` pixels off one.

    Args:
        tile: The tile.
        squares: (m, 2) rows and columns of the tile's squares.
        size: Side of a square.
        guard: Pixels around it.
    """
    found = np.zeros(len(tile), dtype=bool)
    across = -(-tile.width // size) + 1
    known = squares[:, 0] * across + squares[:, 1]
    reach = -(-guard // size)
    pixels = tile.positions
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            square = pixels // size + (down, right)
            off = pixels - square * size  # from the square's first row and column
            close = ((off >= -guard) & (off < size + guard) & (square >= 0)).all(axis=1)
            close &= square[:, 1] < across
            found[close] |= np.isin(square[close] @ np.array([across, 1]), known)
    return found


def _empties_test(
    block: NDArray[np.int64], left: NDArray[np.int64], spare: NDArray[np.int64]
) -> bool:
    """Whether training would take the last test square of a class that has more than one."""
    return bool(((block > 0) & (left <= spare)).any())
