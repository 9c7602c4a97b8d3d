"""Whole jobs as processes of their own: time and memory of ``bdgf run`` and ``bdgf map``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bdgf.scene.synthetic.generate import SyntheticSpec
from benchmarks.cases import AUGSBURG, BERLIN, SMALL, scene_file
from benchmarks.results import Values
from benchmarks.timing import Finished, Setup, bdgf

QUICKEST = {
    "diffusion.steps": 20,
    "training.steps": 20,
    "training.fold_steps": 0.2,
    "evaluation.baselines": False,
    "evaluation.missing_modalities": False,
    "report.points": 0,
}
"""A run that trains next to nothing: for what is measured beside the training."""
STEPS = {
    "diffusion.steps": 30,
    "training.steps": 40,
    "evaluation.baselines": False,
    "report.points": 0,
}
"""Of the growth: few steps, without the simple methods and the t-SNE."""

Keep = Callable[[Values], None]


def run(
    setup: Setup, scene: Path, out: Path, changes: Mapping[str, Any], preset: str = "quick"
) -> tuple[Finished, dict[str, float]]:
    """Run all stages in a new folder; return the process and the seconds of its stages."""
    shutil.rmtree(out, ignore_errors=True)
    words: list[object] = ["run", scene, "--out", out, "--preset", preset]
    words += ["--compute.threads", setup.threads, "--compute.accelerator", setup.device]
    for name, value in changes.items():
        words += [f"--{name}", str(value).lower() if isinstance(value, bool) else value]
    done = bdgf(words, setup.threads)
    stages = json.loads((out / "stages.json").read_text(encoding="utf-8"))
    return done, {name: found["seconds"] for name, found in stages.items()}


def memory(setup: Setup, work: Path) -> Values:
    """Return the peak memory of ``bdgf map`` on scenes of growing height."""
    base = SMALL if setup.small else replace(AUGSBURG, bands=32)
    out = work / "runs" / "memory"
    run(setup, scene_file(work, base), out, QUICKEST)
    found = []
    for factor in (1, 2, 3) if setup.small else (1, 4, 16):
        spec = replace(base, height=base.height * factor)
        target = work / "runs" / "mapped"
        shutil.rmtree(target, ignore_errors=True)
        scene = scene_file(work, spec)
        words: list[object] = ["map", out, "--scene", scene, "--to", target]
        done = bdgf(words, setup.threads)
        found.append(
            {
                "height": spec.height,
                "width": spec.width,
                "bands": spec.bands,
                "peak": done.peak,
                "seconds": setup.seconds(done),
            }
        )
    shutil.rmtree(target, ignore_errors=True)
    return {"maps": found}


def jobs(setup: Setup, work: Path) -> Values:
    """Return time and memory of the whole job on scenes of the size of Augsburg and of Berlin."""
    found = []
    specs = {"tiny": SMALL} if setup.small else {"Augsburg": AUGSBURG, "Berlin": BERLIN}
    for name, spec in specs.items():
        changes = QUICKEST if setup.small else {}
        preset = setup.preset
        scene = scene_file(work, spec)
        out = work / "runs" / "job"
        done, stages = run(setup, scene, out, changes, preset)
        found.append(
            {
                "scene": name,
                "size": f"{spec.height} × {spec.width}, {spec.bands} bands",
                "preset": preset,
                "wall": done.wall,
                "cpu": done.cpu,
                "peak": done.peak,
                "gpu_peak": done.gpu_peak,
                "stages": stages,
            }
        )
        shutil.rmtree(out, ignore_errors=True)
    return {"jobs": found}


def growth(setup: Setup, work: Path) -> Values:
    """Return time and memory of the whole job while one of its sizes grows."""
    side = 160
    base = SyntheticSpec(height=side, width=side, bands=60, sar_bands=4, train_per_class=30)
    factors: dict[str, list[SyntheticSpec]] = {
        "pixels": [replace(base, height=side * f) for f in (1, 4, 8, 16)],
        "bands": [replace(base, bands=b) for b in (30, 60, 120, 240)],
        "classes": [replace(base, classes=k) for k in (3, 7, 14, 28)],
        "labels": [replace(base, train_per_class=n) for n in (10, 30, 100, 300)],
    }
    if setup.small:
        factors = {"pixels": [SMALL, replace(SMALL, height=120)]}
    found: dict[str, list[dict[str, float]]] = {}
    known: dict[SyntheticSpec, dict[str, float]] = {}
    for factor, specs in factors.items():
        for spec in specs:
            if spec not in known:
                changes = QUICKEST if setup.small else STEPS
                out = work / "runs" / "growth"
                done, stages = run(setup, scene_file(work, spec), out, changes)
                metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
                known[spec] = {
                    "pixels": spec.height * spec.width,
                    "bands": spec.bands,
                    "classes": spec.classes,
                    "labels": metrics["train_pixels"],
                    "seconds": setup.seconds(done),
                    "peak": done.peak,
                    "training": stages["pretrain"] + stages["train"],
                }
                shutil.rmtree(out, ignore_errors=True)
            found.setdefault(factor, []).append(known[spec])
    return {"growth": found}


def draw_growth(growth: Mapping[str, list[dict[str, float]]], path: Path) -> None:
    """Draw time and memory over each size as a small PNG."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot
    from matplotlib.ticker import EngFormatter, MaxNLocator

    figure, axes = pyplot.subplots(1, len(growth), figsize=(2.6 * len(growth), 2.5), squeeze=False)
    for place, (name, rows) in zip(axes[0], growth.items(), strict=True):
        x = [row[name] for row in rows]
        seconds = [row["seconds"] for row in rows]
        memory = [row["peak"] / 2**20 for row in rows]
        place.plot(x, seconds, "o-", color="#0072b2", markersize=4)
        place.set_xlabel(name)
        place.set_ylim(0, 1.15 * max(seconds))
        place.set_xlim(0, 1.08 * max(x))
        place.xaxis.set_major_locator(MaxNLocator(3))
        place.xaxis.set_major_formatter(EngFormatter(sep=""))
        other = place.twinx()
        other.plot(x, memory, "s--", color="#d55e00", markersize=4)
        other.set_ylim(0, 1.4 * max(memory))
        if place is axes[0][0]:
            place.set_ylabel("seconds", color="#0072b2")
        if place is axes[0][-1]:
            other.set_ylabel("peak memory, MB", color="#d55e00")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
    pyplot.close(figure)
