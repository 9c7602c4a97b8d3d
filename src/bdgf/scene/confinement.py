"""Scene files of strangers: which folders they may read from.

A scene file that its user has written may name rasters anywhere. Where scene files come from
others, as in a service, the environment variable ``BDGF_SCENE_FOLDERS`` keeps them, and what their
rasters consist of, inside their own folder and the folders that it lists.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from bdgf.errors import SceneError
from bdgf.scene.description import SceneSpec
from bdgf.scene.formats.companions import companions
from bdgf.scene.formats.gdal import begins_as_xml
from bdgf.scene.formats.location import RemotePath

VARIABLE = "BDGF_SCENE_FOLDERS"
"""Set, even to an empty text: files come from the scene file's folder and the folders listed."""

_SOURCES = ("sourcefilename", "sourcedataset")
"""Elements and attributes of a VRT that name a file; GDAL does not tell their letters' case."""
_OTHERS = ("ogrvrtdatasource", "gdaltileindexdataset")
"""Descriptions of other files that are no VRT of rasters."""


def check_confined(spec: SceneSpec) -> None:
    """Refuse files outside of the folders that are allowed, where any are set.

    The files beside a raster and the sources of a VRT count as the raster does. Links are followed
    before folders are compared, and no address is allowed.

    Raises:
        SceneError: A file outside.
    """
    listed = os.environ.get(VARIABLE)
    if listed is None:
        return
    allowed = [spec.folder.resolve(), *(Path(p).resolve() for p in listed.split(os.pathsep) if p)]
    for file in spec.files():
        if isinstance(file, RemotePath):
            raise SceneError(
                f"{file.shown} of {spec.path.name} is an address, and {VARIABLE} allows files of"
                " this machine only: download it, or unset the variable."
            )
        for reached in _reached(file):
            place = reached.resolve()
            if any(place.is_relative_to(folder) for folder in allowed):
                continue
            what = f"{spec.display(file)} of {spec.path.name}"
            if reached != file:
                what += f" reads {reached.name}, which"
            raise SceneError(
                f"{what} lies outside of its folder, and {VARIABLE} does not list {place.parent}:"
                " move the file, or add the folder."
            )


def _reached(file: Path) -> Iterator[Path]:
    """Yield a file and all that is read with it; what follows from one is looked up after it."""
    left, seen = [file], {file}
    while left:
        one = left.pop()
        yield one
        beside = [other for other in companions(one) if isinstance(other, Path)]
        for other in (*beside, *_sources(one)):
            if other not in seen:
                seen.add(other)
                left.append(other)


def _sources(file: Path) -> Iterator[Path]:
    """Yield the files that a VRT names, whatever its own name is.

    Raises:
        SceneError: It names something that is no file, or describes other files in another way.
    """
    if not begins_as_xml(file):
        return
    try:
        root = ElementTree.parse(file).getroot()
    except (ElementTree.ParseError, OSError, LookupError, ValueError) as error:
        raise SceneError(
            f"{file.name} begins as XML and is none ({error}); {VARIABLE} allows such files only"
            " where it can be told what they read."
        ) from error
    for element in root.iter():
        tag = _local(element.tag)
        if tag in _OTHERS:
            raise _refused(file, "describes other files")
        named = [element.text or ""] if tag in _SOURCES else []
        named += [value for key, value in element.attrib.items() if _local(key) in _SOURCES]
        for name in filter(None, map(str.strip, named)):
            if ":" in name.lstrip() or name.startswith(("/vsi", "<")):
                raise _refused(file, f"reads {name[:60]!r}, which is no file")
            # GDAL takes a name as relative to the VRT or to the working folder
            yield file.parent / name
            if not Path(name).is_absolute():
                yield Path.cwd() / name if not _relative(element) else file.parent / name


def _relative(element: ElementTree.Element) -> bool:
    return any(_local(key) == "relativetovrt" and v == "1" for key, v in element.attrib.items())


def _local(name: object) -> str:
    return str(name).rpartition("}")[2].lower()


def _refused(file: Path, what: str) -> SceneError:
    return SceneError(
        f"{file.name} {what}, and {VARIABLE} allows only files whose place is known: name the"
        " rasters themselves in the scene file."
    )
