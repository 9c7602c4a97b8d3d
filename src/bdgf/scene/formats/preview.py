"""A small picture of any raster, at a cost that does not grow with the raster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bdgf.scene.formats.base import RasterSource
from bdgf.scene.formats.location import RemotePath
from bdgf.scene.formats.raster import GdalSource
from bdgf.scene.windows import Window

_CELL_PIXELS = 2**14
_MOST_SHOWN = 25_000_000
_SHRINK = 0.9


@dataclass(frozen=True)
class _Budget:
    """The most that a picture may cost: bytes decoded, and windows read."""

    decoded: float
    windows: int


_GDAL = _Budget(256e6, 4096)
_OTHER = _Budget(256e6, 1024)
_REMOTE = _Budget(8e6, 64)


def preview(source: RasterSource, side: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Read a picture of a whole raster by its nearest pixels.

    It uses overviews where the file has them. Of a large raster without any, one pixel is read in
    each of some stored blocks, so its picture has fewer pixels than are asked for.

    Args:
        source: The raster.
        side: Most rows and columns of the picture.

    Returns:
        Values (C, h, w), 0 where they are not valid, and valid (C, h, w).

    Raises:
        SceneError: The file cannot be read.
    """
    if side < 1:
        raise ValueError(f"side is {side}; a picture has one pixel or more")
    scale = min(1.0, side / max(source.height, source.width))
    scale = min(scale, (_MOST_SHOWN / (source.bands * source.height * source.width)) ** 0.5)
    size = _scaled(source, scale)
    if isinstance(source, GdalSource):
        picture = source.decimated(*size)
        if picture is not None:
            return picture
    budget = _GDAL if isinstance(source, GdalSource) else _OTHER
    if isinstance(source.path, RemotePath):
        budget = _REMOTE
    while max(size) > 1 and not _affordable(source, size, budget):
        scale *= _SHRINK
        size = _scaled(source, scale)
    return _sample(source, _positions(source.height, size[0]), _positions(source.width, size[1]))


def _scaled(source: RasterSource, scale: float) -> tuple[int, int]:
    return max(1, int(source.height * scale)), max(1, int(source.width * scale))


def _positions(size: int, count: int) -> NDArray[np.int64]:
    """Rows or columns that lie in the middle of ``count`` equal parts."""
    return ((np.arange(count) + 0.5) * size / count).astype(np.int64)


def _cell(source: RasterSource) -> tuple[int, int]:
    """Rows and columns of the cells that are read at once: stored blocks, small ones joined."""
    rows, cols = min(source.block[0], source.height), min(source.block[1], source.width)
    joined = max(1, _CELL_PIXELS // (rows * cols))
    return rows, min(cols * joined, source.width)


def _affordable(source: RasterSource, size: tuple[int, int], budget: _Budget) -> bool:
    rows, cols = _cell(source)
    down = len(np.unique(_positions(source.height, size[0]) // rows))
    across = len(np.unique(_positions(source.width, size[1]) // cols))
    values = min(down * rows, source.height) * min(across * cols, source.width) * source.bands
    return down * across <= budget.windows and values * source.dtype.itemsize <= budget.decoded


def _sample(
    source: RasterSource, rows: NDArray[np.int64], cols: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    values = np.zeros((source.bands, len(rows), len(cols)), dtype=np.float32)
    valid = np.zeros(values.shape, dtype=np.bool_)
    cell_rows, cell_cols = _cell(source)
    for down in _groups(rows, cell_rows):
        # One opening per row of cells: GDAL keeps the blocks it has read until a file is closed.
        with _reading(source) as read:
            for across in _groups(cols, cell_cols):
                at_rows, at_cols = rows[down], cols[across]
                row, col = int(at_rows[0]), int(at_cols[0])
                found, good = read(
                    Window(row, col, int(at_rows[-1]) - row + 1, int(at_cols[-1]) - col + 1)
                )
                inside = np.ix_(np.arange(source.bands), at_rows - row, at_cols - col)
                values[:, down, across] = found[inside]
                valid[:, down, across] = good[inside]
    return values, valid


def _groups(positions: NDArray[np.int64], cell: int) -> list[slice]:
    """Runs of positions that lie in one cell."""
    starts = np.flatnonzero(np.diff(positions // cell, prepend=-1))
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], len(positions)], strict=True)]


@contextmanager
def _reading(
    source: RasterSource,
) -> Iterator[Callable[[Window], tuple[NDArray[np.float32], NDArray[np.bool_]]]]:
    if isinstance(source, GdalSource):
        with source.reading() as read:
            yield read
    else:
        yield source.read
