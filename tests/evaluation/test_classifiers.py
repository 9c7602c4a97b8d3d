"""Classifiers of single pixels against scikit-learn, and what they draw."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from bdgf.config import EvaluationSettings
from bdgf.evaluation import classifiers
from bdgf.evaluation.baselines import run_baselines
from bdgf.evaluation.classifiers import fit_boosting, fit_forest, fit_probe, fit_svm
from bdgf.evaluation.pixels import band_features, filled

SETTINGS = EvaluationSettings(trees=30, svm_pixels=500)


def test_forest_is_scikit_learns(scene):
    result = run_baselines(scene, SETTINGS, seed=3, threads=1)["RF raw"]
    train = filled(band_features(scene, "raw")(scene.positions("train")))
    forest = RandomForestClassifier(
        30, random_state=int(np.random.default_rng([3, 0]).integers(2**31))
    ).fit(train, scene.labels_at("train"))
    predicted = forest.predict(filled(band_features(scene, "raw")(scene.positions("test"))))
    np.testing.assert_array_equal(result.predicted, predicted)


def test_svm_is_scikit_learns(scene):
    result = run_baselines(scene, SETTINGS, seed=0, threads=1)["SVM raw"]
    c, gamma = (float(text.split()[-1]) for text in result.note.split(" / ")[0].split(","))
    train = filled(band_features(scene, "raw")(scene.positions("train")))
    scaler = StandardScaler().fit(train)
    machine = SVC(C=c, gamma=gamma / 9).fit(scaler.transform(train), scene.labels_at("train"))
    # Gaps of the test pixels hold the means of the training pixels.
    test = filled(band_features(scene, "raw")(scene.positions("test")), train.mean(axis=0))
    predicted = machine.predict(scaler.transform(test))
    assert (predicted == result.predicted).mean() > 0.998


@pytest.mark.parametrize("held", [0, 4096])
def test_svm_with_a_kernel_that_is_held_answers_as_libsvms_own(monkeypatch, held):
    monkeypatch.setattr(classifiers, "SVM_HELD", held)
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(4, 12))
    labels = rng.integers(0, 4, 300)
    scaled = (centres[labels] + rng.normal(size=(300, 12))).astype(np.float32)
    others = rng.normal(size=(2000, 12)).astype(np.float32)
    answer = classifiers._machine(scaled, labels, 10.0, 0.05)
    expected = SVC(C=10.0, gamma=0.05).fit(scaled, labels).predict(others)
    assert np.array_equal(answer(others), expected)


def test_svm_takes_rounding_for_no_spread():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 200)
    table = rng.normal(size=(400, 2)).astype(np.float32) + 2 * labels[:, None].astype(np.float32)
    positions = np.stack([np.zeros(400), np.arange(400), np.zeros(400)], 1).astype(np.int64)
    constant = np.full((400, 1), 0.1, dtype=np.float32)  # whose deviation in float32 is not 0
    fitted = fit_svm(np.hstack([table, constant]), labels, positions, SETTINGS, rng, 1)
    accuracy = (fitted.predict(np.hstack([table, 2 * constant])) == labels).mean()
    assert accuracy > 0.9


def test_svm_says_when_it_leaves_training_pixels_out(tiles):
    settings = EvaluationSettings(trees=5, svm_pixels=40)
    total = len(tiles.positions("train"))
    results = run_baselines(tiles, settings, seed=0, threads=1)
    assert results["SVM raw"].note.endswith(f"features, found with 40 of {total} training pixels")


def test_svm_is_fitted_to_all_pixels_whatever_its_grid_was_searched_with(monkeypatch):
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1], [900, 100])
    table = rng.normal(size=(1000, 3)).astype(np.float32)
    table[:, 0] += 1.5 * labels
    positions = np.stack([np.zeros(1000), rng.permutation(1000), np.zeros(1000)], 1).astype(int)
    few = EvaluationSettings(svm_pixels=60)
    fitted = fit_svm(table, labels, positions, few, np.random.default_rng(0), 1)
    c, gamma = (float(text.split()[-1]) for text in fitted.note.split(" / ")[0].split(","))
    scaler = StandardScaler().fit(table)
    whole = SVC(C=c, gamma=gamma / 3).fit(scaler.transform(table), labels)
    assert (fitted.predict(table) == whole.predict(scaler.transform(table))).mean() > 0.998
    monkeypatch.setattr(classifiers, "SVM_MOST", 400)
    cut = fit_svm(table, labels, positions, few, np.random.default_rng(0), 1)
    assert cut.note.endswith("features, found with 60 of 1000 training pixels, fitted to 410")


def test_pixels_are_drawn_in_proportion_and_rare_classes_stay():
    labels = np.repeat([0, 1, 2], [20, 2000, 8000])
    kept = classifiers._proportionally(labels, 1000, np.random.default_rng(0))
    assert np.bincount(labels[kept]).tolist() == [20, 200, 798]
    assert len(set(kept)) == len(kept)
    assert len(classifiers._proportionally(labels, 20_000, np.random.default_rng(0))) == 10_020


def test_pixels_are_drawn_evenly_over_classes():
    labels = np.repeat([0, 1, 2, 3], [3, 500, 50, 1000])
    kept = classifiers._evenly(labels, 200, np.random.default_rng(0))
    assert np.bincount(labels[kept]).tolist() == [3, 73, 50, 74]
    assert len(set(kept)) == 200


def test_folds_keep_neighbours_together():
    rng = np.random.default_rng(0)
    labels, groups = rng.integers(0, 4, 300), rng.integers(0, 25, 300)
    folds = list(classifiers._folds(labels, groups, 0))
    assert sorted(np.concatenate([held for _, held in folds])) == list(range(300))
    for fit, held in folds:
        assert not set(groups[fit]) & set(groups[held])


@pytest.mark.parametrize("fit", [fit_boosting, fit_probe])
def test_other_classifiers_learn_and_repeat(scene, fit):
    train, test = scene.positions("train"), scene.positions("test")
    features = band_features(scene, "raw")
    predicted = []
    for _ in range(2):
        rng = np.random.default_rng(0)
        table = filled(features(train))
        found = fit(table, scene.labels_at("train"), train, SETTINGS, rng, 1)
        predicted.append(found.predict(filled(features(test))))
    np.testing.assert_array_equal(*predicted)
    assert predicted[0].dtype == np.int64
    assert (predicted[0] == scene.labels_at("test")).mean() > 0.5


@pytest.mark.parametrize(("each", "leaves"), [(5, ", leaves of 2 or more"), (100, "")])
def test_boosting_learns_from_few_labels(each, leaves):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), each)
    table = rng.normal(size=(4 * each, 6)) + 4.0 * np.eye(4, 6)[labels]
    positions = np.zeros((len(labels), 3), np.int64)
    found = fit_boosting(table, labels, positions, SETTINGS, rng, 1)
    assert found.note == f"100 rounds{leaves}"
    other = np.repeat(np.arange(4), 50)
    right = found.predict(rng.normal(size=(200, 6)) + 4.0 * np.eye(4, 6)[other]) == other
    assert right.mean() > 0.8


@pytest.mark.parametrize("fit", [fit_forest, fit_svm, fit_boosting, fit_probe])
def test_a_single_class_is_all_that_is_found(fit):
    rng = np.random.default_rng(0)
    table, positions = rng.normal(size=(9, 4)), np.zeros((9, 3), np.int64)
    found = fit(table, np.full(9, 2), positions, SETTINGS, rng, 1)
    assert found.predict(table).tolist() == [2] * 9


def test_the_best_of_the_grid_is_taken():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 240)
    table = rng.normal(size=(240, 6)) + 1.2 * np.eye(3, 6)[labels]
    groups = rng.integers(0, 30, 240)
    folds = list(classifiers._folds(labels, groups, 5))

    def mark(c, gamma):
        found = np.full(240, -1)
        for fit, held in folds:
            machine = SVC(C=c, gamma=gamma / 6).fit(table[fit], labels[fit])
            found[held] = machine.predict(table[held])
        right = found == labels
        return (right.mean() + np.mean([right[labels == k].mean() for k in range(3)])) / 2

    grid = [(c, gamma) for gamma in classifiers.SVM_GAMMA for c in classifiers.SVM_C]
    marks = {values: mark(*values) for values in grid}
    found = marks[classifiers._search(table, labels, groups, 5)]
    assert found == max(marks.values()) > min(marks.values())
    places = np.array([[0, 0, 0], [0, 15, 15], [0, 16, 0], [1, 0, 0]])
    own = classifiers._groups(places)
    assert len(np.unique(own)) == 3
    assert own[0] == own[1]
