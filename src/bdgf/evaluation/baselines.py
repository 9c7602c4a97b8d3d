"""The simple methods that stand beside the network: random forest and support vector machine.

Both see the bands of all modalities stacked, either of the pixel alone ("raw") or as mean and
standard deviation of its 5 x 5 neighbourhood ("5x5"), in the units of the files.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from bdgf.config import EvaluationSettings
from bdgf.scene.layout import Window, reflect_index, windows_of
from bdgf.scene.scene import Scene, Tile

Kind = Literal["raw", "5x5"]
KINDS: tuple[Kind, ...] = ("raw", "5x5")

RADIUS = 2
"""Radius of the 5 x 5 neighbourhood."""

SIDE = 128
"""Side of the windows that bands are read in."""

CHUNK = 16_384
"""Pixels that are predicted at a time: 740 features of them are 48 MB."""

KERNEL_CHUNK = 2048
"""Pixels whose kernel values to all training pixels are held at a time."""

FOREST_CELLS = 3_000_000
"""Training pixels x features up to which every tree draws as many pixels as there are."""

SVM_C = (1.0, 10.0, 100.0, 1000.0)
SVM_GAMMA = (0.1, 0.3, 1.0, 3.0)
"""Grid of the support vector machine; gamma is per feature, so that one grid fits any number."""

FOLDS = 3
GROUP_SIDE = 16
"""Training pixels in one square of this many pixels stay in one fold."""

Table = NDArray[np.float32]
Report = Callable[[str], None]


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


def pixel_table(
    scene: Scene,
    positions: NDArray[np.int64],
    kind: Kind,
    fill: Table | None = None,
) -> Table:
    """Read the features of some pixels of a scene, without holding the scene.

    Beyond the edge of a tile it is mirrored. Neighbourhoods count valid pixels only.

    Args:
        scene: The scene.
        positions: (n, 3) tile, row and column of every pixel.
        kind: raw (the F bands of all modalities) or 5x5 (F means, then F standard deviations).
        fill: (F,) or (2 F,) values that stand where a feature is missing; None takes the mean of
            that feature over these pixels, or 0 where it is missing everywhere.

    Returns:
        (n, F) or (n, 2 F) float32.
    """
    table = _gaps(scene, positions, kind)
    missing = np.isnan(table)
    if missing.any():
        values = _means(table) if fill is None else fill
        table[missing] = np.broadcast_to(values, table.shape)[missing]
    return table


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
            table = _gaps(scene, train, kind)
            fill = _means(table)
            table = np.where(np.isnan(table), fill, table)
            read = time.perf_counter() - began
            methods: dict[str, tuple[_Predictor, float]] = {}
            for name, fit in (("RF", _fit_forest), ("SVM", _fit_svm)):
                report(f"{name} {kind}: fitting on {len(train)} pixels, {table.shape[1]} features")
                began = time.perf_counter()
                rng = np.random.default_rng([seed, KINDS.index(kind)])
                predictor = fit(table, labels, train, settings, rng, threads)
                methods[f"{name} {kind}"] = (predictor, read + time.perf_counter() - began)
            results |= _predict(scene, test, kind, fill, methods)
    return results


class _Predictor:
    """A fitted method: a function from (n, F) features to (n,) class indices, and a note."""

    def __init__(self, predict: Callable[[Table], NDArray[np.int64]], note: str) -> None:
        self.predict = predict
        self.note = note


def _predict(
    scene: Scene,
    test: NDArray[np.int64],
    kind: Kind,
    fill: Table,
    methods: dict[str, tuple[_Predictor, float]],
) -> dict[str, BaselineResult]:
    """Predict the test pixels chunk by chunk; every chunk is read once for all methods."""
    predicted = {name: np.empty(len(test), dtype=np.int64) for name in methods}
    seconds = {name: spent for name, (_, spent) in methods.items()}
    # Pixels of a chunk should lie together, whatever the order of the positions.
    order = np.lexsort((test[:, 2], test[:, 1], test[:, 0]))
    for start in range(0, len(test), CHUNK):
        chunk = order[start : start + CHUNK]
        began = time.perf_counter()
        table = pixel_table(scene, test[chunk], kind, fill)
        read = time.perf_counter() - began
        for name, (predictor, _) in methods.items():
            began = time.perf_counter()
            predicted[name][chunk] = predictor.predict(table)
            seconds[name] += read + time.perf_counter() - began
    return {
        name: BaselineResult(predicted[name], seconds[name], methods[name][0].note)
        for name in methods
    }


def _fit_forest(
    table: Table,
    labels: NDArray[np.int64],
    positions: NDArray[np.int64],
    settings: EvaluationSettings,
    rng: np.random.Generator,
    threads: int,
) -> _Predictor:
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
    return _Predictor(lambda values: forest.predict(values).astype(np.int64), note)


def _fit_svm(
    table: Table,
    labels: NDArray[np.int64],
    positions: NDArray[np.int64],
    settings: EvaluationSettings,
    rng: np.random.Generator,
    threads: int,
) -> _Predictor:
    kept = _evenly(labels, settings.svm_pixels, rng)
    cut = "" if len(kept) == len(labels) else f", {len(kept)} of {len(labels)} training pixels"
    labels, groups = labels[kept], _groups(positions[kept])
    classes = np.unique(labels)
    if len(classes) == 1:
        only = int(classes[0])
        return _Predictor(
            lambda values: np.full(len(values), only), "the training pixels have a single class"
        )
    mean = table[kept].mean(axis=0)
    spread = table[kept].std(axis=0)
    spread[spread == 0] = 1.0
    scaled = (table[kept] - mean) / spread
    # Distances once, kernels from them: with hundreds of features this is what makes the whole
    # grid affordable, and one matrix product replaces libsvm's own loops.
    distance = _distance(scaled, scaled) / scaled.shape[1]
    best, (c, gamma) = -1.0, (SVM_C[0], SVM_GAMMA[0])
    folds = list(_folds(labels, groups, int(rng.integers(2**31))))
    for g in SVM_GAMMA:
        kernel = np.exp(-g * distance)
        for candidate in SVM_C:
            score = _fold_score(kernel, labels, folds, candidate)
            if score > best:
                best, (c, gamma) = score, (candidate, g)
    machine = SVC(C=c, kernel="precomputed").fit(np.exp(-gamma * distance), labels)
    support = scaled[machine.support_]

    def predict(values: Table) -> NDArray[np.int64]:
        found = np.empty(len(values), dtype=np.int64)
        for start in range(0, len(values), KERNEL_CHUNK):
            part = (values[start : start + KERNEL_CHUNK] - mean) / spread
            # The machine reads the columns of its support vectors only.
            kernel = np.zeros((len(part), len(scaled)))
            kernel[:, machine.support_] = np.exp(
                -gamma * _distance(part, support) / scaled.shape[1]
            )
            found[start : start + KERNEL_CHUNK] = machine.predict(kernel)
        return found

    return _Predictor(predict, f"C {c:g}, gamma {gamma:g} / {scaled.shape[1]} features{cut}")


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


def _distance(a: Table, b: Table) -> NDArray[np.float64]:
    """Return the (n, m) squared distances between the rows of (n, F) and (m, F)."""
    squared = (a**2).sum(axis=1)[:, None] - 2.0 * (a @ b.T) + (b**2).sum(axis=1)[None]
    distance: NDArray[np.float64] = np.maximum(squared, 0.0).astype(np.float64)
    return distance


def _means(table: Table) -> Table:
    """Return the (F,) mean of the features over the rows that have them, 0 where none has."""
    there = ~np.isnan(table)
    total = np.where(there, table, 0.0).sum(axis=0, dtype=np.float64)
    means: Table = (total / np.maximum(there.sum(axis=0), 1)).astype(np.float32)
    return means


def _gaps(scene: Scene, positions: NDArray[np.int64], kind: Kind) -> Table:
    """Read the features of these pixels, NaN where one is missing."""
    parts = []
    for modality in range(len(scene.modalities)):
        part = _modality_table(scene, modality, positions, kind)
        halves = [part] if kind == "raw" else np.split(part, 2, axis=1)
        parts.append(halves)
    return np.concatenate([half for halves in zip(*parts, strict=True) for half in halves], axis=1)


def _modality_table(scene: Scene, modality: int, positions: NDArray[np.int64], kind: Kind) -> Table:
    bands = scene.tiles[0].sources[modality].bands
    table = np.empty((len(positions), bands if kind == "raw" else 2 * bands), dtype=np.float32)
    for index in np.unique(positions[:, 0]):
        tile = scene.tiles[int(index)]
        of_tile = np.flatnonzero(positions[:, 0] == index)
        where = positions[of_tile, 1:]
        for window in windows_of(tile.height, tile.width, SIDE):
            corner = np.array([window.row, window.col])
            inside = ((where >= corner) & (where < corner + SIDE)).all(axis=1)
            if not inside.any():
                continue
            pixels = where[inside]
            first, last = pixels.min(axis=0), pixels.max(axis=0) + 1
            wanted = Window(int(first[0]), int(first[1]), *(int(n) for n in last - first))
            row, col = (pixels - first).T
            if kind == "raw":
                values, valid = tile.read(modality, wanted)
                found = np.where(valid, values, np.float32(np.nan))[:, row, col]
            else:
                found = _neighbourhoods(tile, modality, wanted, row, col)
            table[of_tile[inside]] = found.T
    return table


def _neighbourhoods(
    tile: Tile, modality: int, wanted: Window, row: NDArray[np.int64], col: NDArray[np.int64]
) -> Table:
    """Return (2 C, n): mean and standard deviation of the 5 x 5 pixels around some of a window."""
    grown = wanted.grow(RADIUS)
    there = grown.inside(tile.height, tile.width)
    values, valid = tile.read(modality, there)
    rows = reflect_index(grown.row, grown.height, tile.height) - there.row
    cols = reflect_index(grown.col, grown.width, tile.width) - there.col
    bands = len(values)
    found = np.empty((2 * bands, len(row)), dtype=np.float32)
    # Band by band in float64: the difference of two squares needs the digits.
    for band in range(bands):
        known = valid[band][rows][:, cols]
        centre = float(values[band][valid[band]].mean(dtype=np.float64)) if known.any() else 0.0
        centred = np.where(known, values[band][rows][:, cols].astype(np.float64) - centre, 0.0)
        share = _box(known.astype(np.float64))[row, col]
        enough = share > 0.5 / (2 * RADIUS + 1) ** 2
        share = np.where(enough, share, np.nan)
        mean = _box(centred)[row, col] / share
        square = _box(centred**2)[row, col] / share
        found[band] = mean + centre
        found[bands + band] = np.sqrt(np.maximum(square - mean**2, 0.0))
    return found


def _box(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of the 5 x 5 pixels around the pixels: (h - 4, w - 4)."""
    size = 2 * RADIUS + 1
    summed = uniform_filter1d(uniform_filter1d(values, size, axis=0), size, axis=1)
    inner: NDArray[np.float64] = summed[RADIUS:-RADIUS, RADIUS:-RADIUS]
    return inner


def _quiet(text: str) -> None:
    """Take no notice."""
