"""Consistency under augmentation: on unlabelled pixels the heads learn from the average network.

A teacher, the moving average of the network's weights, sees a patch undisturbed, in one of the
eight flips and turns. Where one of its heads is sure of a class, that head of the network, which
sees the patch in a turn of its own, with noise and without some channels, is to say that class. Or
the fusion of its heads teaches all of them; then the branches become more alike, and what they are
wrong about together stays.

Sources: the average as teacher from A. Tarvainen and H. Valpola, Mean teachers are better role
models, NeurIPS 2017; classes of which it is sure from K. Sohn et al., FixMatch, NeurIPS 2020. That
it is done head by head, what a class counts, and all values, are ours [C].
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call

from bdgf.fusion.averaging import WeightAverage
from bdgf.fusion.network import FusionNetwork, NetworkOutput, fused_log_probabilities
from bdgf.fusion.patch_source import Patches

LEAST = 1e-8
"""Least probability that a head of the teacher can give a class: no head alone rules one out."""

SPEED = 0.02
"""How fast the shares of the classes taught follow those of a batch."""

MOST, RAREST = 5.0, 1e-4
"""Most by which a class counts more or less, and least share of one."""


class Teacher:
    """The moving average of a network's weights, as a network of its own.

    Where it normalises over the batch it does so by the batches that the network sees now, not by
    an average over as many steps as that of the weights [M].

    Args:
        network: With its initial weights.
        decay: Final decay of the average.
    """

    def __init__(self, network: FusionNetwork, decay: float) -> None:
        self.network, self.average = network, WeightAverage(network, decay, batches=False)

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


class TaughtClasses:
    """How often each head is taught each class, and what that makes a class count.

    What a teacher is sure of is what is easy: of a class that it often confuses it is seldom sure,
    and what is seldom taught becomes less likely still. So a class counts as much as the teacher
    says that there is of it, sure or not.

    Args:
        heads: Number of heads.
        classes: K.
        balance: 0 lets every sample count as much as any other, 1 every class as said above.
        device: Where the shares are kept.
    """

    def __init__(
        self, heads: int, classes: int, balance: float, device: torch.device | str = "cpu"
    ) -> None:
        self.balance = balance
        self.sure = torch.full((heads, classes), 1.0 / classes, device=device)
        self.said = self.sure.clone()

    @torch.no_grad()
    def update(self, taught: Tensor, sure: float) -> None:
        """Move the shares towards those of a batch.

        Args:
            taught: Probabilities of the teacher, (B, heads, K).
            sure: Least probability of a class that is taught.
        """
        self.said.lerp_(taught.mean(0), SPEED)
        probability, target = taught.max(2)  # (B, heads)
        counts = torch.zeros_like(self.sure)
        counts.scatter_add_(1, target.T, (probability >= sure).T.to(counts))
        total = counts.sum(1, keepdim=True)
        moved = torch.lerp(self.sure, counts / total.clamp_min(1.0), SPEED)
        self.sure = torch.where(total > 0, moved, self.sure)

    def weights(self) -> Tensor:
        """Return what a sample counts by head and class taught, (heads, K), 1 in the mean."""
        weights = (self.said.clamp_min(RAREST) / self.sure.clamp_min(RAREST)) ** self.balance
        weights = weights.clamp(1.0 / MOST, MOST)
        return weights / (weights * self.sure).sum(1, keepdim=True)

    def state(self) -> Tensor:
        """Return what it has seen, (2, heads, K)."""
        return torch.stack([self.sure, self.said])

    def restore(self, state: Tensor) -> None:
        """Put back what ``state`` returned."""
        self.sure, self.said = state.to(self.sure).unbind()


def consistency_loss(logits: Tensor, taught: Tensor, sure: float, weights: Tensor) -> Tensor:
    """Return the mean over samples of the heads' cross-entropies with the classes taught, a scalar.

    Args:
        logits: Of the network, (B, heads, K).
        taught: Probabilities of the teacher, (B, heads, K).
        sure: Least probability of a class that is taught; a head learns nothing from a sample of
            which its teacher is less sure.
        weights: What a sample counts by head and class taught, (heads, K).
    """
    probability, target = taught.max(2)  # (B, heads)
    counts = weights.gather(1, target.T).T * (probability >= sure)
    log_p = torch.log_softmax(logits.float(), 2).gather(2, target[..., None])[..., 0]
    return -(log_p * counts).sum(1).mean()
