"""Diffusion features that are computed where they are read, for a view of the scene."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from bdgf.diffusion.denoiser import HALO
from bdgf.diffusion.features import WINDOW, FeatureExtractor
from bdgf.diffusion.reduction import Reduction
from bdgf.diffusion.store import FeatureStore
from bdgf.scene.prepared import PreparedScene
from bdgf.scene.windows import PANEL, Window

AROUND = 3 * WINDOW
"""Columns beside a panel that its windows are made from."""

_Key = tuple[int, int, int]


class ComputedFeatures(FeatureStore):
    """Guidance features of a scene, computed block by block when a window asks for them.

    The blocks are those that ``extract`` writes, so that a view which hides nothing has the stored
    features to the last bit. They are kept in memory up to ``cache_bytes``; those used longest ago
    go first.

    Args:
        extractor: Reads the denoiser on the scene, or on a view of it.
        reduction: Components of the levels, as fitted on the whole scene.
        cache_bytes: Memory for blocks.
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        reduction: Reduction,
        cache_bytes: int = 256 << 20,
    ) -> None:
        prepared = extractor.prepared
        shapes = prepared.shapes
        super().__init__(None, [tile.name for tile in prepared.scene.tiles], shapes)
        self.levels = reduction.levels
        self.channels = reduction.channels
        self._extractor, self._reduction = extractor, reduction
        self._cache: OrderedDict[_Key, NDArray[np.float16]] = OrderedDict()
        self._cache_bytes, self._cached = cache_bytes, 0
        self.arrays = [cast(NDArray[np.float16], _Tile(self, t)) for t in range(len(shapes))]

    @property
    def kept_pixels(self) -> int:
        """How many pixels' features stay in memory."""
        return self._cache_bytes // max(1, 2 * self.channels)

    def needs(self, tile: int, window: Window) -> Window:
        """Return the part of the prepared scene that is read for a window and its features."""
        inside = window.inside(*self.shapes[tile])
        bottom, right = inside.row + inside.height, inside.col + inside.width
        missing = [
            (row, col)
            for row in range(inside.row // WINDOW * WINDOW, bottom, WINDOW)
            for col in range(inside.col // WINDOW * WINDOW, right, WINDOW)
            if (tile, row, col) not in self._cache
        ]
        if not missing:
            return window
        rows, cols = zip(*missing, strict=True)
        top, left = min(window.row, min(rows) - HALO), min(window.col, min(cols) - HALO)
        bottom = max(window.row + window.height, max(rows) + WINDOW + HALO)
        right = max(window.col + window.width, max(cols) + WINDOW + HALO)
        return Window(top, left, bottom - top, right - left)

    def kept(self, positions: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which pixels lie in blocks that stay in memory together.

        Half of the memory is left to the blocks beside them, which windows around the pixels reach.

        Args:
            positions: (n, 3) tile, row and column; blocks with many of them go first.
        """
        origins = positions.copy()
        origins[:, 1:] -= origins[:, 1:] % WINDOW
        places, owner, counts = np.unique(origins, axis=0, return_inverse=True, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        sides = [np.minimum(WINDOW, np.array(self.shapes[t]) - (r, c)) for t, r, c in places[order]]
        areas = np.array([side.prod() for side in sides], dtype=np.int64)
        fits = np.empty(len(places), dtype=bool)
        fits[order] = np.cumsum(areas) * self.channels * 2 <= self._cache_bytes // 2
        return fits[owner.reshape(-1)]

    def block(self, tile: int, row: int, col: int) -> NDArray[np.float16]:
        """Return the features (g, h, w) of the block at an origin on the grid of blocks."""
        key = (tile, row, col)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        window = Window(row, col, WINDOW, WINDOW).inside(*self.shapes[tile])
        block = self._extractor.block(self._reduction, tile, window)
        self._cache[key] = block
        self._cached += block.nbytes
        while self._cached > self._cache_bytes and len(self._cache) > 1:
            _, oldest = self._cache.popitem(last=False)
            self._cached -= oldest.nbytes
        return block


def rows_together(side: int) -> int:
    """Return of how many rows prepared channels and features serve a row of windows and the next.

    Args:
        side: Side of the windows.
    """
    return max(side, WINDOW) + 2 * WINDOW


def panel_columns(prepared: PreparedScene, store: FeatureStore, side: int = WINDOW) -> int:
    """Return how wide the panels are in which every block of a scene is made once.

    What is made for one row of windows stays in memory for the next. At a panel's borders blocks
    are made for both.

    Args:
        prepared: The scene.
        store: Its guidance features.
        side: Side of the windows.

    Returns:
        Columns of a panel, as ``panels_of`` takes them.
    """
    kept = prepared.kept_pixels
    if isinstance(store, ComputedFeatures):
        kept = min(kept, store.kept_pixels)
    columns = kept // rows_together(side)
    if columns >= max(width for _, width in store.shapes):
        return PANEL
    return min(PANEL, max(2 * WINDOW, columns - AROUND))


class _Tile:
    """The features of one tile as far as ``FeatureStore`` reads an array: by rows and columns."""

    def __init__(self, features: ComputedFeatures, tile: int) -> None:
        self.features, self.tile = features, tile

    def __getitem__(self, key: tuple[Any, slice, slice]) -> NDArray[np.float16]:
        _, rows, cols = key
        shape = (rows.stop - rows.start, cols.stop - cols.start)
        found = np.empty((self.features.channels, *shape), dtype=np.float16)
        for row in range(rows.start // WINDOW * WINDOW, rows.stop, WINDOW):
            for col in range(cols.start // WINDOW * WINDOW, cols.stop, WINDOW):
                top, bottom = max(row, rows.start), min(row + WINDOW, rows.stop)
                left, right = max(col, cols.start), min(col + WINDOW, cols.stop)
                block = self.features.block(self.tile, row, col)
                found[
                    :,
                    top - rows.start : bottom - rows.start,
                    left - cols.start : right - cols.start,
                ] = block[:, top - row : bottom - row, left - col : right - col]
        return found
