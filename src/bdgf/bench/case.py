"""What a method gets, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bdgf.bench.cross_model.sources import Elsewhere
from bdgf.config import Settings
from bdgf.progress import Progress
from bdgf.scene.preparation import Preparation
from bdgf.scene.prepared import PreparedScene
from bdgf.scene.scene import Scene

Costs = Callable[[str], Mapping[str, float] | None]
"""Gives the costs of a finished method by its name."""


class Case:
    """One task for a method: learn from the training pixels of a scene, predict its test pixels.

    Attributes:
        scene: The scene; its training pixels may have been thinned to a number per class.
        settings: All settings, the seed among them.
        folder: A folder that the method may write into; what lies there may be from the same
            method with other labels.
        progress: Receives lines and steps.
        elsewhere: Denoisers and features of other models, by their names.
        costs: Gives what another method's ``Outcome.cost`` was on the same pixels with the same
            seed and settings, None where it is not finished.
    """

    def __init__(
        self,
        scene: Scene,
        settings: Settings,
        folder: Path,
        progress: Progress,
        elsewhere: Elsewhere | None = None,
        costs: Costs | None = None,
    ) -> None:
        self.scene, self.settings, self.folder, self.progress = scene, settings, folder, progress
        self.elsewhere = elsewhere or Elsewhere()
        self.costs: Costs = costs if costs is not None else lambda method: None

    @property
    def seed(self) -> int:
        """Seed of everything that is drawn."""
        return self.settings.seed

    @cached_property
    def prepared(self) -> PreparedScene:
        """The scene as the networks see it: components, decibels, one scale."""
        preparation = Preparation.fit(self.scene, self.settings.preparation, self.seed)
        return PreparedScene(self.scene, preparation)


@dataclass(frozen=True)
class Outcome:
    """What a method gives back.

    Args:
        predicted: Class indices (n_test,) in the order of ``scene.positions("test")``, −1 where
            it gives none.
        seconds: Seconds of fitting and predicting; None takes what the call took. A method that
            uses what an earlier one left in the folder counts it as if it had done it.
        note: What it ran with, in a few words.
        cost: Further figures of its cost by name, such as ``train_steps`` and ``train_seconds``.
        memory_mb: Largest resident memory of an earlier method whose work it uses, 0 for none.
        confidence: How far its confidence can be believed before and after temperature scaling, as
            `bdgf.evaluation.confidence.compare_temperatures` gives it; nothing where it has none.
    """

    predicted: NDArray[np.int64]
    seconds: float | None = None
    note: str = ""
    cost: Mapping[str, float] = field(default_factory=dict)
    memory_mb: float = 0.0
    confidence: Mapping[str, Any] = field(default_factory=dict)


class Method(Protocol):
    """A method: a function from a case to an outcome. Yours joins as ``module:function``."""

    def __call__(self, case: Case) -> Outcome:
        """Learn and predict.

        Raises:
            BdgfError: It cannot.
        """
        ...
