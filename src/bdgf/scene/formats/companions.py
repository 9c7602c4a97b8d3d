"""The files that a raster consists of: a header's data, the sources of a VRT, what lies beside."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rasterio.io import DatasetReader

from bdgf.errors import SceneError
from bdgf.scene.formats.location import Location, RemotePath

_HEADER = ".hdr"
_DATA = (".dat", ".img", ".bsq", ".bil", ".bip", ".raw", ".bin", ".flt", ".cube", ".rfl", ".sli")
_SOURCE = re.compile(r"<Source(?:Filename|Dataset)\b([^>]*)>([^<]+)<")
_MOST_NAMED = 3
_PLACES = (".prj", ".sgrd", ".ige")
"""A CRS beside a raster of a format that has none; a SAGA grid's header; ERDAS's large values."""
_SHAPE = (".dbf", ".shx", ".cpg")
_TELLING = ("<GeoTransform", "<SRS", "<NoDataValue", "<Scale", "<Offset", "<GCPList")
"""What an ``.aux.xml`` holds that changes how a raster is read; statistics do not."""


def data_file(path: Location) -> Location:
    """Return the file with the values, where a header (``.hdr``) is named; else the path itself.

    Raises:
        SceneError: There is no file with values beside the header.
    """
    if path.suffix.lower() != _HEADER:
        return path
    if isinstance(path, RemotePath):
        raise SceneError(
            f"{path.shown} is a header; of a remote raster, name the file with the values."
        )
    bare = path.with_suffix("")
    if bare.is_file():
        return bare
    beside = {other.name.lower(): other for other in _siblings(path)}
    for suffix in _DATA:
        if path.stem.lower() + suffix in beside:
            return beside[path.stem.lower() + suffix]
    raise SceneError(
        f"{path.name} is a header, and no file with its values is beside it; put {path.stem},"
        f" {path.stem}.dat or {path.stem}.img there, or name the file with the values."
    )


def companions(path: Location) -> list[Location]:
    """Return the local files that decide what is read of a raster or vector file, itself first.

    They are the values of a header and the header of values, GDAL's mask and notes, a world file
    and a CRS, the parts of a shapefile, and the sources of a VRT with their own.

    Raises:
        SceneError: There is no file with values beside a header.
    """
    own = list(dict.fromkeys([path, data_file(path)]))
    found = list(own)
    for one in own:
        if isinstance(one, Path):
            found += [beside for beside in _beside(one) if beside.is_file()]
    if isinstance(path, Path) and path.suffix.lower() == ".vrt":
        found += _nested(path)
    return list(dict.fromkeys(found))


def read_beside(path: Path) -> set[Path]:
    """Return names of files that are only read together with a file: its header, mask or notes."""
    return {*_beside(path), path.with_name(f"{path.name}.aux.xml")} - {path}


def _beside(path: Path) -> list[Path]:
    """Names that GDAL looks for beside a file."""
    ending = path.suffix
    names = [path.with_suffix(_HEADER), path.with_name(f"{path.name}{_HEADER}")]
    names.append(path.with_name(f"{path.name}.msk"))
    names += [path.with_suffix(part) for part in _PLACES]
    if len(ending) > 2:  # a world file: .tfw, .tifw or .wld beside a .tif
        names += [path.with_suffix(f"{ending[:2]}{ending[-1]}w"), path.with_suffix(f"{ending}w")]
        names.append(path.with_suffix(".wld"))
    if ending.lower() == ".shp":
        names += [path.with_suffix(part) for part in _SHAPE]
    if ending.lower() == ".gpkg":  # what another program has written while it holds the file open
        names.append(path.with_name(f"{path.name}-wal"))
    names += [name.with_suffix(name.suffix.upper()) for name in names]
    notes = path.with_name(f"{path.name}.aux.xml")
    if any(word in _text(notes) for word in _TELLING):
        names.append(notes)
    return names


def _nested(vrt: Path) -> list[Location]:
    """Return the files that a VRT points to, and those that they point to, as far as they exist."""
    found: dict[Location, None] = {}
    left, seen = [vrt], {vrt}
    while left:
        one = left.pop()
        for _, source in _sources(_text(one), one):
            if source in seen or not source.is_file():
                continue
            seen.add(source)
            found[source] = None
            found.update(dict.fromkeys(name for name in _beside(source) if name.is_file()))
            if source.suffix.lower() == ".vrt":
                left.append(source)
    return list(found)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def check_complete(dataset: DatasetReader, path: Location) -> None:
    """Refuse a raster that lacks files or values; GDAL itself would read zeros or fail later.

    Raises:
        SceneError: A VRT's sources are missing, or an ENVI file is shorter than its header says.
    """
    if isinstance(path, RemotePath):
        return
    if dataset.driver == "VRT":
        _check_sources(dataset, path)
    elif dataset.driver == "ENVI":
        _check_size(dataset, path)


def _siblings(path: Path) -> list[Path]:
    try:
        return sorted(path.parent.iterdir())
    except OSError:
        return []


def _check_sources(dataset: DatasetReader, path: Path) -> None:
    text = str(dataset.tags(ns="xml:VRT").get("xml:VRT", ""))
    missing = [name for name, source in _sources(text, path) if not source.exists()]
    if missing:
        listed = ", ".join(missing[:_MOST_NAMED])
        more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
        raise SceneError(
            f"{path.name} points to {len(missing)} file(s) that do not exist ({listed}{more}); put"
            " them there, or build the VRT again."
        )


def _sources(text: str, path: Path) -> Iterator[tuple[str, Path]]:
    """Yield the names that the text of a VRT gives to its sources, and their paths."""
    for attributes, name in dict.fromkeys(_SOURCE.findall(text)):
        name = html.unescape(name).strip()
        # Names with a colon are addresses or parts of other files, such as NETCDF:"a.nc":height.
        if not name or ":" in name or name.startswith(("/vsi", "<")):
            continue
        relative = 'relativeToVRT="1"' in attributes
        yield name, path.parent / name if relative else Path(name)


def _check_size(dataset: DatasetReader, path: Path) -> None:
    header = dataset.tags(ns="ENVI")
    if header.get("file_compression", "0").strip() not in ("", "0"):
        return
    offset = header.get("header_offset", "0").strip()
    values = dataset.count * dataset.height * dataset.width
    needed = values * np.dtype(dataset.dtypes[0]).itemsize + int(offset if offset.isdigit() else 0)
    size = path.stat().st_size
    if size < needed:
        raise SceneError(
            f"{path.name} has {size:,} bytes, and its header asks for {needed:,}: the file is cut"
            " short or the header belongs to another one, get both again."
        )
