"""Opening a file of any format."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

from numpy.typing import NDArray

from bdgf.errors import SceneError
from bdgf.scene.formats.arrays import ArrayInfo, ArrayReader, ArraySource, by, described
from bdgf.scene.formats.base import RasterSource
from bdgf.scene.formats.hdf5 import hdf5_readers
from bdgf.scene.formats.location import Location, RemotePath, locate, named
from bdgf.scene.formats.matlab import mat_readers
from bdgf.scene.formats.numpy_files import NpyReader, npz_readers
from bdgf.scene.formats.raster import GdalSource, about_nodata, gdal_arrays
from bdgf.scene.formats.selection import BandSelection, ranges

ARRAY_SUFFIXES = (".mat", ".h5", ".hdf5", ".he5", ".npy", ".npz")
"""Endings of the files that hold arrays without a place; GDAL reads all others."""

_MOST_VALUES = 200_000_000
_MOST_LISTED = 20
_INDEX = re.compile(r"[({](\d+)[)}]")


def open_source(
    path: str | Location,
    key: str | None = None,
    nodata: float | None = None,
    axes: str | None = None,
    bands: tuple[int, ...] | None = None,
) -> RasterSource:
    """Open a raster; its values stay in the file until they are read.

    Args:
        path: A MATLAB, NumPy or HDF5 file, or any raster that GDAL reads.
        key: Name of the array inside a file of several; None takes the only one. Parts of structs
            and groups are joined by dots or slashes, elements of cells numbered: ``hsi.Lidar{2}.z``
        nodata: Value that means "no data"; None uses the file's own.
        axes: What each axis of an array is, such as CHW; None takes the format's custom.
        bands: Numbers of the bands to take, from 1; None takes all.

    Raises:
        SceneError: The file is missing, damaged, of an unknown format, or has no such array.
    """
    path = _there(path)
    source: RasterSource
    if _has_arrays(path):
        name, reader = _chosen(path, key)
        own = reader.info.nodata
        source = ArraySource(path, name, reader, own if nodata is None else nodata, axes)
        if own is not None and nodata is not None:
            source.notes += about_nodata(path, [own], nodata, source.dtype)
    elif axes is not None:
        raise SceneError(
            f"{named(path)} says itself what are its bands, rows and columns; only arrays of"
            f" {', '.join(ARRAY_SUFFIXES)} files take axes: remove 'axes: {axes}'."
        )
    else:
        source = GdalSource(path, nodata, key)
        if bands is None and source.bad_bands:
            source.notes += (_about_bad_bands(source),)
    return source if bands is None else BandSelection(source, tuple(bands))


def contents(path: Location) -> dict[str, ArrayInfo] | None:
    """Return what a file of named arrays holds; None for a file that is one raster.

    Raises:
        SceneError: The file cannot be read.
    """
    path = _there(path)
    if not _has_arrays(path):
        return gdal_arrays(path)
    readers = _readers(path)
    return None if readers is None else {key: reader.info for key, reader in readers.items()}


def read_array(path: Path, key: str | None = None) -> NDArray[Any]:
    """Read a whole array as it is stored, such as a list of pixels (n, 2).

    Args:
        path: A MATLAB, NumPy or HDF5 file.
        key: Name of the array; None takes the only numeric one with more than one value.

    Returns:
        The array in the file's own type, its axes in the order of `ArrayInfo.shape`.

    Raises:
        SceneError: The file cannot be read, has no such array, or one of no numbers or with more
            than 200 million values.
    """
    found = _there(path)
    if not _has_arrays(found):
        raise SceneError(
            f"{named(found)} is no file of arrays; a list of numbers is read from"
            f" {', '.join(ARRAY_SUFFIXES)} files: save it in one of these."
        )
    name, reader = _chosen(found, key, lists=True)
    info = reader.info
    called = f"{name} of {found.name}" if name else found.name
    if not info.numeric:
        raise SceneError(
            f"{called} ({described(info)}) is no list of numbers, which are integers or floats:"
            " name another array with key, or save it as such."
        )
    if 0 in info.shape:
        raise SceneError(f"{called} ({described(info)}) holds no value: save the list anew.")
    if math.prod(info.shape) > _MOST_VALUES:
        raise SceneError(
            f"{called} has {math.prod(info.shape):,} values ({by(info.shape)}); a list of numbers"
            f" has {_MOST_VALUES:,} at most: name another array with key."
        )
    return reader.read(tuple(slice(0, size) for size in info.shape))


def shape_of(path: Path, key: str | None) -> tuple[int, ...] | None:
    """Return the shape of the array that ``read_array`` would read, None where it is not clear."""
    if path.suffix.lower() not in ARRAY_SUFFIXES:
        return None
    try:
        return _chosen(path, key, lists=True)[1].info.shape
    except SceneError:
        return None


def raster_keys(arrays: Mapping[str, ArrayInfo]) -> list[str]:
    """Names of the arrays that can be rasters: numeric, more than one row and one column.

    Lists of pixels (n, 2) are left out where there is something else; a key can still name them.
    """
    found = {
        name: info.shape
        for name, info in arrays.items()
        if info.numeric
        and len(info.shape) in (2, 3)
        and sum(size > 1 for size in info.shape) > 1
        and 0 not in info.shape
    }
    images = [name for name, shape in found.items() if not _is_list(shape)]
    return images or list(found)


def _about_bad_bands(source: GdalSource) -> str:
    good = sorted(set(range(1, source.bands + 1)) - set(source.bad_bands))
    bad = ", ".join(ranges(source.bad_bands))
    way = f"; 'bands: [{', '.join(ranges(good))}]' leaves them out" if good else ""
    return (
        f"the header of {named(source.path)} marks the bands {bad} as bad (bbl), and they are read"
        f" like the others{way}"
    )


def _there(path: str | Location) -> Location:
    path = locate(path) if isinstance(path, str) else path
    if isinstance(path, Path) and not path.is_file():
        raise SceneError(f"{path} does not exist; correct the path, or put the file there.")
    return path


def _has_arrays(path: Location) -> TypeGuard[Path]:
    """Whether a file is one of arrays without a place.

    Raises:
        SceneError: It is, and it is not on this machine.
    """
    if path.suffix.lower() not in ARRAY_SUFFIXES:
        return False
    if isinstance(path, RemotePath):
        raise SceneError(
            f"{named(path)} is a {path.suffix} file, which can only be read on this machine:"
            " download it first and give its path."
        )
    return True


def _readers(path: Path) -> dict[str, ArrayReader] | None:
    """Return the arrays of a file by their keys, None for a file of one array without a key."""
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return None
    if suffix == ".npz":
        return dict(npz_readers(path))
    return mat_readers(path) if suffix == ".mat" else dict(hdf5_readers(path))


def _chosen(path: Path, key: str | None, lists: bool = False) -> tuple[str | None, ArrayReader]:
    """Return the array of a file that a key means, with its name; lists need not be rasters."""
    readers = _readers(path)
    if readers is None:
        if key is not None:
            raise SceneError(f"{path.name} is one array, without a key: remove 'key: {key}'.")
        return None, NpyReader(path)
    arrays = {name: reader.info for name, reader in readers.items()}
    if key is not None:
        name = _named(path, arrays, key)
    else:
        found = _numeric(arrays) if lists else raster_keys(arrays) or _complex(arrays)
        if len(found) != 1:
            what = "numeric arrays" if lists else "arrays that can be rasters"
            raise SceneError(
                f"{path.name} holds {len(found)} {what}, and no key says which. {_listing(arrays)}"
            )
        name = found[0]
    return name, readers[name]


def _named(path: Path, arrays: Mapping[str, ArrayInfo], key: str) -> str:
    """Return the name of the array that a key means; small things may be written otherwise."""
    if key in arrays:
        return key
    found = [name for name in arrays if _means(key, name)]
    if len(found) != 1:
        raise SceneError(f"{path.name} has no array {key!r}. {_listing(arrays)}")
    return found[0]


def _means(key: str, name: str) -> bool:
    """Whether a key names an array, whatever its separators and brackets are.

    MATLAB numbers single elements too, so ``a{1}.b`` means ``a.b`` where ``a`` has one element.
    """
    wanted, parts = _parts(key), _parts(name)
    return len(wanted) == len(parts) and all(
        re.fullmatch(re.escape(part) + r"(\{1\})*", given)
        for given, part in zip(wanted, parts, strict=True)
    )


def _parts(key: str) -> list[str]:
    return _INDEX.sub(r"{\1}", key.strip().strip("/")).replace("/", ".").split(".")


def _numeric(arrays: Mapping[str, ArrayInfo]) -> list[str]:
    return [name for name, info in arrays.items() if info.numeric and math.prod(info.shape) > 1]


def _complex(arrays: Mapping[str, ArrayInfo]) -> list[str]:
    """Names of the complex arrays: no rasters, and the reader is to know why."""
    return [n for n, info in arrays.items() if info.dtype is not None and info.dtype.kind == "c"]


def _is_list(shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 and min(shape) == 2 < max(shape)


def _listing(arrays: Mapping[str, ArrayInfo]) -> str:
    if not arrays:
        return "The file holds no array at all."
    images = raster_keys(arrays)
    names = [*images, *(name for name in arrays if name not in images)]
    listed = ", ".join(f"{name} ({described(arrays[name])})" for name in names[:_MOST_LISTED])
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    return f"Set key to one of: {listed}{more}."
