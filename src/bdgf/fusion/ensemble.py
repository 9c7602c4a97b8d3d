"""Several trainings of one network as one network: what they say is averaged.

Trainings that differ by their seed alone make different errors, most of all on classes of few
labels; the mean of their log-probabilities makes fewer (Lakshminarayanan et al., 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from bdgf.fusion.base import FusionNetwork, NetworkOutput


class Ensemble(FusionNetwork):
    """Members of one architecture; every head is the mean of that head of the members.

    Args:
        members: At least one, with the same heads and inputs.
    """

    def __init__(self, members: Sequence[FusionNetwork]) -> None:
        super().__init__()
        first = members[0]
        self.heads, self.window = first.heads, first.window
        self.channels, self.modalities = first.channels, first.modalities
        self.guidance_channels = first.guidance_channels
        self.members = nn.ModuleList(members)

    def networks(self) -> list[FusionNetwork]:
        """Return the members."""
        return [cast(FusionNetwork, member) for member in self.members]

    def forward(
        self,
        values: Tensor,
        missing: Tensor,
        guidance: Sequence[Tensor],
        kept: Tensor | None = None,
    ) -> NetworkOutput:
        """Average the members' log-probabilities, and join their embeddings.

        Args:
            values: See the base class.
            missing: See the base class.
            guidance: See the base class.
            kept: See the base class.

        Returns:
            As logits the mean log-probabilities (B, heads, K, h, w); the embeddings of the members
            one after the other, (B, heads, members x D, h, w).
        """
        said = [member(values, missing, guidance, kept) for member in self.members]
        mean = sum(torch.log_softmax(output.logits, 2) for output in said) / len(said)
        return NetworkOutput(
            cast(Tensor, mean), torch.cat([output.embedding for output in said], 2)
        )
