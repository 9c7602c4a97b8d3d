"""A scene as the networks see it: prepared channels of any window, read once, kept while they fit.

Values are prepared in blocks on a fixed grid of each tile, whatever window is asked for. Matrix
products round differently for different shapes, so this makes every window of a pixel hold the same
bits, cached or not.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from bdgf.scene.layout import ChannelLayout, Edge, Window, reflect_index
from bdgf.scene.preparation import Preparation
from bdgf.scene.scene import Scene

_BLOCK = 128
_RUN_BYTES = 64 << 20

_Block = tuple[NDArray[np.float32], NDArray[np.bool_]]


class PreparedScene:
    """Prepared channels of a scene, by windows.

    Blocks that were prepared are kept in memory up to ``cache_bytes``, those used longest ago go
    first: a scene that fits is read from its files once, a larger one costs no more memory.

    Attributes:
        scene: The scene.
        preparation: Its fitted statistics.
        layout: Which channels belong to which modality.
    """

    def __init__(self, scene: Scene, preparation: Preparation, cache_bytes: int = 1 << 30) -> None:
        """Check that the preparation fits the scene.

        Raises:
            RunFolderError: Modalities or bands differ.
        """
        preparation.check_fits(scene)
        self.scene = scene
        self.preparation = preparation
        self.layout: ChannelLayout = preparation.layout
        self._cache: OrderedDict[tuple[int, int, int], _Block] = OrderedDict()
        self._cache_bytes = cache_bytes
        self._cached = 0
        self._valid: dict[int, NDArray[np.bool_]] = {}

    @property
    def tiles(self) -> int:
        """Number of tiles."""
        return len(self.scene.tiles)

    def shape(self, tile: int) -> tuple[int, int]:
        """Return the rows and columns of a tile."""
        return self.scene.tiles[tile].height, self.scene.tiles[tile].width

    def window(
        self, tile: int, window: Window, edge: Edge
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return prepared channels of a window, which may hang over the tile's edge.

        Args:
            tile: Index of the tile.
            window: The window.
            edge: missing (zeros that are marked missing beyond the edge) or reflect (the tile
                mirrored at its edge pixels).

        Returns:
            Values (C, h, w), 0 at missing pixels, and missing (M, h, w). The arrays are the
            caller's own.
        """
        height, width = self.shape(tile)
        inside = window.inside(height, width)
        if inside == window:
            return self._read(tile, window)
        if edge == "reflect":
            rows = reflect_index(window.row, window.height, height)
            cols = reflect_index(window.col, window.width, width)
            row, col = int(rows.min()), int(cols.min())
            around = Window(row, col, int(rows.max()) - row + 1, int(cols.max()) - col + 1)
            values, missing = self._read(tile, around)
            at = np.ix_(rows - row, cols - col)
            return values[:, at[0], at[1]], missing[:, at[0], at[1]]
        shape = (window.height, window.width)
        values = np.zeros((self.layout.channels, *shape), dtype=np.float32)
        missing = np.ones((len(self.layout.modalities), *shape), dtype=bool)
        if inside.height and inside.width:
            top, left = inside.row - window.row, inside.col - window.col
            rows_, cols_ = slice(top, top + inside.height), slice(left, left + inside.width)
            values[:, rows_, cols_], missing[:, rows_, cols_] = self._read(tile, inside)
        return values, missing

    def valid(self, tile: int) -> NDArray[np.bool_]:
        """Return the pixels (H, W) to be mapped.

        These have a spectral modality; any modality in a scene without a spectral one.
        """
        if tile not in self._valid:
            needed = list(self.layout.spectral) or list(range(len(self.layout.modalities)))
            height, width = self.shape(tile)
            found = np.empty((height, width), dtype=bool)
            for row in range(0, height, _BLOCK):
                for col in range(0, width, _BLOCK):
                    _, missing = self._block(tile, row, col)
                    rows, cols = slice(row, row + _BLOCK), slice(col, col + _BLOCK)
                    found[rows, cols] = ~missing[needed].all(axis=0)
            self._valid[tile] = found
        return self._valid[tile].copy()

    def _read(self, tile: int, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Put a window inside the tile together from blocks."""
        shape = (window.height, window.width)
        values = np.empty((self.layout.channels, *shape), dtype=np.float32)
        missing = np.empty((len(self.layout.modalities), *shape), dtype=bool)
        bottom, right = window.row + window.height, window.col + window.width
        for row in range(window.row // _BLOCK * _BLOCK, bottom, _BLOCK):
            for col in range(window.col // _BLOCK * _BLOCK, right, _BLOCK):
                block, gone = self._block(tile, row, col)
                first_row, last_row = max(row, window.row), min(row + _BLOCK, bottom)
                first_col, last_col = max(col, window.col), min(col + _BLOCK, right)
                source = (
                    slice(None),
                    slice(first_row - row, last_row - row),
                    slice(first_col - col, last_col - col),
                )
                target = (
                    slice(None),
                    slice(first_row - window.row, last_row - window.row),
                    slice(first_col - window.col, last_col - window.col),
                )
                values[target] = block[source]
                missing[target] = gone[source]
        return values, missing

    def _block(self, tile: int, row: int, col: int) -> _Block:
        """Return the prepared block at an origin on the grid of blocks."""
        key = (tile, row, col)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        width = self.shape(tile)[1]
        cols = [col]
        for right in range(col + _BLOCK, width, _BLOCK):
            if len(cols) >= self._run(tile) or (tile, row, right) in self._cache:
                break
            cols.append(right)
        blocks = self._prepare(tile, row, cols)
        for at, block in zip(reversed(cols), reversed(blocks), strict=True):
            self._keep((tile, row, at), block)
        return blocks[0]

    def _run(self, tile: int) -> int:
        """Return how many blocks side by side are read at once.

        A file of whole rows unpacks all of a row for any part of it, so its blocks are read in runs
        as long as memory allows; any other file gives one block at a time.
        """
        sources = self.scene.tiles[tile].sources
        if all(source.block[1] <= _BLOCK for source in sources):
            return 1
        pixels = _BLOCK * _BLOCK
        raw = pixels * sum(source.bands for source in sources) * 5
        prepared = pixels * (self.layout.channels * 4 + len(sources))
        return max(1, min(_RUN_BYTES // raw, self._cache_bytes // (2 * prepared)))

    def _prepare(self, tile: int, row: int, cols: list[int]) -> list[_Block]:
        """Read a run of blocks at once and prepare each by itself."""
        height, width = self.shape(tile)
        area = Window(row, cols[0], _BLOCK, cols[-1] + _BLOCK - cols[0]).inside(height, width)
        read = [self.scene.tiles[tile].read(m, area) for m in range(len(self.scene.modalities))]
        blocks = []
        for col in cols:
            part = (..., slice(col - cols[0], col - cols[0] + _BLOCK))
            values = [raw[part] for raw, _ in read]
            blocks.append(self.preparation.transform(values, [valid[part] for _, valid in read]))
        return blocks

    def _keep(self, key: tuple[int, int, int], block: _Block) -> None:
        size = _bytes(block)
        if size > self._cache_bytes:
            return
        self._cache[key] = block
        self._cached += size
        while self._cached > self._cache_bytes:
            _, oldest = self._cache.popitem(last=False)
            self._cached -= _bytes(oldest)


def _bytes(block: _Block) -> int:
    return block[0].nbytes + block[1].nbytes
