"""The process that opens HDF5 files before others do: reads names of files, answers when through.

Its answer does not say whether a file is good, only that reading it comes to an end.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from bdgf.errors import SceneError
from bdgf.scene.formats.guard import mark_inside
from bdgf.scene.formats.hdf5 import Hdf5Reader, hdf5_readers
from bdgf.scene.formats.raster import GdalSource, gdal_keys
from bdgf.scene.windows import Window

ARRAYS = (".mat", ".h5", ".hdf5", ".he5")
"""Endings of files that are read by h5py; others are read by GDAL."""

_MOST = 50
_MEMORY = 8 << 30


def serve() -> None:
    """Answer one line per file until the input ends."""
    mark_inside()
    with contextlib.suppress(ImportError, ValueError, OSError):  # Windows has no such limits
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        # errors are for the process that asks, on its own reading
        with contextlib.suppress(Exception):
            read_through(Path(line.rstrip("\n").replace("\0", "\n")))
        sys.stdout.write("passed\n")
        sys.stdout.flush()


def read_through(path: Path) -> None:
    """Read a file's structure, and a value at the beginning and the end of its arrays."""
    if path.suffix.lower() in ARRAYS:
        for reader in list(hdf5_readers(path).values())[:_MOST]:
            _read_ends(reader)
        return
    # opening a variable reads the structure of the whole file: of many not all are opened
    keys: list[str | None] = [*gdal_keys(path)] or [None]
    for key in keys[:_MOST]:
        try:
            source = GdalSource(path, key=key)
            source.read(Window(0, 0, 1, 1))
            source.read(Window(source.height - 1, source.width - 1, 1, 1))
        except SceneError:
            continue


def _read_ends(reader: Hdf5Reader) -> None:
    shape = reader.info.shape
    if not reader.info.numeric or 0 in shape:
        return
    for ends in (tuple(slice(0, 1) for _ in shape), tuple(slice(n - 1, n) for n in shape)):
        try:
            reader.read(ends)
        except SceneError:
            return
