"""The grid of pixels that all rasters of a tile share, and how two grids lie to each other."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError, CPLE_NotSupportedError
from rasterio.errors import CRSError, RasterioError
from rasterio.warp import transform as convert
from rasterio.warp import transform_bounds

from bdgf.errors import SceneError
from bdgf.scene.formats.base import RasterSource

Positions: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64]]
Bounds: TypeAlias = tuple[float, float, float, float]
Number = TypeVar("Number", float, NDArray[np.float64])

_METRES_PER_DEGREE = 111_320.0
_POINTS_AT_ONCE = 2**17  # rasterio takes and returns lists, of 32 bytes per number
_FARTHEST = 1e9  # no place on Earth has such coordinates, and PROJ can hang on larger ones
_CELLS = 16


@dataclass(frozen=True)
class Grid:
    """Rows and columns of pixels, and where they lie.

    Positions on a grid are (column, row) as floats: pixel (row 0, column 0) covers 0 to 1 of both,
    its centre is (0.5, 0.5).

    Args:
        height: H, number of rows.
        width: W, number of columns.
        transform: From (column, row) to map coordinates, None where they are not known.
        crs: Coordinate reference system (rasterio's), None where it is not known.
    """

    height: int
    width: int
    transform: Affine | None = None
    crs: Any | None = None

    @classmethod
    def of(cls, source: RasterSource) -> Grid:
        """Return the grid of a raster."""
        return cls(source.height, source.width, source.transform, source.crs)

    def rows(self, first: int, count: int) -> Grid:
        """Return the grid of some whole rows."""
        transform = self.transform
        if transform is not None:
            transform = transform @ Affine.translation(0, first)
        return Grid(count, self.width, transform, self.crs)

    @property
    def placed(self) -> bool:
        """Whether the grid has coordinates; the identity is what files without any say."""
        return self.transform is not None and not self.transform.is_identity

    @property
    def pixel(self) -> tuple[float, float] | None:
        """Width and height of a pixel in map units, None where they are not known."""
        if self.transform is None:
            return None
        t = self.transform
        return float(np.hypot(t.a, t.d)), float(np.hypot(t.b, t.e))

    @property
    def pixel_metres(self) -> tuple[float, float] | None:
        """Width and height of a pixel in metres, None where the CRS or transform is not known.

        For degrees they hold approximately at the grid's centre.
        """
        t = self.transform
        if t is None or self.crs is None:
            return None
        try:
            if self.crs.is_geographic:
                latitude = apply(t, self.width / 2, self.height / 2)[1]
                north = _METRES_PER_DEGREE
                east = north * float(np.cos(np.radians(np.clip(latitude, -90.0, 90.0))))
            else:
                north = east = float(self.crs.linear_units_factor[1])
        except CRSError:
            return None
        return float(np.hypot(t.a * east, t.d * north)), float(np.hypot(t.b * east, t.e * north))

    @property
    def bounds(self) -> Bounds | None:
        """Smallest and largest coordinates: left, bottom, right, top; None without a transform."""
        if self.transform is None:
            return None
        x, y = apply(self.transform, *self.lattice(1))
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())

    def bounds_in(self, crs: Any | None) -> Bounds | None:  # noqa: ANN401
        """Return the bounds in another CRS, None where they cannot be told.

        Args:
            crs: The other CRS; None, like a grid without a CRS, counts as the same one.
        """
        bounds = self.bounds
        if bounds is None or self.crs is None or crs is None or self.crs == crs:
            return bounds
        try:
            left, bottom, right, top = transform_bounds(self.crs, crs, *bounds, densify_pts=21)
        except (CPLE_BaseError, RasterioError, CRSError):
            return None
        if not np.isfinite([left, bottom, right, top]).all():
            return None
        return left, bottom, right, top

    def positions_on(
        self, other: Grid, cols: NDArray[np.float64], rows: NDArray[np.float64]
    ) -> Positions:
        """Return where positions of this grid lie on another one, NaN where that cannot be told.

        Longitudes are taken modulo 360 degrees, so that -170 is found on a grid from 0 to 360.

        Args:
            other: The other grid; where one of both has no CRS, it counts as the other one's.
            cols: Columns, of any shape.
            rows: Rows, of the same shape.

        Returns:
            Columns and rows on the other grid, of the same shape.

        Raises:
            ValueError: One of the grids has no transform.
            SceneError: No conversion between the two CRS is known.
        """
        if self.transform is None or other.transform is None:
            raise ValueError("positions of a grid without a transform lie nowhere")
        crs = self.crs if other.crs is None else other.crs
        wrapped = crs is not None and bool(crs.is_geographic)
        same = same_crs(self.crs, other.crs)
        if same and not wrapped:
            return apply(_after(~other.transform, self.transform), cols, rows)
        x, y = apply(self.transform, cols, rows)
        if not same:
            x, y = _converted(self.crs, other.crs, x, y)
        if wrapped:
            middle = apply(other.transform, other.width / 2, other.height / 2)[0]
            x = x + 360.0 * np.round((middle - x) / 360.0)
        return apply(~other.transform, x, y)

    def same(self, other: Grid, tolerance: float = 0.01) -> bool:
        """Whether two grids have the same pixels, as far as their coordinates are known.

        Args:
            other: The other grid.
            tolerance: Largest shift of a corner, in pixels, that still counts as the same.

        Raises:
            SceneError: No conversion between the two CRS is known.
        """
        if (self.height, self.width) != (other.height, other.width):
            return False
        if not (self.placed and other.placed):
            return True
        return largest_shift(self, other) <= tolerance

    def overlap(self, other: Grid) -> float:
        """Return the share of this grid's area, 0 to 1, that lies on the other grid.

        Raises:
            ValueError: One of the grids has no transform.
            SceneError: No conversion between the two CRS is known.
        """
        # Cell by cell, so that a part that cannot be converted costs only itself; straight lines
        # stay straight within one CRS, and one cell is exact.
        number = 1 if same_crs(self.crs, other.crs) else _CELLS
        corners = np.stack(self.positions_on(other, *self.lattice(number)), axis=-1)
        total = 0.0
        for row in range(number):
            for col in range(number):
                cell = corners[[row, row, row + 1, row + 1], [col, col + 1, col + 1, col]]
                area = _area(cell)
                if np.isfinite(area) and area > 0:
                    total += _area(_clipped(cell, other.width, other.height)) / area
        return min(total / number**2, 1.0)

    def lattice(self, cells: int) -> Positions:
        """Return the corners of cells × cells equal parts: columns and rows, (cells+1, cells+1)."""
        across, down = np.meshgrid(
            np.linspace(0.0, self.width, cells + 1), np.linspace(0.0, self.height, cells + 1)
        )
        return across, down


def largest_shift(first: Grid, other: Grid) -> float:
    """Return the largest distance, in pixels of the first, between corners of two grids.

    Corners are those of the same row and column; infinite where they cannot be converted.

    Raises:
        ValueError: One of the grids has no transform.
        SceneError: No conversion between the two CRS is known.
    """
    cols = np.array([0.0, first.width, 0.0, first.width])
    rows = np.array([0.0, 0.0, first.height, first.height])
    found = other.positions_on(first, cols, rows)
    shift = float(np.max(np.abs([found[0] - cols, found[1] - rows])))
    return shift if np.isfinite(shift) else float("inf")


def apply(transform: Affine, col: Number, row: Number) -> tuple[Number, Number]:
    """Transform positions; written out because affine's operator differs between versions."""
    return (
        transform.a * col + transform.b * row + transform.c,
        transform.d * col + transform.e * row + transform.f,
    )


def crs_name(crs: Any | None) -> str:  # noqa: ANN401
    """Short name of a CRS for messages: its code, or the name in its definition."""
    if crs is None:
        return "no CRS"
    text = str(crs.to_string())
    named = re.search(r'\["([^"]+)"', text)
    return (named.group(1) if named else text)[:60]


def _after(outer: Affine, inner: Affine) -> Affine:
    """The transform that applies the inner one first."""
    c, f = apply(outer, inner.c, inner.f)
    return Affine(
        outer.a * inner.a + outer.b * inner.d,
        outer.a * inner.b + outer.b * inner.e,
        c,
        outer.d * inner.a + outer.e * inner.d,
        outer.d * inner.b + outer.e * inner.e,
        f,
    )


def same_crs(first: Any | None, other: Any | None) -> bool:  # noqa: ANN401
    """Tell whether two systems are the same; one that is not known counts as the other."""
    return first is None or other is None or bool(first == other)


def _converted(
    source: Any,  # noqa: ANN401
    target: Any,  # noqa: ANN401
    x: NDArray[np.float64],
    y: NDArray[np.float64],
) -> Positions:
    """Convert coordinates of any shape, NaN where PROJ has no answer."""
    far_x, far_y = (1e4, 90.0 + 1e-9) if source.is_geographic else (_FARTHEST, _FARTHEST)
    usable = (np.abs(x) <= far_x) & (np.abs(y) <= far_y)
    points = np.stack([x[usable], y[usable]])
    found = np.full_like(points, np.nan)
    for start in range(0, points.shape[1], _POINTS_AT_ONCE):
        part = slice(start, start + _POINTS_AT_ONCE)
        _convert_part(source, target, points[:, part], found[:, part])
    found[:, ~np.isfinite(found).all(axis=0)] = np.nan
    result = np.full((2, *x.shape), np.nan)
    result[:, usable] = found
    return result[0], result[1]


def _convert_part(
    source: Any,  # noqa: ANN401
    target: Any,  # noqa: ANN401
    points: NDArray[np.float64],
    found: NDArray[np.float64],
) -> None:
    """Fill found (2, n); one point outside of a projection's domain makes rasterio refuse all."""
    try:
        found[...] = convert(source, target, points[0], points[1])
    except (CPLE_NotSupportedError, CRSError) as error:
        raise SceneError(
            f"coordinates in {crs_name(source)} cannot be converted to {crs_name(target)}: correct"
            " the CRS of the wrong file, or reproject one of them."
        ) from error
    except (CPLE_BaseError, RasterioError):
        half = points.shape[1] // 2
        if half:
            _convert_part(source, target, points[:, :half], found[:, :half])
            _convert_part(source, target, points[:, half:], found[:, half:])


def _area(polygon: NDArray[np.float64]) -> float:
    """Area of a polygon (n, 2)."""
    x, y = (polygon - polygon[:1]).T if len(polygon) else np.zeros((2, 0))
    return float(abs(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) / 2)


def _clipped(polygon: NDArray[np.float64], width: float, height: float) -> NDArray[np.float64]:
    """Part of a convex polygon (n, 2) between 0 and width, 0 and height."""
    for axis, sign, limit in ((0, 1, 0.0), (0, -1, -width), (1, 1, 0.0), (1, -1, -height)):
        inside = sign * polygon[:, axis] - limit  # not negative on the side that is kept
        kept: list[NDArray[np.float64]] = []
        for here, there, a, b in zip(
            polygon, np.roll(polygon, -1, axis=0), inside, np.roll(inside, -1), strict=True
        ):
            if a >= 0:
                kept.append(here)
            if (a >= 0) != (b >= 0):
                kept.append(here + (there - here) * a / (a - b))
        polygon = np.array(kept).reshape(-1, 2)
    return polygon
