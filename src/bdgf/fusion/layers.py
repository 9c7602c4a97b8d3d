"""Layers that both networks are made of. Tensors are (B, H, W, channels) unless said otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bdgf.fusion.normalisation import BatchNorm
from bdgf.fusion.sliding.exported import exporting

_POINTS = 1024
"""Positions from which a pointwise layer on a CPU is faster as a 1 × 1 convolution."""


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Linear map of every pixel.

    On a CPU an image goes through the convolution library, whose product is up to twice as fast as
    that of the linear algebra library on processors that the latter was not written for.

    Args:
        x: (B, H, W, C_in).
        weight: (C_out, C_in).
        bias: (C_out,).

    Returns:
        (B, H, W, C_out).
    """
    if exporting() or x.device.type != "cpu" or x.numel() < _POINTS * weight.shape[1]:
        return F.linear(x, weight, bias)
    # rows as a batch: a single image is not taken by the library on one thread
    single = x.shape[0] == 1
    rows = x.transpose(0, 1) if single else x  # (H, 1, W, C)
    read = F.conv2d(rows.permute(0, 3, 1, 2), weight[:, :, None, None], bias).permute(0, 2, 3, 1)
    return read.transpose(0, 1) if single else read


class Pointwise(nn.Linear):
    """Linear layer of every pixel, see :func:`pointwise`."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C_in) to (B, H, W, C_out)."""
        return pointwise(x, self.weight, self.bias)


class ChannelConv(nn.Conv2d):
    """Convolution of a (B, H, W, C) tensor, without a copy: its layout is channels_last."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C_in) to (B, H', W', C_out)."""
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Stem(nn.Module):
    """A 3 × 3 convolution per modality on its channels and its missing indicator, fused to D.

    Args:
        modalities: Channel ranges (start, stop) of the modalities.
        width: D.
        padding: 1 for an output of the input's size, 0 for a valid convolution.
    """

    def __init__(self, modalities: Sequence[tuple[int, int]], width: int, padding: int) -> None:
        super().__init__()
        self.modalities = tuple(modalities)
        self.convolutions = nn.ModuleList(
            ChannelConv(stop - start + 1, width, 3, padding=padding) for start, stop in modalities
        )
        self.fuse = Pointwise(len(self.modalities) * width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, values: Tensor, missing: Tensor) -> Tensor:
        """Fuse the modalities.

        Args:
            values: (B, H, W, C), zero where missing.
            missing: (B, H, W, M), 1 where a modality is missing.

        Returns:
            (B, H', W', D), 2 pixels smaller per axis without padding.
        """
        own = [
            F.gelu(conv(torch.cat([values[..., start:stop], missing[..., m : m + 1]], 3)))
            for m, (conv, (start, stop)) in enumerate(
                zip(self.convolutions, self.modalities, strict=True)
            )
        ]
        return F.gelu(cast(Tensor, self.norm(self.fuse(torch.cat(own, 3)))))


class PixelEmbedding(nn.Module):
    """Pointwise network of the pixel alone, all modalities.

    Args:
        channels: C + M, channels and missing indicators.
        width: D.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.first = Pointwise(channels, 2 * width)
        self.second = Pointwise(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, h, w, C + M) to (B, h, w, D)."""
        return F.gelu(cast(Tensor, self.second(F.gelu(self.first(x)))))


class FeatureEmbedding(nn.Module):
    """Pointwise network of the diffusion features of the pixel, all levels together.

    The normalisation in between makes it blind to the features' scale, which their origin decides.

    Args:
        channels: g, channels of all levels.
        width: D.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.first = Pointwise(channels, 2 * width)
        self.norm = nn.LayerNorm(2 * width)
        self.second = Pointwise(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, h, w, g) to (B, h, w, D)."""
        return F.gelu(cast(Tensor, self.second(F.gelu(self.norm(self.first(x))))))


class PatchEmbedding(nn.Module):
    """The patch as a whole: two valid convolutions, a maximum between them, the mean of the rest.

    It is the plain patch CNN, every pixel's own patch at once: what that one skips by its pooling
    of 2 × 2 pixels the second convolution skips by its dilation. Nothing leads past the
    convolutions to the centre, which with few labels is what a network learns by heart. Windows
    below 9 have room for neither maximum nor dilation.

    Args:
        channels: C + M, channels and missing indicators.
        width: D.
        window: P, odd.
        over_batch: Normalise every channel over the batch, in place of the channels of a pixel.
    """

    def __init__(self, channels: int, width: int, window: int, over_batch: bool = False) -> None:
        super().__init__()
        kind = BatchNorm if over_batch else nn.LayerNorm
        bias = not over_batch  # which would take it away again
        self.pooled = window >= 9
        left = window - 2
        second, dilation = min(3, left), 2 if self.pooled else 1
        self.first = ChannelConv(channels, width, 3, bias=bias)
        self.first_norm = kind(width)
        self.second = ChannelConv(width, 2 * width, second, dilation=dilation, bias=bias)
        self.second_norm = kind(2 * width)
        self.left = left - int(self.pooled) - dilation * (second - 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C + M) to (B, H - P + 1, W - P + 1, 2 D)."""
        x = F.gelu(cast(Tensor, self.first_norm(self.first(x))))
        if self.pooled:
            x = F.max_pool2d(x.permute(0, 3, 1, 2), 2, 1).permute(0, 2, 3, 1)
        x = F.gelu(cast(Tensor, self.second_norm(self.second(x))))
        return F.avg_pool2d(x.permute(0, 3, 1, 2), self.left, 1).permute(0, 2, 3, 1)


class Head(nn.Module):
    """Classifier of one branch, which may decide by its branch, by the pixel, or by both.

    Args:
        inputs: Channels of the input.
        width: D, of the hidden vector.
        classes: K.
    """

    def __init__(self, inputs: int, width: int, classes: int) -> None:
        super().__init__()
        self.hidden = Pointwise(inputs, width)
        self.classify = Pointwise(width, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, h, w, inputs) to logits (B, h, w, K) and the hidden vector (B, h, w, D)."""
        hidden = F.gelu(cast(Tensor, self.hidden(x)))
        return self.classify(hidden), hidden


class FeedForward(nn.Module):
    """Pre-norm pointwise network of two layers, with its residual.

    Args:
        width: D.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first = Pointwise(width, 2 * width)
        self.second = Pointwise(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, h, w, D) to the same."""
        return x + cast(Tensor, self.second(F.gelu(self.first(self.norm(x)))))


class ConvolutionBlock(nn.Module):
    """Pre-norm 3 × 3 convolution with its residual.

    Args:
        width: D.
        padding: 1 keeps the size; 0 is a valid convolution, whose residual is cropped.
    """

    def __init__(self, width: int, padding: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.convolution = ChannelConv(width, width, 3, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, D) to the same, or 2 pixels smaller per axis."""
        residual = x if self.convolution.padding[0] else x[:, 1:-1, 1:-1]
        return residual + F.gelu(cast(Tensor, self.convolution(self.norm(x))))
