"""The class probabilities of a whole scene, window by window."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bdgf.compute import exact
from bdgf.diffusion.store import FeatureStore
from bdgf.fusion.network import FusionNetwork, fused_log_probabilities
from bdgf.fusion.patch_source import split_guidance
from bdgf.mapping.threads import ahead
from bdgf.scene.prepared import PreparedScene
from bdgf.scene.windows import Window, windows_of

_SIDE = 128
"""Side of the pieces in which a CPU runs the network on a window: larger ones leave its cache."""


@dataclass(frozen=True)
class MappedWindow:
    """A window of a map.

    Args:
        window: Where on the tile.
        classes: (h, w) class index, −1 where the pixel has no spectral value.
        confidence: (h, w) probability of that class, NaN there.
        votes: (heads, h, w) class index that each head gives by itself, −1 there.
    """

    window: Window
    classes: NDArray[np.int64]
    confidence: NDArray[np.float32]
    votes: NDArray[np.int64]

    @classmethod
    def without_data(cls, window: Window, heads: int) -> MappedWindow:
        """Return a window in which no pixel has a class."""
        shape = (window.height, window.width)
        none = np.array(-1, dtype=np.int64)  # one value seen everywhere: most windows may be so
        return cls(
            window,
            np.broadcast_to(none, shape),
            np.broadcast_to(np.array(np.nan, dtype=np.float32), shape),
            np.broadcast_to(none, (heads, *shape)),
        )

    @property
    def empty(self) -> bool:
        """Whether no pixel of it has a class."""
        return not (self.classes >= 0).any()


def window_log_probabilities(
    network: FusionNetwork,
    weights: Sequence[float],
    prepared: PreparedScene,
    store: FeatureStore,
    tile: int,
    window: Window,
) -> Tensor:
    """Return the fused log-probabilities of a window, (K, h, w).

    Args:
        network: The trained branches.
        weights: Fusion weight of every head.
        prepared: The scene.
        store: Its guidance features.
        tile: Index of the tile.
        window: A window inside the tile.
    """
    return _fused(window_logits(network, prepared, store, tile, window), weights)


@torch.inference_mode()
@exact()
def window_logits(
    network: FusionNetwork,
    prepared: PreparedScene,
    store: FeatureStore,
    tile: int,
    window: Window,
) -> Tensor:
    """Return the logits of every head in a window, (heads, K, h, w), on the network's device.

    The window is read with a halo of half a patch, mirrored at the tile's edges, so that every
    pixel sees exactly the patch that it would be given on its own.

    Args:
        network: The trained branches.
        prepared: The scene.
        store: Its guidance features.
        tile: Index of the tile.
        window: A window inside the tile.
    """
    device = next(network.parameters()).device
    halo = network.window // 2
    grown = window.grow(halo)
    values, missing = prepared.window(tile, grown, edge="reflect")
    features = torch.from_numpy(store.window(tile, grown, edge="reflect"))[None].to(device)
    image = torch.from_numpy(values)[None].to(device)
    gone = torch.from_numpy(missing)[None].float().to(device)
    side = _SIDE if device.type == "cpu" else max(window.height, window.width)
    rows: dict[int, list[Tensor]] = {}
    for piece in windows_of(window.height, window.width, side):
        read = Window(piece.row, piece.col, piece.height + 2 * halo, piece.width + 2 * halo)
        inputs = [x[(..., *read.slices)] for x in (image, gone, features)]
        output = network(*inputs[:2], split_guidance(inputs[2], store))
        rows.setdefault(piece.row, []).append(output.logits[0].float())
    return torch.cat([torch.cat(row, 3) for row in rows.values()], 2)


@torch.inference_mode()
def _fused(logits: Tensor, weights: Sequence[float]) -> Tensor:
    """Fuse (heads, K, h, w) to log-probabilities (K, h, w) on the CPU."""
    shares = torch.tensor(list(weights), device=logits.device)
    return fused_log_probabilities(logits[None], shares)[0].cpu()


def map_windows(
    network: FusionNetwork,
    weights: Sequence[float],
    prepared: PreparedScene,
    store: FeatureStore,
    tile: int,
    windows: Iterable[Window],
) -> Iterator[MappedWindow]:
    """Yield class indices, confidences and the heads' votes of some windows of a tile.

    While one window is classified, a second thread reads what the next ones need from the files.

    Args:
        network: The trained branches.
        weights: Fusion weight of every head.
        prepared: The scene.
        store: Its guidance features.
        tile: Index of the tile.
        windows: Windows inside the tile.
    """
    network.eval()

    def read(window: Window) -> tuple[Window, NDArray[np.bool_]]:
        present = prepared.valid_in(tile, window)
        if present.any():
            prepared.load(tile, store.needs(tile, window.grow(network.window // 2)))
        return window, present

    for window, present in ahead(read, windows):
        yield classify(network, weights, prepared, store, tile, window, present)


def classify(
    network: FusionNetwork,
    weights: Sequence[float],
    prepared: PreparedScene,
    store: FeatureStore,
    tile: int,
    window: Window,
    present: NDArray[np.bool_],
) -> MappedWindow:
    """Classify one window of a tile.

    Args:
        network: The trained branches, in evaluation mode.
        weights: Fusion weight of every head.
        prepared: The scene.
        store: Its guidance features.
        tile: Index of the tile.
        window: A window inside the tile.
        present: (h, w) pixels that get a class.
    """
    if not present.any():
        return MappedWindow.without_data(window, len(network.heads))
    logits = window_logits(network, prepared, store, tile, window)
    confidence, index = _fused(logits, weights).exp().max(0)
    votes = logits.argmax(1).cpu().numpy()
    return MappedWindow(
        window,
        np.where(present, index.numpy(), -1),
        np.where(present, confidence.numpy(), np.float32("nan")),
        np.where(present, votes, -1),
    )
