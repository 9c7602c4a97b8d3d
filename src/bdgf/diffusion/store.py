"""The container of guidance features: arrays on the scene's grid, whoever computed them.

A folder with one ``TILE.npy`` per tile, float16 (g, H, W), memory-mapped, and ``features.json``
that says where they came from and which channels belong to which guidance level.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from bdgf.errors import RunFolderError
from bdgf.files import NPY_ERRORS, atomic_path, reserve
from bdgf.scene.layout import Edge, Window, reflect_index

INDEX = "features.json"


def tile_file(name: str) -> str:
    """Return a file name for a tile, unique and safe for any tile name."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    if safe == name and not safe.startswith("."):
        return f"{safe}.npy"
    return f"{safe}-{hashlib.sha256(name.encode()).hexdigest()[:8]}.npy"


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
        self.arrays: list[NDArray[np.float16]] = []
        if folder is None:
            return
        try:
            index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
            self.levels = [[int(c) for c in level] for level in index["levels"]]
            self.channels = int(index["channels"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunFolderError(
                f"{folder / INDEX} cannot be read ({error}); run 'bdgf features' again."
            ) from None
        for name, shape in zip(tile_names, shapes, strict=True):
            path = folder / tile_file(name)
            try:
                array = np.load(path, mmap_mode="r", allow_pickle=False)
            except NPY_ERRORS as error:
                raise RunFolderError(
                    f"{path} cannot be read ({error}); run 'bdgf features' again."
                ) from None
            if array.shape != (self.channels, *shape):
                raise RunFolderError(
                    f"{path} has shape {array.shape}, the scene needs {(self.channels, *shape)};"
                    " run 'bdgf features' again."
                )
            self.arrays.append(array)

    @property
    def level_channels(self) -> tuple[int, ...]:
        """Channels of every guidance level, coarse to fine."""
        return tuple(len(level) for level in self.levels)

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


def write_index(folder: Path, levels: Sequence[Sequence[int]], origin: dict[str, Any]) -> None:
    """Write ``features.json`` last: its presence says that the tiles are complete.

    Args:
        folder: The container.
        levels: Channels of every level, coarse to fine; levels may share channels.
        origin: Where the features come from.
    """
    channels = 1 + max((c for level in levels for c in level), default=-1)
    text = json.dumps(
        {"channels": channels, "levels": [list(level) for level in levels], "origin": origin},
        indent=2,
    )
    with atomic_path(folder / INDEX) as temporary:
        temporary.write_text(text, encoding="utf-8")
