"""The class probabilities of a whole scene, window by window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bdgf.diffusion.store import FeatureStore
from bdgf.fusion.network import FusionNetwork, fused_log_probabilities
from bdgf.fusion.samples import split_guidance
from bdgf.scene.layout import Window, windows_of
from bdgf.scene.prepared import PreparedScene


@torch.inference_mode()
def window_log_probabilities(
    network: FusionNetwork,
    weights: Sequence[float],
    prepared: PreparedScene,
    store: FeatureStore,
    tile: int,
    window: Window,
) -> Tensor:
    """Return the fused log-probabilities of a window, (K, h, w).

    The window is read with a halo of half a patch, mirrored at the tile's edges, so that every
    pixel sees exactly the patch that it would be given on its own.

    Args:
        network: The trained branches.
        weights: Fusion weight of every head.
        prepared: The scene.
        store: Its guidance features.
        tile: Index of the tile.
        window: A window inside the tile.
    """
    device = next(network.parameters()).device
    grown = window.grow(network.window // 2)
    values, missing = prepared.window(tile, grown, edge="reflect")
    features = torch.from_numpy(store.window(tile, grown, edge="reflect"))[None].to(device)
    output = network(
        torch.from_numpy(values)[None].to(device),
        torch.from_numpy(missing)[None].float().to(device),
        split_guidance(features, store),
    )
    fused = fused_log_probabilities(
        output.logits.float(), torch.tensor(list(weights), device=device)
    )
    return fused[0].cpu()


def map_tile(
    network: FusionNetwork,
    weights: Sequence[float],
    prepared: PreparedScene,
    store: FeatureStore,
    tile: int,
    side: int,
) -> Iterator[tuple[Window, NDArray[np.int64], NDArray[np.float32]]]:
    """Yield class indices and confidences of a tile, window by window.

    Args:
        network: The trained branches.
        weights: Fusion weight of every head.
        prepared: The scene.
        store: Its guidance features.
        tile: Index of the tile.
        side: Side of the windows in pixels.

    Yields:
        The window; class index (h, w), −1 where the pixel has no spectral value; probability of
        that class (h, w), NaN there.
    """
    network.eval()
    valid = prepared.valid(tile)
    for window in windows_of(*prepared.shape(tile), side):
        present = valid[window.slices]
        if not present.any():
            yield (
                window,
                np.full(present.shape, -1, dtype=np.int64),
                np.full(present.shape, np.nan, dtype=np.float32),
            )
            continue
        fused = window_log_probabilities(network, weights, prepared, store, tile, window)
        confidence, index = fused.exp().max(0)
        yield (
            window,
            np.where(present, index.numpy(), -1),
            np.where(present, confidence.numpy(), np.float32("nan")),
        )
