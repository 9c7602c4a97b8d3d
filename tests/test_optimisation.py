from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bdgf import checkpoint, optimisation, processes
from bdgf.compute import make_fabric
from bdgf.config import ComputeSettings
from bdgf.errors import TrainingError
from bdgf.history import History
from bdgf.optimisation import Course, optimise
from bdgf.progress import Silent
from bdgf.randomness import torch_generator


class Line:
    """Fits a line to noisy points; what is drawn at a step depends on the step alone."""

    def __init__(self, steps: int = 40, spoil_at: int | None = None) -> None:
        self.course = Course("line", steps, 1e-2, 0.0, 0.1, 1.0, checkpoint_every=10)
        self.model = nn.Linear(3, 1)
        self.spoil_at = spoil_at
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.fill_(0.5)

    def loss(self, model: nn.Module, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        x = torch.randn(8, 3, generator=torch_generator(0, "line", step))
        loss = (model(x)[:, 0] - x.sum(1)).square().mean()
        if step == self.spoil_at:
            loss = loss * float("nan")
        return loss, {"part": loss.detach()}

    def after_step(self, step: int, parts: dict[str, Tensor]) -> dict[str, float]:
        return {"twice": 2.0 * step}

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {}, {}

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        pass


def carry_through(folder: Path, work: Line) -> tuple[list[Tensor], str]:
    history = History(folder / "history.jsonl")
    fabric = make_fabric(ComputeSettings(accelerator="cpu"), "32-true")
    optimise(work, fabric, folder / "line.safetensors", {"a": 1}, history, Silent())
    weights = [parameter.detach().clone() for parameter in work.model.parameters()]
    return weights, (folder / "history.jsonl").read_text(encoding="utf-8")


class Killed(Exception):
    """Stands for a process that is ended."""


@pytest.mark.parametrize("call", [1, 2, 3])
@pytest.mark.parametrize("after", [False, True], ids=["before it is written", "once it is written"])
@pytest.mark.parametrize("what", ["checkpoint", "history"])
def test_wherever_it_is_killed_it_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, after: bool, call: int
) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    expected = carry_through(tmp_path / "whole", Line())
    owner, name = (optimisation, "_save") if what == "checkpoint" else (History, "save")
    write, calls = getattr(owner, name), []

    def kill(*args: Any) -> None:
        calls.append(1)
        if len(calls) == call and not after:
            raise Killed
        write(*args)
        if len(calls) == call:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, kill)
        with pytest.raises(Killed):
            carry_through(tmp_path / "killed", Line())
    weights, history = carry_through(tmp_path / "killed", Line())
    assert history == expected[1]
    assert all(torch.equal(a, b) for a, b in zip(weights, expected[0], strict=True))


def test_a_loss_that_is_not_finite_stops_with_the_step_and_keeps_the_checkpoint(
    tmp_path: Path,
) -> None:
    with pytest.raises(TrainingError, match="at step 30"):
        carry_through(tmp_path, Line(spoil_at=25))
    assert (tmp_path / "line.safetensors").is_file()


def test_a_checkpoint_of_something_else_is_not_used(tmp_path: Path) -> None:
    fabric = make_fabric(ComputeSettings(accelerator="cpu"), "32-true")
    path = tmp_path / "line.safetensors"
    optimise(Line(), fabric, path, {"a": 1}, History(None), Silent())
    assert path.is_file()
    fresh, again = Line(), Line()
    optimise(fresh, fabric, tmp_path / "other.safetensors", {"a": 2}, History(None), Silent())
    optimise(again, fabric, path, {"a": 2}, History(None), Silent())
    for a, b in zip(fresh.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_course_rises_then_falls() -> None:
    course = Course("line", 100, 1.0, 0.0, 0.1, 1.0, 10)
    rates = [course.rate(step) for step in range(100)]
    assert rates.index(max(rates)) == 10
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < min(rates) < 0.01


class Exploding(Line):
    """Its loss grows a millionfold at a step, and stays finite."""

    def loss(self, model: nn.Module, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        loss, parts = super().loss(model, step)
        return (loss * 1e6 if step >= 25 else loss), parts


def test_a_loss_that_explodes_stops_with_the_step_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"has grown to .* at step 30"):
        carry_through(tmp_path, Exploding())
    kept = checkpoint.load_tensors(tmp_path / "line.safetensors")
    assert kept[1]["step"] == 20
    assert all(value.isfinite().all() for value in kept[0].values())
    # it goes on from there, and remembers how small the loss was
    with pytest.raises(TrainingError, match="at step 30"):
        carry_through(tmp_path, Exploding())


class Large(Line):
    """Its loss is large from the first step on, as where the values are, and falls."""

    def loss(self, model: nn.Module, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        loss, parts = super().loss(model, step)
        return loss * 1e-3 + 1e6, parts


def test_a_loss_that_begins_large_has_not_grown(tmp_path: Path) -> None:
    _, history = carry_through(tmp_path, Large())
    assert min(json.loads(line)["loss"] for line in history.splitlines()) > 1e5


def test_a_process_that_sees_no_checkpoint_goes_on_from_the_first_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shared disk may show it to the others later; steps that differ would wait for ever."""
    path = tmp_path / "line.safetensors"
    with pytest.raises(TrainingError):
        carry_through(tmp_path, Line(spoil_at=25))
    kept = checkpoint.load_tensors(path)
    path.unlink()
    monkeypatch.setattr(processes, "of_first", lambda find: kept)
    work = Line()
    optimizer = torch.optim.AdamW(work.model.parameters())
    step = optimisation._resume(work, optimizer, path, {"a": 1}, Silent())
    assert step == kept[1]["step"] == 20
    weights = checkpoint.under_prefix("model", kept[0])
    assert torch.equal(work.model.weight, weights["weight"])


def test_weights_are_drawn_without_a_word_to_cuda_and_learned_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda _: pytest.fail("not put back"))
    before = torch.random.get_rng_state()
    with optimisation.forked_seed(0, "weights"):
        first = torch.rand(3)
    with optimisation.forked_seed(0, "weights"):
        assert torch.equal(torch.rand(3), first)
    assert torch.equal(torch.random.get_rng_state(), before)
    seen = []

    class Watched(Line):
        def loss(self, model: nn.Module, step: int) -> tuple[Tensor, dict[str, Tensor]]:
            flags = torch.backends.cudnn
            seen.append((flags.deterministic, flags.conv.fp32_precision))
            return super().loss(model, step)

    carry_through(tmp_path, Watched())
    assert set(seen) == {(True, "ieee")}
    assert torch.backends.cudnn.conv.fp32_precision == "tf32"


def test_it_is_adamw_with_the_rates_decay_and_clipping_of_the_course(tmp_path: Path) -> None:
    ours, plain = Line(), Line()
    course = Course("line", 30, 3e-2, 0.5, 0.2, 0.05, checkpoint_every=100)
    ours.course = course
    carry_through(tmp_path, ours)
    optimizer = torch.optim.AdamW(
        plain.model.parameters(), lr=1.0, weight_decay=0.5, eps=optimisation.EPSILON
    )
    for step in range(course.steps):
        for group in optimizer.param_groups:
            group["lr"] = course.rate(step)
        optimizer.zero_grad()
        plain.loss(plain.model, step)[0].backward()
        nn.utils.clip_grad_norm_(plain.model.parameters(), course.clip_norm)
        optimizer.step()
    for a, b in zip(ours.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
