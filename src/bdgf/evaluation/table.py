"""One table of several runs: mean and standard deviation over their seeds, per scene and method."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import yaml

from bdgf.errors import RunFolderError
from bdgf.evaluation.metrics_file import ANY, MAYBE, check_form
from bdgf.files import JSON_ERRORS

MEASURES = (("all", "oa"), ("all", "aa"), ("all", "kappa"), ("far", "oa"), ("far", "aa"))
"""Columns of the tables of accuracies: on which pixels, and which measure."""

_FORM = {p: {key: MAYBE for part, key in MEASURES if part == p} for p, _ in MEASURES}
_OWN = ("scene", "seed", "compute", "mapping", "report", "logger")
"""Settings in which runs may differ of which a mean is taken."""

_LISTED = 3

HEADER = ("method", "OA", "AA", "kappa", "OA far", "AA far")


@dataclass(frozen=True)
class RunResult:
    """What the table needs of one run.

    Args:
        scene: Name of the scene.
        seed: Seed of the run.
        methods: Accuracies by method, as in ``metrics.json``; those without a modality as further
            methods.
        seconds: Of all stages but the evaluation.
        total_seconds: Of all stages.
        memory: Largest resident memory in MB.
        folder: Where it is.
        settings: What it was made with, by full names, without those that change no accuracy.
    """

    scene: str
    seed: int
    methods: dict[str, Any]
    seconds: float
    total_seconds: float
    memory: float
    folder: Path
    settings: dict[str, Any]


def read_run(folder: Path) -> RunResult:
    """Read a finished run.

    Raises:
        RunFolderError: The folder holds no finished run.
    """
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        stages = json.loads((folder / "stages.json").read_text(encoding="utf-8"))
        seconds = {name: float(stage["seconds"]) for name, stage in stages.items()}
        if "evaluate" not in seconds:
            raise ValueError("its evaluation is not finished")
        # a run of an earlier version has no such figures
        missing = dict(metrics.get("missing", {}))
        for name, group in (("methods", metrics["methods"]), ("missing", missing)):
            check_form(group, {ANY: _FORM}, name)
        without = {f"BDGF without {name}": found for name, found in missing.items()}
        return RunResult(
            scene=str(metrics["scene"]),
            seed=int(metrics["seed"]),
            methods={**metrics["methods"], **without},
            seconds=sum(s for name, s in seconds.items() if name not in ("evaluate", "report")),
            total_seconds=sum(seconds.values()),
            memory=float(metrics["peak_memory_mb"]),
            folder=folder,
            settings=_settings(folder),
        )
    except (*JSON_ERRORS, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise RunFolderError(
            f"{folder} holds no finished run ({type(error).__name__}: {error}); name run folders"
            " that 'bdgf run' or 'bdgf evaluate' has finished."
        ) from None


def markdown(runs: Sequence[RunResult]) -> str:
    """Return a Markdown table per scene.

    Args:
        runs: Finished runs; those of one scene are taken together.

    Raises:
        RunFolderError: Two runs of one scene with the same seed, which are no repetition, or with
            other settings.
    """
    parts = []
    for scene in dict.fromkeys(run.scene for run in runs):
        of_scene = [run for run in runs if run.scene == scene]
        seeds = [run.seed for run in of_scene]
        if len(set(seeds)) < len(seeds):
            raise RunFolderError(
                f"two runs of {scene} have the same seed ({sorted(seeds)}); the table is a mean"
                " over seeds: name one run of each."
            )
        for run in of_scene[1:]:
            _check_alike(of_scene[0], run)
        parts.append(_scene_table(scene, of_scene))
    return "\n".join(parts)


def _settings(folder: Path) -> dict[str, Any]:
    """Settings of a run by full names, such as ``training.steps``; none where none are kept."""
    path = folder / "config.yaml"
    if not path.is_file():
        return {}
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    flat: dict[str, Any] = {}
    for name, value in found.items():
        if name not in _OWN:
            inner = value if isinstance(value, dict) else {"": value}
            flat |= {f"{name}.{key}".rstrip("."): one for key, one in inner.items()}
    return flat


def _check_alike(first: RunResult, other: RunResult) -> None:
    """Check that two runs are of the same settings, as far as both know them."""
    # an earlier version may lack a setting
    both = [name for name in first.settings if name in other.settings]
    apart = [name for name in both if first.settings[name] != other.settings[name]]
    if apart:
        told = ", ".join(
            f"{name} ({first.settings[name]}, {other.settings[name]})" for name in apart[:_LISTED]
        )
        more = f" and {len(apart) - _LISTED} more" if len(apart) > _LISTED else ""
        raise RunFolderError(
            f"{first.folder} and {other.folder} differ in {told}{more}; the table is a mean over"
            " seeds of the same settings: make a table of each."
        )


def _scene_table(scene: str, runs: Sequence[RunResult]) -> str:
    seeds = ", ".join(str(run.seed) for run in runs)
    spent = spread([run.seconds for run in runs], 0)
    total = spread([run.total_seconds for run in runs], 0)
    lines = [
        f"**{markdown_cell(scene)}**, seeds {seeds}: {spent} s, with the other methods {total} s;"
        f" at most {max(run.memory for run in runs):.0f} MB",
        "",
        "| " + " | ".join(HEADER) + " |",
        "|---|" + "---:|" * len(MEASURES),
    ]
    for method in dict.fromkeys(name for run in runs for name in run.methods):
        has = [str(run.seed) for run in runs if method in run.methods]
        fewer = f" (seed {', '.join(has)})" if len(has) < len(runs) else ""
        cells = [markdown_cell(method) + fewer]
        for part, key in MEASURES:
            values = [r.methods[method][part][key] for r in runs if method in r.methods]
            known = [float(v) for v in values if v is not None]
            cells.append(spread(known, 2))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def markdown_cell(text: str) -> str:
    """Return a text for a cell of Markdown, which must neither end the cell nor be HTML."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return text.replace("\\", "\\\\").replace("|", "\\|")


def spread(values: Sequence[float], digits: int) -> str:
    """Mean ± sample standard deviation, the value alone, or a dash where nothing is known."""
    if not values:
        return "–"
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{fmean(values):.{digits}f} ± {stdev(values):.{digits}f}"
