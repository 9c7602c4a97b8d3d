"""The grid of pixels that all rasters of a tile share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from affine import Affine

from bdgf.scene.formats.base import RasterSource


@dataclass(frozen=True)
class Grid:
    """Rows and columns of pixels, and where they lie.

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

    @property
    def pixel(self) -> tuple[float, float] | None:
        """Width and height of a pixel in map units, None where they are not known."""
        if self.transform is None:
            return None
        t = self.transform
        return float(np.hypot(t.a, t.d)), float(np.hypot(t.b, t.e))
