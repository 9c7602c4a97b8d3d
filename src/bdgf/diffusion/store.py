"""The container of guidance features: arrays on the scene's grid, whoever computed them.

A folder with one ``TILE.npy`` per tile, float16 (g, H, W), memory-mapped, and ``features.json``
that says where they came from and which channels belong to which guidance level. Where the disk
has no room for the arrays, the JSON says that the features are computed where they are read.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from bdgf.errors import RunFolderError
from bdgf.files import JSON_ERRORS, NPY_ERRORS, atomic_path, atomic_write_text, remove, reserve
from bdgf.scene.windows import Edge, Window, reflect_index

INDEX = "features.json"

OPEN_TILES = 128
"""Tiles whose arrays are open at a time."""

_MARGIN_BYTES, _MARGIN_SHARE = 2 << 30, 0.1
"""What is left free of the disk for the rest of the run."""


def tile_file(name: str) -> str:
    """Return a file name for a tile, unique and safe for any tile name."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    if safe == name and not safe.startswith("."):
        return f"{safe}.npy"
    return f"{safe}-{hashlib.sha256(name.encode()).hexdigest()[:8]}.npy"


@dataclass(frozen=True)
class Room:
    """How much of a disk the features of a scene would take.

    Args:
        needed: Bytes of their arrays.
        free: Bytes that the disk has.
    """

    needed: int
    free: int

    @property
    def enough(self) -> bool:
        """Whether they fit, and leave a tenth of the free space and 2 GiB to the rest."""
        return self.needed <= self.free * (1 - _MARGIN_SHARE) - _MARGIN_BYTES

    def describe(self) -> str:
        """Say it in words."""
        return f"they take {self.needed / 1e9:.2f} GB and {self.free / 1e9:.2f} GB are free"


def room_for(folder: Path, shapes: Sequence[tuple[int, int]], channels: int) -> Room:
    """Compare the features of a scene with the disk of a folder, which need not exist.

    Args:
        folder: Where they would be written.
        shapes: (H, W) of every tile.
        channels: Of all levels together.
    """
    there = folder
    while not there.is_dir():
        there = there.parent
    return Room(sum(h * w for h, w in shapes) * channels * 2, shutil.disk_usage(there).free)


def clear(folder: Path) -> None:
    """Remove the features that a folder holds: the index first, without which they count for none.

    They would take the disk's room from those that follow them.
    """
    remove(folder / INDEX)
    for path in folder.glob("*.npy"):
        remove(path)


def are_stored(folder: Path) -> bool:
    """Return whether a folder's features are arrays, and not computed where they are read."""
    try:
        return bool(json.loads((folder / INDEX).read_text(encoding="utf-8")).get("stored", True))
    except (*JSON_ERRORS, AttributeError):
        return True  # whoever opens them says what is wrong


class _Tiles:
    """The arrays (g, H, W) of the tiles, memory-mapped; few are open at a time.

    Args:
        paths: One file per tile.
        shapes: What each must hold.

    Raises:
        RunFolderError: A file that is missing, damaged or of another shape.
    """

    def __init__(self, paths: Sequence[Path], shapes: Sequence[tuple[int, int, int]]) -> None:
        self.paths, self.shapes = paths, shapes
        self._opened: OrderedDict[int, NDArray[np.float16]] = OrderedDict()
        for tile in range(len(paths)):
            self[tile]

    def __getitem__(self, tile: int) -> NDArray[np.float16]:
        known = self._opened.get(tile)
        if known is not None:
            with suppress(KeyError):  # another thread may have closed it since
                self._opened.move_to_end(tile)
            return known
        path, shape = self.paths[tile], self.shapes[tile]
        try:
            array: NDArray[np.float16] = np.load(path, mmap_mode="r", allow_pickle=False)
        except NPY_ERRORS as error:
            raise RunFolderError(
                f"{path} cannot be read ({error}); delete it and run 'bdgf features' again."
            ) from None
        if array.shape != shape:
            raise RunFolderError(
                f"{path} has shape {array.shape}, the scene needs {shape};"
                " run 'bdgf features' again."
            )
        # each holds a file open, and a process may have a thousand or so
        self._opened[tile] = array
        if len(self._opened) > OPEN_TILES:
            self._opened.popitem(last=False)
        return array


class FeatureStore:
    """Guidance features of a scene, read by window.

    Args:
        folder: Where the arrays and the JSON lie; None stands for no guidance at all.
        tile_names: Names of the scene's tiles in their order.
        shapes: (H, W) of every tile.

    Raises:
        RunFolderError: Files that are missing, damaged or on another grid.
    """

    def __init__(
        self, folder: Path | None, tile_names: Sequence[str], shapes: Sequence[tuple[int, int]]
    ) -> None:
        self.shapes = list(shapes)
        self.levels: list[list[int]] = [[], [], []]
        self.channels = 0
        self.arrays: Sequence[NDArray[np.float16]] | _Tiles = []
        if folder is None:
            return
        try:
            index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
            self.levels = [[int(c) for c in level] for level in index["levels"]]
            self.channels = int(index["channels"])
            if not index.get("stored", True):
                raise ValueError("it says that they are not stored but computed")
        except (*JSON_ERRORS, KeyError, TypeError) as error:
            raise RunFolderError(
                f"{folder / INDEX} cannot be read ({error}); delete it and run 'bdgf features'"
                " again."
            ) from None
        paths = [folder / tile_file(name) for name in tile_names]
        self.arrays = _Tiles(paths, [(self.channels, *shape) for shape in shapes])

    @property
    def level_channels(self) -> tuple[int, ...]:
        """Channels of every guidance level, coarse to fine."""
        return tuple(len(level) for level in self.levels)

    def needs(self, tile: int, window: Window) -> Window:
        """Return the part of the prepared scene that is read for a window and its features."""
        return window

    def window(self, tile: int, window: Window, edge: Edge = "reflect") -> NDArray[np.float32]:
        """Return the features of a window, (g, h, w), all levels' channels together.

        Args:
            tile: Index of the tile.
            window: May hang over the tile's edge.
            edge: Beyond the edge: the mirrored tile, or zeros.
        """
        if not self.channels:
            return np.zeros((0, window.height, window.width), dtype=np.float32)
        height, width = self.shapes[tile]
        array = self.arrays[tile]
        if edge == "reflect":
            rows = reflect_index(window.row, window.height, height)
            cols = reflect_index(window.col, window.width, width)
            top, left = rows.min(), cols.min()
            part = np.asarray(array[:, top : rows.max() + 1, left : cols.max() + 1])
            return part[:, rows - top][:, :, cols - left].astype(np.float32)
        found = np.zeros((self.channels, window.height, window.width), dtype=np.float32)
        inside = window.inside(height, width)
        row, col = inside.row - window.row, inside.col - window.col
        found[:, row : row + inside.height, col : col + inside.width] = array[
            (slice(None), *inside.slices)
        ]
        return found


@contextmanager
def open_tile(
    folder: Path, name: str, shape: tuple[int, int, int]
) -> Iterator[NDArray[np.float16]]:
    """Yield the features (g, H, W) of one tile to be filled, on the disk and not in memory.

    The file takes its name when the block has succeeded.
    """
    with atomic_path(folder / tile_file(name)) as temporary:
        array = open_memmap(temporary, mode="w+", dtype=np.float16, shape=shape)
        reserve(temporary)
        yield array
        array.flush()


def write_index(
    folder: Path, levels: Sequence[Sequence[int]], origin: dict[str, Any], stored: bool = True
) -> None:
    """Write ``features.json`` last: its presence says that the tiles are complete.

    Args:
        folder: The container.
        levels: Channels of every level, coarse to fine; levels may share channels.
        origin: Where the features come from.
        stored: Whether the arrays are there; else they are computed where they are read.
    """
    channels = 1 + max((c for level in levels for c in level), default=-1)
    record = {"channels": channels, "levels": [list(level) for level in levels], "origin": origin}
    if not stored:
        record["stored"] = False
    atomic_write_text(folder / INDEX, json.dumps(record, indent=2))
