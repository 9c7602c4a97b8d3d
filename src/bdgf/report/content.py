"""The tables of the page, as plain rows for the template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdgf.evaluation.table import MEASURES
from bdgf.report.overview import TileOverview
from bdgf.report.results import Results

Row = dict[str, Any]


def method_rows(methods: dict[str, Any]) -> list[Row]:
    """Return name and accuracies of every method, the best of each column marked.

    Args:
        methods: By name, in the form of ``metrics.json``.
    """
    table = [[found[part][key] for part, key in MEASURES] for found in methods.values()]
    best = [
        max((value for value in column if value is not None), default=None)
        for column in zip(*table, strict=True)
    ]
    return [
        {
            "name": name,
            "note": found.get("note", ""),
            "cells": [
                {"value": value, "best": value is not None and value == top}
                for value, top in zip(row, best, strict=True)
            ],
        }
        for (name, found), row in zip(methods.items(), table, strict=True)
    ]


def class_rows(results: Results, overviews: Sequence[TileOverview]) -> list[Row]:
    """Return the classes: labelled pixels, accuracies of the map, share of the mapped area.

    Args:
        results: The run.
        overviews: Of all tiles of the scene.
    """
    scene, methods = results.scene, results.metrics["methods"]
    counts = {
        part: np.bincount(scene.labels_at(part), minlength=len(scene.class_codes))
        for part in ("train", "test")
    }
    mapped = np.sum([one.counts for one in overviews], axis=0)
    total = max(1, int(mapped.sum()))
    confusion = _confusion(results)
    others = {name: found for name, found in methods.items() if name != "BDGF"}
    rows = []
    for index, (code, name) in enumerate(zip(scene.class_codes, scene.class_names, strict=True)):
        row: Row = {
            "index": index,
            "code": code,
            "name": name,
            "train": int(counts["train"][index]),
            "test": int(counts["test"][index]),
            "area": 100 * int(mapped[index]) / total,
            "recall": None,
            "precision": None,
            "f1": None,
            "others": [found["all"]["per_class"][index] for found in others.values()],
        }
        if confusion is not None:
            right, said = int(confusion[index, index]), int(confusion[:, index].sum())
            row["recall"] = methods["BDGF"]["all"]["per_class"][index]
            row["precision"] = 100 * right / said if said else None
            both = int(counts["test"][index]) + said
            row["f1"] = 200 * right / both if both and counts["test"][index] else None
        rows.append(row)
    return rows


def confusion_rows(results: Results) -> list[Row]:
    """Return the confusion matrix, empty without test pixels: one row per tested class.

    Every row ends with the test pixels that the map has no class for.
    """
    confusion = _confusion(results)
    if confusion is None:
        return []
    scene = results.scene
    totals = np.bincount(scene.labels_at("test"), minlength=len(scene.class_codes))
    rows = []
    for index, name in enumerate(scene.class_names):
        if not totals[index]:
            continue
        counts = [*confusion[index].tolist(), int(totals[index] - confusion[index].sum())]
        shares = [count / int(totals[index]) for count in counts]
        cells = [{"count": c, "share": s} for c, s in zip(counts, shares, strict=True)]
        rows.append({"index": index, "name": name, "cells": cells})
    return rows


def modality_rows(results: Results) -> list[Row]:
    """Return the modalities: role, bands, and what the preparation made of them."""
    return [
        {
            "name": one.name,
            "role": one.role,
            "bands": one.bands,
            "dropped": one.bands - len(one.kept),
            "decibels": int(one.decibel.sum()),
            "channels": one.channels,
        }
        for one in results.preparation.fitted
    ]


def _confusion(results: Results) -> NDArray[np.int64] | None:
    methods = results.metrics["methods"]
    if "BDGF" not in methods:
        return None
    return np.array(methods["BDGF"]["confusion"], dtype=np.int64)
