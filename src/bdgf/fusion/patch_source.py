"""Patches of a scene for training: input, missing indicators and guidance, gathered by position."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bdgf.compute import to_device
from bdgf.diffusion.computed import ComputedFeatures, panel_columns
from bdgf.diffusion.features import WINDOW
from bdgf.diffusion.store import FeatureStore
from bdgf.files import scratch_path, writable
from bdgf.scene.prepared import PreparedScene
from bdgf.scene.windows import Window

TABLE_BYTES = 1 << 30
STRIP = 64
_PLACE = np.array([1 << 42, 1 << 21, 1])
"""Makes one number of tile, row and column."""


class Patches(NamedTuple):
    """A batch of patches.

    Attributes:
        values: (B, C, P, P).
        missing: (B, M, P, P), 1 where a modality is missing.
        guidance: Three levels (B, g_l, P, P), coarse to fine.
    """

    values: Tensor
    missing: Tensor
    guidance: list[Tensor]

    def to(self, device: torch.device) -> Patches:
        """Return them on a device."""
        values, missing, *guidance = (
            to_device(part, device) for part in (self.values, self.missing, *self.guidance)
        )
        return Patches(values, missing, guidance)


def split_guidance(features: Tensor, store: FeatureStore) -> list[Tensor]:
    """Split all levels' channels (B, g, H, W) into the three levels."""
    return [features[:, level] for level in store.levels]


class PatchSource:
    """Gathers patches around pixels, mirrored at the tile's edges.

    While the scene is small, all of it lies in one table of pixels and a batch is one look-up;
    otherwise every patch is read by its window, or once for all where ``keep`` was told of it. All
    give the same patches.

    Args:
        prepared: The scene.
        store: Its guidance features.
        window: P, side of a patch.
        table_bytes: Largest table.

    Attributes:
        without: By the index of a modality, the guidance features of the scene without it. Where
            there are none, a patch from which the modality is hidden keeps its guidance.
    """

    def __init__(
        self,
        prepared: PreparedScene,
        store: FeatureStore,
        window: int,
        table_bytes: int = TABLE_BYTES,
    ) -> None:
        self.prepared, self.store, self.window = prepared, store, window
        self.without: Mapping[int, ComputedFeatures] = {}
        self.channels, self.modalities = prepared.layout.channels, len(prepared.layout.modalities)
        radius = window // 2
        shapes = [prepared.shape(tile) for tile in range(prepared.tiles)]
        pixels = sum((h + 2 * radius) * (w + 2 * radius) for h, w in shapes)
        self._width = self.channels + self.modalities + store.channels
        self.table: Tensor | None = None
        if pixels * 4 * self._width <= table_bytes:
            self.table = torch.empty(pixels, self._width)
            filled = 0
            for tile, shape in enumerate(shapes):
                whole = Window(0, 0, *shape).grow(radius)
                for row in range(0, whole.height, STRIP):
                    height = min(STRIP, whole.height - row)
                    strip = Window(whole.row + row, whole.col, height, whole.width)
                    rows = self._read(tile, strip)
                    self.table[filled : filled + len(rows)] = rows
                    filled += len(rows)
        self._table_bytes = table_bytes
        self._kept: NDArray[np.float32] | None = None  # (n, P·P, C + M + g)
        # places of the kept patches, ascending, and the row of each; no place is −1
        self._places, self._rows = np.array([-1]), np.array([-1])
        sizes = [(h + 2 * radius) * (w + 2 * radius) for h, w in shapes]
        self._start = torch.tensor(np.cumsum([0, *sizes])[:-1])  # (tiles,)
        self._stride = torch.tensor([w + 2 * radius for _, w in shapes])  # (tiles,)
        # the eight flips and turns of a patch as orders of its pixels, (8, P·P, 2)
        grid = np.stack(np.meshgrid(np.arange(window), np.arange(window), indexing="ij"), -1)
        turned = [np.rot90(g, k) for g in (grid, grid[:, ::-1]) for k in range(4)]
        orders = np.stack([np.ascontiguousarray(g).reshape(-1, 2) for g in turned])
        self._orders = torch.from_numpy(orders)

    @property
    def patch_bytes(self) -> int:
        """Bytes of a patch that is kept."""
        return 4 * self.window**2 * self._width

    def room(self) -> int | None:
        """Return how many patches memory is given for, None where the whole scene is at hand."""
        return None if self.table is not None else self._table_bytes // self.patch_bytes

    def keep(self, positions: NDArray[np.int64], folder: Path | None = None) -> None:
        """Read the patches around pixels that are asked for again and again.

        Nothing is done where the whole scene is at hand. They are read block by block, so that
        features which are computed where they are read are computed once.

        Args:
            positions: (n, 3) tile, row and column.
            folder: Where a file is made for them, which goes with this process; None keeps them in
                memory.

        Raises:
            RunFolderError: The folder cannot be written, or the disk is full.
        """
        if self.table is not None:
            return
        places, first = np.unique(positions @ _PLACE, return_index=True)
        tiles, rows, cols = positions[first].T
        panel = max(1, panel_columns(self.prepared, self.store) // WINDOW) * WINDOW
        order = np.lexsort((cols // WINDOW, rows // WINDOW, cols // panel, tiles))
        patches = self._read_all(positions[first][order])
        shape = (len(order), self.window**2, self._width)
        if folder is None:
            self._kept = np.empty(shape, np.float32)
            for number, patch in enumerate(patches):
                self._kept[number] = patch
        else:
            path = folder / "patches.raw"
            with writable(path), scratch_path(path) as scratch:
                with scratch.open("wb") as file:
                    for patch in patches:
                        file.write(patch.numpy().data)
                # it stays readable without its name, which only Windows does not give up
                self._kept = np.memmap(scratch, np.float32, "r", shape=shape)
        self._places, self._rows = places, np.argsort(order)

    def gather(
        self,
        positions: NDArray[np.int64],
        orientation: Tensor | None = None,
        hidden: NDArray[np.int64] | None = None,
    ) -> Patches:
        """Return the patches around pixels.

        Args:
            positions: (B, 3) tile, row and column.
            orientation: (B,) integers from 0 to 7, one of the flips and turns each; None for as is.
            hidden: (B,) index of the modality that is missing from all of a patch, −1 for none.
        """
        count, side = len(positions), self.window
        if orientation is None:
            orientation = torch.zeros(count, dtype=torch.long)
        order = self._orders[orientation]  # (B, P·P, 2)
        if self.table is not None:
            where = torch.from_numpy(positions)
            stride = self._stride[where[:, 0]][:, None]
            first = self._start[where[:, 0]] + where[:, 1] * stride[:, 0] + where[:, 2]
            index = first[:, None] + order[..., 0] * stride + order[..., 1]
            flat = self.table[index.reshape(-1)].view(count, side * side, -1)
        else:
            index = order[..., 0] * side + order[..., 1]
            parts = zip(self._patches(positions), index, strict=True)
            flat = torch.stack([patch[turned] for patch, turned in parts])
        if hidden is not None:
            self._hide(flat, positions, order, hidden)
        patch = flat.view(count, side, side, -1).permute(0, 3, 1, 2)  # channels-last, (B, ., P, P)
        c, m = self.channels, self.modalities
        return Patches(
            patch[:, :c], patch[:, c : c + m], split_guidance(patch[:, c + m :], self.store)
        )

    def hideable(self, positions: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return the pixels (n,) at which ``without`` has its features in memory."""
        found = np.ones(len(positions), dtype=bool)
        for features in self.without.values():
            found &= features.kept(positions)
        return found

    def _hide(
        self,
        flat: Tensor,
        positions: NDArray[np.int64],
        order: Tensor,
        hidden: NDArray[np.int64],
    ) -> None:
        """Take modalities out of patches (B, P·P, C + M + g), and out of their guidance."""
        radius = self.window // 2
        guidance = self.channels + self.modalities
        for index in np.flatnonzero(hidden >= 0):
            modality = int(hidden[index])
            part = self.prepared.layout.modalities[modality]
            flat[index, :, part.start : part.stop] = 0.0
            flat[index, :, self.channels + modality] = 1.0
            if modality in self.without:
                tile, row, col = (int(p) for p in positions[index])
                around = Window(row, col, 1, 1).grow(radius)
                seen = torch.from_numpy(self.without[modality].window(tile, around, "reflect"))
                rows, cols = order[index].unbind(-1)
                flat[index, :, guidance:] = seen[:, rows, cols].T

    def _patches(self, positions: NDArray[np.int64]) -> Iterator[Tensor]:
        """Yield the pixels of the patches around pixels (n, 3) as rows, (P·P, C + M + g) each."""
        places = positions @ _PLACE
        found = np.minimum(np.searchsorted(self._places, places), len(self._places) - 1)
        rows = np.where(self._places[found] == places, self._rows[found], -1)
        for position, row in zip(positions, rows, strict=True):
            if row >= 0 and self._kept is not None:
                yield torch.from_numpy(np.array(self._kept[row]))
            else:
                yield from self._read_all(position[None])

    def _read_all(self, positions: NDArray[np.int64]) -> Iterator[Tensor]:
        """Read the patches around pixels (n, 3), one after another."""
        for tile, row, col in positions.tolist():
            yield self._read(tile, Window(row, col, 1, 1).grow(self.window // 2))

    def _read(self, tile: int, window: Window) -> Tensor:
        """Return the pixels of a window as rows, (h·w, C + M + g)."""
        values, missing = self.prepared.window(tile, window, edge="reflect")
        features = self.store.window(tile, window, edge="reflect")
        joined = np.concatenate([values, missing.astype(np.float32), features])
        return torch.from_numpy(np.ascontiguousarray(joined.reshape(len(joined), -1).T))
