"""The network of guided branches: how it is built, and how its heads are fused."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bdgf.config import NetworkSettings
from bdgf.fusion.base import LEVELS, FusionNetwork, NetworkOutput
from bdgf.fusion.dense_network import DenseNetwork
from bdgf.fusion.ensemble import Ensemble
from bdgf.fusion.patch_network import PatchNetwork
from bdgf.randomness import derived_seed
from bdgf.scene.layout import ChannelLayout

__all__ = [
    "DenseNetwork",
    "Ensemble",
    "FusionNetwork",
    "NetworkOutput",
    "PatchNetwork",
    "build_network",
    "fused_log_probabilities",
]


def build_network(
    settings: NetworkSettings,
    layout: ChannelLayout,
    guidance_channels: Sequence[int],
    classes: int,
    seed: int,
) -> FusionNetwork:
    """Build the network that the settings ask for, with weights that only the seed decides.

    With several members they differ by their seeds, and the first is what one alone would be.

    Args:
        settings: Kind, members, window, width, branches and the rest.
        layout: Channels of the modalities.
        guidance_channels: Channels of the three levels of guidance, coarse to fine; 0 for a level
            without features.
        classes: K, at least 2.
        seed: Of the initial weights. The global generators are left as they were.

    Raises:
        ValueError: Not three levels of guidance, or fewer than two classes.
    """
    if len(guidance_channels) != LEVELS:
        raise ValueError(
            f"Guidance has {len(guidance_channels)} levels; the branches have {LEVELS}: give the"
            " channels of each, 0 for a level without features."
        )
    if classes < 2:
        raise ValueError(
            f"There are {classes} classes; a classifier needs at least 2: check the labels."
        )
    kind = DenseNetwork if settings.kind == "dense" else PatchNetwork
    members: list[FusionNetwork] = []
    for member in range(settings.members):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(member_seed(seed, member))
            members.append(kind(settings, layout, guidance_channels, classes))
    return members[0] if len(members) == 1 else Ensemble(members)


def member_seed(seed: int, member: int) -> int:
    """Return the seed of a member; the first has the seed itself."""
    return seed if member == 0 else derived_seed(seed, "member", member)


def fused_log_probabilities(logits: Tensor, weights: Tensor) -> Tensor:
    """Fuse the heads by the weighted mean of their log-probabilities.

    Args:
        logits: (B, heads, K, h, w).
        weights: (heads,), not negative. They sum to 1, or to the inverse of a temperature: less
            than 1 makes the fusion less certain, and changes no class.

    Returns:
        (B, K, h, w) log-probabilities, normalised over the classes.
    """
    shares = weights.to(logits).view(1, -1, 1, 1, 1)
    mean = (torch.log_softmax(logits, 2) * shares).sum(1)
    return torch.log_softmax(mean, 1)
