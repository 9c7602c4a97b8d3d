"""Radar intensity: recognised by name and values, and brought to finite decibels."""

from __future__ import annotations

import numpy as np
import pytest

from bdgf.scene.description import ModalitySpec
from bdgf.scene.radar import decibel_bands, decibels, looks_like_radar, smallest_intensity


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (("sar", "b"), True),
        (("b", "data_SAR_HR"), True),
        (("VV", "x"), True),
        (("s1", "x"), True),
        (("x", "Sentinel-1_grd"), True),
        (("s2", "sentinel2"), False),
        (("sargasso", "s10"), False),
    ],
)
def test_radar_by_name(texts, expected):
    assert looks_like_radar(*texts) is expected


@pytest.mark.parametrize("looks", [1, 4, 16])
def test_speckle_over_a_contrasted_scene_is_linear_and_its_logarithm_is_not(looks):
    rng = np.random.default_rng(looks)
    bright = rng.choice([0.01, 0.05, 0.3], size=(4000, 1))
    intensity = (bright * rng.gamma(looks, 1 / looks, size=(4000, 3))).astype(np.float32)
    modality = ModalitySpec("sar", "sar.tif", role="auxiliary")
    assert decibel_bands(modality, "sar", intensity).all()
    scaled = 10 * np.log10(intensity) + 60  # positive decibels, as in 8-bit quick looks
    assert not decibel_bands(modality, "sar", scaled).any()


def test_spectral_modality_is_never_taken_for_radar():
    intensity = np.random.default_rng(0).gamma(1.0, size=(1000, 2)).astype(np.float32)
    assert not decibel_bands(ModalitySpec("sar", "sar.tif"), "sar", intensity).any()


def test_decibels_are_finite_down_to_zero_and_below():
    values = np.array([-1.0, 0.0, 1e-3, 1.0, 100.0], dtype=np.float32)
    floor = smallest_intensity(values)
    assert 0 < floor < 1e-2
    out = decibels(values, floor)
    assert out.dtype == np.float32
    assert out[0] == out[1] == pytest.approx(10 * np.log10(floor), abs=1e-4)
    np.testing.assert_allclose(out[3:], [0.0, 20.0], atol=1e-5)
    assert smallest_intensity(np.zeros(3, dtype=np.float32)) > 0


@pytest.mark.parametrize("value", [-1e-4, -9999.0, 1e6])
def test_one_odd_value_changes_no_decision(value):
    rng = np.random.default_rng(3)
    bright = rng.choice([0.01, 0.05, 0.3], size=(4000, 1))
    intensity = (bright * rng.gamma(4, 0.25, size=(4000, 2))).astype(np.float32)
    signed = rng.normal(size=(4000, 1)).astype(np.float32)
    modality = ModalitySpec("sar", "sar.tif", role="auxiliary")
    intensity[17, 0] = value
    both = np.hstack([intensity, signed])
    assert decibel_bands(modality, "sar", both).tolist() == [True, True, False]
    logarithms = 10 * np.log10(np.maximum(intensity, 1e-3))
    logarithms[17, 0] = value
    assert not decibel_bands(modality, "sar", logarithms).any()
