"""Rasters on another grid, resampled window by window as they are read."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, TypeAlias

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from bdgf.scene.formats.base import RasterSource, check_inside, known_empty
from bdgf.scene.grid import Grid
from bdgf.scene.windows import Window

AVERAGED_FROM = 1.5
"""Pixels of the source per pixel of the grid from which on these are averaged."""

Floats: TypeAlias = NDArray[np.float64]

_MOST = 2**24  # values held at once, of the source's window or of the grid's
_PLACES = 2**4  # a pixel's place on the source counts as much as this many values
_BATCH = 2**20  # values weighted at once
_BLOCK = 256
_SNAP = 2.0**20  # positions are whole multiples of 1 / this, in pixels
_LATTICE = 9
_LEAST_COVER = 1e-3


class _OnGrid(ABC):
    """A source on another grid: what it keeps of its source, and reading in bounded parts."""

    def __init__(self, source: RasterSource, grid: Grid, categorical: bool) -> None:
        self.source = source
        self.grid = grid
        self.categorical = categorical
        self.path = source.path
        self.key = source.key
        self.bands = source.bands
        self.height = grid.height
        self.width = grid.width
        self.dtype: np.dtype[Any] = source.dtype if categorical else np.dtype(np.float32)
        self.crs: Any | None = source.crs if grid.crs is None else grid.crs
        self.transform: Affine | None = grid.transform
        self.nodata = source.nodata
        self.masked = source.masked
        self.band_names = source.band_names
        self.wavelengths = source.wavelengths
        self.block = (min(_BLOCK, grid.height), min(_BLOCK, grid.width))
        self.notes = source.notes

    def read(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Read a window that lies inside the grid; see `RasterSource.read`."""
        check_inside(self, window)
        values = np.zeros((self.bands, window.height, window.width), np.float32)
        valid = np.zeros(values.shape, np.bool_)
        waiting = [window]
        while waiting:
            part = waiting.pop()
            if part.height * part.width == 0:
                continue
            inner = _inner(part, window)
            if not self._fill(part, values[inner], valid[inner]):
                waiting += _halves(part)
        return values, valid

    @abstractmethod
    def _fill(self, window: Window, values: NDArray[np.float32], valid: NDArray[np.bool_]) -> bool:
        """Fill values and valid (C, h, w), zeros before, or return False: too much at once.

        One pixel is never too much.
        """


class WarpedSource(_OnGrid):
    """A raster with coordinates on another grid with coordinates; see `RasterSource`.

    Classes take the nearest pixel. Other values, in each direction of the grid, are interpolated
    linearly between the pixels of the source where a pixel of the grid spans less than 1.5 of them,
    and are the mean of the pixels that it covers, weighted by the covered area, where it spans
    more. Invalid pixels of the source have no weight, in every band by itself.

    A pixel that is nearest or interpolated is valid where its centre falls on a valid pixel of the
    source; a mean is valid where at least a thousandth of its area does.

    The place of every pixel on the source is computed by itself and without approximation, so that
    its value does not depend on the window it is read by. GDAL's warper cannot promise this through
    rasterio: it approximates places by up to an eighth of a pixel, anew for every window.

    Attributes:
        source: The raster that is resampled.
        span: Width and height of the grid's pixels, in pixels of the source.
        averaged: Whether pixels of the source are averaged along the grid's width and height.
    """

    def __init__(self, source: RasterSource, grid: Grid, categorical: bool) -> None:
        """Lay a raster on a grid.

        Args:
            source: The raster.
            grid: The grid.
            categorical: Whether values are classes.

        Raises:
            ValueError: The source or the grid has no transform.
            SceneError: No conversion between the two CRS is known.
        """
        super().__init__(source, grid, categorical)
        self._own = Grid.of(source)
        self._reach = _reach(self._own, grid)
        steps = _steps(grid, self._own)
        lengths = np.hypot(*steps)
        coarse = (lengths >= AVERAGED_FROM - 1e-6) & (not categorical)
        self.span: tuple[float, float] = (float(lengths[0]), float(lengths[1]))
        self.averaged: tuple[bool, bool] = (bool(coarse[0]), bool(coarse[1]))
        # The value is the mean of cuts[0] × cuts[1] samples spread over the pixel, and a sample is
        # the mean of the source over a box around it. Where pixels are averaged the boxes fill the
        # pixel; a box as large as a pixel of the source is linear interpolation.
        cuts = np.where(coarse, np.ceil(lengths - 1e-3), 1.0)
        sides = np.where(coarse, lengths / cuts, 1.0)
        self._box: Floats = np.minimum(np.abs(steps / lengths) @ sides, 1.0)
        self._shares = _shares(int(cuts[0]), int(cuts[1]))

    def _fill(self, window: Window, values: NDArray[np.float32], valid: NDArray[np.bool_]) -> bool:
        near = _common(window, self._reach)
        number = near.height * near.width
        if number == 0:
            return True
        several = number > 1
        across, down = (max(1.0, span) for span in self.span)
        if several and max(number * across * down * self.bands, number * _PLACES) > _MOST:
            return False
        places = self._places(near)
        needed = _needed(places, self._own)
        if needed.height * needed.width == 0:
            return True
        if several and needed.height * needed.width * self.bands > _MOST:
            return False
        part = _Part(*self.source.read(needed), needed, self._own)
        found, known = part.at(*places[:, 0]) if self.categorical else self._mean(part, places)
        inner, shape = _inner(near, window), (self.bands, near.height, near.width)
        values[inner], valid[inner] = found.T.reshape(shape), known.T.reshape(shape)
        return True

    def without_data(self, window: Window) -> bool:
        """Return whether the source is known to store nothing where a window lies on it."""
        near = _common(window, self._reach)
        if near.height * near.width == 0:
            return True
        needed = _needed(self._places(near), self._own)
        return needed.height * needed.width == 0 or known_empty(self.source, needed)

    def _places(self, window: Window) -> Floats:
        """Columns and rows (2, q, n) on the source of n pixels: their centres, or four corners."""
        cols, rows = np.meshgrid(
            np.arange(window.width + 1.0) + window.col, np.arange(window.height + 1.0) + window.row
        )
        centres = (cols[:-1, :-1].ravel() + 0.5, rows[:-1, :-1].ravel() + 0.5)
        if len(self._shares) == 1:
            return np.stack(self.grid.positions_on(self._own, *centres))[:, None]
        found = np.stack(self.grid.positions_on(self._own, cols, rows))
        ends = (slice(None, -1), slice(1, None))
        corners = [found[:, row, col].reshape(2, -1) for row in ends for col in ends]
        places: Floats = np.stack(corners, axis=1)
        # Around a pole, over the date line or at a projection's edge a pixel has its centre alone.
        torn = ~(np.ptp(places, axis=1).max(axis=0) <= 10 * (sum(self.span) + 1))
        if torn.any():
            centre = self.grid.positions_on(self._own, *(at[torn] for at in centres))
            places[:, :, torn] = np.stack(centre)[:, None]
        return places

    def _mean(self, part: _Part, places: Floats) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Means (n, C) of a part of the source over n pixels, and valid."""
        number, samples = places.shape[2], len(self._shares)
        found = np.zeros((number, self.bands), np.float32)
        known = np.zeros((number, self.bands), np.bool_)
        step = max(1, _BATCH // self.bands)
        for start in range(0, number, step):
            here = slice(start, min(start + step, number))
            total, weight = np.zeros((2, here.stop - start, self.bands))
            at_once = max(1, _BATCH // total.size)
            for first in range(0, samples, at_once):
                cols, rows = self._shares[first : first + at_once] @ places[:, :, here]
                part.add(cols, rows, self._box, total, weight)
            if samples > 1:
                known[here] = weight >= _LEAST_COVER * samples
            else:
                _, known[here] = part.at(*places[:, 0, here])
            np.divide(total, weight, out=total, where=known[here])
            found[here] = np.where(known[here], total, 0.0)
        return found, known


class MultipleSource(_OnGrid):
    """A raster without coordinates on a grid of a whole multiple of its rows and columns.

    In each direction by itself: pixels are repeated where the grid has more, and where it has fewer
    they are the mean of the valid ones among the pixels that they replace. Classes take the pixel
    at the centre.

    Attributes:
        source: The raster that is resampled.
    """

    def __init__(self, source: RasterSource, grid: Grid, categorical: bool) -> None:
        """Lay a raster on a grid.

        Args:
            source: The raster.
            grid: The grid.
            categorical: Whether values are classes.

        Raises:
            ValueError: The rows or columns are no whole multiples of each other.
        """
        super().__init__(source, grid, categorical)
        sizes = ((source.height, grid.height), (source.width, grid.width))
        if any(max(pair) % min(pair) for pair in sizes):
            raise ValueError(f"{sizes} are no whole multiples of each other")
        # Pixels of the source per pixel of the grid, and the other way round, of rows and columns.
        self._fewer = [max(1, theirs // ours) for theirs, ours in sizes]
        self._more = [max(1, ours // theirs) for theirs, ours in sizes]

    def _fill(self, window: Window, values: NDArray[np.float32], valid: NDArray[np.bool_]) -> bool:
        tall, wide = self._fewer
        rows = np.arange(window.row, window.row + window.height) // self._more[0]
        cols = np.arange(window.col, window.col + window.width) // self._more[1]
        high, broad = int(rows[-1] - rows[0] + 1), int(cols[-1] - cols[0] + 1)
        needed = Window(int(rows[0]) * tall, int(cols[0]) * wide, high * tall, broad * wide)
        if window.height * window.width > 1 and (
            max(needed.height * needed.width, window.height * window.width) * self.bands > _MOST
        ):
            return False
        data, good = self.source.read(needed)
        if self.categorical:
            middle = (slice(None), slice(tall // 2, None, tall), slice(wide // 2, None, wide))
            data, good = data[middle], good[middle]
        elif tall * wide > 1:
            shape = (self.bands, high, tall, broad, wide)
            number = good.reshape(shape).sum(axis=(2, 4))
            # Invalid values are zeros already.
            total = data.reshape(shape).sum(axis=(2, 4), dtype=np.float64)
            data, good = (total / np.maximum(number, 1)).astype(np.float32), number > 0
        chosen = (slice(None), *np.ix_(rows - rows[0], cols - cols[0]))
        values[...], valid[...] = data[chosen], good[chosen]
        return True


class AbsentSource(_OnGrid):
    """A raster on a grid that it does not reach: no pixel is valid; see `RasterSource`."""

    def _fill(self, window: Window, values: NDArray[np.float32], valid: NDArray[np.bool_]) -> bool:
        return True

    def without_data(self, window: Window) -> bool:
        """Return that the source stores nothing in any window."""
        return True


class _Part:
    """A part of a source, looked up at positions on the whole source."""

    def __init__(
        self, values: NDArray[np.float32], valid: NDArray[np.bool_], window: Window, own: Grid
    ) -> None:
        bands = len(values)
        self._window = window
        self._size = (own.height, own.width)
        # All bands of a pixel side by side, as they are looked up together.
        self._values = np.ascontiguousarray(values.reshape(bands, -1).T)
        known = valid.reshape(bands, -1).T
        self._known = None if known.all() else np.ascontiguousarray(known, np.float32)

    def at(self, cols: Floats, rows: Floats) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Values (n, C) of the pixels that positions (n,) fall on, and valid."""
        index, on = self._index(np.floor(_snapped(rows)), np.floor(_snapped(cols)))
        values = self._values[index]
        known = np.broadcast_to(on[:, None], values.shape)
        if self._known is not None:
            known = known & (self._known[index] > 0)
        return np.where(known, values, np.float32(0)), known

    def add(self, cols: Floats, rows: Floats, box: Floats, total: Floats, weight: Floats) -> None:
        """Add means of the source over boxes around positions, and how much of them is valid.

        Args:
            cols: Columns (m, n) of m samples of n pixels.
            rows: Rows (m, n).
            box: Columns and rows (2,) of a box, at most one pixel.
            total: Sums (n, C) over the samples that the valid part of the boxes adds to.
            weight: Sums (n, C) of this part.
        """
        sides = []
        for positions, side in ((rows, box[1]), (cols, box[0])):
            # A box lies on two pixels at most: the first, and the one after it.
            centre = _snapped(positions) - 0.5
            first = np.floor(centre)
            after = np.clip((centre - first - 0.5) / side + 0.5, 0.0, 1.0)
            sides.append(((first, 1.0 - after), (first + 1.0, after)))
        for row, down in sides[0]:
            for col, across in sides[1]:
                index, on = self._index(row, col)
                share = (down * across * on).astype(np.float32)
                total += np.einsum("mn,mnc->nc", share, self._values[index])
                if self._known is None:
                    weight += share.sum(axis=0)[:, None]
                else:
                    weight += np.einsum("mn,mnc->nc", share, self._known[index])

    def _index(self, row: Floats, col: Floats) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Where pixels stand here, and which are on the source; the others stand anywhere."""
        on = (row >= 0) & (row < self._size[0]) & (col >= 0) & (col < self._size[1])
        window = self._window
        line = np.clip(row - window.row, 0, window.height - 1).astype(np.int64)
        place = np.clip(col - window.col, 0, window.width - 1).astype(np.int64)
        return line * window.width + place, on


def _snapped(positions: Floats) -> Floats:
    """Positions without their last digits, so that grids which agree give back what is stored.

    What is not a number comes to lie beyond every source.
    """
    found: Floats = np.rint(np.nan_to_num(positions, nan=-9.0) * _SNAP) / _SNAP
    return found


def _shares(across: int, down: int) -> Floats:
    """Weights (samples, 4) of a pixel's corners, row by row, that give evenly spread samples."""
    if across * down == 1:
        return np.ones((1, 1))
    u = (np.arange(across) + 0.5) / across
    v = ((np.arange(down) + 0.5) / down)[:, None]
    parts = [row * col for row in (1 - v, v) for col in (1 - u, u)]
    return np.stack(parts, axis=-1).reshape(-1, 4)


def _needed(places: Floats, own: Grid) -> Window:
    """Part of a source that pixels at places (2, q, n) get their values from; it may be empty."""
    low, high = places.min(axis=1), places.max(axis=1)
    size = np.array([own.width, own.height])
    # One pixel more on each side is the reach of linear interpolation; NaN compares as false.
    touching = ((high > -1) & (low < size[:, None] + 1)).all(axis=0)
    if not touching.any():
        return Window(0, 0, 0, 0)
    first = np.clip(np.floor(low[:, touching].min(axis=1)) - 1, 0, size).astype(int)
    last = np.clip(np.ceil(high[:, touching].max(axis=1)) + 1, 0, size).astype(int)
    return Window(int(first[1]), int(first[0]), int(last[1] - first[1]), int(last[0] - first[0]))


def _steps(grid: Grid, own: Grid) -> Floats:
    """By how many columns and rows (first axis) of a source one column and row of a grid differ.

    Of the places where both overlap it is one with nearly the largest pixels; grids that nowhere
    meet count as equal.
    """
    cols, rows = grid.lattice(_LATTICE)
    more = own.positions_on(grid, *own.lattice(_LATTICE))
    cols, rows = np.append(cols, more[0]), np.append(rows, more[1])
    on_grid = (cols >= 0) & (cols <= grid.width) & (rows >= 0) & (rows <= grid.height)
    cols, rows = cols[on_grid], rows[on_grid]

    def at(right: float, down: float) -> Floats:
        return np.stack(grid.positions_on(own, cols + right, rows + down))

    steps: Floats = np.stack([at(0.5, 0) - at(-0.5, 0), at(0, 0.5) - at(0, -0.5)], axis=1)
    lengths = np.hypot(*steps)
    usable = np.isfinite(lengths).all(axis=0) & (lengths > 0).all(axis=0)
    place = at(0, 0)
    common = usable & (place >= 0).all(axis=0) & (place[0] <= own.width) & (place[1] <= own.height)
    chosen = np.flatnonzero(common if common.any() else usable)
    if not chosen.size:
        return np.eye(2)
    areas = lengths[:, chosen].prod(axis=0)
    # Steps over the date line are no measure.
    chosen, areas = chosen[areas <= 4 * np.median(areas)], areas[areas <= 4 * np.median(areas)]
    return steps[:, :, chosen[np.argsort(areas, kind="stable")[int(0.9 * (len(areas) - 1))]]]


def _reach(own: Grid, grid: Grid) -> Window:
    """A window of a grid outside of which the source cannot lie."""
    corners = own.lattice(_LATTICE)
    there = own.positions_on(grid, *corners)
    # Where a projection has no answer, or one that leads elsewhere, nothing is left out.
    if not np.allclose(grid.positions_on(own, *there), corners, rtol=0, atol=0.5):
        return Window(0, 0, grid.height, grid.width)
    left, top = (math.floor(at.min() - 2 - 0.1 * np.ptp(at)) for at in there)
    right, bottom = (math.ceil(at.max() + 2 + 0.1 * np.ptp(at)) for at in there)
    return Window(top, left, bottom - top, right - left).inside(grid.height, grid.width)


def _common(first: Window, other: Window) -> Window:
    row, col = max(first.row, other.row), max(first.col, other.col)
    last_row = min(first.row + first.height, other.row + other.height)
    last_col = min(first.col + first.width, other.col + other.width)
    return Window(row, col, max(0, last_row - row), max(0, last_col - col))


def _inner(part: Window, whole: Window) -> tuple[slice, slice, slice]:
    """Where a part of a window lies in its array (C, h, w)."""
    moved = Window(part.row - whole.row, part.col - whole.col, part.height, part.width)
    return (slice(None), *moved.slices)


def _halves(window: Window) -> tuple[Window, Window]:
    """Cut a window across its longer side."""
    row, col, height, width = window.row, window.col, window.height, window.width
    if height >= width:
        half = height // 2
        return Window(row, col, half, width), Window(row + half, col, height - half, width)
    half = width // 2
    return Window(row, col, height, half), Window(row, col + half, height, width - half)
