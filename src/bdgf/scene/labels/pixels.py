"""The labelled pixels of a tile, without all the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bdgf.scene.labels.codes import UNLABELLED
from bdgf.scene.windows import Window


@dataclass(frozen=True, eq=False)
class TileLabels:
    """The labelled pixels of one tile; memory grows with their number, not with the tile.

    Args:
        height: H, rows of the tile.
        width: W, columns of the tile.
        flat: (n,) row · W + column of every pixel, ascending.
        classes: (n,) class index of every pixel.
    """

    height: int
    width: int
    flat: NDArray[np.int64]
    classes: NDArray[np.int16]

    @classmethod
    def of(cls, indices: NDArray[np.int16]) -> TileLabels:
        """Return the labels of class indices (H, W), -1 where unlabelled."""
        flat = np.flatnonzero(indices != UNLABELLED)
        height, width = indices.shape
        return cls(height, width, flat, indices.ravel()[flat])

    @classmethod
    def none(cls, height: int, width: int) -> TileLabels:
        """Return a tile without labels."""
        return cls(height, width, np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int16))

    def __len__(self) -> int:
        return len(self.flat)

    @property
    def positions(self) -> NDArray[np.int64]:
        """Row and column of every pixel, (n, 2)."""
        return np.stack(np.divmod(self.flat, self.width), axis=1)

    def select(self, keep: NDArray[np.bool_]) -> TileLabels:
        """Return the labels where ``keep`` (n,) is true."""
        return TileLabels(self.height, self.width, self.flat[keep], self.classes[keep])

    def union(self, other: TileLabels) -> TileLabels:
        """Return these pixels and those of other labels of the tile that are not among them."""
        new = ~np.isin(other.flat, self.flat, assume_unique=True)
        flat = np.concatenate([self.flat, other.flat[new]])
        classes = np.concatenate([self.classes, other.classes[new]])
        order = np.argsort(flat, kind="stable")
        return TileLabels(self.height, self.width, flat[order], classes[order])

    def whole(self) -> NDArray[np.int16]:
        """Return the class indices of the tile (H, W), -1 where unlabelled."""
        return self.part(Window(0, 0, self.height, self.width))

    def part(self, window: Window) -> NDArray[np.int16]:
        """Return the class indices (h, w) of a window inside the tile, -1 where unlabelled."""
        found = np.full((window.height, window.width), UNLABELLED, dtype=np.int16)
        first = np.searchsorted(self.flat, window.row * self.width)
        last = np.searchsorted(self.flat, (window.row + window.height) * self.width)
        rows, cols = np.divmod(self.flat[first:last], self.width)
        cols = cols - window.col
        inside = (cols >= 0) & (cols < window.width)
        found[rows[inside] - window.row, cols[inside]] = self.classes[first:last][inside]
        return found


def positions_of(tiles: Sequence[TileLabels]) -> NDArray[np.int64]:
    """Return the labelled pixels of several tiles (n, 3) as tile, row, column, in this order."""
    found = [np.insert(tile.positions, 0, number, axis=1) for number, tile in enumerate(tiles)]
    return np.concatenate(found).astype(np.int64)


def joined(height: int, width: int, parts: list[TileLabels]) -> TileLabels:
    """Put strips of whole rows together, given from top to bottom, to the labels of a tile.

    Args:
        height: H of the tile.
        width: W of the tile and of every strip.
        parts: The strips; their heights sum to H.

    Raises:
        ValueError: They do not.
    """
    if sum(part.height for part in parts) != height:
        raise ValueError(f"strips of {[part.height for part in parts]} rows make no {height}")
    starts = np.cumsum([0, *(part.height * width for part in parts)])
    flat = [part.flat + start for part, start in zip(parts, starts, strict=False)]
    return TileLabels(
        height, width, np.concatenate(flat), np.concatenate([part.classes for part in parts])
    )
