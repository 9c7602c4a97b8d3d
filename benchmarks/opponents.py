"""Three published per-pixel classifiers, written by us: their code is not used.

Each takes the patch around one pixel and gives the logits of that pixel. The architectures follow
the papers, the sizes those that the authors published for the Augsburg scene or, where they
published none for it, for Houston 2013. The weights are random: only their time is measured. Where
the papers leave a choice, the cheaper one was taken.

- MFT: S. K. Roy et al., "Multimodal Fusion Transformer for Remote Sensing Image Classification",
  IEEE TGRS 2023, arXiv 2203.16952. Sizes: patch 11, all bands, 8 three-dimensional filters of
  9 × 3 × 3, 64 channels, 4 tokens and a class token of the second sensor, 2 blocks of 8 heads.
- MSFMamba: F. Gao et al., "MSFMamba: Multi-Scale Feature Fusion State Space Model for Multi-Source
  Remote Sensing Image Classification", IEEE TGRS 2025, arXiv 2408.14255. Sizes: patch 11, 30
  components, one layer, 8 filters of 9 × 3 × 3 and 64 channels, N = 8, expansion 0.75. Its scans
  are ours (`bdgf.fusion.scan`), its own need CUDA.
- ExViT: J. Yao et al., "Extended Vision Transformer (ExViT) for Land Use and Land Cover
  Classification", IEEE TGRS 2023. Sizes: patch 13, all bands, three separable convolutions to 64
  channels, 4 encoder layers per sensor and 2 for both, 4 heads of 16, 32 hidden units.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bdgf.fusion.scan import selective_scan


@dataclass(frozen=True)
class Opponent:
    """A classifier with the patches that it wants.

    Args:
        name: As in the paper.
        network: Maps (B, C_s, P, P) and (B, C_a, P, P) to (B, K).
        patch: P.
        components: Whether the spectral patch holds principal components, else all bands.
    """

    name: str
    network: nn.Module
    patch: int
    components: bool


def opponents(bands: int, components: int, auxiliary: int, classes: int) -> list[Opponent]:
    """Return the three with random weights that a seed decides.

    Args:
        bands: Bands of the spectral image.
        components: Its principal components.
        auxiliary: Bands of all other modalities.
        classes: K.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return [
            Opponent("MFT", Mft(bands, auxiliary, classes).eval(), 11, False),
            Opponent("MSFMamba", MsfMamba(components, auxiliary, classes).eval(), 11, True),
            Opponent("ExViT", ExVit(bands, auxiliary, classes).eval(), 13, False),
        ]


class CrossAttention(nn.Module):
    """The class token asks all tokens; each head has its own slice and the same projections."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        part = width // heads
        self.query, self.key, self.value = (nn.Linear(part, width, bias=False) for _ in range(3))
        self.project = nn.Linear(heads * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) to (B, 1, D)."""
        parts = x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)  # (B, heads, L, D / heads)
        read = F.scaled_dot_product_attention(
            self.query(parts[:, :, :1]), self.key(parts), self.value(parts)
        )  # (B, heads, 1, D)
        joined: Tensor = self.project(read.transpose(1, 2).flatten(2))
        return joined


class MftBlock(nn.Module):
    """Cross-attention of the class token, then a feed-forward layer on all tokens."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = CrossAttention(width, heads)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) to the same."""
        x = x + self.attention(self.norm1(x))
        return x + self.feed_forward(self.norm2(x))  # type: ignore[no-any-return]


class Mft(nn.Module):
    """Multimodal fusion transformer."""

    def __init__(self, bands: int, auxiliary: int, classes: int, width: int = 64) -> None:
        super().__init__()
        filters, tokens = 8, 4
        planes = filters * (bands - 8)
        self.spectral = nn.Sequential(
            nn.Conv3d(1, filters, (9, 3, 3), padding=(0, 1, 1)), nn.BatchNorm3d(filters), nn.ReLU()
        )
        self.grouped = nn.Conv2d(planes, width, 3, padding=1, groups=16)
        self.pointwise = nn.Conv2d(planes, width, 1)
        self.joined = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU())
        self.other = nn.Sequential(
            nn.Conv2d(auxiliary, width, 3, padding=1), nn.BatchNorm2d(width), nn.GELU()
        )
        self.choose, self.carry = nn.Linear(width, tokens), nn.Linear(width, width)
        self.choose_class, self.carry_class = nn.Linear(width, 1), nn.Linear(width, width)
        self.position = nn.Parameter(torch.randn(1, tokens + 1, width))
        self.blocks = nn.Sequential(MftBlock(width, 8, 512), MftBlock(width, 8, 512))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, spectral: Tensor, auxiliary: Tensor) -> Tensor:
        """(B, C_s, P, P), (B, C_a, P, P) to (B, K)."""
        volume = self.spectral(spectral.unsqueeze(1)).flatten(1, 2)  # (B, 8 (C_s - 8), P, P)
        pixels = self.joined(self.grouped(volume) + self.pointwise(volume))
        pixels = pixels.flatten(2).transpose(1, 2)  # (B, P², D)
        other = self.other(auxiliary).flatten(2).transpose(1, 2)  # (B, P², D)
        tokens = self.choose(pixels).transpose(1, 2).softmax(2) @ self.carry(pixels)
        first = self.choose_class(other).transpose(1, 2).softmax(2) @ self.carry_class(other)
        x = torch.cat([first, tokens], 1) + self.position  # (B, 5, D)
        logits: Tensor = self.head(self.norm(self.blocks(x))[:, 0])
        return logits


class Scan(nn.Module):
    """A state-space scan with its own projections.

    Args:
        inner: Channels that are scanned.
        states: N.
        rank: Of the step sizes.
        selector: Channels of the sequence that dt, B and C are read from.
    """

    def __init__(self, inner: int, states: int, rank: int, selector: int | None = None) -> None:
        super().__init__()
        self.sizes = (rank, states, states)
        self.select = nn.Linear(selector or inner, sum(self.sizes), bias=False)
        self.step = nn.Linear(rank, inner)
        decay = torch.arange(1, states + 1, dtype=torch.float32).expand(inner, states)
        self.log_decay = nn.Parameter(decay.log().clone())
        self.skip = nn.Parameter(torch.ones(inner))

    def forward(self, x: Tensor, selector: Tensor | None = None) -> Tensor:
        """(B, L, inner) to the same."""
        low_rank, b, c = self.select(x if selector is None else selector).split(self.sizes, 2)
        dt = F.softplus(self.step(low_rank))
        return selective_scan(x, dt, -self.log_decay.exp(), b, c, self.skip)


def _rows(x: Tensor) -> Tensor:
    """(B, C, H, W) to (B, H W, C), row by row."""
    return x.flatten(2).transpose(1, 2)


def _image(x: Tensor, side: int) -> Tensor:
    """(B, side², C) to (B, C, side, side)."""
    return x.transpose(1, 2).reshape(x.shape[0], -1, side, side)


class MultiScaleSpatialMamba(nn.Module):
    """Two scans of the image and two of the image at half the resolution."""

    def __init__(self, width: int, states: int, expansion: float) -> None:
        super().__init__()
        self.inner = inner = int(width * expansion)
        rank = math.ceil(width / 16)
        self.norm, self.out_norm = nn.LayerNorm(width), nn.LayerNorm(inner)
        self.enter = nn.Linear(width, 2 * inner, bias=False)
        self.local, self.fine = (
            nn.Conv2d(inner, inner, 3, padding=1, groups=inner) for _ in range(2)
        )
        self.coarse = nn.Conv2d(inner, inner, 5, stride=2, padding=2, groups=inner)
        self.grow = nn.ConvTranspose2d(inner, inner, 5, stride=2, padding=2)
        self.scans = nn.ModuleList(Scan(inner, states, rank) for _ in range(4))
        self.leave = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, P, P) to the same."""
        entry, z = self.enter(self.norm(x.permute(0, 2, 3, 1))).chunk(2, 3)
        entry = F.silu(self.local(entry.permute(0, 3, 1, 2)))
        fine, coarse = self.fine(entry), self.coarse(entry)
        along, across, back, up = self.scans
        side, half = fine.shape[2], coarse.shape[2]
        y = _image(along(_rows(fine)), side)
        y = y + _image(across(_rows(fine.transpose(2, 3))), side).transpose(2, 3)
        low = _image(back(_rows(coarse).flip(1)).flip(1), half)
        turned = up(_rows(coarse.transpose(2, 3)).flip(1)).flip(1)
        # the transposed convolution is linear up to its bias, so one of the sum is enough
        y = y + self.grow(low + _image(turned, half).transpose(2, 3))
        y = self.out_norm(y.permute(0, 2, 3, 1)) * F.silu(z)
        out: Tensor = x + self.leave(y).permute(0, 3, 1, 2)
        return out


class SpectralMamba(nn.Module):
    """Scans along the channels in both directions; the pixels of the patch are the features."""

    def __init__(self, pixels: int, states: int, expansion: float) -> None:
        super().__init__()
        inner, rank = int(pixels * expansion), math.ceil(pixels / 16)
        self.norm, self.out_norm = nn.LayerNorm(pixels), nn.LayerNorm(inner)
        self.enter = nn.Linear(pixels, 2 * inner, bias=False)
        self.mix = nn.Linear(inner, inner, bias=False)
        self.forth, self.back = (Scan(inner, states, rank) for _ in range(2))
        self.leave = nn.Linear(inner, pixels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, P, P) to the same."""
        flat = x.flatten(2)  # (B, C, P²): the sequence runs along C
        entry, z = self.enter(self.norm(flat)).chunk(2, 2)
        entry = F.silu(self.mix(entry))
        y = self.forth(entry) + self.back(entry.flip(1)).flip(1)
        y = self.leave(self.out_norm(y) * F.silu(z))
        return x + y.view_as(x)  # type: ignore[no-any-return]


class FusionMamba(nn.Module):
    """Each sensor is scanned in four directions with what the other one selects."""

    def __init__(self, widths: tuple[int, int], states: int, expansion: float) -> None:
        super().__init__()
        inner = tuple(int(width * expansion) for width in widths)
        ranks = tuple(math.ceil(width / 16) for width in widths)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in widths)
        self.out_norms = nn.ModuleList(nn.LayerNorm(width) for width in inner)
        self.enter = nn.ModuleList(
            nn.Linear(width, 2 * i, bias=False) for width, i in zip(widths, inner, strict=True)
        )
        self.local = nn.ModuleList(nn.Conv2d(i, i, 3, padding=1, groups=i) for i in inner)
        self.scans = nn.ModuleList(
            nn.ModuleList(
                Scan(inner[own], states, ranks[1 - own], inner[1 - own]) for _ in range(4)
            )
            for own in range(2)
        )
        self.leave = nn.ModuleList(
            nn.Linear(i, width, bias=False) for width, i in zip(widths, inner, strict=True)
        )

    def forward(self, images: Sequence[Tensor]) -> list[Tensor]:
        """Two images (B, C, P, P) to the same."""
        entries, gates = [], []
        for x, norm, enter, local in zip(images, self.norms, self.enter, self.local, strict=True):
            entry, z = enter(norm(x.permute(0, 2, 3, 1))).chunk(2, 3)
            entries.append(F.silu(local(entry.permute(0, 3, 1, 2))))
            gates.append(F.silu(z))
        found = []
        for own, x in enumerate(images):
            side = x.shape[2]
            y = torch.zeros_like(entries[own])
            for number, scan in enumerate(cast(nn.ModuleList, self.scans[own])):
                turned = number % 2 == 1
                sequences = [
                    _rows(e.transpose(2, 3) if turned else e)
                    for e in (entries[own], entries[1 - own])
                ]
                if number >= 2:
                    read = scan(*(s.flip(1) for s in sequences)).flip(1)
                else:
                    read = scan(*sequences)
                image = _image(read, side)
                y = y + (image.transpose(2, 3) if turned else image)
            y = self.out_norms[own](y.permute(0, 2, 3, 1)) * gates[own]
            found.append(x + self.leave[own](y).permute(0, 3, 1, 2))
        return found


class MsfMamba(nn.Module):
    """Multi-scale feature fusion Mamba, one layer."""

    def __init__(
        self,
        components: int,
        auxiliary: int,
        classes: int,
        states: int = 8,
        expansion: float = 0.75,
    ) -> None:
        super().__init__()
        filters, width, side = 8, 64, 9
        planes = filters * (components - 8)
        self.spectral = nn.Sequential(
            nn.Conv3d(1, filters, (9, 3, 3)), nn.BatchNorm3d(filters), nn.ReLU()
        )
        self.other = nn.Sequential(nn.Conv2d(auxiliary, width, 3), nn.BatchNorm2d(width), nn.ReLU())
        self.spatial = MultiScaleSpatialMamba(planes, states, expansion)
        self.along_channels = SpectralMamba(side * side, states, expansion)
        self.spatial_other = MultiScaleSpatialMamba(width, states, expansion)
        self.fusion = FusionMamba((planes, width), states, expansion)
        self.head = nn.Linear((planes + width) * side * side, classes)

    def forward(self, spectral: Tensor, auxiliary: Tensor) -> Tensor:
        """(B, C_s, P, P), (B, C_a, P, P) to (B, K)."""
        volume = self.spectral(spectral.unsqueeze(1)).flatten(1, 2)
        x = self.along_channels(self.spatial(volume))
        y = self.spatial_other(self.other(auxiliary))
        logits: Tensor = self.head(torch.cat(self.fusion((x, y)), 1).flatten(1))
        return logits


class Encoder(nn.Module):
    """One layer of a transformer: self-attention and a small feed-forward layer."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.joined = nn.Linear(width, 3 * width, bias=False)
        self.project = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) to the same."""
        q, k, v = (
            t.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for t in self.joined(self.norm1(x)).chunk(3, 2)
        )
        read = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.project(read)
        return x + self.feed_forward(self.norm2(x))  # type: ignore[no-any-return]


def _separable(channels: int) -> nn.Sequential:
    """Three depthwise-separable convolutions to 16, 32 and 64 channels."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((channels, 16), (16, 32), (32, 64)):
        layers += [
            nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs),
            nn.Conv2d(inputs, outputs, 1),
            nn.BatchNorm2d(outputs),
            nn.GELU(),
        ]
    return nn.Sequential(*layers)


class ExVit(nn.Module):
    """Extended vision transformer: a branch per sensor, then both sensors' tokens together."""

    def __init__(self, bands: int, auxiliary: int, classes: int, patch: int = 13) -> None:
        super().__init__()
        width, heads, hidden = 64, 4, 32
        self.stems = nn.ModuleList(_separable(channels) for channels in (bands, auxiliary))
        self.embed = nn.ModuleList(nn.Linear(64, width) for _ in range(2))
        self.position = nn.Parameter(torch.randn(1, patch * patch, width))
        self.own = nn.ModuleList(
            nn.Sequential(*(Encoder(width, heads, hidden) for _ in range(4))) for _ in range(2)
        )
        self.both = nn.Sequential(*(Encoder(width, heads, hidden) for _ in range(2)))
        self.weight = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1), nn.Softmax(1))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, classes))

    def forward(self, spectral: Tensor, auxiliary: Tensor) -> Tensor:
        """(B, C_s, P, P), (B, C_a, P, P) to (B, K)."""
        tokens = [
            own(embed(_rows(stem(x))) + self.position)
            for x, stem, embed, own in zip(
                (spectral, auxiliary), self.stems, self.embed, self.own, strict=True
            )
        ]
        x = self.both(torch.cat(tokens, 1))  # (B, 2 P², D)
        logits: Tensor = self.head((self.weight(x) * x).sum(1))
        return logits
