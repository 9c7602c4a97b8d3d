"""How diffusion features guide the branches: projection, feature fusion, group channel attention.

Everything here is the identity (or its unguided form) where the gain is zero or the features are
zero, so that guidance can be switched off and enters training gated from near zero. The kinds of
guidance are named by Liu et al., arXiv 2509.23310 (abstract); their formulas are ours.

The third kind, cross-attention to the diffusion tokens, is part of the transformer's levels, with
whose self-attention it shares tokens, projection and residual: `TransformerLevel` in dense.py and
`PatchTransformerLevel` in patch.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bdgf.fusion.layers import Pointwise, pointwise
from bdgf.fusion.scan import split_last

_EPSILON = 0.1
"""Of the norm of the guidance: features far below it fade out instead of being blown up."""


class GuidanceProjection(nn.Module):
    """Brings each level of the diffusion features to D channels, zero staying zero.

    Args:
        channels: g_l of each level; 0 for a level without features.
        width: D.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            Pointwise(g, width, bias=False) if g else nn.Identity() for g in channels
        )

    def forward(self, guidance: Sequence[Tensor]) -> list[Tensor | None]:
        """Project and normalise.

        Args:
            guidance: (B, g_l, H_l, W_l) of each level.

        Returns:
            (B, H_l, W_l, D) of each level, None for one without features.
        """
        return [
            F.layer_norm(project(level.permute(0, 2, 3, 1)), (project.out_features,), eps=_EPSILON)
            if isinstance(project, nn.Linear)
            else None
            for project, level in zip(self.levels, guidance, strict=True)
        ]


def gate(width: int, gain: float) -> nn.Parameter:
    """Gain per channel by which guidance enters."""
    return nn.Parameter(torch.full((width,), float(gain)))


class FeatureFusion(nn.Module):
    """Feature fusion of the CNN branch: ``GELU(LN(W [F; w ⊙ gain ⊙ G]))``, ``w = σ(V [F; G])``.

    Args:
        width: D.
        gain: Start value of the gain.
        guided: Whether the level has guidance; if not, only F is used.
    """

    def __init__(self, width: int, gain: float, guided: bool) -> None:
        super().__init__()
        # W and V on [F; G] are kept as their two halves: no concatenated copy is made
        self.own = Pointwise(width, 2 * width if guided else width)
        self.norm = nn.LayerNorm(width)
        self.guided = guided
        if guided:
            self.gate_of_guidance = Pointwise(width, width, bias=False)
            self.guide = Pointwise(width, width, bias=False)
            self.gain = gate(width, gain)

    def forward(self, x: Tensor, guidance: Tensor | None) -> Tensor:
        """(B, H, W, D) and guidance of the same shape to the same shape."""
        own = self.own(x)
        if self.guided and guidance is not None:
            own, weight = own.chunk(2, 3)
            weight = torch.sigmoid(weight + self.gate_of_guidance(guidance))
            own = own + self.guide(weight * (self.gain * guidance))
        return F.gelu(cast(Tensor, self.norm(own)))


class GroupChannelAttention(nn.Module):
    """Group channel attention of the Mamba branch: ``F ⊙ (1 + gain ⊙ (c ⊙ g - 1))``.

    A network per group of channels sees the group in F and in G and gives channel weights ``c``
    (between 0 and 2) and one logit per group; a softmax over the groups gives their weights ``g``
    (mean 1). Its hidden layer is a product of the two, so that zero guidance gives weights of one.

    Args:
        width: D.
        groups: Number of groups, a divisor of D.
        gain: Start value of the gain.
    """

    def __init__(self, width: int, groups: int, gain: float) -> None:
        super().__init__()
        size = width // groups
        self.groups = groups
        bound = size**-0.5
        self.from_features = nn.Parameter(torch.empty(groups, size, size).uniform_(-bound, bound))
        self.from_guidance = nn.Parameter(torch.empty(groups, size, size).uniform_(-bound, bound))
        self.to_channels = nn.Parameter(torch.empty(groups, size, size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(width))
        if groups > 1:
            self.to_group = nn.Parameter(torch.empty(groups, 1, size).uniform_(-bound, bound))
        self.gain = gate(width, gain)

    def _by_group(self, x: Tensor, blocks: Tensor, bias: Tensor | None = None) -> Tensor:
        """Map each group by its own (out, in) block, as one block-diagonal product."""
        eye = torch.eye(self.groups, dtype=blocks.dtype, device=blocks.device)
        weight = blocks.unsqueeze(2) * eye[:, None, :, None]  # (groups, out, groups, in)
        return pointwise(x, weight.flatten(2).flatten(0, 1), bias)

    def weights(self, x: Tensor, guidance: Tensor) -> Tensor:
        """Channel weights times group weights, (B, h, w, D), of features and guidance like it."""
        hidden = F.gelu(self._by_group(x, self.from_features, self.bias))
        hidden = hidden * self._by_group(guidance, self.from_guidance)
        channel = 2 * torch.sigmoid(self._by_group(hidden, self.to_channels))  # (B, h, w, D)
        if self.groups == 1:
            return channel
        group = torch.softmax(self._by_group(hidden, self.to_group), 3) * self.groups
        return (split_last(channel, self.groups) * group.unsqueeze(4)).flatten(3)

    def forward(self, x: Tensor, guidance: Tensor, pooled: bool = False) -> Tensor:
        """Weigh the channels.

        Args:
            x: (B, H, W, D) features.
            guidance: (B, H, W, D).
            pooled: One weight per sample, from the means over its pixels, not one per pixel.

        Returns:
            (B, H, W, D).
        """
        if pooled:
            weights = self.weights(x.mean((1, 2), True), guidance.mean((1, 2), True))
        else:
            weights = self.weights(x, guidance)
        return x * (1 + self.gain * (weights - 1))
