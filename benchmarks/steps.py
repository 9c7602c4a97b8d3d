"""Steps a second of pre-training and training, and what loading the data costs of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bdgf.config import replace
from bdgf.diffusion.pretraining import Pretraining
from bdgf.fusion.samples import PatchSource
from bdgf.fusion.training import FusionTraining, Labelled, UnlabelledPixels
from bdgf.randomness import numpy_generator
from benchmarks.cases import AUGSBURG, SMALL, mapper
from benchmarks.results import Values
from benchmarks.timing import Setup, Work, interleaved


def _step(work: Any, numbers: Iterator[int]) -> Work:  # noqa: ANN401
    """Loss, backward, clipped gradient and optimiser, as ``bdgf.optimisation`` has them."""
    optimizer = torch.optim.AdamW(work.model.parameters(), lr=1e-5)

    def run() -> None:
        step = next(numbers)
        loss, parts = work.loss(work.model, step)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(work.model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        work.after_step(step, parts)

    return run


def _numbers() -> Iterator[int]:
    """Steps at which the balance is not measured: that is one step of fifty."""
    step = 0
    while True:
        step += 1
        if (step + 1) % 50:
            yield step


def steps(setup: Setup, work: Path) -> Values:
    """Return seconds of a step of both trainings, and of loading its data alone."""
    spec = SMALL if setup.small else AUGSBURG
    case = mapper(work, spec, setup.device)
    settings = replace(case.settings, {"compute.accelerator": setup.device})
    pretraining = Pretraining(case.prepared, settings.diffusion, settings.compute, 0)
    scene = case.prepared.scene
    labelled = Labelled(scene.positions("train"), scene.labels_at("train"))
    source = PatchSource(case.prepared, case.store, case.network.window)
    heads = len(case.network.heads)
    training = FusionTraining(
        case.network,
        source,
        labelled,
        UnlabelledPixels(case.prepared),
        settings,
        case.prepared.layout,
        len(scene.class_codes),
        trust=[1.0 / heads] * heads,
    )
    crops, patches = _numbers(), _numbers()
    count = settings.training.batch
    # unlabelled pixels are read twice, for the network and for its teacher
    read = count + (2 * settings.training.unlabelled_pixels if training.teacher is not None else 0)

    def draw() -> None:
        pretraining.crops.draw(settings.diffusion.batch, numpy_generator(0, "crops", next(crops)))

    def gather() -> None:
        draws = np.random.default_rng(next(patches))
        at = labelled.positions[draws.integers(len(labelled), size=read)]
        source.gather(at, torch.from_numpy(draws.integers(8, size=read)))

    seconds = interleaved(
        setup,
        {
            "pre-training": _step(pretraining, _numbers()),
            "pre-training, loading": draw,
            "training": _step(training, _numbers()),
            "training, loading": gather,
        },
    )
    case.network.eval()
    return {
        "seconds": seconds,
        "batch": {"pre-training": settings.diffusion.batch, "training": count},
        "pixels": {
            "pre-training": settings.diffusion.batch * settings.diffusion.crop**2,
            "training": count * settings.network.window**2,
        },
    }
