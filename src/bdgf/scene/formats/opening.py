"""Opening a file of any format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bdgf.errors import SceneError
from bdgf.scene.formats.arrays import ArraySource, by
from bdgf.scene.formats.base import RasterSource
from bdgf.scene.formats.location import Location, RemotePath, locate
from bdgf.scene.formats.matlab import ArrayInfo, MatReader, mat_arrays
from bdgf.scene.formats.raster import GdalSource


def open_source(
    path: str | Location,
    key: str | None = None,
    nodata: float | None = None,
    axes: str | None = None,
) -> RasterSource:
    """Open a raster; its values stay in the file until they are read.

    Args:
        path: A ``.mat`` file, or any raster that GDAL reads.
        key: Name of the array inside a file of several; None takes the only one.
        nodata: Value that means "no data"; None uses the file's own.
        axes: What each axis of an array is, such as CHW; None takes rows, columns, bands.

    Raises:
        SceneError: The file is missing, damaged, of an unknown format, or has no such array.
    """
    path = locate(path) if isinstance(path, str) else path
    if isinstance(path, Path) and not path.is_file():
        raise SceneError(f"{path} does not exist; correct the path, or put the file there.")
    if isinstance(path, Path) and path.suffix.lower() == ".mat":
        arrays = mat_arrays(path)
        name = _choose(path, arrays, key)
        return ArraySource(path, name, MatReader(path, name, arrays[name]), nodata, axes)
    if key is not None:
        raise SceneError(
            f"{path.name} is not a .mat file, and only those have arrays with keys: remove"
            f" 'key: {key}'."
        )
    return GdalSource(path, nodata)


def contents(path: Location) -> dict[str, ArrayInfo] | None:
    """Return what a file of named arrays holds; None for a file that is one raster.

    Raises:
        SceneError: The file cannot be read.
    """
    if isinstance(path, RemotePath):
        return None
    return mat_arrays(path) if path.suffix.lower() == ".mat" else None


def raster_keys(arrays: Mapping[str, ArrayInfo]) -> list[str]:
    """Names of the arrays that can be rasters: numeric, more than one row and one column."""
    return [
        name
        for name, info in arrays.items()
        if info.dtype is not None and len(info.shape) in (2, 3) and min(info.shape[:2]) > 1
    ]


def _choose(path: Path, arrays: Mapping[str, ArrayInfo], key: str | None) -> str:
    if key is not None:
        if key not in arrays:
            raise SceneError(f"{path.name} has no array {key!r}. {_listing(arrays)}")
        if arrays[key].dtype is None:
            raise SceneError(
                f"{key} of {path.name} is a {arrays[key].kind} of shape {by(arrays[key].shape)}; a"
                " raster is a numeric array (rows, columns) or (rows, columns, bands)."
                f" {_listing(arrays)}"
            )
        return key
    found = raster_keys(arrays)
    if len(found) != 1:
        raise SceneError(
            f"{path.name} holds {len(found)} arrays that can be rasters, and no key says which."
            f" {_listing(arrays)}"
        )
    return found[0]


def _listing(arrays: Mapping[str, ArrayInfo]) -> str:
    if not arrays:
        return "The file holds no array at all."
    listed = ", ".join(f"{name} ({by(info.shape)} {info.kind})" for name, info in arrays.items())
    return f"Set key to one of: {listed}."
