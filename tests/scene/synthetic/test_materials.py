"""Spectra of the synthetic scene's materials."""

from __future__ import annotations

import numpy as np
import pytest

from bdgf.scene.synthetic.materials import (
    DSM_PAIR,
    MATERIALS,
    SAR_PAIR,
    materials,
    reflectance,
    wavelengths,
)


def _named(name):
    return next(material for material in MATERIALS if material.name == name)


@pytest.mark.parametrize("material", MATERIALS, ids=lambda m: m.name)
def test_reflectance_is_physical_and_smooth(material):
    nm = wavelengths(400)
    spectrum = reflectance(material, nm)
    assert spectrum.min() > 0
    assert spectrum.max() < 1
    assert np.abs(np.diff(spectrum)).max() < 0.05


def test_vegetation_has_a_red_edge():
    nm = np.array([670.0, 860.0])
    red, infrared = reflectance(_named("Forest"), nm)
    assert (infrared - red) / (infrared + red) > 0.6
    red, infrared = reflectance(_named("Water"), nm)
    assert infrared < red


@pytest.mark.parametrize("pair", [SAR_PAIR, DSM_PAIR])
def test_pairs_share_their_spectrum(pair):
    nm = wavelengths(50)
    a, b = (_named(name) for name in pair)
    np.testing.assert_array_equal(reflectance(a, nm), reflectance(b, nm))


def test_pairs_differ_in_one_sensor():
    a, b = (_named(name) for name in SAR_PAIR)
    assert a.height == b.height
    assert abs(a.backscatter[0] - b.backscatter[0]) > 4
    a, b = (_named(name) for name in DSM_PAIR)
    assert a.backscatter == b.backscatter
    assert abs(a.height - b.height) > 4


def test_more_classes_than_the_table():
    many = materials(40, np.random.default_rng(0))
    assert len({material.name for material in many}) == 40
    assert many[: len(MATERIALS)] == MATERIALS
    assert all(len(m.color) == 7 and int(m.color[1:], 16) >= 0 for m in many)
