"""Writing of the votes: the class that every head gives by itself, beside the map."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdgf.files import atomic_path
from bdgf.mapping.legend import NODATA
from bdgf.mapping.writing import (
    Grid,
    WindowWriter,
    cloud_optimised,
    system_beside,
    write_system,
)
from bdgf.scene.windows import Window


class VotesWriter(WindowWriter):
    """Writes the votes of a tile by windows, whole or not at all.

    A context manager. A cloud-optimised GeoTIFF with one band per head, named by it, uint8 (uint16
    where a code exceeds 255) with the class codes of the map, 0 for no data. Pixels that are never
    written have no data.

    Args:
        path: Where the votes go.
        grid: Their grid, for example a tile of the scene.
        class_codes: (K,) code of every class in the file, 1 to 65535.
        heads: Names of the heads.

    Raises:
        RunFolderError: The folder cannot be written, or the disk is full.
    """

    def __init__(
        self, path: Path, grid: Grid, class_codes: Sequence[int], heads: Sequence[str]
    ) -> None:
        super().__init__(grid)
        self.path, self.heads = Path(path), tuple(heads)
        self._dtype = "uint16" if max(class_codes) > 255 else "uint8"
        self._code_of = np.array([NODATA, *class_codes], dtype=self._dtype)
        self._file: Any

    def __enter__(self) -> VotesWriter:
        with contextlib.ExitStack() as stack:
            part = stack.enter_context(atomic_path(self.path))
            write_system(stack, self.path, system_beside(self.grid.crs))
            self._file = stack.enter_context(
                cloud_optimised(part, self.grid, self._dtype, NODATA, len(self.heads))
            )
            for band, head in enumerate(self.heads, 1):
                self._file.set_band_description(band, head)
            self._stack = stack.pop_all()
        return self

    def write(self, window: Window, votes: NDArray[np.integer]) -> None:
        """Write a window that lies on the grid.

        Args:
            window: Where the values belong.
            votes: (heads, h, w) class index, -1 for no data.

        Raises:
            ValueError: The writer is not open, the window is not on the grid, or the values do
                not fit the window or the heads.
        """
        place = self._place(window)
        shape = (len(self.heads), window.height, window.width)
        if votes.shape != shape:
            raise ValueError(f"votes {votes.shape} must have the shape {shape}.")
        self._file.write(self._code_of[votes.astype(np.int64) + 1], window=place)
