"""The methods that are compared, by their names in tables."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import importlib
import inspect
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from bdgf import presets
from bdgf.bench.case import Case, Method, Outcome
from bdgf.bench.cross_model.sources import UNET, Elsewhere, is_elsewhere
from bdgf.bench.cross_model.taking import borrow
from bdgf.bench.variants import (
    ABLATIONS,
    ALL_ABLATIONS,
    CONTROLS,
    EQUAL_STEPS,
    EQUAL_TIME,
    OURS,
    changes_of,
    variant,
)
from bdgf.compute import peak_memory
from bdgf.config import Settings
from bdgf.diffusion.external import external_signature
from bdgf.diffusion.transfer import start_signature
from bdgf.errors import SettingsError
from bdgf.evaluation.baselines import predict
from bdgf.evaluation.classifiers import Fit, fit_boosting, fit_forest, fit_probe, fit_svm
from bdgf.evaluation.networks import PatchCnn, PixelPerceptron, train_and_predict
from bdgf.evaluation.pixels import (
    PixelFeatures,
    band_features,
    component_features,
    filled,
    means,
    seen,
    stored_features,
)
from bdgf.evaluation.stage import temperatures
from bdgf.files import absolute
from bdgf.history import History
from bdgf.pipeline import Pipeline
from bdgf.runfolder import RunFolder, is_run_folder
from bdgf.scene.scene import Scene
from bdgf.stages import STAGES

MAPPED = STAGES[: STAGES.index("map") + 1]
FEATURED = STAGES[: STAGES.index("features") + 1]
MEMORY = "memory.json"
"""Largest memory of the process that made the features of a shared run folder."""

_FEATURES: dict[str, Callable[[Case], PixelFeatures]] = {
    "raw": lambda case: band_features(case.scene, "raw"),
    "components": lambda case: component_features(case.prepared),
    "5x5": lambda case: band_features(case.scene, "5x5"),
}
_FITS: dict[str, Fit] = {"RF": fit_forest, "SVM": fit_svm, "GB": fit_boosting}
_ON_FEATURES: dict[str, Fit] = {"RF": fit_forest, "SVM": fit_svm, "probe": fit_probe}

CLASSICAL = tuple(f"{fit} {features}" for features in _FEATURES for fit in _FITS)
NETWORKS: dict[str, tuple[type[PixelPerceptron] | type[PatchCnn], bool]] = {
    "MLP": (PixelPerceptron, False),
    "CNN": (PatchCnn, False),
    "CNN balanced": (PatchCnn, True),
}
"""Plain networks, and whether classes are drawn alike, as ours draws them."""
ON_FEATURES = tuple(f"{fit} diffusion" for fit in _ON_FEATURES)
CNN_ON_FEATURES = "CNN diffusion"

GROUPS: dict[str, tuple[str, ...]] = {
    "core": (
        OURS,
        *(variant(name) for name in CONTROLS),
        *CLASSICAL,
        *NETWORKS,
        *ON_FEATURES,
    ),
    "simple": (*CLASSICAL, *NETWORKS),
    "ablations": (OURS, *(variant(name) for name in ABLATIONS)),
    "controls": (OURS, *(variant(name) for name in CONTROLS)),
    "cross": (OURS, UNET, "RF diffusion", "SVM diffusion", CNN_ON_FEATURES, "CNN"),
}
"""Groups of methods that can be named together."""


def expand(names: list[str], elsewhere: Elsewhere | None = None) -> tuple[str, ...]:
    """Return the names of methods that a list of names and groups stands for, each once.

    Args:
        names: Names of methods, without "BDGF, " as well, and of groups.
        elsewhere: Denoisers and features of other models; the group cross has them all.

    Raises:
        SettingsError: A name that is neither a method nor a group.
    """
    found: list[str] = []
    for name in names:
        if name in GROUPS:
            found += GROUPS[name]
            if name == "cross" and elsewhere is not None:
                found += elsewhere.methods()
        elif name in ALL_ABLATIONS or is_elsewhere(variant(name)):
            found.append(variant(name))
        else:
            find(name)
            found.append(name)
    if variant(EQUAL_TIME) in found:  # what it is measured by comes before it
        found = [OURS, variant(EQUAL_STEPS), *found]
    return tuple(dict.fromkeys(found))


def find(name: str) -> Method:
    """Return a method by its name, or ``module:function`` of the user's own.

    Raises:
        SettingsError: There is no such method.
    """
    if name == variant(EQUAL_TIME):
        return _equal_time
    if changes_of(name) is not None or is_elsewhere(name):
        return lambda case: _ours(name, case)
    if name in NETWORKS:
        network, alike = NETWORKS[name]
        return lambda case: Outcome(
            train_and_predict(network, case.prepared, case.seed, alike=alike)
        )
    kind, _, features = name.partition(" ")
    if kind in _FITS and features in _FEATURES:
        return lambda case: _classify(_FITS[kind], _FEATURES[features](case), case)
    if name == CNN_ON_FEATURES:
        return _network_on_features
    if kind in _ON_FEATURES and features == "diffusion":
        return lambda case: _on_features(_ON_FEATURES[kind], case)
    if ":" in name:
        return _own(name)
    known = [*GROUPS, *GROUPS["core"], *GROUPS["cross"], *ALL_ABLATIONS]
    near = difflib.get_close_matches(name, known, n=1)
    begun = [one for one in known if name and one.lower().startswith(name.lower())]
    hint = (
        f"did you mean {(begun or near)[0]!r}"
        if begun or near
        else (f"choose of {', '.join(map(repr, dict.fromkeys(known)))}")
    )
    raise SettingsError(f"{name!r} is no method; {hint}, or module:function of your own?")


def _own(name: str) -> Method:
    module, _, attribute = name.partition(":")
    try:
        method = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingsError(
            f"{name!r} cannot be imported as a method ({error}); it must be module:function, on the"
            " Python path."
        ) from None
    if not callable(method):
        raise SettingsError(f"{name!r} is no function; a method takes a Case and returns Outcome.")
    found: Method = method
    return found


def named_files(name: str, settings: Settings, scene: Scene) -> str:
    """Return the signatures of the files that a method's settings name, an empty text for none.

    Raises:
        BdgfError: One is missing or cannot be used.
    """
    own = presets.replace(settings, dict(changes_of(name) or {}))
    folder = absolute(scene.spec.path).parent
    found = start_signature(own), external_signature(own.features.source, folder, scene)
    return "\n".join(filter(None, found))


def outside_signature(
    name: str, elsewhere: Elsewhere, scene: Scene, seed: int, named: str = ""
) -> str:
    """Return what changes with what a method takes from outside: files, or the user's own code.

    Of own code it is the file with the function; what that imports is not looked at.

    Args:
        name: Of the method.
        elsewhere: Denoisers and features of other models.
        scene: The scene.
        seed: Of the cell.
        named: What `named_files` gives.

    Raises:
        BdgfError: It is missing or cannot be used on the scene.
    """
    return "\n".join(filter(None, (_taken(name, elsewhere, scene, seed), named)))


def _taken(name: str, elsewhere: Elsewhere, scene: Scene, seed: int) -> str:
    if ":" not in name or is_elsewhere(name):
        return elsewhere.signature(name, scene, seed)
    try:
        source = Path(inspect.getsourcefile(inspect.unwrap(_own(name))) or "").read_bytes()
    except (OSError, TypeError):  # compiled, or typed into an interpreter
        return ""
    return hashlib.sha256(source).hexdigest()


def shared_folder(settings: Settings, folder: Path) -> Path:
    """Return the run folder, inside of a case's, of all variants with these features.

    Variants that read one denoiser in different ways have a folder each, and the denoiser in both.
    """
    parts = (settings.preparation, settings.diffusion, settings.features)
    text = json.dumps([dataclasses.asdict(part) for part in parts], sort_keys=True)
    return folder / hashlib.sha256(text.encode()).hexdigest()[:12]


def _run(
    changes: Mapping[str, Any], case: Case, stages: tuple[str, ...] = MAPPED
) -> tuple[Pipeline, float]:
    """Run our method, as far as the map, in the folder of all variants with these features.

    Args:
        changes: Settings that differ from the case's.
        case: The case.
        stages: Stages that are run, the features among them.

    Returns:
        The run, and the largest memory in MB of the process that made its features.
    """
    settings = presets.replace(case.settings, dict(changes))
    folder = shared_folder(settings, case.folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    pipeline = Pipeline(case.scene, folder, settings, case.progress)
    note = folder / MEMORY
    before = [pipeline.folder.finished(stage, pipeline.fingerprints[stage]) for stage in FEATURED]
    lender = _take_denoiser(pipeline, case.folder)
    pipeline.run(FEATURED)
    if not all(before) or not note.is_file():
        used = peak_memory() / 2**20
        used = max(used, _features_memory(lender / MEMORY)) if lender else used
        pipeline.folder.write_json(note, {"features_mb": round(used)})
    pipeline.run(stages)
    return pipeline, _features_memory(note)


def _features_memory(note: Path) -> float:
    """Return what a note of the largest memory says, 0 where there is none."""
    if not note.is_file():
        return 0.0
    return float(json.loads(note.read_text(encoding="utf-8"))["features_mb"])


def _take_denoiser(pipeline: Pipeline, variants: Path) -> Path | None:
    """Give a run the denoiser of another variant that differs in how it is read, if there is one.

    Args:
        pipeline: The run.
        variants: Folder with the runs of the variants of one scene and seed.

    Returns:
        The folder that it was taken from.
    """
    if not pipeline.guided or pipeline.finished("pretrain"):
        return None
    shared = FEATURED[:-1]
    for path in sorted(variants.iterdir()):
        if path == pipeline.folder.path or not is_run_folder(path):
            continue
        other = RunFolder(path, read=True)
        marks = {stage: pipeline.fingerprints[stage] for stage in shared}
        if all(other.finished(stage, mark) for stage, mark in marks.items()):
            files = [file.name for stage in shared for file in pipeline.outputs(stage)]
            if all((path / name).is_file() for name in files):
                pipeline.folder.take(other, shared, files)
                return path
    return None


def _ours(name: str, case: Case, steps: int | None = None, note: str = "") -> Outcome:
    borrowed = borrow(name, case)
    changes = dict(borrowed.changes if borrowed else changes_of(name) or {})
    if steps is not None:
        changes["training.steps"] = steps
    pipeline, memory = _run(changes, case)
    predicted = pipeline.mapped_classes(case.scene.positions("test"))
    seconds = pipeline.folder.seconds()
    cost = {f"{stage}_seconds": seconds[stage] for stage in MAPPED}
    cost["train_steps"] = _training_steps(pipeline)
    spent = sum(seconds[stage] for stage in MAPPED)
    if borrowed is not None:
        spent, note = spent + borrowed.seconds, borrowed.note(pipeline)
    return Outcome(predicted, spent, note, cost, memory, temperatures(pipeline))


def _training_steps(pipeline: Pipeline) -> int:
    """Return the optimiser steps of a training, those of folds and further members among them."""
    last: dict[str, int] = {}
    for row in History(pipeline.folder.history).rows:
        if row["stage"].startswith("train"):
            last[row["stage"]] = max(int(row["step"]), last.get(row["stage"], 0))
    return sum(last.values())


def _equal_time(case: Case) -> Outcome:
    """Train the patch network for as many steps as take the time that the default trained."""
    costs = [case.costs(name) for name in (OURS, variant(EQUAL_STEPS))]
    if any(cost is None or "train_seconds" not in cost for cost in costs):
        raise SettingsError(
            f"'{EQUAL_TIME}' takes its steps from the measured time of {OURS} and"
            f" '{EQUAL_STEPS}' on the same pixels, which are not there: run these first."
        )
    default, patch = (float(cost["train_seconds"]) for cost in costs if cost is not None)
    planned = case.settings.training.steps
    steps = max(1, round(planned * default / patch))
    note = (
        f"training.steps {steps} in place of {planned}: {planned} took {patch:.1f} s, those of"
        f" {OURS} {default:.1f} s"
    )
    return _ours(variant(EQUAL_TIME), case, steps, note)


def _featured(case: Case) -> tuple[Pipeline, float, float]:
    """Run our method as far as its features; return the seconds and memory of that as well."""
    pipeline, memory = _run({}, case, FEATURED)
    seconds = pipeline.folder.seconds()
    return pipeline, sum(seconds[stage] for stage in FEATURED), memory


def _on_features(fit: Fit, case: Case) -> Outcome:
    pipeline, spent, memory = _featured(case)
    start = time.perf_counter()
    found = _classify(fit, stored_features(pipeline.prepared, pipeline.store), case)
    spent += time.perf_counter() - start
    return Outcome(found.predicted, spent, found.note, memory_mb=memory)


def _network_on_features(case: Case) -> Outcome:
    pipeline, spent, memory = _featured(case)
    start = time.perf_counter()
    predicted = train_and_predict(PatchCnn, pipeline.prepared, case.seed, pipeline.store)
    spent += time.perf_counter() - start
    return Outcome(predicted, spent, memory_mb=memory)


def _classify(fit: Fit, features: PixelFeatures, case: Case) -> Outcome:
    scene, threads = case.scene, torch.get_num_threads()
    train = scene.positions("train")
    with threadpool_limits(limits=threads):
        table = features(train)
        known = seen(table)  # ours learns from no others either
        table, train, labels = table[known], train[known], scene.labels_at("train")[known]
        fill = means(table)
        rng = np.random.default_rng([case.seed, 0])
        fitted = fit(
            filled(table, fill),
            labels,
            train,
            case.settings.evaluation,
            rng,
            threads,
        )
        found = predict(features, scene.positions("test"), fill, {"": (fitted, 0.0)})[""]
    return Outcome(found.predicted, note=fitted.note)
