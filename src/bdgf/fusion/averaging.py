"""Moving average of a network's weights while they are trained."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    """Moving average of a network's weights, whose decay rises to its final value with the steps.

    Args:
        network: With its initial weights, from which the average starts.
        decay: Final decay, 0 for no average: nothing is kept then.
        batches: Whether the running statistics of normalisation layers are averaged as well.
    """

    def __init__(self, network: nn.Module, decay: float, batches: bool = True) -> None:
        self.network, self.decay = network, decay
        stored = network.state_dict() if batches else {}
        self.kept = [n for n, b in network.named_buffers() if n in stored and b.is_floating_point()]
        self.tensors: dict[str, Tensor] = {}
        if decay:
            self.tensors = {n: value.detach().clone() for n, value in self._learned()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the weights after a step, counted from 0."""
        if not self.tensors:
            return
        decay = min(self.decay, (1 + step) / (10 + step))
        move = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        learned = dict(self._learned())
        move(list(self.tensors.values()), [learned[name] for name in self.tensors], step)

    @torch.no_grad()
    def adopt(self) -> None:
        """Give the network the averaged weights."""
        for name, value in self._learned():
            if name in self.tensors:
                value.copy_(self.tensors[name])

    def _learned(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the weights, and what is kept of the batches, by their names."""
        yield from self.network.named_parameters()
        for name in self.kept:
            yield name, self.network.get_buffer(name)

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put back the average of a training that goes on."""
        for name in self.tensors:
            self.tensors[name].copy_(tensors[name])
