"""Windows on a tile, how a scene is gone through by them, and pixels by theirs.

``Tile.read`` and ``PreparedScene.window`` read what lies in one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray

Edge = Literal["missing", "reflect"]
"""What a window finds beyond the edge of its tile: missing values, or the mirrored tile."""


PANEL = 4096
"""Most columns of a panel: the width in which a large tile is worked through."""


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels on a tile; it may hang over the tile's edge.

    Args:
        row: First row, may be negative.
        col: First column, may be negative.
        height: Number of rows.
        width: Number of columns.
    """

    row: int
    col: int
    height: int
    width: int

    def grow(self, halo: int) -> Window:
        """Return the window with ``halo`` more pixels on each side."""
        return Window(
            self.row - halo, self.col - halo, self.height + 2 * halo, self.width + 2 * halo
        )

    def inside(self, height: int, width: int) -> Window:
        """Return the part of the window that lies on a tile of this size (it may be empty)."""
        row, col = min(max(self.row, 0), height), min(max(self.col, 0), width)
        last_row = min(max(self.row + self.height, row), height)
        last_col = min(max(self.col + self.width, col), width)
        return Window(row, col, last_row - row, last_col - col)

    @property
    def slices(self) -> tuple[slice, slice]:
        """Slices of rows and columns, for a window that lies inside its array."""
        return (
            slice(self.row, self.row + self.height),
            slice(self.col, self.col + self.width),
        )


class WindowGrid(Sequence[Window]):
    """Windows that cover a tile once, row by row, made when they are asked for.

    Args:
        height: H of the tile.
        width: W of the tile.
        rows: Rows of a window; those at the lower edge may have fewer.
        cols: Columns of a window; those at the right edge may have fewer.
    """

    def __init__(self, height: int, width: int, rows: int, cols: int) -> None:
        self.height, self.width, self.rows, self.cols = height, width, rows, cols
        self._across = -(-width // cols)

    def __len__(self) -> int:
        return -(-self.height // self.rows) * self._across

    @overload
    def __getitem__(self, index: int) -> Window: ...
    @overload
    def __getitem__(self, index: slice) -> list[Window]: ...
    def __getitem__(self, index: int | slice) -> Window | list[Window]:
        """Return the window of a number."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        row, col = divmod(index, self._across)
        return Window(row * self.rows, col * self.cols, self.rows, self.cols).inside(
            self.height, self.width
        )


def in_order(grids: Sequence[WindowGrid]) -> Iterator[tuple[int, Window]]:
    """Yield the windows of several tiles one after another, each with the index of its tile."""
    for tile, grid in enumerate(grids):
        for window in grid:
            yield tile, window


def shuffled(
    grids: Sequence[WindowGrid], generator: np.random.Generator
) -> Iterator[tuple[int, Window]]:
    """Yield the windows of several tiles in random order, each with the index of its tile."""
    ends = np.cumsum([len(grid) for grid in grids])
    for number in generator.permutation(int(ends[-1])):
        tile = int(np.searchsorted(ends, number, side="right"))
        yield tile, grids[tile][int(number - ends[tile]) + len(grids[tile])]


def windows_of(height: int, width: int, side: int) -> list[Window]:
    """Cut a tile into windows of ``side`` pixels; those at the lower and right edge may be smaller.

    Origins are multiples of ``side``, every pixel lies in exactly one window.
    """
    return [
        Window(row, col, min(side, height - row), min(side, width - col))
        for row in range(0, height, side)
        for col in range(0, width, side)
    ]


def panels_of(height: int, width: int, side: int, columns: int) -> Iterator[Window]:
    """Yield the windows of ``windows_of`` in panels, each from top to bottom.

    What two rows of windows share stays in memory from one row to the next, however wide the tile
    is. A tile that is no wider than a panel goes row by row.

    Args:
        height: H of the tile.
        width: W of the tile.
        side: Side of the windows.
        columns: Columns of a panel, rounded down to whole windows; a panel has one at least.
    """
    panel = max(1, columns // side) * side
    for left in range(0, width, panel):
        for row in range(0, height, side):
            for col in range(left, min(left + panel, width), side):
                yield Window(row, col, min(side, height - row), min(side, width - col))


def by_window(
    positions: NDArray[np.int64], side: int
) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """Group pixels by the window of a grid that they lie in.

    Args:
        positions: (n, 3) tile, row and column.
        side: Side of the windows; origins are multiples of it.

    Returns:
        Tile, first row and first column of the windows with pixels, (m, 3), ascending, and the
        indices of the pixels of each.
    """
    origins = positions.copy()
    origins[:, 1:] -= origins[:, 1:] % side
    order = np.lexsort(origins.T[::-1])
    origins = origins[order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = (origins[1:] != origins[:-1]).any(axis=1)
    return origins[first], np.split(order, np.flatnonzero(first))[1:]


def reflect_index(start: int, count: int, size: int) -> NDArray[np.int64]:
    """Indices of ``count`` positions from ``start`` on, mirrored at the ends of 0..size-1.

    The mirror does not repeat the edge pixel; it goes on periodically, so any overhang works.
    """
    index = np.arange(start, start + count)
    if size == 1:
        return np.zeros(count, dtype=np.int64)
    period = 2 * (size - 1)
    index = np.abs(index) % period
    return np.where(index >= size, period - index, index).astype(np.int64)
