"""The values of a run's curves in an experiment tracker: TensorBoard, MLflow or Weights & Biases.

All three are lightning-fabric loggers: its own for TensorBoard, and the smallest that will do for
the other two, which it does not have. None of the packages is needed unless it is asked for.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import yaml
from lightning_fabric.loggers.logger import Logger
from lightning_fabric.loggers.tensorboard import TensorBoardLogger

from bdgf.config import flat
from bdgf.errors import SettingsError

Kind = Literal["none", "tensorboard", "mlflow", "wandb"]

PROJECT = "bdgf"
"""Name of the experiment in MLflow, and of the project in Weights & Biases."""


def check_tracker(kind: Kind) -> None:
    """Check that a tracker's package is installed.

    Raises:
        SettingsError: It is not.
    """
    if kind != "none" and find_spec(kind) is None:
        raise SettingsError(
            f"logger is {kind}, and the package {kind} is not installed; 'pip install"
            f" bdgf[{kind}]' brings it, and logger none does without."
        )


class Tracker:
    """Hands the values of the curves to a tracker, which is opened with the first of them.

    A run that was killed and goes on starts a new record (TensorBoard: a new file in the same
    place); the steps since its last checkpoint are computed, and handed over, once more.

    Args:
        kind: Which tracker.
        folder: Run folder: TensorBoard's files go to ``tensorboard`` in it, the local files of
            Weights & Biases to ``wandb``. MLflow goes by its own MLFLOW_TRACKING_URI.
        name: Name of the run.
        settings: All settings as plain values; they are recorded with the run.
    """

    def __init__(self, kind: Kind, folder: Path, name: str, settings: Mapping[str, Any]) -> None:
        self.kind, self.folder, self.name = kind, folder, name
        self.settings = dict(settings)
        self._logger: Logger | None = None

    def follow(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Hand over the values of one step of a stage."""
        if self.kind == "none":
            return
        if self._logger is None:
            self._logger = _OPEN[self.kind](self.folder, self.name)
            self._logger.log_hyperparams(self.settings)
        group = stage.replace(" ", "_")
        named = {f"{group}/{name}": float(value) for name, value in values.items()}
        self._logger.log_metrics(named, step)

    def close(self, success: bool) -> None:
        """Tell the tracker that the run has ended."""
        if self._logger is not None:
            self._logger.finalize("success" if success else "failed")
            self._logger = None


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


_OPEN: dict[str, Callable[[Path, str], Logger]] = {
    "tensorboard": _tensorboard,
    "mlflow": MLflowLogger,
    "wandb": WandbLogger,
}
