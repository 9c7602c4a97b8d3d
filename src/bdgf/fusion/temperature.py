"""Temperature scaling: one number by which a classifier becomes less, or more, sure of itself.

Source: C. Guo, G. Pleiss, Y. Sun, K. Weinberger, On Calibration of Modern Neural Networks, ICML
2017, section 4.2. It changes no class, only the probabilities.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LOWEST, HIGHEST = 0.05, 20.0
"""Range of temperatures: where every pixel is right, or none, no finite one is the best."""

_LEAST = -1e4
"""Stands for the logarithm of a probability of zero."""

_HALVINGS = 60


def scaled(log_probabilities: Tensor, temperature: float) -> Tensor:
    """Return log-probabilities at a temperature, ``log softmax(log p / T)``.

    Args:
        log_probabilities: (n, K); logits give the same.
        temperature: T, greater than 0; 1 changes nothing.
    """
    return torch.log_softmax(log_probabilities.clamp(min=_LEAST) / temperature, 1)


def fit_temperature(
    log_probabilities: Tensor, classes: NDArray[np.integer] | Tensor, doubts: float = 0.0
) -> float:
    """Return the temperature with the least negative log-likelihood of held-out pixels.

    The likelihood is convex in 1 / T, so the root of its slope is found by halving: the same
    numbers give the same temperature everywhere.

    Args:
        log_probabilities: Of held-out pixels, (n, K).
        classes: Their class indices, (n,).
        doubts: So many further pixels count of which the classifier is right as often as it says,
            which speak for T = 1: a handful of pixels is no evidence for any other.

    Returns:
        T, between ``LOWEST`` and ``HIGHEST``.

    Raises:
        ValueError: No pixel, shapes that do not fit, or values that are not a number.
    """
    values = log_probabilities.detach().cpu().double().clamp(min=_LEAST)  # (n, K)
    target = torch.as_tensor(np.asarray(classes), dtype=torch.long)
    if values.dim() != 2 or target.shape != values.shape[:1] or not len(target):
        raise ValueError(
            f"log-probabilities have shape {tuple(log_probabilities.shape)} and classes"
            f" {tuple(target.shape)}; they must be (n, K) and (n,) of at least one pixel."
        )
    if values.isnan().any():
        raise ValueError("log-probabilities hold values that are not a number.")
    own = values.gather(1, target[:, None])[:, 0].mean()
    as_it_says = (torch.softmax(values, 1) * values).sum(1).mean()
    own = (len(target) * own + doubts * as_it_says) / (len(target) + doubts)

    def slope(inverse: float) -> float:
        """Derivative of the negative log-likelihood by 1 / T."""
        p = torch.softmax(inverse * values, 1)
        return float((p * values).sum(1).mean() - own)

    low, high = -math.log(HIGHEST), -math.log(LOWEST)  # of log(1 / T)
    if slope(math.exp(low)) >= 0:
        return HIGHEST
    if slope(math.exp(high)) <= 0:
        return LOWEST
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        if slope(math.exp(middle)) < 0:
            low = middle
        else:
            high = middle
    return math.exp(-0.5 * (low + high))
