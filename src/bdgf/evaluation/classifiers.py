"""Classifiers of single pixels: random forest, support vector machine, boosting, linear probe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from bdgf.config import EvaluationSettings
from bdgf.evaluation.pixels import Table, deviations, means

PREDICTED = 2048
"""Pixels that the support vector machine predicts at a time."""

SVM_HELD = 4096
"""Training pixels up to which the kernel between them is held in memory, 8 bytes for each pair."""

SVM_MOST = 20_000
"""Training pixels that the support vector machine is fitted to at most: its time grows with their
square."""

SVM_LEAST = 50
"""Pixels that every class keeps at least, if it has so many."""

FOREST_CELLS = 3_000_000
"""Training pixels x features up to which every tree draws as many pixels as there are."""

SVM_C = (1.0, 10.0, 100.0, 1000.0)
SVM_GAMMA = (0.1, 0.3, 1.0, 3.0)
"""Grid of the support vector machine; gamma is per feature, so that one grid fits any number."""

BOOSTED_LEAF = 20
"""Pixels of a leaf of a boosted tree, at least; scikit-learn's default."""

FOLDS = 3
GROUP_SIDE = 16
"""Training pixels in one square of this many pixels stay in one fold."""


@dataclass(frozen=True)
class Predictor:
    """A fitted classifier.

    Args:
        predict: From features (n, F) to class indices (n,).
        note: The settings that it ran with, and whether training pixels were left out.
    """

    predict: Callable[[Table], NDArray[np.int64]]
    note: str


class Fit(Protocol):
    """Fits a classifier to training pixels."""

    def __call__(
        self,
        table: Table,
        labels: NDArray[np.int64],
        positions: NDArray[np.int64],
        settings: EvaluationSettings,
        rng: np.random.Generator,
        threads: int,
    ) -> Predictor:
        """Fit.

        Args:
            table: Features (n, F) without gaps.
            labels: Class indices (n,).
            positions: Tile, row and column (n, 3).
            settings: Trees of the forest, and most training pixels of the SVM.
            rng: Draws what is drawn.
            threads: CPU threads, 0 for all.
        """
        ...


_SINGLE = "the training pixels have a single class"


def fit_forest(
    table: Table,
    labels: NDArray[np.int64],
    positions: NDArray[np.int64],
    settings: EvaluationSettings,
    rng: np.random.Generator,
    threads: int,
) -> Predictor:
    """Fit a random forest; see `Fit`."""
    share = min(1.0, FOREST_CELLS / table.size)
    forest = RandomForestClassifier(
        settings.trees,
        max_samples=None if share == 1.0 else share,
        n_jobs=threads or -1,
        random_state=int(rng.integers(2**31)),
    ).fit(table, labels)
    note = f"{settings.trees} trees"
    if share < 1.0:
        note += f", each on {round(share * len(labels))} of {len(labels)} training pixels"
    return Predictor(lambda values: forest.predict(values).astype(np.int64), note)


def fit_svm(
    table: Table,
    labels: NDArray[np.int64],
    positions: NDArray[np.int64],
    settings: EvaluationSettings,
    rng: np.random.Generator,
    threads: int,
) -> Predictor:
    """Fit an SVM with a radial basis function, its grid searched by grouped folds; see `Fit`.

    The grid is searched with at most ``evaluation.svm_pixels`` pixels, the machine with the best
    values of it is fitted to all of them, or to ``SVM_MOST``.
    """
    kept, total = _proportionally(labels, SVM_MOST, rng), len(labels)
    table, labels, positions = table[kept], labels[kept], positions[kept]
    if len(np.unique(labels)) == 1:
        only = int(labels[0])
        return Predictor(lambda values: np.full(len(values), only), _SINGLE)
    mean, spread = means(table), deviations(table)
    scaled = (table - mean) / spread
    searched = _evenly(labels, settings.svm_pixels, rng)
    c, gamma = _search(
        scaled[searched], labels[searched], _groups(positions[searched]), int(rng.integers(2**31))
    )
    answer = _machine(scaled, labels, c, gamma / scaled.shape[1])

    def predict(values: Table) -> NDArray[np.int64]:
        found = np.empty(len(values), dtype=np.int64)
        for start in range(0, len(values), PREDICTED):
            part = slice(start, start + PREDICTED)
            found[part] = answer((values[part] - mean) / spread)
        return found

    note = f"C {c:g}, gamma {gamma:g} / {scaled.shape[1]} features"
    if len(searched) < total:
        note += f", found with {len(searched)} of {total} training pixels"
    if len(kept) < total:
        note += f", fitted to {len(kept)}"
    return Predictor(predict, note)


def _machine(
    scaled: Table, labels: NDArray[np.int64], c: float, gamma: float
) -> Callable[[Table], NDArray[np.int64]]:
    """Return what a machine fitted to all pixels answers for others."""
    if len(scaled) > SVM_HELD:
        whole = SVC(C=c, gamma=gamma, cache_size=500).fit(scaled, labels)
        return lambda values: whole.predict(values)
    known = scaled.astype(np.float64)

    def kernel(values: Table) -> NDArray[np.float64]:
        distance = _distance(values.astype(np.float64), known)
        distance *= -gamma
        return np.exp(distance, out=distance)

    # as in the search: with hundreds of features libsvm's own loops take most of the time
    machine = SVC(C=c, kernel="precomputed").fit(kernel(scaled), labels)
    return lambda values: machine.predict(kernel(values))


def _search(
    scaled: Table, labels: NDArray[np.int64], groups: NDArray[np.int64], seed: int
) -> tuple[float, float]:
    """Return C and gamma (per feature) of the grid with the best accuracy on grouped folds."""
    # Distances once, kernels from them: with hundreds of features this is what makes the whole
    # grid affordable, and one matrix product replaces libsvm's own loops.
    distance = _distance(scaled, scaled) / scaled.shape[1]
    best, found = -1.0, (SVM_C[0], SVM_GAMMA[0])
    folds = list(_folds(labels, groups, seed))
    for gamma in SVM_GAMMA:
        kernel = np.exp(-gamma * distance)
        for c in SVM_C:
            score = _fold_score(kernel, labels, folds, c)
            if score > best:
                best, found = score, (c, gamma)
    return found


def _fold_score(
    kernel: NDArray[np.floating],
    labels: NDArray[np.int64],
    folds: list[tuple[NDArray[np.int64], NDArray[np.int64]]],
    c: float,
) -> float:
    """Return the mean of overall and average accuracy over the pixels of all folds."""
    predicted = np.full(len(labels), -1)
    for fit, held in folds:
        machine = SVC(C=c, kernel="precomputed").fit(kernel[np.ix_(fit, fit)], labels[fit])
        predicted[held] = machine.predict(kernel[np.ix_(held, fit)])
    right = predicted == labels
    recalls = [right[labels == k].mean() for k in np.unique(labels)]
    return float(right.mean() + np.mean(recalls)) / 2.0


def _folds(
    labels: NDArray[np.int64], groups: NDArray[np.int64], seed: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield (fitted, held out) pixels; neighbours share a fold where the groups allow it."""
    most = int(np.bincount(labels).max())
    count = min(FOLDS, most)
    if count < 2:
        return
    # Neighbouring pixels are near copies: apart, they would praise a kernel that memorises.
    if len(np.unique(groups)) >= 2 * count:
        splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
        parts = splitter.split(labels, labels, groups)
    else:
        parts = StratifiedKFold(count, shuffle=True, random_state=seed).split(labels, labels)
    for fit, held in parts:
        if len(np.unique(labels[fit])) > 1 and len(held):
            yield fit, held


def _groups(positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of the square, on the tile, that every pixel lies in."""
    squares = np.stack(
        [positions[:, 0], positions[:, 1] // GROUP_SIDE, positions[:, 2] // GROUP_SIDE], axis=1
    )
    return np.unique(squares, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _evenly(labels: NDArray[np.int64], most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw at most ``most`` pixels, as evenly over the classes as their counts allow."""
    if len(labels) <= most:
        return np.arange(len(labels))
    members = [rng.permutation(np.flatnonzero(labels == k)) for k in np.unique(labels)]
    taken: list[NDArray[np.int64]] = []
    left = most
    # Small classes first: what they do not use goes to the others.
    for turn, pixels in enumerate(sorted(members, key=len)):
        share = left // (len(members) - turn)
        taken.append(pixels[:share])
        left -= len(taken[-1])
    return np.sort(np.concatenate(taken))


def _proportionally(
    labels: NDArray[np.int64], most: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw about ``most`` pixels in proportion to the classes, rare classes nearly whole."""
    if len(labels) <= most:
        return np.arange(len(labels))
    taken = []
    for k in np.unique(labels):
        members = np.flatnonzero(labels == k)
        share = max(SVM_LEAST, round(most * len(members) / len(labels)))
        taken.append(rng.permutation(members)[:share])
    return np.sort(np.concatenate(taken))


def _distance(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the (n, m) squared distances between the rows of (n, F) and (m, F)."""
    squared = (a**2).sum(axis=1)[:, None] - 2.0 * (a @ b.T) + (b**2).sum(axis=1)[None]
    distance: NDArray[np.float64] = np.maximum(squared, 0.0).astype(np.float64)
    return distance


def fit_boosting(
    table: Table,
    labels: NDArray[np.int64],
    positions: NDArray[np.int64],
    settings: EvaluationSettings,
    rng: np.random.Generator,
    threads: int,
) -> Predictor:
    """Fit gradient boosting of trees on histograms, with scikit-learn's defaults; see `Fit`.

    Early stopping is off: it would hold out labels that there are not enough of. A leaf has at
    least 20 pixels, or a tenth of them where that is less: no tree could split fewer than 40.
    """
    least = min(BOOSTED_LEAF, max(1, len(labels) // 10))
    machine = HistGradientBoostingClassifier(
        early_stopping=False, min_samples_leaf=least, random_state=int(rng.integers(2**31))
    ).fit(table, labels)
    note = "100 rounds" if least == BOOSTED_LEAF else f"100 rounds, leaves of {least} or more"
    return Predictor(lambda values: machine.predict(values).astype(np.int64), note)


def fit_probe(
    table: Table,
    labels: NDArray[np.int64],
    positions: NDArray[np.int64],
    settings: EvaluationSettings,
    rng: np.random.Generator,
    threads: int,
) -> Predictor:
    """Fit a linear probe: multinomial logistic regression on standardised features; see `Fit`."""
    if len(np.unique(labels)) == 1:
        only = labels[0]
        return Predictor(lambda values: np.full(len(values), only), _SINGLE)
    machine = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(table, labels)
    return Predictor(lambda values: machine.predict(values).astype(np.int64), "C 1")
