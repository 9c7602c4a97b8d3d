"""The experiment trackers as lightning-fabric loggers.

Its own for TensorBoard, and the smallest that will do for MLflow and Weights & Biases, which it
does not have.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from lightning_fabric.loggers.logger import Logger
from lightning_fabric.loggers.tensorboard import TensorBoardLogger

from bdgf.presets import flat

PROJECT = "bdgf"
"""Name of the experiment in MLflow, and of the project in Weights & Biases."""


class _TensorBoard(TensorBoardLogger):
    """Fabric's logger; the settings go in as text, because nothing is compared by them."""

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **more: Any) -> None:  # noqa: ANN401
        """Record the settings."""
        text = yaml.safe_dump(_plain(params), sort_keys=False)
        self.experiment.add_text("settings", f"```\n{text}```")


class MLflowLogger(Logger):
    """A run in MLflow.

    Args:
        folder: Run folder.
        name: Name of the run.
    """

    def __init__(self, folder: Path, name: str) -> None:
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient()
        found = self._client.get_experiment_by_name(PROJECT)
        experiment = found.experiment_id if found else self._client.create_experiment(PROJECT)
        run = self._client.create_run(experiment, run_name=name, tags={"folder": str(folder)})
        self._id = run.info.run_id

    name = property(lambda self: PROJECT)
    version = property(lambda self: self._id)

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Record the values of a step."""
        for name, value in metrics.items():
            self._client.log_metric(self._id, name, value, step=step or 0)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **more: Any) -> None:  # noqa: ANN401
        """Record the settings, each by its dotted name."""
        for name, value in flat(_plain(params)).items():
            self._client.log_param(self._id, name, value)

    def finalize(self, status: str) -> None:
        """End the run."""
        self._client.set_terminated(self._id, "FINISHED" if status == "success" else "FAILED")


class WandbLogger(Logger):
    """A run in Weights & Biases; its own WANDB_MODE decides whether it is sent.

    Args:
        folder: Run folder.
        name: Name of the run.
    """

    def __init__(self, folder: Path, name: str) -> None:
        import wandb

        self._run = wandb.init(project=PROJECT, name=name, dir=str(folder))
        self._stages: set[str] = set()

    name = property(lambda self: PROJECT)
    version = property(lambda self: self._run.id)

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Record the values of a step, on the stage's own axis of steps.

        The service's one axis would refuse a second stage, whose steps begin at 1 again.
        """
        values: dict[str, float] = dict(metrics)
        for stage in {name.partition("/")[0] for name in metrics}:
            axis = f"{stage}/step"
            if stage not in self._stages:
                self._stages.add(stage)
                self._run.define_metric(axis)
                self._run.define_metric(f"{stage}/*", step_metric=axis)
            values[axis] = step or 0
        self._run.log(values)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **more: Any) -> None:  # noqa: ANN401
        """Record the settings."""
        self._run.config.update(_plain(params))

    def finalize(self, status: str) -> None:
        """End the run."""
        self._run.finish(exit_code=0 if status == "success" else 1)


def _plain(params: dict[str, Any] | Namespace) -> dict[str, Any]:
    return vars(params) if isinstance(params, Namespace) else params


def _tensorboard(folder: Path, name: str) -> Logger:
    return _TensorBoard(folder, name="tensorboard", version="")


OPEN: dict[str, Callable[[Path, str], Logger]] = {
    "tensorboard": _tensorboard,
    "mlflow": MLflowLogger,
    "wandb": WandbLogger,
}
"""Opens the logger of each kind for a run folder and a name."""
