"""What GDAL does not say of a netCDF variable: its dimensions, and where its pixels lie."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import h5py
import numpy as np
from affine import Affine
from numpy.typing import NDArray
from scipy.io import netcdf_file

from bdgf.errors import SceneError
from bdgf.scene.formats.base import reason
from bdgf.scene.formats.wavelengths import nanometres

_ROWS = ("y", "lat", "latitude", "northing", "north", "ydim", "nlat", "rlat")
_COLUMNS = ("x", "lon", "longitude", "easting", "east", "xdim", "nlon", "rlon")
_COUNTED_ROWS = (
    *("row", "rows", "nrow", "nrows", "line", "lines", "scan", "ny", "height"),
    *("downtrack", "alongtrack", "along_track"),
)
_COUNTED_COLUMNS = (
    *("col", "cols", "ncol", "ncols", "column", "columns", "sample", "samples", "nx", "width"),
    *("pixel", "pixels", "crosstrack", "acrosstrack", "across_track"),
)
_BANDS = ("band", "wavelength", "channel", "spectral", "lambda", "wvl")
Values: TypeAlias = tuple[NDArray[np.float64], str]
"""Values of a variable with one dimension, and their unit (empty where there is none)."""

_EVEN = 1e-3
_HDF5 = b"\x89HDF"
_CLASSIC = (b"CDF\x01", b"CDF\x02")
# What the two libraries raise on damaged files.
_ERRORS = (OSError, ValueError, TypeError, KeyError, IndexError, RuntimeError, OverflowError)


@dataclass(frozen=True)
class Dimensions:
    """The dimensions of a variable, in the file's order.

    Args:
        names: Name of every dimension.
        coordinates: Values and unit of the coordinate variables that dimensions have.
        spectra: Values and unit of the file's lists of wavelengths.
    """

    names: tuple[str, ...]
    coordinates: dict[str, Values] = field(default_factory=dict)
    spectra: tuple[Values, ...] = ()

    @property
    def axes(self) -> str | None:
        """What each dimension is: H rows, W columns, C bands; None where names do not tell."""
        roles = [_role(name) for name in self.names]
        if len(roles) > 2 and roles.count("C") == 1 and roles.count("") == len(roles) - 1:
            # Only the bands have a telling name; rows come before columns.
            rest = iter("HW")
            roles = [role or next(rest, "C") for role in roles]
        if roles.count("H") != 1 or roles.count("W") != 1:
            return None
        return "".join(role or "C" for role in roles)

    @property
    def has_places(self) -> bool:
        """Whether rows and columns have coordinates by names that mean places, not counts."""
        return any(n.lower() in _ROWS and n in self.coordinates for n in self.names) and any(
            n.lower() in _COLUMNS and n in self.coordinates for n in self.names
        )

    def transform(self, axes: str) -> Affine | None:
        """Return the transform from (column, row) to coordinates, None where they are not even."""
        steps = []
        for axis in "WH":
            name = self.names[axes.index(axis)]
            if name not in self.coordinates or not _even(self.coordinates[name][0]):
                return None
            values = self.coordinates[name][0]
            steps.append((float(values[-1] - values[0]) / (len(values) - 1), float(values[0])))
        (dx, x), (dy, y) = steps
        return Affine(dx, 0.0, x - dx / 2, 0.0, dy, y - dy / 2)

    def wavelengths(self, bands: int) -> tuple[float | None, ...]:
        """Return the wavelengths (nm) of so many bands, None where they are not known."""
        lists = [
            (values, unit)
            for name, (values, unit) in self.coordinates.items()
            if _role(name) == "C" and (unit or _is_spectrum(name))
        ]
        for values, unit in (*lists, *self.spectra):
            if len(values) == bands:
                return tuple(nanometres(float(value), unit) for value in values)
        return (None,) * bands


def read_dimensions(path: Path, variable: str) -> Dimensions | None:
    """Return the dimensions of a variable; None where the file does not tell.

    Args:
        path: A netCDF file, classic or netCDF-4.
        variable: Name of the variable, with its groups.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(4)
        if magic == _HDF5:
            return _of_netcdf4(path, variable)
        if magic in _CLASSIC:
            return _of_classic(path, variable)
    except (*_ERRORS, struct.error, AssertionError):
        # GDAL reads the file or says what is wrong with it.
        return None
    return None


def check_classic(path: Path) -> None:
    """Refuse a netCDF file of the classic form whose header makes no sense.

    On some of these the library that GDAL uses does not fail but ends the process.

    Raises:
        SceneError: The header is damaged, or names no variable.
    """
    try:
        with path.open("rb") as file:
            if file.read(4) not in _CLASSIC:
                return
        with netcdf_file(path, "r", mmap=True) as file:
            if file.variables:
                return
        found = "no variable in its header"
    except (*_ERRORS, struct.error, AssertionError, MemoryError) as error:
        found = reason(error)
    raise SceneError(
        f"{path.name} cannot be read as a netCDF file ({found}): it is damaged, cut short or empty,"
        " get it again."
    )


def is_counted(transform: Affine, height: int) -> bool:
    """Whether coordinates only count the pixels from 0 or 1, upwards: they are no places."""
    return (transform.a, transform.b, transform.d, abs(transform.e)) == (1, 0, 0, 1) and any(
        transform.c == first - 0.5 and transform.f in (first - 0.5, first + height - 0.5)
        for first in (0, 1)
    )


def gdal_axes(dimensions: Dimensions, extra: Sequence[str]) -> str | None:
    """Return what each axis of GDAL's raster is, bands first; None where names do not tell.

    Args:
        dimensions: The variable's dimensions.
        extra: The dimensions that GDAL takes as bands.
    """
    axes = dimensions.axes
    if axes is None or any(name not in dimensions.names for name in extra):
        return None
    roles = dict(zip(dimensions.names, axes, strict=True))
    rest = [name for name in dimensions.names if name not in extra]
    return "".join(roles[name] for name in (*extra, *rest))


def _of_netcdf4(path: Path, variable: str) -> Dimensions | None:
    with h5py.File(path, "r") as file:
        array = file[variable]
        if not isinstance(array, h5py.Dataset) or "DIMENSION_LIST" not in array.attrs:
            return None
        coordinates = {}
        scales = [axis[0] for axis in array.dims]
        names = tuple(_last(scale.name) for scale in scales)
        for name, scale in zip(names, scales, strict=True):
            # A dimension without values is stored as an array that says so in its title.
            title = _text(scale.attrs.get("NAME", ""))
            if _is_list(scale) and "not a netCDF variable" not in title:
                coordinates[name] = _netcdf4_values(scale)
        found = [file, *(item for item in file.values() if isinstance(item, h5py.Group))]
        spectra = [
            _netcdf4_values(item)
            for group in found
            for name, item in group.items()
            if isinstance(item, h5py.Dataset) and _is_list(item) and _is_spectrum(name)
        ]
        return Dimensions(names, coordinates, tuple(spectra))


def _netcdf4_values(array: h5py.Dataset) -> Values:
    return np.asarray(array[:], dtype=np.float64), _text(array.attrs.get("units", ""))


def _of_classic(path: Path, variable: str) -> Dimensions:
    # Mapped: otherwise the library loads every variable on opening.
    with netcdf_file(path, "r", mmap=True) as file:
        names = tuple(file.variables[variable].dimensions)
        ones = [
            name
            for name, values in file.variables.items()
            if len(values.dimensions) == 1 and values.typecode() in "bBhilfd"
        ]
        coordinates = {n: _classic_values(file, n) for n in names if n in ones}
        spectra = tuple(_classic_values(file, n) for n in ones if _is_spectrum(n))
        return Dimensions(names, coordinates, spectra)


def _classic_values(file: netcdf_file, name: str) -> Values:
    # A copy, so that nothing refers to the mapped file when it is closed.
    values = file.variables[name]
    return np.array(values[:], dtype=np.float64), _text(getattr(values, "units", ""))


def _is_list(array: h5py.Dataset) -> bool:
    return bool(array.ndim == 1 and array.dtype.kind in "iuf")


def _is_spectrum(name: str) -> bool:
    return "wavelength" in name.lower()


def _last(name: object) -> str:
    return str(name).rpartition("/")[2]


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _role(name: str) -> str:
    name = name.lower()
    if name in _ROWS or name in _COUNTED_ROWS:
        return "H"
    if name in _COLUMNS or name in _COUNTED_COLUMNS:
        return "W"
    return "C" if any(word in name for word in _BANDS) else ""


def _even(values: NDArray[np.float64]) -> bool:
    if len(values) < 2 or not np.isfinite(values).all():
        return False
    steps = np.diff(values)
    mean = (values[-1] - values[0]) / (len(values) - 1)
    return bool(mean != 0 and (np.abs(steps - mean) <= _EVEN * abs(mean)).all())
