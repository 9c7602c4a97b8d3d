"""What every raster offers, whatever its format, and how raw values become floats and a mask."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from bdgf.scene.formats.location import Location
from bdgf.scene.windows import Window


class RasterSource(Protocol):
    """A raster that can be read by windows.

    Attributes:
        path: The file; of several files the first.
        key: Name of the array inside its file, None where the file is one raster.
        bands: C, number of bands.
        height: H, number of rows.
        width: W, number of columns.
        dtype: Type of the stored values.
        crs: Coordinate reference system (rasterio's), None where the file has none.
        transform: From (column, row) to map coordinates, None where the file has none.
        nodata: Value that means "no data", None where there is none.
        masked: Whether the masks count that GDAL makes of the file, of its own "no data" and alpha
            bands among other things; not where the scene file knows better.
        band_names: Description of every band, empty texts where the file has none.
        wavelengths: Centre wavelength of every band in nanometres, None where it is not known.
        block: Rows and columns that the file stores, and so reads, at once.
        notes: What was put right on opening, in words for the user, such as exchanged axes.
    """

    path: Location
    key: str | None
    bands: int
    height: int
    width: int
    dtype: np.dtype[Any]
    crs: Any | None
    transform: Affine | None
    nodata: float | None
    masked: bool
    band_names: tuple[str, ...]
    wavelengths: tuple[float | None, ...]
    block: tuple[int, int]
    notes: tuple[str, ...]

    def read(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Read a window that lies inside the raster.

        Returns:
            Values (C, h, w), 0 where they are not valid, and valid (C, h, w).

        Raises:
            SceneError: The file cannot be read.
        """
        ...


@runtime_checkable
class SparseReader(Protocol):
    """A raster whose file may store only some of its blocks."""

    def without_data(self, window: Window) -> bool:
        """Return whether the file is known to store nothing in a window, without reading it."""
        ...


def known_empty(source: RasterSource, window: Window) -> bool:
    """Return whether a raster has no valid value in a window, where that is known without reading.

    Args:
        source: The raster.
        window: A window that lies inside it.

    Returns:
        True where it has none; False says nothing.
    """
    return isinstance(source, SparseReader) and source.without_data(window)


def clean(
    data: NDArray[Any], nodata: tuple[float | None, ...]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return values (C, h, w) in float32, 0 where not valid, and valid (C, h, w).

    Args:
        data: Raw values (C, h, w).
        nodata: Of every band the value that means "no data", or None.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        values = data.astype(np.float32)
    # After the cast: a float64 beyond float32's range is as unusable as an infinity.
    valid = np.isfinite(values)
    for band, value in enumerate(nodata):
        if value is None or np.isnan(value):
            continue
        # Compared in the file's own type: -3.4e38 in float32 equals no float64 of the same text.
        if data.dtype.kind == "f":
            with np.errstate(over="ignore"):
                valid[band] &= data[band] != data.dtype.type(value)
        elif data.dtype.kind != "b" and float(value).is_integer() and _fits(value, data.dtype):
            valid[band] &= data[band] != int(value)
    if not valid.all():
        values[~valid] = 0.0
    return values, valid


def check_inside(source: RasterSource, window: Window) -> None:
    """Refuse a window that does not lie inside a raster.

    Raises:
        ValueError: It does not.
    """
    if window.inside(source.height, source.width) != window:
        raise ValueError(f"{window} does not lie inside {source.height} × {source.width} pixels")


def reason(error: BaseException) -> str:
    """First sentence of another library's error, on one line."""
    text = " ".join(str(error).split()).rstrip(".")
    return text[:200] or type(error).__name__


def _fits(value: float, dtype: np.dtype[Any]) -> bool:
    limits = np.iinfo(dtype)
    return bool(limits.min <= value <= limits.max)
