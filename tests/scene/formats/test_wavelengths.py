"""Wavelengths and names from the texts of rasters."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from bdgf.scene.formats.raster import GdalSource
from bdgf.scene.formats.wavelengths import band_names, band_wavelengths, nanometres


def raster(descriptions, tags=None, **whole):
    tags = tags or [{}] * len(descriptions)
    return SimpleNamespace(
        count=len(descriptions),
        descriptions=descriptions,
        tags=lambda band=None, ns=None: (
            whole if band is None and ns is None else tags[band - 1] if band else {}
        ),
    )


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("442.7", "Nanometers", 442.7),
        ("442.7", "nm", 442.7),
        ("0.4427", "Micrometers", 442.7),
        ("0.4427", "µm", 442.7),
        (2.19, "microns", 2190.0),
        ("0.4427", "", 442.7),
        ("442.7", "", 442.7),
        ("442.7", "Unknown", 442.7),
        ("11.45", "", 11450.0),
        ("3", "Index", None),
        ("1000", "Wavenumber", None),
        ("77", "GHz", None),
        ("5", "nm", None),
        ("-1", "", None),
        ("nan", "nm", None),
        ("inf", "", None),
        ("red", "nm", None),
    ],
)
def test_nanometres(text, unit, expected):
    assert nanometres(text, unit) == expected


@given(st.floats(allow_nan=True), st.text())
def test_any_number_and_unit_give_a_wavelength_or_none(value, unit):
    found = nanometres(value, unit)
    assert found is None or 100 <= found <= 100_000


@given(st.text())
def test_any_description_gives_a_wavelength_or_none(text):
    (found,) = band_wavelengths(raster([text]), [1])
    assert found is None or 100 <= found <= 100_000


def test_chosen_bands_only():
    source = raster(["400 nm", "500 nm", None], wavelength="{400, 500, 600}")
    assert band_wavelengths(source, [3, 1]) == (600.0, 400.0)
    assert band_names(source, [3, 1]) == ("", "400 nm")


def test_a_list_of_another_length_is_not_of_the_bands():
    assert band_wavelengths(raster(["a", "b"], wavelength="{400, 500, 600}"), [1, 2]) == (None,) * 2


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("coastal (442.7 Nanometers)", "coastal"),
        ("Band 1 (0.4427 Micrometers)", "Band 1"),
        ("Band 1 (442.7)", "Band 1"),
        ("red (B4)", "red (B4)"),
        ("height (m)", "height (m)"),
    ],
)
def test_names_without_the_wavelength(written, shown):
    assert band_names(raster([written]), [1]) == (shown,)


@pytest.mark.parametrize(
    ("tags", "description", "expected"),
    [
        ({"wavelength": "442.7"}, None, 442.7),
        ({"wavelength": "0.4427", "wavelength_units": "um"}, None, 442.7),
        ({}, "442.7 nm", 442.7),
        ({}, "Band 3 (0.6655 µm)", 665.5),
        ({}, "wavelength=865", 865.0),
        ({}, "B8A", None),
        ({}, "week 3 of 2020", None),
        ({"wavelength": "unknown"}, "red", None),
    ],
)
def test_geotiff_wavelengths(tmp_path, tags, description, expected):
    path = tmp_path / "a.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=2, width=2, dtype="uint8"
    ) as dataset:
        dataset.write(np.ones((1, 2, 2), dtype=np.uint8))
        dataset.update_tags(1, **tags)
        if description:
            dataset.set_band_description(1, description)
    assert GdalSource(path).wavelengths == (expected,)
