"""Arrays that are already in memory, or look like it, as rasters: NumPy, xarray, torch, dask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import CRSError

from bdgf.errors import SceneError
from bdgf.scene.formats.arrays import MOST_BANDS, NUMERIC, by
from bdgf.scene.formats.base import check_inside, clean
from bdgf.scene.formats.location import Location
from bdgf.scene.windows import Window

_ROWS = ("y", "lat", "latitude", "northing", "row", "rows")
_COLUMNS = ("x", "lon", "longitude", "easting", "col", "cols", "column", "columns")
_STRIP = 1 << 24
_UNEVEN = 0.01
"""Share of a pixel by which coordinates may differ from even steps."""


class MemorySource:
    """An array (C, H, W) or (H, W) as a raster; see `RasterSource`.

    Anything with a shape, slices and a conversion to NumPy will do; it is read by windows, so an
    array that computes its parts when they are asked for, as dask's do, is never whole in memory.
    Of an object with named dimensions, as xarray's ``DataArray``, rows and columns are found by
    name (y and x, latitude and longitude, ...), in whatever order they stand; its coordinates
    place the raster, and CRS and nodata are taken as rioxarray keeps them. Nothing is imported for
    this.

    Args:
        name: What messages call it.
        array: The array.
        nodata: Value that means "no data"; None takes the array's own. NaN never is data.
        crs: Coordinate reference system (anything that rasterio takes) of an array without one.
        transform: From (column, row) to map coordinates, of an array without coordinates.

    Raises:
        SceneError: It is no array of numbers with two or three axes, or has none of some axis; a
            CRS that is not known.
    """

    def __init__(
        self,
        name: str,
        array: Any,  # noqa: ANN401
        nodata: float | None = None,
        crs: Any | None = None,  # noqa: ANN401
        transform: Affine | None = None,
    ) -> None:
        if isinstance(array, list | tuple):
            array = np.asarray(array)
        if hasattr(array, "detach"):  # a tensor
            array = array.detach().cpu()
            if str(array.dtype) == "torch.bfloat16":  # which NumPy does not know
                array = array.float()
        shape = tuple(int(side) for side in getattr(array, "shape", ()))
        if len(shape) not in (2, 3) or 0 in shape:
            raise SceneError(
                f"{name} has shape {by(shape)}; a raster is an array (bands, rows, columns) or"
                " (rows, columns): put its axes in this order."
            )
        dims = [str(dim) for dim in getattr(array, "dims", ())]
        self._order = _order(name, dims, len(shape))
        size = dict(zip(self._order, shape, strict=True))
        self.path: Location = Path(name)
        self.key: str | None = None
        self._array = array
        self.bands, self.height, self.width = size.get("C", 1), size["H"], size["W"]
        if self.bands > MOST_BANDS:
            raise SceneError(
                f"{name} has shape {by(shape)}, which is {self.bands:,} bands; a raster has"
                f" {MOST_BANDS:,} at most: put its axes in the order (bands, rows, columns)."
            )
        self.dtype: np.dtype[Any] = self._part(slice(1), slice(1))[0].dtype
        if self.dtype.kind not in NUMERIC:
            way = "convert it to numbers"
            if self.dtype.kind == "c":
                way = "convert complex radar to intensity"
            elif self.dtype.kind in "OSUT":
                way = "give every text a number, 0 for unlabelled, and the texts as classes"
            raise SceneError(
                f"{name} holds values of type {self.dtype}; a raster holds integers, floats or"
                f" truth values: {way}."
            )
        keeper = getattr(array, "rio", None)  # rioxarray, where it is in use
        self.crs: Any | None = _own_crs(array, keeper)
        if self.crs is None and crs is not None:
            self.crs = _crs(name, crs)
        self.transform = _own_transform(name, array, dims, self._order) or transform
        self.nodata = _own_nodata(array, keeper) if nodata is None else _number(name, nodata)
        self.masked = True
        self.band_names = _band_names(array, self.bands)
        self.wavelengths: tuple[float | None, ...] = (None,) * self.bands
        self.block = (self.height, self.width)
        self.notes: tuple[str, ...] = ()

    @property
    def bands_first(self) -> bool:
        """Whether the array has an axis of bands, and it is the first."""
        return self._order == "CHW"

    def read(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Read a window that lies inside the array; see `RasterSource.read`."""
        check_inside(self, window)
        part, masked = self._part(*window.slices)
        values, valid = clean(part, (self.nodata,) * self.bands)
        if masked is not None:
            valid &= ~masked
            values[masked] = 0.0
        return values, valid

    def strips(self) -> Iterator[NDArray[Any]]:
        """Yield the raw values (C, h, W) of all rows in their order, a part at a time.

        Of a masked array each part is followed by its mask.
        """
        rows = max(1, _STRIP // (self.bands * self.width))
        for row in range(0, self.height, rows):
            part, masked = self._part(slice(row, min(row + rows, self.height)), slice(self.width))
            yield part
            if masked is not None:
                yield masked

    def _part(self, rows: slice, cols: slice) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Return raw values (C, h, w), and of a masked array where it has none (C, h, w)."""
        slices = {"H": rows, "W": cols, "C": slice(None)}
        part = self._array[tuple(slices[axis] for axis in self._order)]
        if hasattr(part, "__dask_graph__"):  # its parts may be masked arrays
            part = part.compute()
        masked = np.ma.getmaskarray(part) if isinstance(part, np.ma.MaskedArray) else None
        values = self._ordered(np.asarray(part))
        return values, None if masked is None else self._ordered(masked)

    def _ordered(self, part: NDArray[Any]) -> NDArray[Any]:
        if "C" not in self._order:
            return (part if self._order == "HW" else part.T)[None]
        return part.transpose([self._order.index(axis) for axis in "CHW"])


def _order(name: str, dims: Sequence[str], axes: int) -> str:
    """Return what each axis is: by the names of dimensions, else bands, rows, columns."""
    lowered = [dim.lower() for dim in dims]
    rows = [i for i, dim in enumerate(lowered) if dim in _ROWS]
    cols = [i for i, dim in enumerate(lowered) if dim in _COLUMNS]
    if not rows and not cols:
        return "CHW"[-axes:]
    if len(rows) != 1 or len(cols) != 1:
        raise SceneError(
            f"{name} has the dimensions {', '.join(dims)}, and its rows and columns cannot be told;"
            " call them y and x."
        )
    return "".join(
        "H" if axis == rows[0] else "W" if axis == cols[0] else "C" for axis in range(axes)
    )


def _number(name: str, value: Any) -> float:  # noqa: ANN401
    try:
        return float(value)
    except (TypeError, ValueError):
        raise SceneError(f"nodata of {name} is {value!r}; it must be one number.") from None


def _crs(name: str, value: Any) -> Any:  # noqa: ANN401
    try:
        return CRS.from_user_input(value)
    except CRSError as error:
        raise SceneError(
            f"the CRS of {name}, {str(value)[:60]!r}, is not known ({error}); name it by its code,"
            " such as EPSG:32632."
        ) from None


def _own_crs(array: Any, keeper: Any) -> Any | None:  # noqa: ANN401
    """Return the CRS that an array carries, None where it has none that can be read."""
    found = getattr(keeper, "crs", None)
    if found is None:
        where = getattr(array, "coords", {})
        if "spatial_ref" in where:
            # as rioxarray and the CF conventions store it, with rioxarray not in use
            attributes = where["spatial_ref"].attrs
            found = attributes.get("crs_wkt") or attributes.get("spatial_ref")
    if found is None:
        return None
    try:
        return CRS.from_user_input(found)
    except CRSError:
        return None


def _own_transform(
    name: str,
    array: Any,  # noqa: ANN401
    dims: Sequence[str],
    order: str,
) -> Affine | None:
    """Return the transform by an array's coordinates, None where they do not say it."""
    where = getattr(array, "coords", {})
    y, x = (dims[order.index("H")], dims[order.index("W")]) if dims else ("", "")
    if x in where and y in where:
        across, down = _steps(where[x]), _steps(where[y])
        if across is None or down is None:
            return None
        # coordinates are those of pixel centres
        left, top = across[0] - across[1] / 2, down[0] - down[1] / 2
        return Affine(across[1], 0.0, left, 0.0, down[1], top)
    if "spatial_ref" in where:
        # a rotated raster has no coordinates of rows and columns
        numbers = str(where["spatial_ref"].attrs.get("GeoTransform", "")).split()
        if len(numbers) == 6:
            try:
                return Affine.from_gdal(*map(float, numbers))
            except ValueError:
                raise SceneError(
                    f"GeoTransform of {name} is {' '.join(numbers)!r}; it must be six numbers:"
                    " correct or remove this attribute of spatial_ref."
                ) from None
    return None


def _steps(coordinates: Any) -> tuple[float, float] | None:  # noqa: ANN401
    """Return the first coordinate and the step, None where there are no even steps."""
    values = np.asarray(coordinates)
    if values.ndim != 1 or values.size < 2 or values.dtype.kind not in "iuf":
        return None
    values = values.astype(np.float64)
    step = (values[-1] - values[0]) / (values.size - 1)
    even = values[0] + step * np.arange(values.size)
    if step == 0 or not np.abs(values - even).max() <= _UNEVEN * abs(step):
        return None
    return float(values[0]), float(step)


def _own_nodata(array: Any, keeper: Any) -> float | None:  # noqa: ANN401
    found = getattr(keeper, "nodata", None)
    if found is None:
        attributes = getattr(array, "attrs", {})
        found = attributes.get("_FillValue", attributes.get("nodata"))
    try:
        return None if found is None else float(found)
    except (TypeError, ValueError):
        return None


def _band_names(array: Any, bands: int) -> tuple[str, ...]:  # noqa: ANN401
    """Return the names of bands as rioxarray keeps them, empty texts where there are none."""
    found = getattr(array, "attrs", {}).get("long_name")
    if isinstance(found, str):
        found = (found,)
    if isinstance(found, list | tuple) and len(found) == bands:
        return tuple(str(name) for name in found)
    return ("",) * bands
