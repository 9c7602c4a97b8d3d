from __future__ import annotations

import numpy as np
import pytest

from bdgf.evaluation.coverage import accuracy_at_coverage


def test_accuracy_of_the_most_confident_pixels() -> None:
    confidence = np.array([0.5, 0.9, 0.7, 0.8])
    right = np.array([False, True, False, True])
    coverage, accuracy = accuracy_at_coverage(confidence, right)
    np.testing.assert_allclose(coverage, [25, 50, 75, 100])
    np.testing.assert_allclose(accuracy, [100, 100, 200 / 3, 50])


def test_pixels_of_one_confidence_come_together_and_those_without_come_last() -> None:
    confidence = np.array([np.nan, 0.9, 0.9, 0.4])
    right = np.array([False, False, True, True])
    for order in ([0, 1, 2, 3], [3, 2, 1, 0]):
        coverage, accuracy = accuracy_at_coverage(confidence[order], right[order])
        np.testing.assert_allclose(coverage, [50, 75, 100])
        np.testing.assert_allclose(accuracy, [50, 200 / 3, 50])


def test_it_ends_at_the_overall_accuracy() -> None:
    rng = np.random.default_rng(0)
    right = rng.random(500) < 0.7
    coverage, accuracy = accuracy_at_coverage(rng.random(500).round(2), right)
    assert coverage[-1] == 100
    assert accuracy[-1] == pytest.approx(100 * right.mean())
    assert (np.diff(coverage) > 0).all()


def test_no_pixel_gives_no_curve_and_lengths_must_agree() -> None:
    coverage, accuracy = accuracy_at_coverage(np.zeros(0), np.zeros(0, dtype=bool))
    assert len(coverage) == len(accuracy) == 0
    with pytest.raises(ValueError, match="same length"):
        accuracy_at_coverage(np.zeros(3), np.zeros(2, dtype=bool))
