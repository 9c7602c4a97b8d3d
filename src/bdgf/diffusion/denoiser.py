"""The denoiser: a lean U-Net whose features do not depend on how the scene is tiled.

Three levels at strides 1, 2 and 4, one residual block per level on the way down and up, layer
normalisation over the channels of each pixel (never over space), no global attention. Its output
at a pixel depends on no pixel farther than ``HALO``, so that features computed tile by tile with
that halo equal those of the whole scene.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STRIDE = 4
"""Total stride; windows that are read must start at multiples of it."""

HALO = 40
"""How far any level's features see, upsampling included (38 pixels), in whole strides."""


class PixelNorm(nn.Module):
    """Layer normalisation over the channels of each pixel, (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise; on channels-last tensors the permutes cost nothing."""
        y = F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],), self.weight, self.bias)
        return y.permute(0, 3, 1, 2)


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions with a time-dependent scale and shift between them."""

    def __init__(self, inputs: int, outputs: int, time_width: int) -> None:
        super().__init__()
        self.norm1 = PixelNorm(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time = nn.Linear(time_width, 2 * outputs)
        self.norm2 = PixelNorm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """(B, C_in, H, W), (B, E) -> (B, C_out, H, W)."""
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.time(time)[:, :, None, None].chunk(2, dim=1)
        h = self.conv2(F.silu(self.norm2(h) * (1 + scale) + shift))
        out: Tensor = self.skip(x) + h
        return out


class DenoiserOutput(NamedTuple):
    """What the denoiser predicts.

    Attributes:
        noise: ε̂, (B, C, H, W).
        clean: x̂_0 of the spectral channels, (B, C_s, H, W), or None without completion.
    """

    noise: Tensor
    clean: Tensor | None


class Denoiser(nn.Module):
    """Noise prediction for all modalities at once.

    Args:
        channels: C, channels of all modalities.
        modalities: M, number of indicator channels.
        width: Channels of the finest level.
        completed: Number of leading channels that are also completed (x_0 prediction), 0 for none.
    """

    def __init__(self, channels: int, modalities: int, width: int, completed: int = 0) -> None:
        super().__init__()
        self.channels, self.modalities, self.width = channels, modalities, width
        self.completed = completed
        w, w2, e = width, 2 * width, 4 * width
        self.time = nn.Sequential(nn.Linear(width, e), nn.SiLU(), nn.Linear(e, e), nn.SiLU())
        self.stem = nn.Conv2d(channels + modalities, w, 3, padding=1)
        self.down1 = ResidualBlock(w, w, e)
        self.to2 = nn.Conv2d(w, w2, 3, stride=2, padding=1)
        self.down2 = ResidualBlock(w2, w2, e)
        self.to4 = nn.Conv2d(w2, w2, 3, stride=2, padding=1)
        self.down4 = ResidualBlock(w2, w2, e)
        self.up4 = ResidualBlock(w2, w2, e)
        self.from4 = nn.Conv2d(w2, w2, 3, padding=1)
        self.up2 = ResidualBlock(2 * w2, w2, e)
        self.from2 = nn.Conv2d(w2, w, 3, padding=1)
        self.up1 = ResidualBlock(2 * w, w, e)
        self.norm = PixelNorm(w)
        self.out = nn.Conv2d(w, channels + completed, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    @property
    def level_channels(self) -> tuple[int, int, int]:
        """Channels of the feature levels, coarse to fine."""
        return 2 * self.width, 2 * self.width, self.width

    def time_embedding(self, t: Tensor) -> Tensor:
        """Sinusoidal embedding of the timesteps, (B,) -> (B, E)."""
        half = self.width // 2
        rates = torch.exp(-math.log(10_000.0) * torch.arange(half, device=t.device) / half)
        angles = t.float()[:, None] * rates[None, :]  # (B, half)
        waves = torch.cat([angles.sin(), angles.cos()], dim=1)
        out: Tensor = self.time(F.pad(waves, (0, self.width - waves.shape[1])))
        return out

    def decode(self, x: Tensor, missing: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the decoder's features at strides 4, 2 and 1.

        Args:
            x: x_t with zeros at missing or hidden positions, (B, C, H, W), H and W multiples of 4.
            missing: 1 where a modality is missing or hidden, (B, M, H, W).
            t: Timesteps, (B,).

        Returns:
            (B, 2w, H/4, W/4), (B, 2w, H/2, W/2), (B, w, H, W).
        """
        time = self.time_embedding(t)
        joined = torch.cat([x, missing.to(x.dtype)], dim=1)
        h1 = self.down1(self.stem(joined.contiguous(memory_format=torch.channels_last)), time)
        h2 = self.down2(self.to2(h1), time)
        h4 = self.down4(self.to4(h2), time)
        f4 = self.up4(h4, time)
        f2 = self.up2(torch.cat([self.from4(_double(f4)), h2], dim=1), time)
        f1 = self.up1(torch.cat([self.from2(_double(f2)), h1], dim=1), time)
        return f4, f2, f1

    def forward(self, x: Tensor, missing: Tensor, t: Tensor) -> DenoiserOutput:
        """Predict the noise; arguments as in ``decode``."""
        _, _, f1 = self.decode(x, missing, t)
        out = self.out(F.silu(self.norm(f1)))
        clean = out[:, self.channels :] if self.completed else None
        return DenoiserOutput(out[:, : self.channels], clean)


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
