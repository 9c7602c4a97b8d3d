"""Rasters of any format behind one interface: bands, grid, and reading by windows."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import rasterio
import scipy.io
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError, RasterioIOError
from scipy.io.matlab import MatReadError

from bdgf.errors import SceneError
from bdgf.scene.layout import Window


class RasterSource(Protocol):
    """A raster that can be read by windows.

    Attributes:
        path: The file.
        bands: C, number of bands.
        height: H, number of rows.
        width: W, number of columns.
        dtype: Type of the stored values.
        crs: Coordinate reference system, None where the file has none.
        transform: From (column, row) to map coordinates, None where the file has none.
        nodata: Value that means "no data", None where there is none.
        band_names: Description of every band, empty texts where the file has none.
        block: Rows and columns that the file stores, and so reads, at once.
    """

    path: Path
    bands: int
    height: int
    width: int
    dtype: np.dtype[Any]
    crs: Any | None
    transform: Affine | None
    nodata: float | None
    band_names: tuple[str, ...]
    block: tuple[int, int]

    def read(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Read a window that lies inside the raster.

        Returns:
            Values (C, h, w), 0 where they are not valid, and valid (C, h, w).

        Raises:
            SceneError: The file cannot be read.
        """
        ...


def open_source(
    path: str | Path, key: str | None = None, nodata: float | None = None
) -> RasterSource:
    """Open a raster; its values stay in the file until they are read.

    Args:
        path: A ``.mat`` file (v5), or any raster that GDAL reads.
        key: Name of the array inside a ``.mat`` file; None takes the only one.
        nodata: Value that means "no data"; None uses the file's own.

    Raises:
        SceneError: The file is missing, damaged, of an unknown format, or has no such array.
    """
    path = Path(path)
    if not path.is_file():
        raise SceneError(f"{path} does not exist; correct the path, or put the file there.")
    if path.suffix.lower() == ".mat":
        return MatSource(path, key, nodata)
    if key is not None:
        raise SceneError(
            f"{path.name} is not a .mat file, and only those have arrays with keys: remove"
            f" 'key: {key}'."
        )
    return GeoTiffSource(path, nodata)


class GeoTiffSource:
    """A raster that GDAL reads, by windows.

    The file is opened for every read: an open dataset can neither cross into another process nor be
    shared between threads, and a scene may have more tiles than a process may have open files.
    """

    def __init__(self, path: Path, nodata: float | None = None) -> None:
        self.path = path
        with self._open() as dataset:
            self.bands: int = dataset.count
            self.height: int = dataset.height
            self.width: int = dataset.width
            types = [np.dtype(name) if _is_numpy(name) else None for name in dataset.dtypes]
            if not types or any(t is None or t.kind not in "iuf" for t in types):
                raise SceneError(
                    f"{path.name} holds {dataset.dtypes[0] if types else 'no'} values; bands are"
                    " integers or floats: convert it, complex SAR to intensity."
                )
            self.dtype: np.dtype[Any] = np.result_type(*[t for t in types if t is not None])
            placed = dataset.crs is not None or not dataset.transform.is_identity
            self.crs = dataset.crs
            self.transform: Affine | None = dataset.transform if placed else None
            own = dataset.nodatavals
            self._nodata = own if nodata is None else (nodata,) * self.bands
            self.nodata: float | None = self._nodata[0]
            self.band_names = tuple(text or "" for text in dataset.descriptions)
            self.block: tuple[int, int] = tuple(dataset.block_shapes[0])
            flags = dataset.mask_flag_enums
            self._masked = any(
                MaskFlags.per_dataset in f and MaskFlags.nodata not in f for f in flags
            )

    @contextmanager
    def _open(self) -> Iterator[Any]:
        try:
            with warnings.catch_warnings():
                # Rasters without coordinates are ordinary input here.
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                dataset = rasterio.open(self.path)
        except RasterioError as error:
            raise SceneError(
                f"{self.path.name} cannot be opened as a raster ({_reason(error)}); it must be a"
                " GeoTIFF or another GDAL raster, or a .mat file."
            ) from error
        with dataset:
            yield dataset

    def read(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Read a window that lies inside the raster; see `RasterSource.read`."""
        _check_inside(self, window)
        area = rasterio.windows.Window(window.col, window.row, window.width, window.height)
        with self._open() as dataset:
            try:
                data = dataset.read(window=area)
                mask = dataset.dataset_mask(window=area) if self._masked else None
            except RasterioIOError as error:
                raise SceneError(
                    f"{self.path.name} cannot be read ({_reason(error)}): the file is damaged or"
                    " cut short, get it again."
                ) from error
        values, valid = _clean(data, self._nodata)
        if mask is not None:
            valid &= mask != 0
            values[~valid] = 0.0
        return values, valid


class MatSource:
    """An array (H, W) or (H, W, C) of a MATLAB v5 file.

    The format is compressed as a whole, so the array is loaded at the first read and then kept in
    its own type.
    """

    def __init__(self, path: Path, key: str | None = None, nodata: float | None = None) -> None:
        self.path = path
        arrays = mat_arrays(path)
        self.key = _choose(path, arrays, key)
        shape, kind = arrays[self.key]
        if kind not in _MAT_TYPES or len(shape) not in (2, 3):
            raise SceneError(
                f"{self.key} of {path.name} is a {kind} of shape {_by(shape)}; a raster is a"
                f" numeric array (rows, columns) or (rows, columns, bands). {_listing(arrays)}"
            )
        self.height, self.width = shape[:2]
        self.bands = shape[2] if len(shape) == 3 else 1
        self.dtype = np.dtype(_MAT_TYPES[kind])
        self.crs = None
        self.transform: Affine | None = None
        self.nodata = nodata
        self.band_names = ("",) * self.bands
        self.block = (1, 1)
        self._array: NDArray[Any] | None = None

    def read(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Read a window that lies inside the array; see `RasterSource.read`."""
        _check_inside(self, window)
        if self._array is None:
            self._array = self._load()
        rows, cols = window.slices
        return _clean(self._array[:, rows, cols], (self.nodata,) * self.bands)

    def _load(self) -> NDArray[Any]:
        try:
            array = scipy.io.loadmat(self.path, variable_names=[self.key])[self.key]
        except _MAT_ERRORS as error:
            raise SceneError(
                f"{self.path.name} cannot be read ({_reason(error)}): the file is damaged or cut"
                " short, get it again."
            ) from error
        if array.dtype.kind not in "iufb":
            raise SceneError(
                f"{self.key} of {self.path.name} holds {array.dtype} values; bands are integers or"
                " floats: convert it, complex SAR to intensity."
            )
        array = array[:, :, None] if array.ndim == 2 else array
        return np.moveaxis(array, 2, 0)


_MAT_TYPES = {
    "double": "f8",
    "single": "f4",
    "logical": "u1",
    "int8": "i1",
    "uint8": "u1",
    "int16": "i2",
    "uint16": "u2",
    "int32": "i4",
    "uint32": "u4",
    "int64": "i8",
    "uint64": "u8",
}
_MAT_ERRORS = (MatReadError, ValueError, TypeError, KeyError, OSError, zlib.error)
_HDF5 = b"\x89HDF\r\n\x1a\n"


def mat_arrays(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return shape and MATLAB class of every variable of a v5 file, by name, without loading them.

    Raises:
        SceneError: The file is of version 7.3, or is no MATLAB file.
    """
    try:
        with path.open("rb") as file:
            head = file.read(520)
        if head.startswith(b"MATLAB 7.3") or _HDF5 in (head[:8], head[512:520]):
            raise SceneError(
                f"{path.name} is a MATLAB 7.3 file, which is not supported: save it in MATLAB with"
                f" save('{path.name}', '-v7')."
            )
        return {name: (tuple(shape), kind) for name, shape, kind in scipy.io.whosmat(path)}
    except _MAT_ERRORS as error:
        raise SceneError(
            f"{path.name} cannot be read as a MATLAB file ({_reason(error)}): the file is damaged,"
            " cut short or of another format."
        ) from error


def raster_keys(arrays: dict[str, tuple[tuple[int, ...], str]]) -> list[str]:
    """Names of the variables that can be rasters: numeric, more than one row and one column."""
    return [
        name
        for name, (shape, kind) in arrays.items()
        if kind in _MAT_TYPES and len(shape) in (2, 3) and min(shape[:2]) > 1
    ]


def _choose(path: Path, arrays: dict[str, tuple[tuple[int, ...], str]], key: str | None) -> str:
    if key is not None:
        if key not in arrays:
            raise SceneError(f"{path.name} has no array {key!r}. {_listing(arrays)}")
        return key
    found = raster_keys(arrays)
    if len(found) != 1:
        raise SceneError(
            f"{path.name} holds {len(found)} arrays that can be rasters, and no key says which."
            f" {_listing(arrays)}"
        )
    return found[0]


def _listing(arrays: dict[str, tuple[tuple[int, ...], str]]) -> str:
    if not arrays:
        return "The file holds no array at all."
    listed = ", ".join(f"{name} ({_by(shape)} {kind})" for name, (shape, kind) in arrays.items())
    return f"Set key to one of: {listed}."


def _by(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def _clean(
    data: NDArray[Any], nodata: tuple[float | None, ...]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Values (C, h, w) in float32, 0 where not valid, and valid (C, h, w)."""
    with np.errstate(over="ignore"):
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


def _fits(value: float, dtype: np.dtype[Any]) -> bool:
    limits = np.iinfo(dtype)
    return bool(limits.min <= value <= limits.max)


def _is_numpy(name: str) -> bool:
    try:
        np.dtype(name)
    except TypeError:
        return False
    return True


def _check_inside(source: RasterSource, window: Window) -> None:
    if window.inside(source.height, source.width) != window:
        raise ValueError(f"{window} does not lie inside {source.height} × {source.width} pixels")


def _reason(error: BaseException) -> str:
    """First sentence of another library's error, on one line."""
    text = " ".join(str(error).split()).rstrip(".")
    return text[:200] or type(error).__name__
