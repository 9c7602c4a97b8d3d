"""Values that no sensor measured are told from those that are rare."""

from __future__ import annotations

import numpy as np
import pytest

from bdgf.scene.outliers import FILL_VALUES, far_rows, filled_rows, usual_range


@pytest.fixture
def values() -> np.ndarray:
    """Reflectances (n, C) of a landscape with a hundred bright roofs among 50,000 pixels."""
    rng = np.random.default_rng(0)
    found = rng.choice([0.05, 0.1, 0.3], size=(50_000, 1)) * rng.uniform(0.8, 1.2, (50_000, 4))
    found[:100] = rng.uniform(0.8, 1.0, (100, 4))
    return found.astype(np.float32)


def test_bright_and_rare_is_not_far(values) -> None:
    assert not far_rows(values).any()
    assert not filled_rows(values, None).any()


@pytest.mark.parametrize("spike", [-9999.0, 65535.0, 30.0, 3e38])
@pytest.mark.parametrize("band", [0, 3])
def test_a_spike_in_one_band_is_found_and_nothing_else(values, spike: float, band: int) -> None:
    values[[7, 40_123], band] = spike
    np.testing.assert_array_equal(np.flatnonzero(far_rows(values)), [7, 40_123])


def test_they_are_few_whatever_the_values(values) -> None:
    rng = np.random.default_rng(1)
    for power in (1, 3, 5):
        heavy = (rng.standard_cauchy(values.shape) ** power).astype(np.float32)
        assert far_rows(heavy).mean() <= 0.011 * values.shape[1]


def test_without_a_usual_range_nothing_is_far() -> None:
    values = np.zeros((10_000, 2), dtype=np.float32)
    values[:40, 0], values[:, 1] = 12.0, np.linspace(0, 1, 10_000)
    low, high = usual_range(values)
    assert low[0] == high[0] == 0
    assert not far_rows(values).any()
    assert far_rows(values[:0]).shape == (0,)


@pytest.mark.parametrize("value", FILL_VALUES)
def test_fill_values_are_found_unless_they_are_declared(values, value: float) -> None:
    values[3, 1], values[5] = value, np.nan
    np.testing.assert_array_equal(np.flatnonzero(filled_rows(values, None)), [3])
    assert not filled_rows(values, value).any()
