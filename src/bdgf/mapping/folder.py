"""The folder that maps of other scenes go to: nothing foreign is overwritten there."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bdgf import __version__
from bdgf.errors import RunFolderError
from bdgf.files import JSON_ERRORS, atomic_write_text, is_temporary, remove_leftovers, writable
from bdgf.lock import LOCK, locked
from bdgf.runfolder import remove_other_maps

RECORD = "mapped.json"
"""Says which run has mapped which scene; a folder that holds it may be written to again."""


@contextlib.contextmanager
def map_folder(folder: Path, tiles: Sequence[str], record: Mapping[str, Any]) -> Iterator[None]:
    """Keep a folder for the maps of a scene while they are written.

    Half-written files of a process that was killed are removed first, maps of earlier scenes last.

    Args:
        folder: A new or empty folder, or one that holds maps which were written so.
        tiles: Names of the scene's tiles.
        record: What ``mapped.json`` says of the maps, beside the version.

    Raises:
        RunFolderError: The folder holds other files, another process works on it, or it cannot be
            written; nothing was changed.
    """
    _check(folder)
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        _check(folder)
        remove_leftovers(folder)
        _write(folder, {"bdgf": __version__, "finished": False, **record})
        yield
        remove_other_maps(folder, tiles)
        _write(folder, {"bdgf": __version__, "finished": True, **record})


def check_finished(folder: Path) -> None:
    """Refuse maps of another scene of which some are not written yet: they are of two scenes.

    Raises:
        RunFolderError: They are not finished, or the record cannot be read.
    """
    path = folder / RECORD
    if not path.is_file():
        return
    try:
        finished = json.loads(path.read_text(encoding="utf-8")).get("finished", True)
    except (*JSON_ERRORS, AttributeError) as error:
        raise RunFolderError(
            f"{path} cannot be read ({error}); map the scene again with 'bdgf map RUN --scene SCENE"
            f" --to {folder}'."
        ) from None
    if not finished:
        raise RunFolderError(
            f"{folder} holds maps that are not finished, by {RECORD}; finish them with 'bdgf map"
            f" RUN --scene SCENE --to {folder}'."
        )


def _write(folder: Path, record: Mapping[str, Any]) -> None:
    text = json.dumps(record, indent=2, ensure_ascii=False)
    atomic_write_text(folder / RECORD, f"{text}\n")


def _check(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"{folder} is a file; name a folder for the maps.")
    if not folder.is_dir() or (folder / RECORD).is_file():
        return
    if any(path.name != LOCK and not is_temporary(path) for path in folder.iterdir()):
        raise RunFolderError(
            f"{folder} holds files but no {RECORD}, so it is not the map of another scene; nothing"
            " was written: name an empty or new folder."
        )
