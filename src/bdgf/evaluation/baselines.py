"""The simple methods that stand beside the network in every run: random forest and SVM.

Both see the bands of all modalities stacked, either of the pixel alone ("raw") or as mean and
standard deviation of its 5 x 5 neighbourhood ("5x5"), in the units of the files.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bdgf.config import EvaluationSettings
from bdgf.evaluation.classifiers import Fit, Predictor, fit_forest, fit_svm
from bdgf.evaluation.pixels import (
    Kind,
    PixelFeatures,
    Table,
    band_features,
    filled,
    means,
    seen,
)
from bdgf.scene.scene import Scene

KINDS: tuple[Kind, ...] = ("raw", "5x5")

CHUNK = 16_384
"""Pixels that are predicted at a time: 740 features of them are 48 MB."""

Report = Callable[[str], None]

FITS: dict[str, Fit] = {"RF": fit_forest, "SVM": fit_svm}


@dataclass(frozen=True)
class BaselineResult:
    """What a simple method says of the test pixels.

    Args:
        predicted: (n_test,) class index.
        seconds: Seconds for fitting and predicting, features included.
        note: The settings that it ran with, and whether training pixels were left out.
    """

    predicted: NDArray[np.int64]
    seconds: float
    note: str


def run_baselines(
    scene: Scene,
    settings: EvaluationSettings,
    seed: int,
    threads: int,
    progress: Report | None = None,
) -> dict[str, BaselineResult]:
    """Fit both methods on both kinds of features of the training pixels; predict the test pixels.

    Nothing is chosen on test pixels: the grid of the support vector machine is searched by
    spatially grouped folds of the training pixels.

    Args:
        scene: A scene with training and test pixels.
        settings: Trees of the forest, and most training pixels of the support vector machine.
        seed: Seed of the forest and of all that is drawn.
        threads: CPU threads, 0 for all.
        progress: Told what is being done.

    Returns:
        Results of "RF raw", "SVM raw", "RF 5x5" and "SVM 5x5".
    """
    report = progress if progress is not None else _quiet
    train, test = scene.positions("train"), scene.positions("test")
    labels = scene.labels_at("train").astype(np.int64)
    results: dict[str, BaselineResult] = {}
    with threadpool_limits(limits=threads or None):
        for kind in KINDS:
            began = time.perf_counter()
            report(f"features of {len(train)} training pixels, {kind}")
            features = band_features(scene, kind)
            table = features(train)
            known = seen(table)  # ours learns from no others either
            table = table[known]
            fill = means(table)
            table = filled(table, fill)
            read = time.perf_counter() - began
            methods: dict[str, tuple[Predictor, float]] = {}
            for name, fit in FITS.items():
                report(f"{name} {kind}: fitting on {len(table)} pixels, {table.shape[1]} features")
                began = time.perf_counter()
                rng = np.random.default_rng([seed, KINDS.index(kind)])
                predictor = fit(table, labels[known], train[known], settings, rng, threads)
                methods[f"{name} {kind}"] = (predictor, read + time.perf_counter() - began)
            results |= predict(features, test, fill, methods)
    return results


def predict(
    features: PixelFeatures,
    test: NDArray[np.int64],
    fill: Table,
    methods: dict[str, tuple[Predictor, float]],
) -> dict[str, BaselineResult]:
    """Predict pixels chunk by chunk; every chunk is read once for all methods.

    Args:
        features: What the methods see.
        test: (n, 3) tile, row and column of the pixels.
        fill: (F,) what stands in gaps.
        methods: By name a fitted method and the seconds that were spent on it so far.
    """
    predicted = {name: np.empty(len(test), dtype=np.int64) for name in methods}
    seconds = {name: spent for name, (_, spent) in methods.items()}
    # Pixels of a chunk should lie together, whatever the order of the positions.
    order = np.lexsort((test[:, 2], test[:, 1], test[:, 0]))
    for start in range(0, len(test), CHUNK):
        chunk = order[start : start + CHUNK]
        began = time.perf_counter()
        table = filled(features(test[chunk]), fill)
        read = time.perf_counter() - began
        for name, (predictor, _) in methods.items():
            began = time.perf_counter()
            predicted[name][chunk] = predictor.predict(table)
            seconds[name] += read + time.perf_counter() - began
    return {
        name: BaselineResult(predicted[name], seconds[name], methods[name][0].note)
        for name in methods
    }


def _quiet(text: str) -> None:
    """Take no notice."""
