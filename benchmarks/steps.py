"""Steps a second of pre-training and training, and what loading the data costs of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from bdgf import optimisation
from bdgf.compute import Precision, make_fabric
from bdgf.config import Settings
from bdgf.diffusion.pretraining import Pretraining
from bdgf.fusion.patch_source import PatchSource
from bdgf.fusion.training import FusionTraining, Labelled, UnlabelledPixels
from bdgf.presets import replace
from bdgf.randomness import numpy_generator
from benchmarks.cases import AUGSBURG, SMALL, Mapper, mapper
from benchmarks.results import Values
from benchmarks.timing import Setup, Work, interleaved


@dataclass
class Trainings:
    """Both trainings of a scene.

    Args:
        settings: Of both, with their device.
        pretraining: Of the denoiser.
        training: Of the branches.
        labelled: Pixels that the branches learn from.
        precisions: By the name of the training.
    """

    settings: Settings
    pretraining: Pretraining
    training: FusionTraining
    labelled: Labelled
    precisions: dict[str, Precision]

    @classmethod
    def of(cls, case: Mapper, setup: Setup) -> Trainings:
        """Return the trainings of a case, in the precisions that a run would choose."""
        settings = replace(case.settings, {"compute.accelerator": setup.device})
        pretraining = Pretraining(case.prepared, settings.diffusion, settings.compute, 0)
        scene = case.prepared.scene
        labelled = Labelled(scene.positions("train"), scene.labels_at("train"))
        heads = len(case.network.heads)
        training = FusionTraining(
            case.network.train(),
            PatchSource(case.prepared, case.store, case.network.window),
            labelled,
            UnlabelledPixels(case.prepared),
            settings,
            case.prepared.layout,
            len(scene.class_codes),
            trust=[1.0 / heads] * heads,
        )
        with setup.applied():
            precisions: dict[str, Precision] = {
                "pre-training": pretraining.precision(),
                "training": "32-true",
            }
        return cls(settings, pretraining, training, labelled, precisions)

    def steps(self) -> dict[str, Work]:
        """Return a step of each training."""
        works: dict[str, optimisation.Work] = {
            "pre-training": self.pretraining,
            "training": self.training,
        }
        return {name: self._step(work, self.precisions[name]) for name, work in works.items()}

    def _step(self, work: optimisation.Work, precision: Precision) -> Work:
        """Loss, backward, clipped gradient and optimiser, as ``bdgf.optimisation`` has them."""
        fabric = make_fabric(self.settings.compute, precision)
        optimizer = torch.optim.AdamW(work.model.parameters(), lr=1e-5)
        model, stepper = fabric.setup(work.model, optimizer)
        numbers = _numbers()

        def run() -> None:
            step = next(numbers)
            loss, parts = work.loss(model, step)
            fabric.backward(loss)
            fabric.clip_gradients(model, stepper, max_norm=1.0, error_if_nonfinite=False)
            stepper.step()
            stepper.zero_grad()
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
    case = mapper(work, SMALL if setup.small else AUGSBURG, setup.device)
    both = Trainings.of(case, setup)
    settings, training = both.settings, both.training
    crops, patches = _numbers(), _numbers()
    count = settings.training.batch
    unlabelled = settings.training.unlabelled_pixels if training.teacher is not None else 0
    read = count + 2 * unlabelled  # these are read twice, for the network and for its teacher

    def draw() -> None:
        generator = numpy_generator(0, "crops", next(crops))
        both.pretraining.crops.draw(settings.diffusion.batch, generator)

    def gather() -> None:
        draws = np.random.default_rng(next(patches))
        at = both.labelled.positions[draws.integers(len(both.labelled), size=read)]
        training.source.gather(at, torch.from_numpy(draws.integers(8, size=read)))

    seconds = interleaved(
        setup,
        {**both.steps(), "pre-training, loading": draw, "training, loading": gather},
    )
    case.network.eval()
    return {
        "seconds": seconds,
        "precisions": both.precisions,
        "batch": {"pre-training": settings.diffusion.batch, "training": count},
        "unlabelled": unlabelled,
        "pixels": {
            "pre-training": settings.diffusion.batch * settings.diffusion.crop**2,
            "training": (count + unlabelled) * settings.network.window**2,
        },
    }
