"""Mutual learning of the heads: alignment of entropy and of feature similarity.

Liu et al., arXiv 2509.23310 (abstract) name "aligning the probability entropy and feature
similarity"; the formulas are ours, after deep mutual learning (Zhang et al., CVPR 2018).
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class MutualLosses(NamedTuple):
    """The two terms of mutual learning, each a scalar.

    Args:
        entropy: Alignment of the heads' entropies and probabilities.
        similarity: Alignment of the heads' similarities between samples.
    """

    entropy: Tensor
    similarity: Tensor


def mutual_losses(logits: Tensor, embedding: Tensor, divergence: float) -> MutualLosses:
    """Distances between the heads, of one batch.

    ``L_ent`` is the mean over ordered pairs of ``(H_i - H_j)² + divergence · KL(sg(p_j) ‖ p_i)``
    with ``H`` the entropy over log K and ``sg`` without gradient; ``L_sim`` is the mean over pairs
    of the mean squared difference of the batch × batch cosine matrices.

    Args:
        logits: (B, heads, K).
        embedding: (B, heads, D).
        divergence: Share of the Kullback-Leibler term.

    Returns:
        Both terms; zero for a single head.
    """
    heads, classes = logits.shape[1:]
    if heads == 1:
        return MutualLosses(logits.sum() * 0, embedding.sum() * 0)
    log_p = torch.log_softmax(logits.float(), 2)  # (B, heads, K)
    p = log_p.exp()
    entropy = -(p * log_p).sum(2) / math.log(classes)  # (B, heads)
    squared = (entropy.unsqueeze(2) - entropy.unsqueeze(1)).square()  # (B, i, j)
    # KL(sg(p_j) ‖ p_i) = Σ_k p_j log p_j - Σ_k p_j log p_i
    teacher, own = p.detach(), (p * log_p).sum(2).detach()  # (B, j, K), (B, j)
    cross = torch.matmul(log_p, teacher.transpose(1, 2))  # (B, i, j)
    apart = 1 - torch.eye(heads, dtype=p.dtype, device=p.device)  # (i, j)
    pairs = (squared + divergence * (own.unsqueeze(1) - cross)) * apart
    direction = F.normalize(embedding.float(), dim=2).transpose(0, 1)  # (heads, B, D)
    cosine = torch.matmul(direction, direction.transpose(1, 2))  # (heads, B, B)
    distances = [
        F.mse_loss(cosine[i], cosine[j]) for i, j in itertools.combinations(range(heads), 2)
    ]
    return MutualLosses(
        pairs.sum() / (len(pairs) * heads * (heads - 1)), torch.stack(distances).mean()
    )


def unlabelled_agreement(logits: Tensor, trust: Tensor) -> Tensor:
    """Divergence of the heads from their consensus, which itself gets no gradient.

    The consensus is the mean of the heads' probabilities, each with the trust that it has earned on
    held-out labels: a mean of all alike draws the good heads down to the poor ones.

    Args:
        logits: (B, heads, K).
        trust: (heads,), summing to 1.

    Returns:
        Scalar, mean over samples and heads of ``KL(sg(Σ_j trust_j p_j) ‖ p_b)``.
    """
    log_p = torch.log_softmax(logits.float(), 2)  # (B, heads, K)
    consensus = (log_p.exp() * trust[:, None]).sum(1, keepdim=True).detach()  # (B, 1, K)
    return (torch.xlogy(consensus, consensus) - consensus * log_p).sum(2).mean()
