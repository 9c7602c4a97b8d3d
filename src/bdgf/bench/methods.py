"""The methods that are compared, by their names in tables."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import importlib
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from bdgf import config
from bdgf.bench.borrowing import borrow
from bdgf.bench.case import Case, Method, Outcome
from bdgf.bench.elsewhere import UNET, Elsewhere, is_elsewhere
from bdgf.bench.variants import ABLATIONS, CONTROLS, OURS, changes_of, variant
from bdgf.errors import SettingsError
from bdgf.evaluation.baselines import predict
from bdgf.evaluation.classifiers import Fit, fit_boosting, fit_forest, fit_probe, fit_svm
from bdgf.evaluation.networks import PatchNetwork, PixelPerceptron, train_and_predict
from bdgf.evaluation.pixels import (
    PixelFeatures,
    band_features,
    component_features,
    filled,
    means,
    stored_features,
)
from bdgf.pipeline import Pipeline
from bdgf.stages import STAGES

MAPPED = STAGES[: STAGES.index("map") + 1]
FEATURED = STAGES[: STAGES.index("features") + 1]

_FEATURES: dict[str, Callable[[Case], PixelFeatures]] = {
    "raw": lambda case: band_features(case.scene, "raw"),
    "components": lambda case: component_features(case.prepared),
    "5x5": lambda case: band_features(case.scene, "5x5"),
}
_FITS: dict[str, Fit] = {"RF": fit_forest, "SVM": fit_svm, "GB": fit_boosting}
_ON_FEATURES: dict[str, Fit] = {"RF": fit_forest, "SVM": fit_svm, "probe": fit_probe}

CLASSICAL = tuple(f"{fit} {features}" for features in _FEATURES for fit in _FITS)
NETWORKS: dict[str, type[PixelPerceptron] | type[PatchNetwork]] = {
    "MLP": PixelPerceptron,
    "CNN": PatchNetwork,
}
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
        elif name in ABLATIONS or is_elsewhere(variant(name)):
            found.append(variant(name))
        else:
            find(name)
            found.append(name)
    return tuple(dict.fromkeys(found))


def find(name: str) -> Method:
    """Return a method by its name, or ``module:function`` of the user's own.

    Raises:
        SettingsError: There is no such method.
    """
    if changes_of(name) is not None or is_elsewhere(name):
        return lambda case: _ours(name, case)
    if name in NETWORKS:
        return lambda case: Outcome(train_and_predict(NETWORKS[name], case.prepared, case.seed))
    kind, _, features = name.partition(" ")
    if kind in _FITS and features in _FEATURES:
        return lambda case: _classify(_FITS[kind], _FEATURES[features](case), case)
    if name == CNN_ON_FEATURES:
        return _network_on_features
    if kind in _ON_FEATURES and features == "diffusion":
        return lambda case: _on_features(_ON_FEATURES[kind], case)
    if ":" in name:
        return _own(name)
    known = [*GROUPS, *GROUPS["core"], *GROUPS["cross"], *ABLATIONS]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"choose of {', '.join(known)}"
    raise SettingsError(f"{name!r} is no method; {hint}, or module:function of your own.")


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


def _run(changes: Mapping[str, Any], case: Case, stages: tuple[str, ...] = MAPPED) -> Pipeline:
    """Run our method, as far as the map, in the folder of all variants with these features."""
    settings = config.replace(case.settings, dict(changes))
    parts = (settings.preparation, settings.diffusion, settings.features)
    text = json.dumps([dataclasses.asdict(part) for part in parts], sort_keys=True)
    folder = case.folder / hashlib.sha256(text.encode()).hexdigest()[:12]
    folder.parent.mkdir(parents=True, exist_ok=True)
    pipeline = Pipeline(case.scene, folder, settings, case.progress)
    pipeline.run(stages)
    return pipeline


def _ours(name: str, case: Case) -> Outcome:
    borrowed = borrow(name, case)
    pipeline = _run(borrowed.changes if borrowed else changes_of(name) or {}, case)
    predicted = pipeline.mapped_classes(case.scene.positions("test"))
    seconds = sum(pipeline.folder.seconds().values())
    if borrowed is None:
        return Outcome(predicted, seconds)
    return Outcome(predicted, seconds + borrowed.seconds, borrowed.note(pipeline))


def _featured(case: Case) -> tuple[Pipeline, float]:
    """Run our method as far as its features; return the seconds of that as well."""
    pipeline = _run({}, case, FEATURED)
    seconds = pipeline.folder.seconds()
    return pipeline, sum(seconds[stage] for stage in FEATURED)


def _on_features(fit: Fit, case: Case) -> Outcome:
    pipeline, before = _featured(case)
    start = time.perf_counter()
    found = _classify(fit, stored_features(pipeline.prepared, pipeline.store), case)
    return Outcome(found.predicted, before + time.perf_counter() - start, found.note)


def _network_on_features(case: Case) -> Outcome:
    pipeline, before = _featured(case)
    start = time.perf_counter()
    predicted = train_and_predict(PatchNetwork, pipeline.prepared, case.seed, pipeline.store)
    return Outcome(predicted, before + time.perf_counter() - start)


def _classify(fit: Fit, features: PixelFeatures, case: Case) -> Outcome:
    scene, threads = case.scene, torch.get_num_threads()
    train = scene.positions("train")
    with threadpool_limits(limits=threads):
        table = features(train)
        fill = means(table)
        rng = np.random.default_rng([case.seed, 0])
        fitted = fit(
            filled(table, fill),
            scene.labels_at("train"),
            train,
            case.settings.evaluation,
            rng,
            threads,
        )
        found = predict(features, scene.positions("test"), fill, {"": (fitted, 0.0)})[""]
    return Outcome(found.predicted, note=fitted.note)
