from __future__ import annotations

import numpy as np
import pytest

from bdgf.config import PreparationSettings
from bdgf.scene.preparation import Preparation
from bdgf.scene.scene import Scene
from bdgf.scene.value_shift import Shift, band_spread, find_shifts

PLACE = {"crs": "EPSG:32632"}


def _images(rng):
    image = rng.normal(size=(4, 20, 30)).astype(np.float32) * [[[1]], [[2]], [[3]], [[0.5]]] + 10
    return {
        "hsi": image.astype(np.float32),
        "sar": rng.exponential(size=(2, 20, 30)).astype(np.float32),
    }


@pytest.fixture
def training(write_scene):
    images = _images(np.random.default_rng(0))
    return images, Preparation.fit(Scene.open(write_scene(images)), PreparationSettings(), 0)


def test_the_same_place_again_is_not_far(training, write_scene):
    _, preparation = training
    scene = Scene.open(write_scene(_images(np.random.default_rng(5))))
    assert find_shifts(preparation, scene, 0) == []


def test_mean_spread_and_decibels_are_compared_band_by_band(training, write_scene):
    images, preparation = training
    assert preparation.fitted[1].decibel.all(), "the radar of this scene is linear"
    changed = {name: values.copy() for name, values in images.items()}
    changed["hsi"][1] -= 2.5 * images["hsi"][1].std()
    changed["hsi"][3] = 10 + 5 * (images["hsi"][3] - 10)
    changed["sar"][0] *= 1000.0  # 30 dB
    hsi, sar = find_shifts(preparation, Scene.open(write_scene(changed)), 0)
    assert (hsi.modality, set(hsi.bands), hsi.of) == ("hsi", {2, 4}, 4)
    by_band = dict(zip(hsi.bands, zip(hsi.distance, hsi.ratio, strict=True), strict=True))
    assert by_band[2] == (pytest.approx(-2.5, rel=1e-3), pytest.approx(1, rel=1e-2))
    assert by_band[4][1] == pytest.approx(5, rel=1e-2)
    spread = preparation.fitted[1].spread[0]
    assert sar.bands == (1,)
    assert sar.distance[0] == pytest.approx(30 / spread, rel=1e-2)
    assert "1 of 2 bands of modality sar" in sar.describe()


def test_a_modality_without_pixels_is_told(training, write_scene):
    images, preparation = training
    gone = {**images, "sar": np.full_like(images["sar"], np.nan)}
    (shift,) = find_shifts(preparation, Scene.open(write_scene(gone)), 0)
    assert "modality sar has no valid pixel" in shift.describe()


def test_a_band_without_pixels_is_named(training, write_scene):
    images, preparation = training
    gone = {name: values.copy() for name, values in images.items()}
    gone["hsi"][2] = np.nan
    (shift,) = find_shifts(preparation, Scene.open(write_scene(gone)), 0)
    assert shift.empty == (3,)
    assert "uses band 3 of modality hsi, which has no valid pixel" in shift.describe()


def test_spread_is_stored_and_else_put_together(training):
    images, preparation = training
    again = Preparation.from_parts(preparation.to_tensors(), preparation.to_json())
    expected = images["hsi"].reshape(4, -1).std(1, ddof=1)
    np.testing.assert_allclose(band_spread(again.fitted[0]), expected, rtol=1e-5)
    older = {n: v for n, v in preparation.to_tensors().items() if not n.endswith("spread")}
    for one in Preparation.from_parts(older, preparation.to_json()).fitted:
        assert one.spread is None
        stored = next(f for f in preparation.fitted if f.name == one.name)
        np.testing.assert_allclose(band_spread(one), stored.spread, rtol=1e-4)


def test_no_more_than_three_bands_are_listed():
    shift = Shift("hsi", (4, 1, 2, 7, 9), (9.0, 8.0, 7.0, 6.0, 5.0), (1.0,) * 5, 20)
    said = shift.describe()
    assert said.startswith("5 of 20 bands of modality hsi")
    assert "band 2 by +7.0" in said
    assert "band 7" not in said
    assert ", and 2 more;" in said
    assert "more" not in Shift("hsi", (1,), (9.0,), (1.0,), 20).describe()
