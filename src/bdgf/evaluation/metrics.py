"""Confusion matrix, overall accuracy, average accuracy and Cohen's kappa."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Scores:
    """Accuracies of a map, all of them x 100.

    Args:
        oa: Overall accuracy, the share of reference pixels with the right class.
        aa: Average accuracy, the mean recall over the classes that the reference has.
        kappa: Cohen's kappa, agreement beyond chance.
        per_class: Recall of every class, None for a class that the reference does not have.
        count: Number of reference pixels; with none of them oa, aa and kappa are NaN.
    """

    oa: float
    aa: float
    kappa: float
    per_class: tuple[float | None, ...]
    count: int

    def to_json(self) -> dict[str, object]:
        """Return plain values for JSON, where NaN becomes null."""
        return {
            "oa": _plain(self.oa),
            "aa": _plain(self.aa),
            "kappa": _plain(self.kappa),
            "per_class": list(self.per_class),
            "count": self.count,
        }


def confusion_matrix(
    reference: NDArray[np.integer], predicted: NDArray[np.integer], classes: int
) -> NDArray[np.int64]:
    """Count the pixels of every pair of reference and predicted class.

    A pixel without a prediction (-1) has no column and is left out here; hand
    `unpredicted_counts` to `scores` so that it counts as an error.

    Args:
        reference: (n,) class index of every pixel, 0 to K - 1.
        predicted: (n,) predicted class index, -1 where nothing was predicted.
        classes: K.

    Returns:
        (K, K) counts, one row for each reference class, one column for each predicted class.

    Raises:
        ValueError: Lengths that differ, or an index outside of the classes.
    """
    _check(reference, predicted, classes)
    known = predicted >= 0
    pair = reference[known].astype(np.int64) * classes + predicted[known].astype(np.int64)
    return np.bincount(pair, minlength=classes * classes).reshape(classes, classes)


def unpredicted_counts(
    reference: NDArray[np.integer], predicted: NDArray[np.integer], classes: int
) -> NDArray[np.int64]:
    """Count the pixels of every reference class that have no prediction.

    Args:
        reference: (n,) class index of every pixel, 0 to K - 1.
        predicted: (n,) predicted class index, -1 where nothing was predicted.
        classes: K.

    Returns:
        (K,) counts.

    Raises:
        ValueError: Lengths that differ, or an index outside of the classes.
    """
    _check(reference, predicted, classes)
    return np.bincount(reference[predicted < 0], minlength=classes).astype(np.int64)


def scores(confusion: NDArray[np.int64], unpredicted: NDArray[np.int64] | None = None) -> Scores:
    """Compute the accuracies of a confusion matrix.

    Pixels without a prediction count as errors: they stay in the totals of their class, as if
    they had been given to one more class that the reference never has.

    Kappa is 0/0 where reference and map are one and the same single class; it is 0 then, because
    agreement beyond chance cannot be shown.

    Args:
        confusion: (K, K) counts, rows are the reference.
        unpredicted: (K,) pixels of each reference class without a prediction; None for no such.

    Returns:
        The accuracies x 100. Source of kappa: J. Cohen, A coefficient of agreement for nominal
        scales, Educational and Psychological Measurement 20 (1), 1960.
    """
    right = np.diag(confusion).astype(np.float64)
    totals = confusion.sum(axis=1).astype(np.float64)
    if unpredicted is not None:
        totals = totals + unpredicted
    count = int(totals.sum())
    if count == 0:
        nan = math.nan
        return Scores(oa=nan, aa=nan, kappa=nan, per_class=(None,) * len(totals), count=0)
    present = totals > 0
    recall = right / np.where(present, totals, 1.0)
    observed = right.sum() / count
    expected = float(totals @ confusion.sum(axis=0)) / count**2
    # In exact arithmetic expected <= 1, with equality only for one class on both sides.
    kappa = 0.0 if expected >= 1.0 else (observed - expected) / (1.0 - expected)
    return Scores(
        oa=float(100 * observed),
        aa=float(100 * recall[present].mean()),
        kappa=float(100 * kappa),
        per_class=tuple(
            float(100 * r) if there else None for r, there in zip(recall, present, strict=True)
        ),
        count=count,
    )


def _check(reference: NDArray[np.integer], predicted: NDArray[np.integer], classes: int) -> None:
    if reference.shape != predicted.shape or reference.ndim != 1:
        raise ValueError(
            f"reference has shape {reference.shape}, predicted {predicted.shape}; both must be"
            " one-dimensional and of the same length."
        )
    for name, values, least in (("reference", reference, 0), ("predicted", predicted, -1)):
        if values.size and (values.min() < least or values.max() >= classes):
            raise ValueError(
                f"{name} has class indices from {values.min()} to {values.max()}; with {classes}"
                f" classes they must lie between {least} and {classes - 1}."
            )


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value
