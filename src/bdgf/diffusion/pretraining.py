"""Pre-training of the denoiser without labels, with adaptive modality masking."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from bdgf import checkpoint, processes
from bdgf.compute import Precision, choose_precision, device_of, exact, place, to_device
from bdgf.config import ComputeSettings, DiffusionSettings, Settings
from bdgf.diffusion.balance import BalanceController
from bdgf.diffusion.crops import CropSampler
from bdgf.diffusion.denoiser import Denoiser, DenoiserOutput
from bdgf.diffusion.masking import draw_hidden, ramp_strength
from bdgf.diffusion.reliance import Features
from bdgf.diffusion.schedule import NoiseSchedule
from bdgf.optimisation import Course, forked_seed
from bdgf.progress import Progress
from bdgf.randomness import numpy_generator, torch_generator
from bdgf.scene.layout import ChannelLayout
from bdgf.scene.prepared import PreparedScene

PROBE_TIMESTEP = 50
"""Timestep at which the reliance of the features is measured."""


def build_denoiser(settings: DiffusionSettings, layout: ChannelLayout, seed: int) -> Denoiser:
    """Return a denoiser with random weights that depend on the seed alone."""
    spectral = sum(layout.modalities[i].size for i in layout.spectral)
    completed = spectral if settings.masking.hidden_loss == "x0" else 0
    with forked_seed(seed, "denoiser weights"):
        return Denoiser(layout.channels, len(layout.modalities), settings.width, completed)


def load_denoiser(
    settings: Settings, layout: ChannelLayout, weights: Mapping[str, Tensor], path: Path
) -> Denoiser:
    """Return a pre-trained denoiser on the device of the settings.

    Args:
        settings: All settings of its run.
        layout: Channels of the modalities.
        weights: Its tensors.
        path: Where they come from, for errors.

    Raises:
        RunFolderError: A tensor that is missing, unknown or of another shape.
    """
    denoiser = build_denoiser(settings.diffusion, layout, settings.seed)
    checkpoint.load_weights(denoiser, weights, path)
    return place(denoiser, device_of(settings.compute))


def modality_losses(
    output: DenoiserOutput,
    noise: Tensor,
    clean: Tensor,
    present: Tensor,
    hidden: Tensor,
    layout: ChannelLayout,
    hidden_loss: str,
) -> Tensor:
    """Return the mean squared error of every modality over the positions where it is present.

    Args:
        output: Prediction of the denoiser.
        noise: ε, (B, C, H, W).
        clean: x_0, (B, C, H, W).
        present: 1 where a modality has data, (B, M, H, W).
        hidden: 1 where the spectral image was hidden, (B, 1, H, W).
        layout: Channels of the modalities.
        hidden_loss: Loss at hidden positions: eps, none or x0.

    Returns:
        (M,) losses; 0 for a modality without data in this batch. Where several processes share the
        batch, they are those of the whole batch.
    """
    losses = []
    for index, modality in enumerate(layout.modalities):
        channels = slice(modality.start, modality.stop)
        error = (output.noise[:, channels] - noise[:, channels]).square().mean(1, keepdim=True)
        weight = present[:, index : index + 1]
        if index in layout.spectral and hidden_loss != "eps":
            if output.clean is not None:
                filled = (output.clean[:, channels] - clean[:, channels]).square()
                error = torch.where(hidden > 0, filled.mean(1, keepdim=True), error)
            else:
                weight = weight * (1.0 - hidden)
        losses.append((error * weight).sum() / processes.total(weight.sum()).clamp(min=1.0))
    return processes.whole_value(torch.stack(losses))


class Pretraining:
    """One pre-training: its model, moving average, and the loss of a step.

    It is the work that ``bdgf.optimisation.optimise`` carries through; ``average`` is its result.

    Args:
        prepared: The scene.
        settings: Settings of the diffusion model.
        compute: Where it runs.
        seed: Seed of weights and draws.
    """

    def __init__(
        self,
        prepared: PreparedScene,
        settings: DiffusionSettings,
        compute: ComputeSettings,
        seed: int,
    ) -> None:
        self.settings, self.compute, self.seed = settings, compute, seed
        self.layout = prepared.layout
        self.device = device_of(compute)
        self.owner = torch.tensor(self.layout.modality_of_channel, device=self.device)  # (C,)
        self.crops = CropSampler(prepared, settings.crop, seed)
        self.schedule = NoiseSchedule(settings.timesteps, settings.beta_start, settings.beta_end)
        self.model = place(build_denoiser(settings, self.layout, seed), self.device)
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        self.probe_timestep = min(PROBE_TIMESTEP, settings.timesteps - 1)
        self.balance = BalanceController(settings, self.layout)
        self.course = Course(
            name="pretrain",
            steps=settings.steps,
            learning_rate=settings.learning_rate,
            weight_decay=0.01,
            warmup=settings.warmup,
            clip_norm=settings.clip_norm,
            checkpoint_every=settings.checkpoint_every,
        )

    def loss(self, model: torch.nn.Module, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of one step, and the loss of every modality."""
        s = self.settings
        rows = processes.shares([s.batch])[processes.rank()]
        x0, missing = self.crops.draw(s.batch, numpy_generator(self.seed, "crops", step), rows)
        x0, missing = to_device(x0, self.device), to_device(missing, self.device)
        # draws are those of the whole batch, of which this process takes its rows
        mine = slice(int(rows[0]), int(rows[-1]) + 1)
        draws = torch_generator(self.seed, "diffusion", step, device=self.device)
        t = torch.randint(s.timesteps, (s.batch,), generator=draws, device=self.device)[mine]
        shape = (s.batch, *x0.shape[1:])
        noise = torch.randn(shape, generator=draws, device=self.device)[mine]
        # 1. all modalities are noised
        noisy = self.schedule.add_noise(x0, noise, t)
        # 2. the spectral image is masked, with the strength of this iteration
        strength = ramp_strength(s.masking, step, s.steps) * self.balance.gain
        hidden = draw_hidden(s.masking, strength, s.batch, s.crop, s.crop, draws).float()[mine]
        unseen = missing.clone()
        for index in self.layout.spectral:
            unseen[:, index : index + 1] = torch.maximum(missing[:, index : index + 1], hidden)
        noisy = noisy * (1.0 - unseen[:, self.owner])
        # 3. the noise is predicted; each modality has its own weight
        output = model(noisy, unseen, t)
        losses = modality_losses(
            output, noise, x0, 1.0 - missing, hidden, self.layout, s.masking.hidden_loss
        )
        names = [f"loss_{m.name}" for m in self.layout.modalities]
        parts = dict(zip(names, losses.detach(), strict=True))
        if s.masking.ramp == "adaptive":
            # what is hidden is not learned badly, and must not be hidden less for it
            with torch.no_grad():
                seen = modality_losses(output, noise, x0, 1.0 - unseen, hidden, self.layout, "eps")
            for index in self.layout.spectral:
                parts[f"seen_{self.layout.modalities[index].name}"] = seen[index]
        return (losses * to_device(self.balance.weights, self.device)).sum(), parts

    def precision(self) -> Precision:
        """Choose the precision by timing both on copies of the model."""
        trial = copy.deepcopy(self.model)
        return choose_precision(self.compute, lambda: self.loss(trial, 0)[0])

    @exact()
    def estimate(self, progress: Progress) -> None:
        """Tell size, memory and time before a step is made, and when it will stop."""
        trial = copy.deepcopy(self.model)
        times = []
        for step in range(3):
            start = time.perf_counter()
            self.loss(trial, step)[0].backward()  # type: ignore[no-untyped-call]
            if self.device.type == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
        s = self.settings
        parameters = sum(p.numel() for p in self.model.parameters())
        pixels = s.batch * s.crop**2
        activations = pixels * (self.layout.channels * 6 + s.width * 60) * 4
        minutes = min(times) * 1.1 * s.steps / 60
        progress.say(
            f"pre-training: {parameters / 1e6:.2f} M parameters, about"
            f" {(activations + parameters * 20) / 2**20:.0f} MB beside the scene, about"
            f" {minutes:.1f} minutes; it stops after {s.steps} steps of {s.batch} crops of"
            f" {s.crop}×{s.crop} pixels"
        )

    @torch.no_grad()
    def after_step(self, step: int, parts: dict[str, Tensor]) -> dict[str, float]:
        """Move the averaged weights and steer the balance; return what the history keeps.

        The average's decay rises to its final value with the steps.
        """
        decay = min(self.settings.ema_decay, (1 + step) / (10 + step))
        move = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        move(list(self.average.parameters()), list(self.model.parameters()), step)
        names = [m.name for m in self.layout.modalities]
        losses = [parts.get(f"seen_{name}", parts[f"loss_{name}"]) for name in names]
        self.balance.observe(step, torch.stack(losses), self)
        return self.balance.values()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return what a restart needs beside model and optimiser."""
        return dict(self.average.state_dict()), self.balance.state.to_json()

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Put back what ``state`` returned."""
        self.average.load_state_dict(tensors)
        self.balance.restore(values)

    def clean_features(self, timestep: int) -> Features:
        """Return the feature map of clean input at a timestep, for the reliance."""

        def features(values: Tensor, missing: Tensor) -> tuple[Tensor, ...]:
            t = torch.full((len(values),), timestep, device=self.device)
            return self.model.decode(values.to(self.device), missing.to(self.device), t)

        return features
