"""The plain networks learn, repeat, and leave the global generator alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bdgf.evaluation import networks
from bdgf.evaluation.networks import PatchNetwork, PixelPerceptron, train_and_predict


@pytest.mark.parametrize("kind", [PixelPerceptron, PatchNetwork])
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


@pytest.mark.parametrize("kind", [PixelPerceptron, PatchNetwork])
def test_every_weight_has_a_gradient(kind):
    network = kind(7, 4)
    logits = network(torch.randn(5, 7, kind.window, kind.window))
    assert logits.shape == (5, 4)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
