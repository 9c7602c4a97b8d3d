"""Calibration against loops, scikit-learn, and what must hold for any pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from bdgf.evaluation.calibration import (
    area_under_risk_coverage,
    brier_score,
    coverage_curve,
    expected_calibration_error,
    negative_log_likelihood,
    reliability,
)

# few distinct values, so that equal ones and edges of bins are common
confidences = st.lists(st.integers(0, 30).map(lambda v: v / 30), min_size=1, max_size=50)


def with_right(values: list[float], seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return np.array(values), rng.random(len(values)) < 0.6


@given(values=confidences, seed=st.integers(0, 1000), bins=st.integers(1, 20))
@settings(max_examples=60, deadline=None)
def test_error_of_equal_bins_is_the_definition(values, seed, bins):
    confidence, right = with_right(values, seed)
    expected = 0.0
    for low in range(bins):
        scaled = confidence * bins
        inside = (scaled > low) & (scaled <= low + 1) | ((low == 0) & (confidence == 0))
        if inside.any():
            gap = abs(confidence[inside].mean() - right[inside].mean())
            expected += inside.mean() * gap
    assert expected_calibration_error(confidence, right, bins) == pytest.approx(expected, abs=1e-12)


@given(values=confidences, seed=st.integers(0, 1000), adaptive=st.booleans())
@settings(max_examples=60, deadline=None)
def test_bins_hold_every_pixel_and_no_order_matters(values, seed, adaptive):
    confidence, right = with_right(values, seed)
    found = reliability(confidence, right, adaptive=adaptive)
    assert found.pixels.sum() == len(confidence)
    filled = found.pixels > 0
    sums = (found.pixels * found.accuracy)[filled].sum(), (found.pixels * found.confidence)[filled]
    assert sums[0] == pytest.approx(right.sum())
    assert sums[1].sum() == pytest.approx(confidence.sum())
    assert 0 <= found.error <= 1
    # never less than the distance of the means, whatever the bins
    assert found.error >= abs(confidence.mean() - right.mean()) - 1e-9
    order = np.random.default_rng(seed + 1).permutation(len(confidence))
    again = reliability(confidence[order], right[order], adaptive=adaptive)
    np.testing.assert_array_equal(again.pixels, found.pixels)
    np.testing.assert_allclose(again.accuracy, found.accuracy)


def test_adaptive_bins_have_as_many_pixels_each():
    rng = np.random.default_rng(0)
    confidence = 0.9 + 0.1 * rng.random(1500)
    right = rng.random(1500) < confidence
    assert reliability(confidence, right, adaptive=True).pixels.tolist() == [100] * 15
    assert (reliability(confidence, right).pixels > 0).sum() == 2


def test_bins_are_those_of_scikit_learn():
    rng = np.random.default_rng(1)
    confidence = rng.random(4000)
    right = rng.random(4000) < confidence**2
    for strategy, adaptive in (("uniform", False), ("quantile", True)):
        accuracy, mean = calibration_curve(right, confidence, n_bins=10, strategy=strategy)
        found = reliability(confidence, right, 10, adaptive=adaptive)
        np.testing.assert_allclose(found.accuracy, accuracy, atol=0.005 if adaptive else 1e-12)
        np.testing.assert_allclose(found.confidence, mean, atol=0.005 if adaptive else 1e-12)


def test_pixels_that_mean_what_they_say_have_next_to_no_error():
    rng = np.random.default_rng(2)
    confidence = rng.random(200_000)
    right = rng.random(200_000) < confidence
    for adaptive in (False, True):
        assert expected_calibration_error(confidence, right, adaptive=adaptive) < 0.006
        sure = expected_calibration_error(np.sqrt(confidence), right, adaptive=adaptive)
        assert sure == pytest.approx(2 / 3 - 1 / 2, abs=0.005)  # E √u − E u
    assert expected_calibration_error(np.ones(10), np.zeros(10, dtype=bool)) == 1.0


@given(values=confidences, seed=st.integers(0, 1000))
@settings(max_examples=12, deadline=None)
def test_area_and_curve_are_means_over_the_orders_of_equal_pixels(values, seed):
    confidence, right = with_right(values, seed)
    rng = np.random.default_rng(seed)
    n = len(confidence)
    areas, curves = [], []
    for _ in range(2000):
        order = np.lexsort((rng.random(n), -confidence))
        accuracy = np.cumsum(right[order]) / np.arange(1, n + 1)
        areas.append(1 - accuracy.mean())
        curves.append(accuracy)
    area = area_under_risk_coverage(confidence, right)
    error = np.std(areas) / np.sqrt(2000)
    assert area == pytest.approx(np.mean(areas), abs=8 * error + 1e-9)
    coverage, curve = coverage_curve(confidence, right, points=n)
    assert coverage == pytest.approx(np.arange(1, n + 1) / n)
    slack = 8 * np.std(curves, axis=0) / np.sqrt(2000) + 1e-9
    assert (np.abs(curve - np.mean(curves, axis=0)) <= slack).all()
    assert curve[-1] == pytest.approx(right.mean())


def test_the_best_order_has_the_least_area():
    rng = np.random.default_rng(3)
    right = rng.random(300) < 0.7
    ranks = rng.random(300)
    best, worst = (area_under_risk_coverage((ranks + s) / 2, right) for s in (right, ~right))
    middle = area_under_risk_coverage(ranks, right)
    assert best < middle < worst
    assert area_under_risk_coverage(np.full(300, 0.5), right) == pytest.approx(1 - right.mean())
    assert area_under_risk_coverage(ranks, np.ones(300, dtype=bool)) == 0.0
    # all right ones first: the errors come in at the end
    errors = int((~right).sum())
    expected = sum(k / (300 - errors + k) for k in range(1, errors + 1)) / 300
    assert best == pytest.approx(expected)


def test_the_curve_has_as_many_points_as_asked_for():
    coverage, accuracy = coverage_curve(np.linspace(0.2, 0.9, 7), np.arange(7) >= 3)
    assert coverage.tolist() == pytest.approx([k / 20 for k in range(1, 21)])
    assert accuracy[0] == 1.0
    assert accuracy[-1] == pytest.approx(4 / 7)
    assert (np.diff(accuracy) <= 1e-12).all(), "the surest four are right"


def test_proper_scores_are_those_of_scikit_learn():
    rng = np.random.default_rng(4)
    p = rng.dirichlet(np.ones(4), 500)
    classes = rng.integers(4, size=500)
    expected = sum(brier_score_loss(classes == k, p[:, k]) for k in range(4))
    assert brier_score(p, classes) == pytest.approx(expected)
    assert negative_log_likelihood(p, classes) == pytest.approx(log_loss(classes, p))
    sure = np.eye(4)[classes]
    assert brier_score(sure, classes) == 0.0
    assert brier_score(sure, (classes + 1) % 4) == 2.0
    assert negative_log_likelihood(sure, classes) == 0.0
    assert negative_log_likelihood(sure, (classes + 1) % 4) == pytest.approx(-np.log(1e-12))


@pytest.mark.parametrize(
    ("confidence", "right", "words"),
    [
        (np.zeros(0), np.zeros(0, dtype=bool), "at least 1"),
        (np.zeros(3), np.zeros(2, dtype=bool), "same length"),
        (np.array([0.5, np.nan]), np.zeros(2, dtype=bool), "left out"),
        (np.array([0.5, 1.2]), np.zeros(2, dtype=bool), "between 0 and 1"),
    ],
)
def test_what_is_no_confidence_is_refused(confidence, right, words):
    for measure in (expected_calibration_error, area_under_risk_coverage, coverage_curve):
        with pytest.raises(ValueError, match=words):
            measure(confidence, right)
