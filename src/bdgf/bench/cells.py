"""Cells of the comparison: one method on one scene with one seed, and their results on the disk."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdgf import __version__, presets
from bdgf.bench.variants import OURS, changes_of
from bdgf.config import Settings
from bdgf.errors import RunFolderError
from bdgf.files import JSON_ERRORS, NPY_ERRORS, atomic_path, atomic_write_text, file_name
from bdgf.scene.scene import Scene
from bdgf.stages import plain

ALL_LABELS = "all"


@dataclass(frozen=True)
class Cell:
    """One method on one scene with one seed and one number of labels.

    Args:
        scene: Path of the scene file.
        name: Name of the scene.
        method: Name of the method.
        seed: Seed of everything that is drawn, the thinned labels included.
        budget: Most training pixels per class, None for all.
    """

    scene: str
    name: str
    method: str
    seed: int
    budget: int | None = None

    @property
    def labels(self) -> str:
        """The number of labels as tables write it."""
        return ALL_LABELS if self.budget is None else f"{self.budget} per class"

    def open(self) -> Scene:
        """Open the scene with this cell's training pixels.

        Raises:
            SceneError: It cannot be opened.
        """
        scene = Scene.open(Path(self.scene))
        if self.budget is None:
            return scene
        return Scene(dataclasses.replace(scene.spec, budget=self.budget, budget_seed=self.seed))

    def file(self, folder: Path) -> Path:
        """Return where its result lies in the folder of a comparison."""
        method = re.sub(r"[^A-Za-z0-9.]+", "-", self.method).strip("-")
        if changes_of(self.method) is None and not re.fullmatch(r"[A-Za-z0-9 ]+", self.method):
            # names from outside may differ in nothing but signs that no file may have
            method = f"{method}-{hashlib.sha256(self.method.encode()).hexdigest()[:8]}"
        labels = "all" if self.budget is None else str(self.budget)
        return folder / "cells" / file_name(self.name) / f"{method}.{labels}.{self.seed}.json"


@dataclass(frozen=True)
class Result:
    """What is known of a finished cell.

    Args:
        cell: The cell.
        accuracy: Accuracies on all test pixels, on those far from training, and confusion.
        predicted: Class indices (n_test,).
        seconds: Seconds of the method.
        memory_mb: Largest resident memory of its process.
        note: What it ran with.
        cost: Further figures of its cost by name.
        confidence: How far its confidence can be believed, nothing where it has none.
        code: Digest of the code that computed it, empty where it is not known.
    """

    cell: Cell
    accuracy: Mapping[str, Any]
    predicted: NDArray[np.int64]
    seconds: float
    memory_mb: float
    note: str
    cost: Mapping[str, float] = field(default_factory=dict)
    confidence: Mapping[str, Any] = field(default_factory=dict)
    code: str = ""


def fingerprint(cell: Cell, settings: Settings, images: str, labels: str, outside: str = "") -> str:
    """Return what a cell's result depends on, as a hash.

    Args:
        cell: The cell.
        settings: Settings of the comparison.
        images: Signature of the scene's rasters.
        labels: Signature of its labels.
        outside: Signature of what the method takes from outside.
    """
    own = presets.replace(settings, {**(changes_of(cell.method) or {}), "seed": cell.seed})
    values = plain(own)
    values["compute"].pop("threads")
    values["evaluation"].pop("baselines")
    values.pop("report")
    if not (cell.method.startswith(OURS) or ":" in cell.method):
        # simple methods know nothing of our network but the window, which says what is far
        values["network"] = {"window": own.network.window}
        for group in ("mutual", "training", "mapping"):
            values.pop(group)
    parts = [__version__, images, labels, cell.method, cell.budget, values]
    text = json.dumps([*parts, outside] if outside else parts)
    return hashlib.sha256(text.encode()).hexdigest()


def write_result(folder: Path, result: Result, mark: str) -> None:
    """Write a result whole or not at all."""
    path = result.cell.file(folder)
    path.unlink(missing_ok=True)  # an earlier one must not vouch for the new predictions
    with atomic_path(path.with_suffix(".npy")) as temporary, temporary.open("wb") as file:
        np.save(file, result.predicted.astype(np.int16))
    values = {
        "cell": dataclasses.asdict(result.cell),
        "fingerprint": mark,
        "accuracy": result.accuracy,
        "seconds": round(result.seconds, 2),
        "memory_mb": round(result.memory_mb),
        "note": result.note,
        "cost": {name: round(value, 2) for name, value in result.cost.items()},
        "confidence": dict(result.confidence),
        "code": result.code,
    }
    atomic_write_text(path, json.dumps(values, indent=2) + "\n")


def read_result(folder: Path, cell: Cell, mark: str | None) -> Result | None:
    """Return the result of a cell, None where there is none with this fingerprint.

    Raises:
        RunFolderError: A result that cannot be read.
    """
    path = cell.file(folder)
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if mark is not None and values["fingerprint"] != mark:
            return None
        predicted = np.load(path.with_suffix(".npy"), allow_pickle=False).astype(np.int64)
        return Result(
            cell,
            dict(values["accuracy"]),
            predicted,
            float(values["seconds"]),
            float(values["memory_mb"]),
            str(values["note"]),
            # results of earlier versions have none
            {str(name): float(value) for name, value in values.get("cost", {}).items()},
            dict(values.get("confidence", {})),
            str(values.get("code", "")),
        )
    except (*NPY_ERRORS, *JSON_ERRORS, KeyError, TypeError) as error:
        raise RunFolderError(
            f"{path} cannot be read ({error}); remove it, and 'bdgf bench' makes it again."
        ) from None
