"""The plain networks learn, repeat, and leave the global generator alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bdgf.diffusion.store import FeatureStore, open_tile, write_index
from bdgf.evaluation import networks
from bdgf.evaluation.networks import PatchCnn, PixelPerceptron, train_and_predict
from bdgf.fusion.patch_source import PatchSource


@pytest.mark.parametrize("kind", [PixelPerceptron, PatchCnn])
def test_plain_networks_learn_and_repeat(prepared, monkeypatch, kind):
    monkeypatch.setattr(networks, "STEPS", 60)
    before = torch.get_rng_state()
    first, again = (train_and_predict(kind, prepared, 3) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    np.testing.assert_array_equal(first, again)
    reference = prepared.scene.labels_at("test")
    assert first.shape == reference.shape
    assert (first == reference).mean() > 0.6
    other = train_and_predict(kind, prepared, 4)
    assert (other != first).any()


@pytest.mark.parametrize("kind", [PixelPerceptron, PatchCnn])
def test_every_weight_has_a_gradient(kind):
    network = kind(7, 4)
    logits = network(torch.randn(5, 7, kind.window, kind.window))
    assert logits.shape == (5, 4)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_a_plain_network_uses_the_features_it_is_given(prepared, monkeypatch, tmp_path):
    """Channels that are shared by all levels enter once; features that tell the class are used."""
    monkeypatch.setattr(networks, "STEPS", 60)
    scene = prepared.scene
    names, shape = [scene.tiles[0].name], prepared.shape(0)
    rng = np.random.default_rng(0)
    told = rng.normal(0, 0.01, size=(len(scene.class_codes), *shape)).astype(np.float32)
    for which in ("train", "test"):
        _, rows, cols = scene.positions(which).T
        told[scene.labels_at(which), rows, cols] += 3.0
    with open_tile(tmp_path, names[0], told.shape) as array:
        array[:] = told
    write_index(tmp_path, [list(range(len(told)))] * 3, {})
    store = FeatureStore(tmp_path, names, [shape])
    source = PatchSource(prepared, store, 3)
    inputs = networks._inputs(source, scene.positions("test")[:5])
    layout = prepared.layout
    assert inputs.shape[1] == layout.channels + len(layout.modalities) + len(told)
    _, rows, cols = scene.positions("test")[:5].T
    seen = inputs[:, -len(told) :, 1, 1].numpy()
    np.testing.assert_allclose(seen, told[:, rows, cols].T, atol=1e-2)
    found = train_and_predict(PixelPerceptron, prepared, 3, store)
    assert (found == scene.labels_at("test")).mean() > 0.97


def test_classes_can_be_drawn_alike(prepared, monkeypatch):
    monkeypatch.setattr(networks, "STEPS", 30)
    drawn = []
    inputs = networks._inputs

    def noted(source, positions, turned=None):
        if turned is not None:
            drawn.append(positions)
        return inputs(source, positions, turned)

    monkeypatch.setattr(networks, "_inputs", noted)
    scene = prepared.scene
    rare = np.flatnonzero(scene.labels_at("train") == 0)[:2]
    others = np.flatnonzero(scene.labels_at("train") != 0)
    kept = np.concatenate([rare, others])
    positions, labels = scene.positions("train")[kept], scene.labels_at("train")[kept]
    monkeypatch.setattr(scene, "positions", lambda part: positions)
    monkeypatch.setattr(scene, "labels_at", lambda part: labels)
    shares = []
    for alike in (False, True):
        drawn.clear()
        train_and_predict(PatchCnn, prepared, 0, alike=alike)
        pixels = np.concatenate(drawn)
        shares.append((pixels[:, None] == positions[:2]).all(-1).any(1).mean())
    assert shares[0] == pytest.approx(2 / len(kept), abs=0.02)
    assert shares[1] == pytest.approx(1 / len(np.unique(labels)), abs=0.05)


def test_training_pixels_without_data_are_left_out(prepared, monkeypatch):
    monkeypatch.setattr(networks, "STEPS", 20)
    scene = prepared.scene
    positions, labels = scene.positions("train"), scene.labels_at("train")
    known = np.arange(len(labels)) % 3 > 0
    monkeypatch.setattr(prepared, "valid_at", lambda at: known if len(at) == len(known) else None)
    found = train_and_predict(PixelPerceptron, prepared, 0)
    monkeypatch.setattr(prepared, "valid_at", lambda at: np.ones(len(at), bool))
    test = scene.positions("test")
    monkeypatch.setattr(
        scene, "positions", lambda part: positions[known] if part == "train" else test
    )
    monkeypatch.setattr(scene, "labels_at", lambda part: labels[known])
    np.testing.assert_array_equal(found, train_and_predict(PixelPerceptron, prepared, 0))
