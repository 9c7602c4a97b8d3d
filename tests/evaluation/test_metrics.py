"""Accuracies against scikit-learn, and where scikit-learn has no answer."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from sklearn import metrics as oracle

from bdgf.evaluation.metrics import confusion_matrix, scores, unpredicted_counts


def _drawn(seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(2, 9))
    n = int(rng.integers(5, 400))
    # Only some of the classes occur in the reference, and others in the prediction.
    reference = rng.choice(rng.choice(classes, rng.integers(1, classes + 1), replace=False), n)
    noise = rng.integers(0, classes, n)
    predicted = np.where(rng.random(n) < 0.6, reference, noise)
    return reference, predicted, classes


@pytest.mark.parametrize("seed", range(25))
def test_agrees_with_scikit_learn(seed):
    reference, predicted, classes = _drawn(seed)
    confusion = confusion_matrix(reference, predicted, classes)
    labels = np.arange(classes)
    np.testing.assert_array_equal(
        confusion, oracle.confusion_matrix(reference, predicted, labels=labels)
    )
    found = scores(confusion)
    assert found.count == len(reference)
    assert found.oa == pytest.approx(100 * oracle.accuracy_score(reference, predicted))
    recall = oracle.recall_score(
        reference, predicted, labels=labels, average=None, zero_division=np.nan
    )
    for ours, theirs in zip(found.per_class, recall, strict=True):
        assert (ours is None) == bool(np.isnan(theirs))
        if ours is not None:
            assert ours == pytest.approx(100 * theirs)
    assert found.aa == pytest.approx(100 * np.nanmean(recall))
    if len(set(reference) | set(predicted)) > 1:
        kappa = oracle.cohen_kappa_score(reference, predicted, labels=labels)
        assert found.kappa == pytest.approx(100 * kappa)


def test_rows_are_the_reference():
    confusion = confusion_matrix(np.array([0, 0, 1]), np.array([1, 1, 1]), 3)
    assert confusion.tolist() == [[0, 2, 0], [0, 1, 0], [0, 0, 0]]


def test_pixels_without_a_prediction_are_errors():
    reference, predicted, classes = _drawn(3)
    holes = predicted.copy()
    holes[::4] = -1
    confusion = confusion_matrix(reference, holes, classes)
    left_out = unpredicted_counts(reference, holes, classes)
    assert left_out.sum() + confusion.sum() == len(reference)
    found = scores(confusion, left_out)
    # The same as a wrong class of their own that the reference does not have.
    other = np.where(holes < 0, classes, holes)
    assert found.oa == pytest.approx(100 * oracle.accuracy_score(reference, other))
    assert found.kappa == pytest.approx(100 * oracle.cohen_kappa_score(reference, other))
    assert found.count == len(reference)


def test_single_class_right_everywhere():
    found = scores(confusion_matrix(np.ones(5, int), np.ones(5, int), 3))
    assert (found.oa, found.aa, found.kappa) == (100.0, 100.0, 0.0)
    assert found.per_class == (None, 100.0, None)


def test_no_pixels_are_null_in_json():
    empty = np.zeros(0, dtype=int)
    found = scores(confusion_matrix(empty, empty, 2))
    assert math.isnan(found.oa)
    plain = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert plain == {"oa": None, "aa": None, "kappa": None, "per_class": [None, None], "count": 0}


@pytest.mark.parametrize(
    ("reference", "predicted"),
    [([0, 3], [0, 0]), ([-1, 0], [0, 0]), ([0, 0], [0, 3]), ([0], [0, 0])],
)
def test_indices_outside_of_the_classes_are_refused(reference, predicted):
    with pytest.raises(ValueError, match="must"):
        confusion_matrix(np.array(reference), np.array(predicted), 3)
