"""Smoothed labels against torch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from bdgf.fusion.losses import smoothed_nll


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_smoothed_labels_are_those_of_torch(smoothing):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20, 5, generator=generator, dtype=torch.float64)
    target = torch.randint(5, (20,), generator=generator)
    weight = torch.rand(5, generator=generator, dtype=torch.float64) + 0.2
    found = smoothed_nll(torch.log_softmax(logits, 1), target, weight, smoothing)
    expected = F.cross_entropy(logits, target, weight=weight, label_smoothing=smoothing)
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)


def test_smoothing_is_least_at_the_smoothed_label():
    logits = torch.zeros(1, 4, requires_grad=True)
    optimiser = torch.optim.LBFGS([logits], max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        loss = smoothed_nll(torch.log_softmax(logits, 1), torch.tensor([2]), torch.ones(4), 0.2)
        loss.backward()
        return loss

    optimiser.step(closure)
    assert torch.softmax(logits, 1).tolist()[0] == pytest.approx([0.05, 0.05, 0.85, 0.05], abs=1e-3)
