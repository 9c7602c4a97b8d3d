"""The values of a run's curves in an experiment tracker: TensorBoard, MLflow or Weights & Biases.

None of the packages is needed, and nothing of lightning-fabric is loaded, unless it is asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bdgf.errors import SettingsError
from bdgf.scene.formats.location import without_secrets

if TYPE_CHECKING:
    from lightning_fabric.loggers.logger import Logger

logger = logging.getLogger(__name__)

Kind = Literal["none", "tensorboard", "mlflow", "wandb"]


def check_tracker(kind: Kind) -> None:
    """Check that a tracker's package is installed.

    Raises:
        SettingsError: It is not.
    """
    if kind != "none" and find_spec(kind) is None:
        raise SettingsError(
            f'logger is {kind}, and the package {kind} is not installed; "pip install'
            f" '.[{kind}]'\" in the checkout of bdgf brings it, and logger none does without."
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
        tracker = self._logger or self._opened()
        group = stage.replace(" ", "_")
        named = {f"{group}/{name}": float(value) for name, value in values.items()}
        with self._outliving():
            tracker.log_metrics(named, step)

    def close(self, success: bool) -> None:
        """Tell the tracker that the run has ended."""
        tracker, self._logger = self._logger, None
        if tracker is not None:
            with self._outliving():
                tracker.finalize("success" if success else "failed")

    def _opened(self) -> Logger:
        from bdgf.tracker_loggers import OPEN  # lightning-fabric takes seconds to load

        # packages of others, over a network: what they raise is theirs to say
        try:
            self._logger = OPEN[self.kind](self.folder, self.name)
            self._logger.log_hyperparams(self.settings)
        except Exception as error:
            raise SettingsError(
                f"the tracker {self.kind} cannot be opened ({_words(error)}): mend that, or go on"
                " without one by '--logger none'; what is finished is kept."
            ) from error
        return self._logger

    @contextmanager
    def _outliving(self) -> Iterator[None]:
        """Go on without a tracker that fails: history.jsonl has the same values."""
        try:
            yield
        except Exception as error:
            logger.warning(
                "the tracker %s failed (%s): the run goes on without it, and history.jsonl has all"
                " values",
                self.kind,
                _words(error),
            )
            self.kind, self._logger = "none", None


def _words(error: Exception) -> str:
    return " ".join(without_secrets(str(error)).split())[:200] or type(error).__name__
