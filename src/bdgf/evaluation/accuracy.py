"""Accuracy of a map on the test pixels, official and away from the training pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bdgf.config import Settings
from bdgf.evaluation.baselines import run_baselines
from bdgf.evaluation.metrics import Scores, confusion_matrix, scores, unpredicted_counts
from bdgf.scene.leak import Leak
from bdgf.scene.scene import Scene


def score(reference: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> Scores:
    """Score predictions (n,), −1 standing for none, which counts as an error."""
    return scores(
        confusion_matrix(reference, predicted, classes),
        unpredicted_counts(reference, predicted, classes),
    )


def score_methods(
    scene: Scene,
    leak: Leak,
    mapped: NDArray[np.int64],
    settings: Settings,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Score the map, and the simple methods beside it where the settings ask for them.

    Args:
        scene: The scene, with test labels.
        leak: What ``bdgf.scene.leak.leakage`` found for the patch in use.
        mapped: (n_test,) class indices of the map.
        settings: All settings.
        say: Told what is being done.

    Returns:
        By method what ``compare`` gives; of the simple methods also seconds and a note.
    """
    predictions = {"BDGF": mapped}
    notes: dict[str, dict[str, Any]] = {}
    if settings.evaluation.baselines:
        threads = torch.get_num_threads()
        found = run_baselines(scene, settings.evaluation, settings.seed, threads, say)
        predictions |= {name: result.predicted for name, result in found.items()}
        notes = {
            name: {"seconds": round(result.seconds, 2), "note": result.note}
            for name, result in found.items()
        }
    methods = compare(scene, leak, predictions)
    return {name: {**scores, **notes.get(name, {})} for name, scores in methods.items()}


def compare(
    scene: Scene,
    leak: Leak,
    predictions: dict[str, NDArray[np.int64]],
) -> dict[str, Any]:
    """Score several methods' predictions of the test pixels.

    Args:
        scene: The scene, with labels.
        leak: What ``bdgf.scene.leak.leakage`` found for the patch in use.
        predictions: (n_test,) class indices by method, in the order of ``scene.positions("test")``.

    Returns:
        By method: accuracies on all test pixels, on those far from training, and the confusion
        matrix on all.
    """
    reference = scene.labels_at("test")
    far = leak.is_far(scene.positions("test"))
    classes = len(scene.class_codes)
    return {
        name: {
            "all": score(reference, predicted, classes).to_json(),
            "far": score(reference[far], predicted[far], classes).to_json(),
            "confusion": confusion_matrix(reference, predicted, classes).tolist(),
        }
        for name, predicted in predictions.items()
    }
