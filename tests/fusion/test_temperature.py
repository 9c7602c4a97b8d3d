from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from bdgf.fusion.temperature import HIGHEST, LOWEST, fit_temperature, scaled


def drawn(n: int, classes: int, sharpness: float, seed: int) -> tuple[torch.Tensor, np.ndarray]:
    """Log-probabilities that are ``sharpness`` times as sure as they should be, and classes."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(n, classes))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    target = (p.cumsum(1) < rng.random((n, 1))).sum(1).clip(max=classes - 1)
    return torch.log_softmax(torch.from_numpy(sharpness * logits), 1), target


def nll(values: torch.Tensor, target: np.ndarray, temperature: float) -> float:
    found = scaled(values, temperature)
    return -float(found[torch.arange(len(target)), torch.from_numpy(target)].mean())


@given(
    n=st.integers(5, 60),
    classes=st.integers(2, 7),
    sharpness=st.floats(0.2, 5),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=40, deadline=None)
def test_no_other_temperature_is_more_likely(n, classes, sharpness, seed):
    values, target = drawn(n, classes, sharpness, seed)
    found = fit_temperature(values, target)
    assert LOWEST <= found <= HIGHEST
    best = nll(values, target, found)
    search = minimize_scalar(
        lambda x: nll(values, target, math.exp(x)),
        bounds=(math.log(LOWEST), math.log(HIGHEST)),
        method="bounded",
        options={"xatol": 1e-9},
    )
    assert best <= search.fun + 1e-9
    for other in (0.9 * found, 1.1 * found):
        if LOWEST <= other <= HIGHEST:
            assert best <= nll(values, target, other) + 1e-12


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_it_finds_how_much_too_sure_the_probabilities_are(sharpness):
    values, target = drawn(60_000, 4, sharpness, 0)
    assert fit_temperature(values, target) == pytest.approx(sharpness, rel=0.03)


def test_it_does_not_depend_on_type_order_or_normalisation():
    values, target = drawn(200, 5, 2.0, 1)
    found = fit_temperature(values, target)
    order = np.random.default_rng(0).permutation(200)
    assert fit_temperature(values[order], target[order]) == pytest.approx(found, rel=1e-9)
    assert fit_temperature(values + 3.0, torch.from_numpy(target)) == pytest.approx(found, rel=1e-9)
    assert fit_temperature(values.float(), target) == pytest.approx(found, rel=1e-4)
    assert fit_temperature(values, target) == found


def test_what_has_no_best_temperature_ends_at_the_limits():
    sure = torch.log_softmax(torch.tensor([[3.0, 0.0], [0.0, 3.0]]), 1)
    assert fit_temperature(sure, np.array([0, 1])) == LOWEST
    assert fit_temperature(sure, np.array([1, 0])) == HIGHEST
    impossible = torch.tensor([[0.0, -math.inf], [-math.inf, 0.0], [math.log(0.6), math.log(0.4)]])
    assert math.isfinite(fit_temperature(impossible, np.array([0, 1, 1])))


def test_scaling_keeps_the_class_and_the_sum():
    values, _ = drawn(50, 6, 1.0, 2)
    for temperature in (0.3, 1.0, 4.0):
        found = scaled(values, temperature)
        assert torch.equal(found.argmax(1), values.argmax(1))
        assert found.exp().sum(1).numpy() == pytest.approx(np.ones(50))
    assert torch.allclose(scaled(values, 1.0), values)
    assert torch.allclose(scaled(scaled(values, 2.5), 1 / 2.5), values)


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (torch.zeros(0, 3), np.zeros(0, dtype=np.int64)),
        (torch.zeros(4, 3), np.zeros(3, dtype=np.int64)),
        (torch.zeros(4), np.zeros(4, dtype=np.int64)),
        (torch.full((4, 3), math.nan), np.zeros(4, dtype=np.int64)),
    ],
)
def test_what_cannot_be_fitted_is_refused(values, classes):
    with pytest.raises(ValueError, match="log-probabilities"):
        fit_temperature(values, classes)
