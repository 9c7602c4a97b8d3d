"""Scene files of strangers: which folders they may read from.

A scene file that its user has written may name rasters anywhere. Where scene files come from
others, as in a service, the environment variable ``BDGF_SCENE_FOLDERS`` keeps them inside their own
folder and the folders that it lists. Rasters that may take their values from other files, such as a
VRT, are refused when they are opened (`bdgf.scene.formats.gdal`).
"""

from __future__ import annotations

import os
from pathlib import Path

from bdgf.errors import SceneError
from bdgf.scene.description import SceneSpec
from bdgf.scene.formats.companions import companions
from bdgf.scene.formats.gdal import CONFINED
from bdgf.scene.formats.location import RemotePath

VARIABLE = CONFINED
"""Set, even to an empty text: files come from the scene file's folder and the folders listed."""


def check_confined(spec: SceneSpec) -> None:
    """Refuse files outside of the folders that are allowed, where any are set.

    What lies beside a raster, such as its mask, counts as the raster. Links are followed before
    folders are compared, and no address is allowed.

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
        for one in (file, *_beside(file)):
            place = one.resolve()
            if any(place.is_relative_to(folder) for folder in allowed):
                continue
            what = f"{spec.display(file)} of {spec.path.name}"
            what += f" is read with {one.name}, which" if one != file else ""
            raise SceneError(
                f"{what} lies outside of its folder, and {VARIABLE} does not list {place.parent}:"
                " move the file, or add the folder."
            )


def _beside(file: Path) -> list[Path]:
    """Return what is read with a file, and see that no mask is a description of other files.

    Raises:
        SceneError: One is.
    """
    found = [one for one in companions(file) if isinstance(one, Path) and one != file]
    overviews = file.with_name(f"{file.name}.ovr")
    found += [overviews] if overviews.is_file() else []
    for one in found:
        if one.suffix.lower() not in (".msk", ".ovr"):
            continue
        with one.open("rb") as content:
            if content.read(2) not in (b"II", b"MM"):
                raise SceneError(
                    f"{one.name} is no TIFF, as masks and overviews beside a raster are, and"
                    f" {VARIABLE} is set: remove it."
                )
    return found
