"""The dense network: valid and sliding-window operators only.

What it says of a pixel depends on nothing but the pixel's own P × P patch, whether it is run on the
patch or on a whole image, so that a map is computed once and not per pixel. The radius (P - 1) / 2
is spent on the stem (1), on three guided levels, coarse to fine, and on a mean over the neighbours
before the heads (1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bdgf.config import NetworkSettings
from bdgf.fusion.base import LEVELS, GuidedNetwork, step_bias
from bdgf.fusion.guidance import FeatureFusion, GroupChannelAttention, GuidanceProjection, gate
from bdgf.fusion.layers import ConvolutionBlock, FeedForward, Pointwise, Stem
from bdgf.fusion.sliding import mapped
from bdgf.fusion.sliding.trained import crop, ssd_centre_readout, window_attention
from bdgf.scene.layout import ChannelLayout


def split_radius(window: int, pooling: int = 0) -> tuple[int, ...]:
    """Radii of the three levels: they fall from coarse to fine and fill P.

    The rest is the stem's 1 and the pooling before the heads.
    """
    rest = (window - 1) // 2 - 1 - pooling
    return tuple(rest // LEVELS + (level < rest % LEVELS) for level in range(LEVELS))


class CnnLevel(nn.Module):
    """Feature fusion, then ``radius`` valid 3 × 3 convolutions.

    Args:
        width: D.
        radius: Pixels that the level takes from each side.
        gain: Start value of the guidance gain.
        guided: Whether the level has guidance.
    """

    def __init__(self, width: int, radius: int, gain: float, guided: bool) -> None:
        super().__init__()
        self.fusion = FeatureFusion(width, gain, guided)
        self.blocks = nn.Sequential(*(ConvolutionBlock(width, 0) for _ in range(radius)))

    def forward(self, x: Tensor, guidance: Tensor | None) -> Tensor:
        """(B, H, W, D) and guidance like it to (B, H - 2 radius, W - 2 radius, D)."""
        return cast(Tensor, self.blocks(self.fusion(x, guidance)))


class MambaLevel(nn.Module):
    """Group channel attention, then a state-space scan over the window, read at its centre.

    Args:
        width: D.
        radius: Radius of the window.
        gain: Start value of the guidance gain.
        guided: Whether the level has guidance.
        groups: Groups of the group channel attention.
        states: N.
        heads: Heads of the scan, each with its own decay.
    """

    def __init__(
        self,
        width: int,
        radius: int,
        gain: float,
        guided: bool,
        groups: int,
        states: int,
        heads: int,
    ) -> None:
        super().__init__()
        self.radius, self.sizes = radius, (width, states, heads)
        self.attention = GroupChannelAttention(width, groups, gain) if guided else None
        self.norm = nn.LayerNorm(width)
        self.tokens = Pointwise(width, width + states + heads)  # x, B, dt of every token
        self.centre = Pointwise(width, width + states)  # z, C of the centre
        self.skip = nn.Parameter(torch.ones(width))
        self.project = Pointwise(width, width)
        # a window of one token decays nowhere
        self.log_decay = (
            nn.Parameter(torch.linspace(1, 8, heads).log()) if radius else None
        )  # (heads,), A = -exp
        with torch.no_grad():
            self.tokens.bias[-heads:] = step_bias(heads)

    def forward(self, x: Tensor, guidance: Tensor | None) -> Tensor:
        """(B, H, W, D) and guidance like it to (B, H - 2 radius, W - 2 radius, D)."""
        # 1. group channel attention
        if self.attention is not None and guidance is not None:
            x = self.attention(x, guidance)
        # 2. projections of the tokens and of the centres
        tokens = self.norm(x)
        if mapped.by_strips(tokens, self.radius):
            return crop(x, self.radius) + self._mapped(tokens)
        entry, b, dt = self.tokens(tokens).split(self.sizes, 3)
        z, c = self.centre(crop(tokens, self.radius)).split(self.sizes[:2], 3)
        entry, b, dt = F.silu(entry), F.silu(b), F.softplus(dt)
        # 3. scan over the window, read at the centre
        decay = None if self.log_decay is None else -self.log_decay.exp()
        y = ssd_centre_readout(entry, dt, decay, b, c, self.radius)
        y = y + self.skip * crop(entry, self.radius)
        # 4. gate, projection, residual
        return crop(x, self.radius) + cast(Tensor, self.project(y * F.silu(z)))

    def _mapped(self, tokens: Tensor) -> Tensor:
        """Steps 2 to 4 without the residual, strip by strip, (B, H, W, D) as in ``forward``."""
        radius, (width, _, heads) = self.radius, self.sizes
        height, cols = tokens.shape[1] - 2 * radius, tokens.shape[2] - 2 * radius
        rates = -cast(Tensor, self.log_decay).exp()[:, None, None]  # (heads, 1, 1)
        out = torch.empty_like(crop(tokens, radius), memory_format=torch.contiguous_format)
        for image, found in zip(tokens, out, strict=True):
            for rows in mapped.strips(height, width * cols):
                part = image[rows.start : rows.stop + 2 * radius]
                planes = mapped.to_planes(part, self.tokens.weight, self.tokens.bias)
                entry, b, dt = torch.split_with_sizes(planes, self.sizes, 0)
                entry, b, dt = F.silu(entry), F.silu(b), F.softplus(dt)
                inner = part[radius:-radius, radius:-radius]
                planes = mapped.to_planes(inner, self.centre.weight, self.centre.bias)
                z, c = torch.split_with_sizes(planes, self.sizes[:2], 0)
                by_head = entry.view(heads, -1, *entry.shape[1:])
                scaled = (by_head * dt.unsqueeze(1)).flatten(0, 1)
                y = mapped.ssd_centre_readout(scaled, dt * rates, b, c, radius)
                y.addcmul_(self.skip[:, None, None], entry[:, radius:-radius, radius:-radius])
                y *= F.silu(z)
                found[rows] = mapped.to_pixels(y, self.project.weight, self.project.bias)
        return out


class TransformerLevel(nn.Module):
    """Attention of the centre to the window: to the task's own tokens, and to the diffusion tokens.

    Args:
        width: D.
        radius: Radius of the window.
        gain: Start value of the guidance gain.
        guided: Whether the level has guidance.
        heads: Heads of each attention.
        swapped: The diffusion token of the centre asks, the task's own tokens answer. A window of
            one token has nothing to choose, so guidance has no say there.
    """

    def __init__(
        self,
        width: int,
        radius: int,
        gain: float,
        guided: bool,
        heads: int,
        swapped: bool = False,
    ) -> None:
        super().__init__()
        guided = guided and (radius > 0 or not swapped)
        self.radius, self.width, self.swapped = radius, width, swapped
        kinds = 2 if guided else 1  # self, and cross
        self.norm = nn.LayerNorm(width)
        self.value = Pointwise(width, width)
        self.project = Pointwise(width, width)
        self.feed_forward = FeedForward(width)
        self.guided = guided
        if guided:
            self.guide_value = Pointwise(width, width, bias=False)
            self.gain = gate(width, gain)
        # a window of one token leaves nothing to choose: its weight is one
        if radius:
            self.scale = (width // heads) ** -0.5
            self.query = Pointwise(width, width if swapped else kinds * width)
            self.key = Pointwise(width, width, bias=False)
            self.bias = nn.Parameter(torch.zeros(kinds * heads, (2 * radius + 1) ** 2))
            if guided:
                self.guide_key = Pointwise(width, width, bias=False)
                if swapped:
                    self.guide_query = Pointwise(width, width, bias=False)

    def forward(self, x: Tensor, guidance: Tensor | None) -> Tensor:
        """(B, H, W, D) and guidance like it to (B, H - 2 radius, W - 2 radius, D)."""
        tokens = self.norm(x)
        # what answers in the cross-attention, as keys and values
        answers = tokens if self.swapped else guidance
        if mapped.by_strips(tokens, self.radius):
            return cast(
                Tensor,
                self.feed_forward(crop(x, self.radius) + self._mapped(tokens, answers, guidance)),
            )
        value = self.value(tokens)
        if self.guided:
            value = torch.cat([value, self.guide_value(answers)], 3)
        if self.radius:
            key = self.key(tokens)
            if self.guided:
                key = torch.cat([key, self.guide_key(answers)], 3)
            query = self.query(crop(tokens, self.radius))
            if self.guided and self.swapped:
                asked = self.guide_query(crop(cast(Tensor, guidance), self.radius))
                query = torch.cat([query, asked], 3)
            query = query * self.scale
            value = window_attention(query, key, value, self.bias, self.radius)
        if self.guided:
            own, cross = value.chunk(2, 3)
            value = own + self.gain * cross
        return cast(
            Tensor, self.feed_forward(crop(x, self.radius) + cast(Tensor, self.project(value)))
        )

    def _mapped(self, tokens: Tensor, answers: Tensor | None, guidance: Tensor | None) -> Tensor:
        """Attention and projection, strip by strip, (B, H, W, D) as in ``forward``."""
        radius, kinds = self.radius, 2 if self.guided else 1
        height, cols = tokens.shape[1] - 2 * radius, tokens.shape[2] - 2 * radius
        out = torch.empty_like(crop(tokens, radius), memory_format=torch.contiguous_format)
        for index, found in enumerate(out):
            for rows in mapped.strips(height, kinds * self.width * cols):
                around = slice(rows.start, rows.stop + 2 * radius)
                part = tokens[index, around]
                inner = part[radius:-radius, radius:-radius]
                query = [mapped.to_planes(inner, self.query.weight, self.query.bias)]
                key = [mapped.to_planes(part, self.key.weight)]
                value = [mapped.to_planes(part, self.value.weight, self.value.bias)]
                if self.guided:
                    other = cast(Tensor, answers)[index, around]
                    key.append(mapped.to_planes(other, self.guide_key.weight))
                    value.append(mapped.to_planes(other, self.guide_value.weight))
                    if self.swapped:
                        asks = cast(Tensor, guidance)[index, around]
                        asks = asks[radius:-radius, radius:-radius]
                        query.append(mapped.to_planes(asks, self.guide_query.weight))
                read = mapped.attention(
                    torch.cat(query).mul_(self.scale),
                    torch.cat(key),
                    torch.cat(value),
                    self.bias,
                    radius,
                )
                if self.guided:
                    own, cross = read.chunk(2, 0)
                    read = own.addcmul_(self.gain[:, None, None], cross)
                found[rows] = mapped.to_pixels(read, self.project.weight, self.project.bias)
        return out


class DenseNetwork(GuidedNetwork):
    """Three guided branches whose map is computed once, identical to the per-patch result.

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
        width, gain = settings.width, settings.guidance_gain
        # small windows leave less to pool over
        self.pooling = min(settings.pooling, settings.window // 2 - 1)
        self.radii = split_radius(settings.window, self.pooling)
        self.stem = Stem([(m.start, m.stop) for m in layout.modalities], width, padding=0)
        self.guidance = GuidanceProjection(self.guides, width)
        self.branches = nn.ModuleDict()
        for name in settings.branches:
            levels = nn.ModuleList()
            for radius, channels in zip(self.radii, self.guides, strict=True):
                guided = channels > 0 and name in settings.guided
                if name == "cnn":
                    levels.append(CnnLevel(width, radius, gain, guided))
                elif name == "mamba":
                    levels.append(
                        MambaLevel(
                            width,
                            radius,
                            gain,
                            guided,
                            settings.groups,
                            settings.state,
                            settings.attention_heads,
                        )
                    )
                else:
                    levels.append(
                        TransformerLevel(
                            width,
                            radius,
                            gain,
                            guided,
                            settings.attention_heads,
                            settings.cross_query == "diffusion",
                        )
                    )
            self.branches[name] = levels

    def branch_outputs(
        self, values: Tensor, missing: Tensor, guidance: Sequence[Tensor]
    ) -> list[Tensor]:
        """Run the stem and the branches; see the base class."""
        # 1. stem, radius 1
        embedding = self.stem(values, missing)  # (B, H-2, W-2, D)
        # 2. guidance of each level at the size that the level starts from
        cropped, spent = [], 1
        for features, radius in zip(guidance, self.radii, strict=True):
            cropped.append(features[:, :, spent:-spent, spent:-spent])
            spent += radius
        guides = self.guidance(cropped)
        # 3. branches, level by level
        outputs = []
        for levels in self.branches.values():
            x = embedding
            for level, guide in zip(cast(nn.ModuleList, levels), guides, strict=True):
                x = level(x, guide)
            # 4. mean over the neighbours
            if self.pooling:
                side = 2 * self.pooling + 1
                x = F.avg_pool2d(x.permute(0, 3, 1, 2), side, 1).permute(0, 2, 3, 1)
            outputs.append(x)  # (B, h, w, D)
        return outputs
