"""Scene files of strangers: which folders they may read from.

A scene file that its user has written may name rasters anywhere. Where scene files come from
others, as in a service, the environment variable ``BDGF_SCENE_FOLDERS`` keeps them inside their own
folder and the folders that it lists.
"""

from __future__ import annotations

import os
from pathlib import Path

from bdgf.errors import SceneError
from bdgf.scene.description import SceneSpec
from bdgf.scene.formats.location import RemotePath

VARIABLE = "BDGF_SCENE_FOLDERS"
"""Set, even to an empty text: files come from the scene file's folder and the folders listed."""


def check_confined(spec: SceneSpec) -> None:
    """Refuse files outside of the folders that are allowed, where any are set.

    Links are followed before folders are compared, and no address is allowed.

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
        place = file.resolve()
        if not any(place.is_relative_to(folder) for folder in allowed):
            raise SceneError(
                f"{spec.display(file)} of {spec.path.name} lies outside of its folder, and"
                f" {VARIABLE} does not list {place.parent}: move the file, or add the folder."
            )
