"""A scene as the networks see it: prepared channels of any window, read once, kept while they fit.

Values are prepared in blocks on a fixed grid of each tile, whatever window is asked for. Matrix
products round differently for different shapes, so this makes every window of a pixel hold the same
bits, cached or not.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bdgf.scene.formats.base import known_empty
from bdgf.scene.layout import ChannelLayout
from bdgf.scene.preparation import Preparation
from bdgf.scene.scene import Scene
from bdgf.scene.windows import Edge, Window, by_window, reflect_index

_BLOCK = 128
_RUN_BYTES = 64 << 20
_CACHE_BYTES, _CACHE_BYTES_OF_LARGE = 1 << 30, 256 << 20

_Block = tuple[NDArray[np.float32], NDArray[np.bool_]]
_Slices = tuple[slice, slice]


class PreparedScene:
    """Prepared channels of a scene, by windows.

    Blocks that were prepared are kept in memory up to ``cache_bytes``, those used longest ago go
    first: a scene that fits is read from its files once, a larger one costs no more memory. Several
    threads may read at once.

    Attributes:
        scene: The scene.
        preparation: Its fitted statistics.
        layout: Which channels belong to which modality.
    """

    def __init__(
        self, scene: Scene, preparation: Preparation, cache_bytes: int | None = None
    ) -> None:
        """Check that the preparation fits the scene.

        Args:
            scene: The scene.
            preparation: Statistics, of this scene or of another one of its sensors.
            cache_bytes: Memory for prepared blocks; None takes 1 GiB, and a quarter of that for a
                scene that does not fit anyway.

        Raises:
            RunFolderError: Modalities or bands differ.
        """
        preparation.check_fits(scene)
        self.scene = scene
        self.preparation = preparation
        self.layout: ChannelLayout = preparation.layout
        self._cache: OrderedDict[tuple[int, int, int], _Block] = OrderedDict()
        usual = _CACHE_BYTES_OF_LARGE if scene.large else _CACHE_BYTES
        self._cache_bytes = usual if cache_bytes is None else cache_bytes
        self._cached = 0
        self._lock = threading.Lock()
        self._needed = list(self.layout.spectral) or list(range(len(self.layout.modalities)))
        self._valid: dict[int, NDArray[np.bool_]] = {}

    @property
    def tiles(self) -> int:
        """Number of tiles."""
        return len(self.scene.tiles)

    @property
    def kept_pixels(self) -> int:
        """How many pixels stay in memory once they are prepared."""
        return self._cache_bytes // (4 * self.layout.channels + len(self.layout.modalities))

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Rows and columns of every tile."""
        return [self.shape(tile) for tile in range(self.tiles)]

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
            height, width = self.shape(tile)
            found = np.empty((height, width), dtype=bool)
            for row in range(0, height, _BLOCK):
                for col in range(0, width, _BLOCK):
                    window = Window(row, col, _BLOCK, _BLOCK).inside(height, width)
                    found[window.slices] = self.valid_in(tile, window)
            self._valid[tile] = found
        return self._valid[tile].copy()

    def valid_in(self, tile: int, window: Window) -> NDArray[np.bool_]:
        """Return ``valid`` of a window (h, w) inside the tile, without keeping that of the tile.

        A window in which the files store nothing is told without reading them.
        """
        found = np.zeros((window.height, window.width), dtype=bool)
        if not self._without_data(tile, window):
            for (_, missing), source, target in self._pieces(tile, window):
                found[target] = ~missing[self._needed][(slice(None), *source)].all(axis=0)
        return found

    def valid_at(self, positions: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of some pixels (n, 3), given as tile, row and column, are valid, (n,)."""
        found = np.zeros(len(positions), dtype=bool)
        places, grouped = by_window(positions, _BLOCK)
        for (tile, row, col), members in zip(places.tolist(), grouped, strict=True):
            window = Window(row, col, _BLOCK, _BLOCK).inside(*self.shape(tile))
            valid = self.valid_in(tile, window)
            found[members] = valid[positions[members, 1] - row, positions[members, 2] - col]
        return found

    def load(self, tile: int, window: Window) -> None:
        """Prepare what a window needs of the files and keep it, as far as memory allows."""
        for _ in self._pieces(tile, window.inside(*self.shape(tile))):
            pass

    def _without_data(self, tile: int, window: Window) -> bool:
        """Return whether no spectral pixel of a window is valid, where little tells so."""
        if not self.scene.large:
            return False
        sources = self.scene.tiles[tile].sources
        for index in self._needed:
            place = self.preparation.order[index]
            if known_empty(sources[place], window):
                continue
            # the bands alone: what is nodata in the file need not be prepared to be known
            _, valid = sources[place].read(window)
            if valid[self.preparation.fitted[place].kept].all(axis=0).any():
                return False
        return True

    def _read(self, tile: int, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Put a window inside the tile together from blocks."""
        shape = (window.height, window.width)
        values = np.empty((self.layout.channels, *shape), dtype=np.float32)
        missing = np.empty((len(self.layout.modalities), *shape), dtype=bool)
        for (block, gone), source, target in self._pieces(tile, window):
            values[(slice(None), *target)] = block[(slice(None), *source)]
            missing[(slice(None), *target)] = gone[(slice(None), *source)]
        return values, missing

    def _pieces(self, tile: int, window: Window) -> Iterator[tuple[_Block, _Slices, _Slices]]:
        """Yield the blocks under a window inside the tile, and where they and it overlap."""
        bottom, right = window.row + window.height, window.col + window.width
        for row in range(window.row // _BLOCK * _BLOCK, bottom, _BLOCK):
            for col in range(window.col // _BLOCK * _BLOCK, right, _BLOCK):
                block = self._block(tile, row, col)
                first_row, last_row = max(row, window.row), min(row + _BLOCK, bottom)
                first_col, last_col = max(col, window.col), min(col + _BLOCK, right)
                source = (
                    slice(first_row - row, last_row - row),
                    slice(first_col - col, last_col - col),
                )
                target = (
                    slice(first_row - window.row, last_row - window.row),
                    slice(first_col - window.col, last_col - window.col),
                )
                yield block, source, target

    def _block(self, tile: int, row: int, col: int) -> _Block:
        """Return the prepared block at an origin on the grid of blocks."""
        key = (tile, row, col)
        width = self.shape(tile)[1]
        cols = [col]
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
            for right in range(col + _BLOCK, width, _BLOCK):
                if len(cols) >= self._run(tile) or (tile, row, right) in self._cache:
                    break
                cols.append(right)
        # two threads may prepare the same block at once: both get the same values
        blocks = self._prepare(tile, row, cols)
        with self._lock:
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
        if size > self._cache_bytes or key in self._cache:
            return
        self._cache[key] = block
        self._cached += size
        while self._cached > self._cache_bytes:
            _, oldest = self._cache.popitem(last=False)
            self._cached -= _bytes(oldest)


def _bytes(block: _Block) -> int:
    return block[0].nbytes + block[1].nbytes
