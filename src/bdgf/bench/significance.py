"""Paired tests: two methods on the same pixels, and over the same seeds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, wilcoxon

FEWEST_SEEDS = 5
"""Below this, the signed-rank test cannot fall under 0.1 whatever the numbers."""

_DECIMALS = 9  # shares of pixels as percentages differ by 1e-14 where the pixels are as many


def mcnemar(
    reference: NDArray[np.int64], first: NDArray[np.int64], second: NDArray[np.int64]
) -> tuple[int, int, float]:
    """Compare two methods' predictions of the same pixels by McNemar's exact test.

    Args:
        reference: True class indices (n,).
        first: Predictions of one method (n,).
        second: Predictions of the other (n,).

    Returns:
        Pixels that only the first has right, pixels that only the second has right, and the
        two-sided p-value. Pixels are not independent of their neighbours, so it is too small.
        Source: Q. McNemar, Psychometrika 12 (2), 1947.
    """
    one, two = first == reference, second == reference
    ours, theirs = int((one & ~two).sum()), int((two & ~one).sum())
    if ours + theirs == 0:
        return 0, 0, 1.0
    return ours, theirs, float(binomtest(ours, ours + theirs).pvalue)


def signed_rank(first: NDArray[np.float64], second: NDArray[np.float64]) -> float | None:
    """Compare two methods over seeds by Wilcoxon's signed-rank test.

    Args:
        first: Accuracy of one method for every seed (n,).
        second: That of the other, in the same order.

    Returns:
        The two-sided p-value, None for fewer than five seeds. Seeds that differ by as many pixels
        share a rank: differences are told apart from nine decimals on.
    """
    if len(first) < FEWEST_SEEDS:
        return None
    differences = np.round(first - second, _DECIMALS)
    if not differences.any():
        return 1.0
    return float(wilcoxon(differences).pvalue)
