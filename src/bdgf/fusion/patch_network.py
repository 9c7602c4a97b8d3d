"""The patch network: the literal reading of the method, on every pixel's own P × P patch.

Padded convolutions, a bidirectional S6 scan over all P² tokens, full self- and cross-attention with
a learned position embedding. Its operators see the patch's border, so a map costs a whole patch per
pixel; the interface is that of the dense network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bdgf.config import NetworkSettings
from bdgf.fusion.base import GuidedNetwork, step_bias
from bdgf.fusion.guidance import FeatureFusion, GroupChannelAttention, GuidanceProjection, gate
from bdgf.fusion.layers import ChannelConv, ConvolutionBlock, FeedForward, Pointwise, Stem
from bdgf.fusion.scan import selective_scan, spiral_order, split_last
from bdgf.scene.layout import ChannelLayout

_PATCHES = 256
"""Patches of an image that are computed together."""


class PaddedCnnLevel(nn.Module):
    """Feature fusion, then a padded 3 × 3 convolution.

    Args:
        width: D.
        gain: Start value of the guidance gain.
        guided: Whether the level has guidance.
    """

    def __init__(self, width: int, gain: float, guided: bool) -> None:
        super().__init__()
        self.fusion = FeatureFusion(width, gain, guided)
        self.block = ConvolutionBlock(width, 1)

    def forward(self, x: Tensor, guidance: Tensor | None) -> Tensor:
        """(B, P, P, D) and guidance like it to the same."""
        return cast(Tensor, self.block(self.fusion(x, guidance)))


class Direction(nn.Module):
    """One direction of the bidirectional scan: its own dt, B, C, A and skip.

    Args:
        width: D.
        states: N.
    """

    def __init__(self, width: int, states: int) -> None:
        super().__init__()
        rank = max(1, width // 16)
        self.sizes = (rank, states, states)
        self.select = nn.Linear(width, sum(self.sizes), bias=False)
        self.step = nn.Linear(rank, width)
        decay = torch.arange(1, states + 1, dtype=torch.float32).expand(width, states)
        self.log_decay = nn.Parameter(decay.log().clone())  # (D, N), A = -exp
        self.skip = nn.Parameter(torch.ones(width))
        with torch.no_grad():
            self.step.bias.copy_(step_bias(width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) to the same, the tokens in the order of the scan."""
        low_rank, b, c = self.select(x).split(self.sizes, 2)
        dt = F.softplus(cast(Tensor, self.step(low_rank)))  # (B, L, D)
        return selective_scan(x, dt, -self.log_decay.exp(), b, c, self.skip)


class PatchMambaLevel(nn.Module):
    """Pooled group channel attention, then a bidirectional S6 scan over the patch in spiral order.

    Args:
        width: D.
        window: P.
        gain: Start value of the guidance gain.
        guided: Whether the level has guidance.
        groups: Groups of the group channel attention.
        states: N.
    """

    order: Tensor
    place: Tensor

    def __init__(
        self, width: int, window: int, gain: float, guided: bool, groups: int, states: int
    ) -> None:
        super().__init__()
        self.attention = GroupChannelAttention(width, groups, gain) if guided else None
        self.norm = nn.LayerNorm(width)
        self.enter = Pointwise(width, 2 * width)  # x, z
        self.local = ChannelConv(width, width, 3, padding=1, groups=width)
        self.inwards = Direction(width, states)
        self.outwards = Direction(width, states)
        self.project = Pointwise(width, width)
        order = spiral_order(window)
        self.register_buffer("order", order, persistent=False)  # (L,)
        self.register_buffer("place", order.argsort(), persistent=False)  # (L,), its inverse

    def forward(self, x: Tensor, guidance: Tensor | None) -> Tensor:
        """(B, P, P, D) and guidance like it to the same."""
        # 1. group channel attention
        if self.attention is not None and guidance is not None:
            x = self.attention(x, guidance, pooled=True)
        # 2. projection and a depthwise convolution in place of the sequence's
        entry, z = self.enter(self.norm(x)).chunk(2, 3)
        entry = F.silu(self.local(entry.contiguous()))  # (B, P, P, D)
        # 3. scans from the border to the centre and back
        tokens = entry.flatten(1, 2)[:, self.order]  # (B, L, D)
        y = self.inwards(tokens) + self.outwards(tokens.flip(1)).flip(1)  # (B, L, D)
        y = y[:, self.place].view_as(entry)
        # 4. gate, projection, residual
        return x + cast(Tensor, self.project(y * F.silu(z)))


class PatchTransformerLevel(nn.Module):
    """Self-attention over the patch and cross-attention to its diffusion tokens.

    Args:
        width: D.
        gain: Start value of the guidance gain.
        guided: Whether the level has guidance.
        heads: Heads of each attention.
        swapped: The diffusion tokens ask, the task's own tokens answer.
    """

    def __init__(
        self, width: int, gain: float, guided: bool, heads: int, swapped: bool = False
    ) -> None:
        super().__init__()
        self.attention_heads, self.guided, self.swapped = heads, guided, swapped
        self.norm = nn.LayerNorm(width)
        # no bias of the keys: the softmax is blind to it
        self.query = nn.Linear(width, 2 * width if guided and not swapped else width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.project = nn.Linear(width, width)
        self.feed_forward = FeedForward(width)
        if guided:
            self.guide_key = nn.Linear(width, width, bias=False)
            self.guide_value = nn.Linear(width, width, bias=False)
            self.gain = gate(width, gain)
            if swapped:
                self.guide_query = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, guidance: Tensor | None) -> Tensor:
        """(B, P, P, D) and guidance like it to the same."""
        tokens = self.norm(x).flatten(1, 2)  # (B, L, D)
        query = self.query(tokens)
        if self.guided and guidance is not None:
            diffusion = guidance.flatten(1, 2)  # (B, L, D)
            if self.swapped:
                own, cross, answers = query, self.guide_query(diffusion), tokens
            else:
                own, cross = query.chunk(2, 2)
                answers = diffusion
            read = self._attend(own, self.key(tokens), self.value(tokens)) + self.gain * (
                self._attend(cross, self.guide_key(answers), self.guide_value(answers))
            )
        else:
            read = self._attend(query, self.key(tokens), self.value(tokens))
        return cast(Tensor, self.feed_forward(x + self.project(read).view_as(x)))

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        q, k, v = (
            split_last(t, self.attention_heads).transpose(1, 2) for t in (query, key, value)
        )  # (B, heads, L, D/heads)
        # on CUDA the gradients of the fused kernels are added up in any order
        fused = q.device.type != "cuda" or not torch.is_grad_enabled()
        read = F.scaled_dot_product_attention(q, k, v) if fused else attention(q, k, v)
        return read.transpose(1, 2).flatten(2)  # (B, L, D)


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Scaled dot product attention of single operations, (..., L, D) each to (..., L, D)."""
    weights = torch.softmax((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1), -1)
    return weights @ v


class PatchNetwork(GuidedNetwork):
    """Three guided branches on the P² tokens of every pixel's patch.

    Args:
        settings: Window, width, branches and the rest.
        layout: Channels of the modalities.
        guidance_channels: Channels of the three levels of guidance, coarse to fine; 0 for none.
        classes: K.
    """

    def __init__(
        self,
        settings: NetworkSettings,
        layout: ChannelLayout,
        guidance_channels: Sequence[int],
        classes: int,
    ) -> None:
        super().__init__(settings, layout, guidance_channels, classes)
        width, window, gain = settings.width, settings.window, settings.guidance_gain
        self.stem = Stem([(m.start, m.stop) for m in layout.modalities], width, padding=1)
        self.guidance = GuidanceProjection(self.guides, width)
        self.branches = nn.ModuleDict()
        for name in settings.branches:
            levels = nn.ModuleList()
            for guided in (channels > 0 and name in settings.guided for channels in self.guides):
                if name == "cnn":
                    levels.append(PaddedCnnLevel(width, gain, guided))
                elif name == "mamba":
                    levels.append(
                        PatchMambaLevel(
                            width, window, gain, guided, settings.groups, settings.state
                        )
                    )
                else:
                    levels.append(
                        PatchTransformerLevel(
                            width,
                            gain,
                            guided,
                            settings.attention_heads,
                            settings.cross_query == "diffusion",
                        )
                    )
            self.branches[name] = levels
        if "transformer" in self.branches:
            self.position = nn.Parameter(0.02 * torch.randn(window, window, width))

    def branch_outputs(
        self, values: Tensor, missing: Tensor, guidance: Sequence[Tensor]
    ) -> list[Tensor]:
        """Cut the image into patches where it is larger than one; see the base class."""
        height, width = values.shape[1:3]
        if height == width == self.window:
            return self._patches(values, missing, guidance)
        rows, cols = height - self.window + 1, width - self.window + 1
        planes = [values.permute(0, 3, 1, 2), missing.permute(0, 3, 1, 2), *guidance]
        views = [
            p.unfold(2, self.window, 1).unfold(3, self.window, 1) for p in planes
        ]  # (B, C, rows, cols, P, P)
        read: list[list[Tensor]] = []
        for index in range(values.shape[0]):
            for row in range(rows):
                for col in range(0, cols, _PATCHES):
                    cut = [
                        v[index, :, row, col : col + _PATCHES].transpose(0, 1).contiguous()
                        for v in views
                    ]  # (n, C, P, P)
                    inputs = [t.permute(0, 2, 3, 1).contiguous() for t in cut[:2]]
                    read.append(self._patches(inputs[0], inputs[1], cut[2:]))  # (n, 1, 1, D)
        return [
            torch.cat(parts).view(values.shape[0], rows, cols, -1)
            for parts in zip(*read, strict=True)
        ]

    def _patches(self, values: Tensor, missing: Tensor, guidance: Sequence[Tensor]) -> list[Tensor]:
        """(n, P, P, ·) and guidance (n, g, P, P) to (n, 1, 1, D) of each branch."""
        embedding = self.stem(values, missing)  # (n, P, P, D)
        guides = self.guidance(guidance)  # 3 × (n, P, P, D)
        middle = self.window // 2
        outputs = []
        for name, levels in self.branches.items():
            x = embedding + self.position if name == "transformer" else embedding
            for level, guide in zip(cast(nn.ModuleList, levels), guides, strict=True):
                x = level(x, guide)
            outputs.append(
                x[:, middle : middle + 1, middle : middle + 1] + x.mean((1, 2), keepdim=True)
            )
        return outputs
