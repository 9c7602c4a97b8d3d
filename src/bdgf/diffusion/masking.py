"""Adaptive modality masking: what is hidden of the spectral image while the denoiser learns.

[P] names a structure mask and a sample mask on the spectral image that vary with the iteration,
while all modalities are noised. The formulas are our choice [C]: blocks of pixels for the structure
mask, whole samples for the sample mask, a cosine ramp over the first half of the iterations, and,
for ``adaptive``, a gain from the ratio of the modalities' losses after OGM-GE (Peng et al. 2022).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bdgf.config import MaskingSettings

LARGEST_RATIO = 0.9


def ramp_strength(settings: MaskingSettings, step: int, steps: int) -> float:
    """Return s_k, the masks' strength at iteration ``step`` of ``steps``, from 0 to 1."""
    if settings.ramp == "off":
        return 0.0
    if settings.ramp == "fixed":
        return 1.0
    return 0.5 * (1.0 - math.cos(math.pi * min(1.0, step / max(1.0, steps / 2))))


def loss_gain(spectral: float, auxiliary: float) -> float:
    """Return the gain g from the smoothed losses of the two sides, from 0 to 2.

    Above 1 where the spectral image is learned better (has the smaller loss) than the auxiliary
    modalities, so that it is hidden more; below 1 where it lags behind.
    """
    if spectral <= 0 or auxiliary <= 0:
        return 1.0
    return 1.0 + math.tanh(math.log(auxiliary / spectral))


def draw_hidden(
    settings: MaskingSettings,
    strength: float,
    batch: int,
    height: int,
    width: int,
    generator: torch.Generator,
) -> Tensor:
    """Draw the positions of the spectral image that are hidden.

    Args:
        settings: Masks in use and their ratios at full strength.
        strength: s_k · g, the ramp's strength times the gain.
        batch: B, number of samples.
        height: H, rows.
        width: W, columns.
        generator: Source of the draws; its device is the result's.

    Returns:
        True where hidden, (B, 1, H, W).
    """
    device = generator.device
    hidden = torch.zeros(batch, 1, height, width, dtype=torch.bool, device=device)
    if strength <= 0:
        return hidden
    if settings.structure:
        side = settings.block
        largest = 2.0 * settings.structure_ratio * strength
        ratio = torch.rand(batch, 1, 1, 1, generator=generator, device=device) * largest
        rows, cols = -(-height // side) + 1, -(-width // side) + 1
        drawn = torch.rand(batch, 1, rows, cols, generator=generator, device=device)
        blocks = drawn < ratio.clamp(max=LARGEST_RATIO)
        full = blocks.repeat_interleave(side, dim=2).repeat_interleave(side, dim=3)
        # a random offset, so that blocks do not always share the grid of the denoiser's strides
        row, col = torch.randint(side, (2,), generator=generator, device=device).unbind()
        # as indices on the device: numbers read from it would wait for it at every step
        at_rows = row + torch.arange(height, device=device)
        at_cols = col + torch.arange(width, device=device)
        hidden |= full.index_select(2, at_rows).index_select(3, at_cols)
    if settings.sample:
        probability = min(LARGEST_RATIO, settings.sample_ratio * strength)
        drawn = torch.rand(batch, 1, 1, 1, generator=generator, device=device)
        hidden |= drawn < probability
    return hidden
