"""The classification loss."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def smoothed_nll(
    log_probabilities: Tensor, target: Tensor, weight: Tensor, smoothing: float
) -> Tensor:
    """Return the negative log-likelihood of smoothed labels, as a weighted mean over the batch.

    Args:
        log_probabilities: (B, K), normalised over the classes.
        target: Class indices (B,).
        weight: Of the classes (K,).
        smoothing: ε: the label counts 1 − ε, and ε / K falls to every class, each with its own
            weight. Source: C. Szegedy et al., Rethinking the Inception Architecture, CVPR 2016,
            section 7; weights as in ``torch.nn.functional.cross_entropy``.
    """
    plain = F.nll_loss(log_probabilities, target, weight=weight)
    if not smoothing:
        return plain
    classes = log_probabilities.shape[1]
    even = -(log_probabilities * weight).sum() / weight[target].sum()
    return (1.0 - smoothing) * plain + smoothing / classes * even
