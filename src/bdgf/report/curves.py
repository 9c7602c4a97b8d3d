"""The curves of a run's history, and what its confidence is worth, as charts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdgf.report.charts import Chart, Line

PRETRAINING = "pretrain"
"""Stage of the pre-training in the history; all others are trainings of the branches."""

_OF_MODALITIES = {
    "loss": "Loss",
    "weight": "Weight of each modality in the loss",
    "reliance": "Reliance of the features on each modality",
}
_TITLES = {
    "loss": "Loss",
    "supervised": "Cross-entropy of the fusion and of every branch",
    "consistency": "Distance of the heads from what their average is sure of, on unlabelled pixels",
    "agreement": "Agreement on unlabelled pixels",
    "entropy": "Difference of the branches' entropies",
    "similarity": "Distance of the branches' similarities",
    "mask_gain": "Gain of the masks",
}

Rows = Sequence[dict[str, Any]]


def pretraining_charts(history: Rows, modalities: Sequence[str]) -> list[Chart]:
    """Return the charts of the pre-training: values of every modality together in one.

    Args:
        history: Rows of the history.
        modalities: Names of the modalities.
    """
    rows = [row for row in history if row["stage"] == PRETRAINING]
    groups: dict[str, list[tuple[str, str]]] = {}
    for key in _keys(rows):
        kind, _, modality = key.partition("_")
        if modality in modalities:
            groups.setdefault(kind, []).append((modality, key))
        else:
            groups.setdefault(key, []).append(("all", key))
    for kind, members in groups.items():
        # the modalities first, so that each has one colour in all charts
        members.sort(key=lambda member: member[0] not in modalities)
        if len(modalities) == 1 and kind in _OF_MODALITIES:
            del members[1:]  # of one modality its own value is that of all
    return [
        Chart(
            _OF_MODALITIES.get(kind, _TITLES.get(kind, kind)),
            "step",
            "",
            tuple(_line(name, rows, key) for name, key in members),
        )
        for kind, members in groups.items()
    ]


def training_charts(history: Rows) -> list[Chart]:
    """Return the charts of the trainings: one per value, with a line for every training."""
    rows = [row for row in history if row["stage"] != PRETRAINING]
    stages = list(dict.fromkeys(row["stage"] for row in rows))
    stages.sort(key=lambda stage: stage != "train")  # the one that the map is from comes first
    return [
        Chart(
            _TITLES.get(key, key),
            "step",
            "",
            tuple(
                _line(stage, [row for row in rows if row["stage"] == stage], key)
                for stage in stages
                if any(row["stage"] == stage and key in row for row in rows)
            ),
        )
        for key in _keys(rows)
    ]


def confidence_charts(calibration: dict[str, Any]) -> list[Chart]:
    """Return accuracy against coverage and against confidence on the mapped test pixels.

    Args:
        calibration: What the evaluation found out about the confidence; nothing for no test pixels.
    """
    charts = []
    if calibration.get("curve"):
        curve = calibration["curve"]
        lines = [Line("test pixels", _percent(curve["coverage"]), _percent(curve["accuracy"]))]
        both = [calibration.get(when, {}).get("curve") for when in ("before", "after")]
        if all(both):  # of the same pixels, of large scenes a draw
            names = ("before the temperature", "after it")
            lines = [
                Line(name, _percent(one["coverage"]), _percent(one["accuracy"]))
                for name, one in zip(names, both, strict=True)
            ]
        x_label = "share of the test pixels, most confident first (%)"
        charts.append(Chart("Accuracy against coverage", x_label, "accuracy (%)", tuple(lines)))
    if calibration.get("bins"):
        bins = calibration["bins"]
        line = Line("test pixels", _percent(bins["confidence"]), _percent(bins["accuracy"]))
        filled = line.x[np.isfinite(line.x)]
        ends = np.array([filled.min(), filled.max()])
        even = Line("confidence = accuracy", ends, ends, reference=True)
        labels = ("confidence (%)", "accuracy (%)")
        known = Line(line.name, filled, line.y[np.isfinite(line.x)])
        charts.append(Chart("Accuracy against confidence", *labels, (known, even)))
    return charts


def _percent(shares: Sequence[float | None]) -> NDArray[np.float64]:
    return 100.0 * np.array([np.nan if share is None else share for share in shares])


def _keys(rows: Rows) -> list[str]:
    found = dict.fromkeys(key for row in rows for key in row)
    return [key for key in found if key not in ("stage", "step")]


def _line(name: str, rows: Rows, key: str) -> Line:
    known = [row for row in rows if key in row]
    steps = np.array([row["step"] for row in known], dtype=np.float64)
    return Line(name, steps, np.array([row[key] for row in known], dtype=np.float64))
