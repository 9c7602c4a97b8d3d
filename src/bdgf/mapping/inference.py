"""The class probabilities of a whole scene, window by window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bdgf.diffusion.store import FeatureStore
from bdgf.fusion.network import FusionNetwork, fused_log_probabilities
from bdgf.fusion.samples import split_guidance
from bdgf.scene.layout import Window, windows_of
from bdgf.scene.prepared import PreparedScene

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


def map_tile(
    network: FusionNetwork,
    weights: Sequence[float],
    prepared: PreparedScene,
    store: FeatureStore,
    tile: int,
    side: int,
) -> Iterator[MappedWindow]:
    """Yield class indices, confidences and the heads' votes of a tile, window by window.

    Args:
        network: The trained branches.
        weights: Fusion weight of every head.
        prepared: The scene.
        store: Its guidance features.
        tile: Index of the tile.
        side: Side of the windows in pixels.
    """
    network.eval()
    valid = prepared.valid(tile)
    for window in windows_of(*prepared.shape(tile), side):
        present = valid[window.slices]
        if not present.any():
            yield MappedWindow(
                window,
                np.full(present.shape, -1, dtype=np.int64),
                np.full(present.shape, np.nan, dtype=np.float32),
                np.full((len(network.heads), *present.shape), -1, dtype=np.int64),
            )
            continue
        logits = window_logits(network, prepared, store, tile, window)
        confidence, index = _fused(logits, weights).exp().max(0)
        votes = logits.argmax(1).cpu().numpy()
        yield MappedWindow(
            window,
            np.where(present, index.numpy(), -1),
            np.where(present, confidence.numpy(), np.float32("nan")),
            np.where(present, votes, -1),
        )
