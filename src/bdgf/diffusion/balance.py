"""Keeping one modality from dominating the features while the denoiser learns.

Two means, both settings: the gain on the masks of ``masking.ramp = adaptive`` from the ratio of
the modalities' losses, and ``loss_weights = controlled``, which measures the reliance of the
features on each modality while the denoiser learns, and from half of the steps on moves the loss
weights and the strength of the masks while one side dominates. Before, the smooth surface model
dominates because it is learned first. It leaves alone what lies within ``TOLERATED``, since more
balance did not classify better [M]. Both are our reading of "adaptive" [C].
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from bdgf import processes
from bdgf.config import DiffusionSettings
from bdgf.diffusion.crops import CropSampler
from bdgf.diffusion.masking import loss_gain
from bdgf.diffusion.reliance import Features, measure_reliance, sides_of
from bdgf.randomness import numpy_generator, torch_generator
from bdgf.scene.layout import ChannelLayout

READ_EVERY = 10
"""Steps after which the losses behind ``masking.ramp = adaptive`` are read: each reading waits for
the device."""
MEASURE_EVERY = 50
PROBE_CROPS = 16
LOSS_MEMORY = 0.95
RATE = 1.0
TOLERATED = 1.6
"""Ratio of the two sides up to which nothing is steered; wanted is one of at most 2."""
LARGEST_LOG_WEIGHT = 3.0
LEAST_LOG_GAIN, LARGEST_LOG_GAIN = -3.0, 0.7
"""Limits of the controlled gain of the masks: from a twentieth to twice their usual strength."""


class Probed(Protocol):
    """What the balance is measured on: a denoiser that is being pre-trained, and its crops."""

    seed: int
    probe_timestep: int
    crops: CropSampler

    def clean_features(self, timestep: int) -> Features:
        """Return the feature map of clean input."""


@dataclass
class BalanceState:
    """What must survive a restart.

    Args:
        losses: Smoothed loss per modality over the batches that have it, None before the first.
        log_weights: Logarithm of the loss weight per modality.
        reliance: Last measured reliance per modality, None where it was in no crop; empty before
            the first.
        log_gain: Logarithm of the controlled gain of the masks.
        unread: Losses (M,) of the steps since the last reading, on their device.
    """

    losses: list[float | None] = field(default_factory=list)
    log_weights: list[float] = field(default_factory=list)
    reliance: list[float | None] = field(default_factory=list)
    log_gain: float = 0.0
    unread: list[Tensor] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, of which ``from_json`` makes the same state."""
        plain = {**vars(self), "unread": [losses.tolist() for losses in self.unread]}
        return copy.deepcopy(plain)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> BalanceState:
        """Return what ``to_json`` gave."""
        unread = [torch.tensor(losses) for losses in values.get("unread", [])]
        return cls(**{**values, "unread": unread})


class BalanceController:
    """Loss weight per modality and gain of the masks.

    Args:
        settings: Which means are in use.
        layout: Channels of the modalities.
    """

    def __init__(self, settings: DiffusionSettings, layout: ChannelLayout) -> None:
        self.settings, self.layout = settings, layout
        count = len(layout.modalities)
        self.state = BalanceState(log_weights=[0.0] * count)
        self._plain = [m.size / layout.channels for m in layout.modalities]

    @property
    def weights(self) -> Tensor:
        """Loss weight of every modality, (M,), summing to 1."""
        if self.settings.loss_weights == "plain":
            return torch.tensor(self._plain)
        return torch.tensor(self.state.log_weights).softmax(0)

    @property
    def gain(self) -> float:
        """Gain g of the masks' strength."""
        controlled = math.exp(self.state.log_gain)
        if self.settings.masking.ramp != "adaptive" or not self.state.losses:
            return controlled
        sides = sides_of(self.state.losses, self.layout)
        return loss_gain(*sides) * controlled if sides else controlled

    def observe(self, step: int, losses: Tensor, work: Probed) -> None:
        """Take note of a step's losses; at every ``MEASURE_EVERY`` steps measure, and steer."""
        adaptive = self.settings.masking.ramp == "adaptive"
        if adaptive:
            self.state.unread.append(losses.detach())
            if (step + 1) % READ_EVERY == 0:
                self._read()
        controlled = self.settings.loss_weights == "controlled"
        if not controlled or (step + 1) % MEASURE_EVERY or len(self.layout.modalities) < 2:
            return
        # steering by a ratio makes much of little, and processors differ in rounding
        self.state.reliance = processes.of_first(lambda: self._measured(step, work))
        sides = sides_of(self.state.reliance, self.layout)
        if sides is None or step < self.settings.balance_from * self.settings.steps:
            return
        ratio = math.log(max(sides[0], 1e-6) / max(sides[1], 1e-6))
        free = math.log(TOLERATED)
        excess = RATE * (ratio - min(free, max(-free, ratio)))
        # masks hide the spectral image: stronger ones where the features rest on it, weaker else
        moved = self.state.log_gain + excess
        self.state.log_gain = min(LARGEST_LOG_GAIN, max(LEAST_LOG_GAIN, moved))
        for index in range(len(self.layout.modalities)):
            # the side that the features rest on too much counts less in the loss
            sign = -0.5 if index in self.layout.spectral else 0.5
            moved = self.state.log_weights[index] + sign * excess
            limit = LARGEST_LOG_WEIGHT
            self.state.log_weights[index] = min(limit, max(-limit, moved))

    def _measured(self, step: int, work: Probed) -> list[float | None]:
        """Return the reliance on every modality."""
        draws = numpy_generator(work.seed, "balance", step)
        values, missing = work.crops.draw(PROBE_CROPS, draws)
        measured = measure_reliance(
            work.clean_features(work.probe_timestep),
            values,
            missing,
            self.layout,
            torch_generator(work.seed, "balance", step),
        )
        return list(measured.reliance)

    def _read(self) -> None:
        """Take the losses of the last steps into their moving average."""
        device = self.state.unread[-1].device
        for losses in torch.stack([one.to(device) for one in self.state.unread]).tolist():
            old = self.state.losses or [None] * len(losses)
            self.state.losses = [
                _smoothed(before, now) for before, now in zip(old, losses, strict=True)
            ]
        self.state.unread = []

    def values(self) -> dict[str, float]:
        """Return what the history keeps."""
        found: dict[str, float] = {}
        if self.settings.masking.ramp == "adaptive" or self.settings.loss_weights == "controlled":
            found["mask_gain"] = self.gain
        if self.settings.loss_weights == "controlled":
            for m, w in zip(self.layout.modalities, self.weights.tolist(), strict=True):
                found[f"weight_{m.name}"] = w
            for m, r in zip(self.layout.modalities, self.state.reliance, strict=False):
                if r is not None:
                    found[f"reliance_{m.name}"] = r
        return found

    def restore(self, state: dict[str, Any]) -> None:
        """Put back the state of a checkpoint."""
        self.state = BalanceState.from_json(state)


def _smoothed(before: float | None, now: float) -> float | None:
    """Return a moving average with a batch's loss, which is exactly 0 without the modality."""
    if now == 0:
        return before
    return now if before is None else LOSS_MEMORY * before + (1 - LOSS_MEMORY) * now
