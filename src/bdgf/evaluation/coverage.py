"""Accuracy against coverage: how right the map is where it is sure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def accuracy_at_coverage(
    confidence: NDArray[np.floating], right: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the accuracy of the most confident pixels for every share of them.

    Pixels of one confidence cannot be told apart, so they are taken in together. Pixels without a
    confidence (NaN) come last.

    Args:
        confidence: (n,) probability of the class, NaN for no class.
        right: (n,) whether the class is that of the reference.

    Returns:
        Coverage (m,) in percent, rising to 100, and accuracy (m,) in percent of the pixels that are
        at least that confident; both empty without pixels.

    Raises:
        ValueError: Lengths that differ.
    """
    if confidence.shape != right.shape or confidence.ndim != 1:
        raise ValueError(
            f"confidence has shape {confidence.shape}, right {right.shape}; both must be"
            " one-dimensional and of the same length."
        )
    known = np.where(np.isnan(confidence), -1.0, confidence).astype(np.float64)
    order = np.argsort(-known, kind="stable")
    ordered = known[order]
    count = np.arange(1, len(ordered) + 1)
    accuracy = 100.0 * np.cumsum(right[order]) / count
    coverage = 100.0 * count / max(1, len(ordered))
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)[: len(ordered)]
    return coverage[last], accuracy[last]
