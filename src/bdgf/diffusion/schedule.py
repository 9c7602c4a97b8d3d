"""The noise schedule of the diffusion model."""

from __future__ import annotations

import torch
from torch import Tensor


class NoiseSchedule:
    """Linear beta schedule of a denoising diffusion probabilistic model.

    Source: Ho et al. 2020, Denoising Diffusion Probabilistic Models, eq. 2 and 4.

    Args:
        timesteps: T, number of steps.
        beta_start: Variance added at the first step.
        beta_end: Variance added at the last step.
    """

    def __init__(self, timesteps: int, beta_start: float, beta_end: float) -> None:
        self.timesteps = timesteps
        self.betas = torch.linspace(beta_start, beta_end, timesteps, dtype=torch.float32)  # (T,)
        self.alphas_cumprod = torch.cumprod(1.0 - self.betas, dim=0)  # (T,)
        self._on: dict[torch.device, Tensor] = {}

    def add_noise(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return x_t = √ᾱ_t x_0 + √(1−ᾱ_t) ε.

        Args:
            clean: x_0, (B, C, H, W).
            noise: ε, (B, C, H, W).
            t: Timestep of every sample, (B,) integers from 0 to T − 1.

        Returns:
            x_t, (B, C, H, W).
        """
        if clean.device not in self._on:  # a copy at every step would wait for the device
            self._on[clean.device] = self.alphas_cumprod.to(clean.device)
        level = self._on[clean.device][t].view(-1, 1, 1, 1)
        return level.sqrt() * clean + (1.0 - level).sqrt() * noise
