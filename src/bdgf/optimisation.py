"""The loop that pre-training and training share: steps, learning rate, history, checkpoints.

What is drawn at a step depends on the seed and the step alone, so a run that was killed and goes on
from its last checkpoint ends with the weights of a run that was not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from bdgf import checkpoint, processes
from bdgf.compute import exact
from bdgf.errors import TrainingError
from bdgf.history import History
from bdgf.progress import Progress
from bdgf.randomness import numpy_generator

if TYPE_CHECKING:
    from lightning_fabric import Fabric

LOG_EVERY = 10

EPSILON = 1e-6
"""Of Adam, which divides by the gradient's size and this: a weight whose gradient is zero but for
rounding would otherwise move as far as any other, in a direction that rounding decides."""

EXPLODED = 1000.0
"""Times the least loss so far (1 where it is smaller) from which nothing is learned any more."""


@dataclass(frozen=True)
class Course:
    """The course of an optimisation: AdamW with linear warm-up and cosine decay.

    Args:
        name: Stage it belongs to in the history.
        steps: Optimiser steps.
        learning_rate: Peak learning rate.
        weight_decay: Of AdamW.
        warmup: Share of the steps over which the learning rate rises.
        clip_norm: Largest norm of the gradient.
        checkpoint_every: Steps between two resumable checkpoints.
    """

    name: str
    steps: int
    learning_rate: float
    weight_decay: float
    warmup: float
    clip_norm: float
    checkpoint_every: int

    def rate(self, step: int) -> float:
        """Return the learning rate at a step."""
        rise = max(1.0, self.warmup * self.steps)
        if step < rise:
            return self.learning_rate * (step + 1) / (rise + 1)
        share = (step - rise) / max(1.0, self.steps - rise)
        return self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * share))


class Work(Protocol):
    """What is optimised."""

    course: Course

    @property
    def model(self) -> nn.Module:
        """What learns."""

    def loss(self, model: nn.Module, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of a step and its parts by name.

        Where several processes share the batch, both are those of the whole batch, and the loss has
        the gradient of this process's share of it.
        """

    def after_step(self, step: int, parts: dict[str, Tensor]) -> dict[str, float]:
        """Do what follows a step; return further values for the history."""

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return tensors and plain values that a restart needs beside model and optimiser."""

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Put back what ``state`` returned."""


@exact()
def optimise(
    work: Work,
    fabric: Fabric,
    path: Path,
    origin: dict[str, Any],
    history: History,
    progress: Progress,
) -> None:
    """Carry the work through to its last step.

    Args:
        work: Model, loss and course.
        fabric: Device and precision.
        path: The resumable checkpoint: used when it is there and of the same origin, written as the
            course says; the caller removes it once the result is stored.
        origin: Settings and inputs that the work belongs to.
        history: Receives the losses.
        progress: Receives the steps.

    Raises:
        TrainingError: The loss is not finite, or has exploded.
    """
    course = work.course
    optimizer = torch.optim.AdamW(
        work.model.parameters(),
        lr=course.learning_rate,
        weight_decay=course.weight_decay,
        eps=EPSILON,
    )
    first = _resume(work, optimizer, path, origin, progress)
    history.restart(course.name, first)
    losses = [float(r["loss"]) for r in history.rows if r["stage"] == course.name]
    least = processes.agree(min(losses, default=math.inf))
    start: Tensor | None = None
    model, stepper = fabric.setup(work.model, optimizer)
    for step in range(first, course.steps):
        for group in optimizer.param_groups:
            group["lr"] = course.rate(step)
        loss, parts = work.loss(model, step)
        start = loss.detach() if start is None else start
        # gradients are averaged over the processes, and the shares add up to the whole
        fabric.backward(loss if processes.count() == 1 else loss * processes.count())
        norm = fabric.clip_gradients(
            model, stepper, max_norm=course.clip_norm, error_if_nonfinite=False
        )
        stepper.step()
        stepper.zero_grad()
        values = work.after_step(step, parts)
        done = step + 1
        saves = done % course.checkpoint_every == 0 and done < course.steps
        # reading the loss waits for the device, so it is not done at every step
        if saves or done % LOG_EVERY == 0 or done == course.steps:
            found = {
                "loss": loss.detach(),
                "start": start,
                **parts,
                "norm": torch.zeros(()) if norm is None else norm,
            }
            named = _read(found)
            value, size = named.pop("loss"), named.pop("norm")
            least = min(least, named.pop("start"))
            _check(course.name, done, value, size, least)
            least = min(least, value)
            history.add(course.name, done, loss=value, **named, **values)
            progress.track(course.name, done, course.steps, f"loss {value:.3f}")
        if saves:
            # the history first: what it has beyond the checkpoint is forgotten by a restart, what
            # it lacks would never come back
            history.save()
            _save(work, optimizer, path, origin, done)
    history.save()


def _check(name: str, step: int, loss: float, gradient: float, least: float) -> None:
    """Refuse a loss that is not finite, or has exploded from the least that it was."""
    if not (math.isfinite(loss) and math.isfinite(gradient)):
        raise TrainingError(
            f"The loss of '{name}' is {loss} at step {step} or its gradient is not finite; the last"
            " checkpoint is kept: lower the learning rate or check the scene for extreme values."
        )
    if loss > EXPLODED * max(1.0, least):
        raise TrainingError(
            f"The loss of '{name}' has grown to {loss:.3g} at step {step}, more than {EXPLODED:g}"
            " times the least that it was; the last checkpoint is kept: lower the learning rate or"
            " check the scene for extreme values."
        )


def _read(values: dict[str, Tensor]) -> dict[str, float]:
    """Read scalars from the device all at once: reading waits for it."""
    device = next(iter(values.values())).device
    joined = torch.stack([value.detach().to(device).double() for value in values.values()])
    return dict(zip(values, joined.tolist(), strict=True))


@contextmanager
def forked_seed(seed: int, purpose: str) -> Iterator[None]:
    """Seed torch's initialisers for one purpose and leave the global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        # of the CPU alone: torch.manual_seed seeds those of CUDA, too, which are not put back
        torch.default_generator.manual_seed(int(numpy_generator(seed, purpose).integers(0, 2**62)))
        yield


def _save(
    work: Work,
    optimizer: torch.optim.Optimizer,
    path: Path,
    origin: dict[str, Any],
    step: int,
) -> None:
    extra, values = work.state()
    tensors = {
        **checkpoint.with_prefix("model", work.model.state_dict()),
        **checkpoint.with_prefix("extra", extra),
        **checkpoint.with_prefix("adamw", checkpoint.adamw_state(optimizer, work.model)),
    }
    checkpoint.save_tensors(path, tensors, {"origin": origin, "step": step, "values": values})


def _kept(path: Path, origin: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return the checkpoint where there is one of this origin."""
    if not path.is_file():
        return None
    tensors, found = checkpoint.load_tensors(path)
    whole = {"step", "values"} <= found.keys()
    return (tensors, found) if whole and found.get("origin") == origin else None


def _resume(
    work: Work,
    optimizer: torch.optim.Optimizer,
    path: Path,
    origin: dict[str, Any],
    progress: Progress,
) -> int:
    kept = processes.of_first(lambda: _kept(path, origin))
    if kept is None:
        return 0
    tensors, found = kept
    checkpoint.load_weights(work.model, checkpoint.under_prefix("model", tensors), path)
    work.restore(checkpoint.under_prefix("extra", tensors), found["values"])
    moments = checkpoint.under_prefix("adamw", tensors)
    checkpoint.load_adamw_state(optimizer, work.model, moments)
    step = int(found["step"])
    progress.say(f"{work.course.name} goes on from step {step}")
    return step
