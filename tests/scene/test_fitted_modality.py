"""A fitted modality: what it makes of raw values, and arrays that do not fit together."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from bdgf.scene.fitted_modality import ARRAYS, FittedModality, check_shapes

HEIGHTS = FittedModality(
    name="dsm",
    role="auxiliary",
    bands=3,
    kept=np.array([0, 2]),
    decibel=np.array([False, True]),
    floor=np.array([0.0, 0.1], dtype=np.float32),
    mean=np.array([5.0, -10.0], dtype=np.float32),
    matrix=np.diag([0.5, 1.0]).astype(np.float32),
    deviation=np.ones(2, dtype=np.float32),
)


def test_bands_are_left_out_brought_to_decibels_centred_scaled_and_cut():
    values = np.array([9.0, np.nan, 0.001, 105.0, 1.0, 1.0, 7.0, 1.0, 1.0], dtype=np.float32)
    valid = np.isfinite(values)
    valid[8] = False
    prepared, missing = HEIGHTS.transform(
        values.reshape(3, 1, 3).transpose(2, 1, 0), valid.reshape(3, 1, 3).transpose(2, 1, 0), 8.0
    )
    np.testing.assert_allclose(prepared[:, 0], [[2.0, 8.0, 0.0], [0.0, 8.0, 0.0]], atol=1e-5)
    assert missing.tolist() == [[False, False, True]]


def test_a_value_that_no_sensor_measured_is_cut_in_every_component():
    image = dataclasses.replace(
        HEIGHTS,
        role="spectral",
        decibel=np.zeros(2, dtype=bool),
        matrix=np.array([[0.6, 0.8], [-0.8, 0.6], [0.0, 0.0]], dtype=np.float32),
        deviation=np.array([3.0, 0.1, 0.0], dtype=np.float32),
    )
    np.testing.assert_allclose(image.limits(8.0), [24.0, 2.4, 0.072])
    values = np.array([5.0, 0.0, -10.0, -9999, 0.0, -9999, 6.0, 0.0, -10.0], dtype=np.float32)
    cube = values.reshape(1, 3, 3).transpose(2, 0, 1)
    prepared, missing = image.transform(cube, np.isfinite(cube), 8.0)
    np.testing.assert_allclose(
        prepared[:, 0], [[0.0, -24.0, 0.6], [0.0, 2.4, -0.8], [0.0, 0.0, 0.0]], atol=1e-5
    )
    assert not missing.any()


def test_arrays_that_fit_together_are_accepted():
    check_shapes(HEIGHTS)
    check_shapes(dataclasses.replace(HEIGHTS, spread=np.ones(2, dtype=np.float32)))


@pytest.mark.parametrize("name", [*ARRAYS, "spread"])
def test_an_array_of_another_length_is_refused(name):
    with pytest.raises(ValueError, match="of dsm"):
        check_shapes(dataclasses.replace(HEIGHTS, **{name: np.ones(3, dtype=np.float32)}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kept": np.array([0, 3])}, "names bands beyond 3"),
        ({"kept": np.array([-1, 2])}, "names bands beyond 3"),
        ({"matrix": np.ones((1, 2)), "deviation": np.ones(1)}, "is not square"),
        ({"matrix": np.ones((0, 2)), "deviation": np.ones(0)}, "kept of dsm has shape"),
    ],
)
def test_arrays_that_cannot_be_used_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        check_shapes(dataclasses.replace(HEIGHTS, **changes))
