"""The confidence of a map, against its own rasters and against what was built into the pixels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bdgf import checkpoint, presets
from bdgf.evaluation.confidence import (
    compare_temperatures,
    evaluate_confidence,
    map_log_probabilities,
)
from bdgf.evaluation.stage import calibration
from bdgf.fusion.temperature import fit_temperature
from bdgf.mapping.reading import classes_at, confidence_at
from bdgf.pipeline import Pipeline
from bdgf.progress import Silent


@pytest.fixture(scope="module", params=["tiny_scene", "tiles_scene"])
def run(request, tiny_settings, tmp_path_factory):
    """A finished run of one scene or the other."""
    torch.set_num_threads(1)
    settings = presets.replace(
        tiny_settings, {"evaluation.baselines": False, "evaluation.missing_modalities": False}
    )
    scene: Path = request.getfixturevalue(request.param)
    pipeline = Pipeline(scene, tmp_path_factory.mktemp("run") / "out", settings, Silent())
    pipeline.run()
    return pipeline


def metrics_of(run: Pipeline) -> dict:
    return json.loads(run.folder.metrics.read_text())["calibration"]


def test_probabilities_are_those_of_the_map(run):
    network, weights = run.trained(run.store)
    seen, values = map_log_probabilities(network, weights, run.prepared, run.store, 32, 0)
    positions = run.scene.positions("test")
    paths = [run.map_paths(tile) for tile in range(len(run.scene.tiles))]
    classes = classes_at([p for p, _ in paths], run.scene.class_codes, positions)
    confidence = confidence_at([p for _, p in paths], positions)
    assert np.array_equal(np.sort(seen), np.flatnonzero(classes >= 0))
    assert np.isnan(confidence[classes < 0]).all()
    np.testing.assert_array_equal(values.exp().max(1).indices.numpy(), classes[seen])
    np.testing.assert_allclose(values.exp().max(1).values.numpy(), confidence[seen], atol=1e-6)
    few, _ = map_log_probabilities(network, weights, run.prepared, run.store, 8, 0, 100)
    assert 0 < len(few) < len(seen)
    assert set(few) <= set(seen)


def test_metrics_tell_the_calibration_of_the_map(run):
    found = metrics_of(run)
    accuracy = json.loads(run.folder.metrics.read_text())["methods"]["BDGF"]["all"]
    assert found["count"] + found["unmapped"] == len(run.scene.positions("test"))
    share = found["count"] / (found["count"] + found["unmapped"])
    assert 100 * found["accuracy"] * share == pytest.approx(accuracy["oa"])
    _, origin = checkpoint.load_tensors(run.folder.network)
    assert found["temperature"] == origin["temperature"]
    for measure in ("ece", "adaptive_ece", "aurc", "mean_confidence", "accuracy"):
        assert 0 <= found[measure] <= 1
        assert found["after"][measure] == pytest.approx(found[measure], abs=1e-4), "the map's own"
    assert found["after"]["accuracy"] == found["before"]["accuracy"]
    assert len(found["curve"]["coverage"]) == len(found["curve"]["accuracy"]) == 20
    assert found["curve"]["accuracy"][-1] == pytest.approx(found["accuracy"])
    assert sum(found["bins"]["count"]) == found["count"]
    assert found["far"]["count"] <= found["count"]


def test_before_is_without_the_temperature_that_the_network_has(run):
    network, _ = run.trained(run.store)
    weights = checkpoint.load_tensors(run.folder.network)[1]["fusion_weights"]
    seen, values = map_log_probabilities(network, weights, run.prepared, run.store, 32, 0)
    reference = run.scene.labels_at("test")[seen]
    before = metrics_of(run)["before"]
    tensors, origin = checkpoint.load_tensors(run.folder.network)
    try:
        fitted = fit_temperature(values, reference)
        checkpoint.save_tensors(run.folder.network, tensors, {**origin, "temperature": fitted})
        found = calibration(run, run.mapped_classes(run.scene.positions("test")))
    finally:
        checkpoint.save_tensors(run.folder.network, tensors, origin)
    assert found["temperature"] == fitted
    assert found["before"] == before
    assert found["after"]["nll"] < before["nll"]
    assert found["after"]["accuracy"] == before["accuracy"]


def test_measures_of_pixels_that_are_known():
    reference = np.array([0, 0, 1, 1, 2])
    predicted = np.array([0, 1, 1, 1, -1])
    confidence = np.array([0.9, 0.9, 0.6, 0.6, np.nan])
    far = np.array([True, True, False, False, True])
    found = evaluate_confidence(reference, predicted, confidence, far)
    assert found["unmapped"] == 1
    assert found["count"] == 4
    assert found["accuracy"] == 0.75
    assert found["ece"] == pytest.approx((2 * 0.4 + 2 * 0.4) / 4)
    assert found["far"]["ece"] == pytest.approx(0.4)
    assert found["far"]["count"] == 2
    nothing = evaluate_confidence(reference, np.full(5, -1), np.full(5, np.nan), far)
    assert nothing == {"count": 0, "unmapped": 5, "far": {"count": 0}}


def test_a_fitted_temperature_mends_what_is_too_sure():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20_000, 3)) * 1.5
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    classes = (p.cumsum(1) < rng.random((20_000, 1))).sum(1)
    sure = torch.log_softmax(torch.from_numpy(3 * logits), 1)
    half = 10_000
    temperature = fit_temperature(sure[:half], classes[:half])
    found = compare_temperatures(sure[half:], classes[half:], temperature)
    assert found["before"]["ece"] > 0.1
    assert found["after"]["ece"] < 0.02
    for score in ("nll", "brier"):
        assert found["after"][score] < found["before"][score]
    # the order of one pixel's classes stays, that of the pixels may not
    assert found["after"]["accuracy"] == found["before"]["accuracy"]
    for one in (found["before"], found["after"]):
        assert one["curve"]["accuracy"][-1] == pytest.approx(one["accuracy"])
        assert one["curve"]["accuracy"][9] > one["accuracy"], "the surest half"
    assert compare_temperatures(sure[:0], classes[:0], 2.0)["before"] == {"count": 0}
