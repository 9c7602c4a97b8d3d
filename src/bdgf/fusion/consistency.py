"""Consistency under augmentation: on unlabelled pixels the heads learn from the average network.

A teacher, the moving average of the network's weights, sees a patch undisturbed, in one of the
eight flips and turns. Where one of its heads is sure of a class, that head of the network, which
sees the patch in a turn of its own, with noise and without some channels, is to say that class. Or
the fusion of its heads teaches all of them; then the branches become more alike, and what they are
wrong about together stays.

Sources: the average as teacher from A. Tarvainen and H. Valpola, Mean teachers are better role
models, NeurIPS 2017; classes of which it is sure from K. Sohn et al., FixMatch, NeurIPS 2020. That
it is done head by head, and all values, are ours [C].
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call

from bdgf.fusion.losses import WeightAverage
from bdgf.fusion.network import FusionNetwork, NetworkOutput, fused_log_probabilities
from bdgf.fusion.samples import Patches

LEAST = 1e-8
"""Least probability that a head of the teacher can give a class: no head alone rules one out."""


class Teacher:
    """The moving average of a network's weights, as a network of its own.

    Args:
        network: With its initial weights.
        decay: Final decay of the average.
    """

    def __init__(self, network: FusionNetwork, decay: float) -> None:
        self.network, self.average = network, WeightAverage(network, decay)

    @torch.no_grad()
    def probabilities(self, patches: Patches) -> Tensor:
        """Return what it says of the middle of patches, (B, heads, K), without a gradient."""
        learning = self.network.training
        self.network.eval()
        output: NetworkOutput = functional_call(self.network, self.average.tensors, tuple(patches))
        self.network.train(learning)
        return output.logits[..., 0, 0].float().softmax(-1)


def fused_teaching(taught: Tensor, trust: Tensor) -> Tensor:
    """Return what the heads of the teacher say together, for each head the same.

    Args:
        taught: Probabilities of the teacher's heads, (B, heads, K).
        trust: Share of every head in the fusion, (heads,), summing to 1.

    Returns:
        (B, heads, K), the weighted geometric mean, normalised over the classes.
    """
    logits = taught.clamp_min(LEAST).log()[..., None, None]
    return fused_log_probabilities(logits, trust)[:, None, :, 0, 0].exp().expand_as(taught)


def consistency_loss(logits: Tensor, taught: Tensor, sure: float) -> Tensor:
    """Return the mean over samples of the heads' cross-entropies with the classes taught, a scalar.

    Args:
        logits: Of the network, (B, heads, K).
        taught: Probabilities of the teacher, (B, heads, K).
        sure: Least probability of a class that is taught; a head learns nothing from a sample of
            which its teacher is less sure.
    """
    probability, target = taught.max(2)  # (B, heads)
    log_p = torch.log_softmax(logits.float(), 2).gather(2, target[..., None])[..., 0]
    return -(log_p * (probability >= sure)).sum(1).mean()
