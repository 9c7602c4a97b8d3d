"""The rows of history.jsonl reach each tracker, each with its stage and step."""

from __future__ import annotations

import json
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import pytest

from bdgf import presets, tracker_loggers, tracking
from bdgf.cli import main
from bdgf.errors import SettingsError
from bdgf.history import History
from bdgf.pipeline import Pipeline
from bdgf.progress import Silent
from bdgf.tracking import Tracker, check_tracker

SETTINGS = {"seed": 3, "training": {"steps": 5}}


class Recorder:
    """Answers any call, and keeps it."""

    def __init__(self, calls, **answers):
        self._calls, self._answers = calls, answers

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*positional, **named):
            self._calls.append((name, positional, named))
            return self._answers.get(name)

        return call


def install(monkeypatch, name, **attributes):
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    vars(module).update(attributes)
    monkeypatch.setitem(sys.modules, name, module)


def fill(tracker):
    history = History(None, tracker.follow)
    history.add("pretrain", 10, loss=0.5, loss_sar=0.25)
    history.add("train fold 1", 10, loss=2.0)
    tracker.close(success=True)


def test_tensorboard_has_the_rows_of_the_history(tiny_scene, tiny_settings, tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    settings = presets.replace(tiny_settings, {"logger": "tensorboard"})
    Pipeline(tiny_scene, tmp_path / "run", settings, Silent()).run(("pretrain",))
    found = events.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    found.Reload()
    logged = {
        (tag, event.step): event.value
        for tag in found.Tags()["scalars"]
        for event in found.Scalars(tag)
    }
    rows = (tmp_path / "run" / "history.jsonl").read_text().splitlines()
    expected = {
        (f"{row['stage']}/{name}", row["step"]): value
        for row in map(json.loads, rows)
        for name, value in row.items()
        if name not in ("stage", "step")
    }
    assert logged == pytest.approx(expected)
    assert expected
    assert "settings/text_summary" in found.Tags()["tensors"]


def test_mlflow_gets_settings_values_and_the_end(monkeypatch, tmp_path):
    calls = []
    run = SimpleNamespace(info=SimpleNamespace(run_id="r1"))
    client = Recorder(calls, create_run=run, create_experiment="7")
    install(monkeypatch, "mlflow")
    install(monkeypatch, "mlflow.tracking", MlflowClient=lambda: client)
    fill(Tracker("mlflow", tmp_path, "scene run", SETTINGS))
    assert calls == [
        ("get_experiment_by_name", ("bdgf",), {}),
        ("create_experiment", ("bdgf",), {}),
        ("create_run", ("7",), {"run_name": "scene run", "tags": {"folder": str(tmp_path)}}),
        ("log_param", ("r1", "seed", 3), {}),
        ("log_param", ("r1", "training.steps", 5), {}),
        ("log_metric", ("r1", "pretrain/loss", 0.5), {"step": 10}),
        ("log_metric", ("r1", "pretrain/loss_sar", 0.25), {"step": 10}),
        ("log_metric", ("r1", "train_fold_1/loss", 2.0), {"step": 10}),
        ("set_terminated", ("r1", "FINISHED"), {}),
    ]


def test_wandb_gets_an_axis_of_steps_for_every_stage(monkeypatch, tmp_path):
    calls, settings = [], []
    run = Recorder(calls)
    run.config, run.id = Recorder(settings), "r1"
    install(monkeypatch, "wandb", init=lambda **named: calls.append(("init", (), named)) or run)
    fill(Tracker("wandb", tmp_path, "scene run", SETTINGS))
    assert settings == [("update", (SETTINGS,), {})]
    assert calls == [
        ("init", (), {"project": "bdgf", "name": "scene run", "dir": str(tmp_path)}),
        ("define_metric", ("pretrain/step",), {}),
        ("define_metric", ("pretrain/*",), {"step_metric": "pretrain/step"}),
        ("log", ({"pretrain/loss": 0.5, "pretrain/loss_sar": 0.25, "pretrain/step": 10},), {}),
        ("define_metric", ("train_fold_1/step",), {}),
        ("define_metric", ("train_fold_1/*",), {"step_metric": "train_fold_1/step"}),
        ("log", ({"train_fold_1/loss": 2.0, "train_fold_1/step": 10},), {}),
        ("finish", (), {"exit_code": 0}),
    ]


class Lost:
    """A tracker whose server goes away after some answers."""

    def __init__(self, answers):
        self.left = answers

    def answer(self, *_):
        if not self.left:
            raise ConnectionError("no route to host")
        self.left -= 1

    log_hyperparams = log_metrics = finalize = answer


@pytest.mark.parametrize("answers", [1, 2, 3])
def test_a_tracker_that_is_lost_costs_a_warning(tmp_path, monkeypatch, caplog, answers):
    monkeypatch.setattr(tracker_loggers, "OPEN", {"mlflow": lambda *_: Lost(answers)})
    tracker = Tracker("mlflow", tmp_path, "run", SETTINGS)
    history = History(None, tracker.follow)
    history.add("pretrain", 10, loss=0.5)
    history.add("pretrain", 20, loss=0.25)
    tracker.close(success=True)
    assert [row["step"] for row in history.rows] == [10, 20]
    (told,) = [record.getMessage() for record in caplog.records]
    assert "the tracker mlflow failed (no route to host): the run goes on without it" in told


def test_a_tracker_that_cannot_be_opened_is_told(tiny_scene, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tracking, "find_spec", lambda name: name)
    monkeypatch.setattr(tracker_loggers, "OPEN", {"wandb": lambda *_: Lost(0)})
    out = str(tmp_path / "run")
    command = ["pretrain", out, "--scene", str(tiny_scene), "--preset", "quick", "--logger"]
    assert main([*command, "wandb", "--diffusion.steps", "3", "--compute.threads", "1"]) == 2
    told = capsys.readouterr().err
    assert "the tracker wandb cannot be opened (no route to host)" in told
    assert "Traceback" not in told


def test_a_run_that_fails_is_recorded_as_failed(tiny_scene, tiny_settings, tmp_path, monkeypatch):
    closed = []
    monkeypatch.setattr(tracking.Tracker, "close", lambda self, success: closed.append(success))
    pipeline = Pipeline(tiny_scene, tmp_path / "run", tiny_settings, Silent())

    def fails():
        raise KeyboardInterrupt

    pipeline._pretrain = fails
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(("pretrain",))
    assert closed == [False]


def test_nothing_is_opened_without_values_or_without_a_tracker(tmp_path, monkeypatch):
    monkeypatch.setattr(tracker_loggers, "OPEN", {})
    fill(Tracker("none", tmp_path, "run", SETTINGS))
    Tracker("wandb", tmp_path, "run", SETTINGS).close(success=True)


@pytest.mark.parametrize("kind", ["tensorboard", "mlflow", "wandb"])
def test_a_missing_package_is_named_before_anything_is_done(
    kind, tiny_scene, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=rf"pip install '\.\[{kind}\]'"):
        check_tracker(kind)
    out = tmp_path / "run"
    assert main(["run", str(tiny_scene), "--out", str(out), "--logger", kind]) == 2
    assert f"the package {kind} is not installed" in capsys.readouterr().err.replace("\n", " ")
    assert not out.exists()


def test_the_tracker_does_not_make_finished_stages_old(tiny_scene, tiny_settings, tmp_path):
    other = presets.replace(tiny_settings, {"logger": "tensorboard"})
    made = [Pipeline(tiny_scene, tmp_path / "a", s, Silent()) for s in (tiny_settings, other)]
    assert made[0].fingerprints == made[1].fingerprints
