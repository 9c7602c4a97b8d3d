"""Normalisation over the batch, the same for one process as for several that share a batch.

Source: S. Ioffe and C. Szegedy, Batch normalization, ICML 2015.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from bdgf import processes

MOMENTUM = 0.1
EPSILON = 1e-5


class BatchNorm(nn.Module):
    """Brings every channel to mean 0 and variance 1 over the batch, then scales and shifts it.

    Unlike a normalisation over the channels of a pixel it leaves how strong a pixel is. In
    evaluation the moving averages of mean and variance stand for those of the batch, so that a
    pixel depends on no other.

    Args:
        channels: C.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to the same."""
        mean, variance = self._of_batch(x) if self.training else (self.mean, self.variance)
        scale = self.weight * (variance + EPSILON).rsqrt()
        return x * scale + (self.bias - mean * scale)

    def _of_batch(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance over the batch of all processes, and move the averages."""
        flat = x.flatten(0, 2).to(self.mean)  # sums of many pixels in full precision
        count = processes.total(flat.new_full((), len(flat)))
        mean = _summed(flat.sum(0)) / count
        variance = _summed((flat - mean).square().sum(0)) / count
        with torch.no_grad():
            self.mean.lerp_(mean, MOMENTUM)
            self.variance.lerp_(variance * count / (count - 1).clamp_min(1), MOMENTUM)
        return mean, variance


class _Sum(torch.autograd.Function):
    """Sum over the processes, whose gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:  # noqa: ANN401
        return processes.total(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ANN401
        return processes.total(gradients[0])


def _summed(tensor: Tensor) -> Tensor:
    if processes.count() == 1:
        return tensor
    return cast(Tensor, _Sum.apply(tensor))  # type: ignore[no-untyped-call]
