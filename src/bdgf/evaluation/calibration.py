"""Whether confidence can be believed: calibration error, accuracy over coverage, proper scores.

Pixels without a prediction are no part of any of it: leave them out before.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BINS = 15
"""Bins of the calibration error, as in Guo et al. (ICML 2017)."""

POINTS = 20
"""Points of the curve of accuracy over coverage."""

_LEAST = 1e-12
"""Smallest probability in a logarithm."""


class Reliability(NamedTuple):
    """Pixels by their confidence, in bins.

    Args:
        pixels: Number of pixels of every bin (bins,).
        confidence: Their mean confidence (bins,), NaN for an empty bin.
        accuracy: The share of them that is right (bins,), NaN for an empty bin.
    """

    pixels: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def error(self) -> float:
        """Mean over the pixels of the distance between a bin's confidence and its accuracy."""
        filled = self.pixels > 0
        gaps = np.abs(self.confidence - self.accuracy)[filled]
        return float((gaps * self.pixels[filled]).sum() / self.pixels.sum())


def reliability(
    confidence: NDArray[np.floating],
    right: NDArray[np.bool_],
    bins: int = BINS,
    adaptive: bool = False,
) -> Reliability:
    """Sort pixels into bins by their confidence.

    Args:
        confidence: Probability of the predicted class, (n,), 0 to 1.
        right: Whether that class is the reference's, (n,).
        bins: Number of bins.
        adaptive: Bins of as many pixels each, as nearly as can be with equal values kept together,
            in place of bins of equal width.

    Returns:
        The bins, from low to high confidence. A value on an edge belongs to the bin below it.

    Raises:
        ValueError: No pixel, lengths that differ, or values that are no probabilities.
    """
    values, hits = _checked(confidence, right)
    if adaptive:
        # where a value is found first decides for all its equals, so the order does not matter
        ordered = np.sort(values)
        place = np.searchsorted(ordered, values, side="left") * bins // len(values)
    else:
        place = np.clip(np.ceil(values * bins).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        return Reliability(
            count.astype(np.int64),
            np.bincount(place, weights=values, minlength=bins) / count,
            np.bincount(place, weights=hits, minlength=bins) / count,
        )


def expected_calibration_error(
    confidence: NDArray[np.floating],
    right: NDArray[np.bool_],
    bins: int = BINS,
    adaptive: bool = False,
) -> float:
    """Return the expected calibration error, 0 to 1; see `reliability` for the arguments.

    Source: M. Pakdaman Naeini, G. Cooper, M. Hauskrecht, AAAI 2015; with bins of as many pixels
    each (adaptive), which no bin without pixels distorts: J. Nixon et al., CVPR Workshops 2019.

    Raises:
        ValueError: As `reliability`.
    """
    return reliability(confidence, right, bins, adaptive).error


def coverage_curve(
    confidence: NDArray[np.floating], right: NDArray[np.bool_], points: int = POINTS
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the accuracy of the surest pixels over the share of pixels that they are.

    Args:
        confidence: (n,), 0 to 1.
        right: (n,).
        points: Number of points.

    Returns:
        Coverage (points,), from 1 / points to 1, and the accuracy (points,) of that share of the
        pixels, at least one. Among pixels of equal confidence each is as likely to be taken.

    Raises:
        ValueError: As `reliability`.
    """
    hits = _cumulated(*_checked(confidence, right))
    coverage = np.arange(1, points + 1) / points
    taken = np.maximum(1, np.rint(coverage * len(hits)).astype(np.int64))
    return coverage, hits[taken - 1] / taken


def area_under_risk_coverage(confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> float:
    """Return the mean error of the k surest pixels over all k (AURC), 0 to 1, lower is better.

    Source: Y. Geifman, R. El-Yaniv, Selective Classification for Deep Neural Networks, NeurIPS
    2017. Pixels of equal confidence are taken in a random order, of which this is the mean.

    Raises:
        ValueError: As `reliability`.
    """
    hits = _cumulated(*_checked(confidence, right))
    return float((1.0 - hits / np.arange(1, len(hits) + 1)).mean())


def brier_score(probabilities: NDArray[np.floating], classes: NDArray[np.integer]) -> float:
    """Return the Brier score of several classes, 0 to 2, lower is better.

    Args:
        probabilities: (n, K).
        classes: Class indices of the reference (n,).

    Returns:
        Mean over the pixels of ``Σ_k (p_k − [k is the class])²``. Source: G. Brier, Monthly
        Weather Review 78 (1), 1950; of two classes it is twice what is often given.
    """
    own = np.take_along_axis(probabilities, classes[:, None], 1)[:, 0].astype(np.float64)
    squares = np.square(probabilities.astype(np.float64)).sum(1)
    return float((squares - 2.0 * own + 1.0).mean())


def negative_log_likelihood(
    probabilities: NDArray[np.floating], classes: NDArray[np.integer]
) -> float:
    """Return the mean of ``−log p`` of the reference's class, probabilities cut at 1e-12.

    Args:
        probabilities: (n, K).
        classes: Class indices of the reference (n,).
    """
    own = np.take_along_axis(probabilities, classes[:, None], 1)[:, 0].astype(np.float64)
    return float(-np.log(np.maximum(own, _LEAST)).mean())


def _cumulated(values: NDArray[np.float64], hits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how many of the k surest are right, (n,), the mean over orders of equal ones."""
    _, group, sizes = np.unique(-values, return_inverse=True, return_counts=True)
    share = np.bincount(group.reshape(-1), weights=hits) / sizes
    return np.cumsum(np.repeat(share, sizes))


def _checked(
    confidence: NDArray[np.floating], right: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values, hits = np.asarray(confidence, np.float64), np.asarray(right, np.float64)
    if values.ndim != 1 or values.shape != hits.shape or not len(values):
        raise ValueError(
            f"confidence has shape {values.shape}, right {hits.shape}; both must be one-dimensional"
            " and of the same length, at least 1."
        )
    # a softmax in float32 may exceed 1 by its rounding
    if not ((values >= 0) & (values <= 1 + 1e-5)).all():
        raise ValueError(
            f"confidence goes from {values.min()} to {values.max()}; probabilities lie between 0"
            " and 1, and pixels without a prediction must be left out."
        )
    return np.minimum(values, 1.0), hits
