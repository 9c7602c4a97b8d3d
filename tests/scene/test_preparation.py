"""Preparation: what it fits, what it leaves out, and that nothing unusable comes out of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from bdgf.config import PreparationSettings
from bdgf.errors import RunFolderError
from bdgf.scene.preparation import Preparation
from bdgf.scene.scene import Scene
from bdgf.scene.windows import Window

H, W = 40, 50
SETTINGS = PreparationSettings(components=4)


def test_components_are_those_of_scikit_learn_with_one_common_scale(write_scene, spectra, fit):
    cube = spectra()
    _, values, missing = fit(write_scene({"hsi": cube}))
    pca = PCA(4).fit(cube.reshape(9, -1).T.astype(np.float64))
    scores = pca.transform(cube.reshape(9, -1).T.astype(np.float64)).T
    factor = 3.0 / scores[0].std(ddof=1)
    ours = values.reshape(4, -1)
    signs = np.sign((ours * scores).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(ours, signs * scores * factor, atol=2e-3)
    assert not missing.any()
    assert ours[0].std(ddof=1) == pytest.approx(3.0, rel=1e-3)
    assert ours[3].std() < 0.1  # noise is not lifted to the weight of the first component


def test_fewer_bands_than_components_keep_their_number(write_scene, spectra, fit):
    _, values, _ = fit(write_scene({"hsi": spectra(3)}), PreparationSettings(components=30))
    assert len(values) == 3
    covariance = np.cov(values.reshape(3, -1))
    assert np.abs(covariance - np.diag(np.diagonal(covariance))).max() < 1e-2


def test_spectral_modalities_come_first_whatever_the_file_says(write_scene, spectra, speckle, fit):
    images = {"dsm": speckle(1), "hsi": spectra(), "sar": speckle(2), "ms": spectra(4, seed=5)}
    preparation, values, missing = fit(write_scene(images))
    parts = preparation.layout.modalities
    assert [p.name for p in parts] == ["hsi", "ms", "dsm", "sar"]
    assert [(p.start, p.stop) for p in parts] == [(0, 4), (4, 8), (8, 9), (9, 11)]
    assert values.shape == (11, H, W)
    assert missing.shape == (4, H, W)


def test_auxiliary_bands_are_standardised_and_clipped(write_scene, fit):
    dsm = np.random.default_rng(0).normal(500, 7, size=(1, H, W)).astype(np.float32)
    dsm[0, 0, 0] = 1e6
    settings = PreparationSettings(clip=2.5)
    _, values, _ = fit(write_scene({"dsm": dsm}), settings)
    assert np.abs(values).max() == 2.5
    _, values, _ = fit(write_scene({"dsm": np.delete(dsm, 0, axis=1)}))
    assert values.mean() == pytest.approx(0, abs=1e-3)
    assert values.std() == pytest.approx(1, abs=1e-3)


def test_missing_pixels_are_zero_and_change_no_statistic(write_scene, spectra, speckle, fit):
    cube, dsm = spectra(), speckle(1)
    hole = (slice(None), slice(5, 15), slice(10, 20))
    cube[:, 3, 3] = np.nan
    clean, _, _ = fit(write_scene({"hsi": cube, "dsm": dsm}))
    broken = cube.copy()
    broken[4, 5:15, 10:20] = np.inf
    preparation, values, missing = fit(write_scene({"hsi": broken, "dsm": dsm}))
    assert missing[0, 3, 3]
    assert missing[0, 5:15, 10:20].all()
    assert missing[0].sum() == 101
    assert not missing[1].any()
    assert (values[:4][hole] == 0).all()
    assert np.isfinite(values).all()
    cube[:, 5:15, 10:20] = np.nan
    without, _, _ = fit(write_scene({"hsi": cube, "dsm": dsm}))
    np.testing.assert_array_equal(preparation.fitted[0].mean, without.fitted[0].mean)
    assert not np.array_equal(clean.fitted[0].mean, without.fitted[0].mean)


def test_values_that_overflow_become_missing(write_scene, spectra, speckle):
    scene = Scene.open(write_scene({"hsi": spectra() * 1e-3, "dsm": speckle(1)}))
    preparation = Preparation.fit(scene, SETTINGS, 0)
    signs = np.sign(preparation.fitted[0].matrix[0])
    huge = np.broadcast_to(signs[:, None, None] * np.float32(3e38), (9, 2, 2))
    values, missing = preparation.transform(
        [huge, np.full((1, 2, 2), 3e38, np.float32)],
        [np.ones((9, 2, 2), bool), np.ones((1, 2, 2), bool)],
    )
    assert np.isfinite(values).all()
    assert missing[0].all()


def test_zero_intensity_is_finite_and_near_the_darkest_values(write_scene, speckle, fit):
    image = speckle()
    image[:, :3] = 0.0
    _, values, missing = fit(write_scene({"sar": image}))
    assert not missing.any()
    assert values.min() > -8


def test_diffusion_scale_is_half_way_to_whitening(write_scene, spectra, speckle, fit):
    preparation, values, _ = fit(write_scene({"hsi": spectra(), "dsm": speckle(1)}))
    scaled = values * preparation.diffusion_scale[:, None, None]
    before = values[:4].reshape(4, -1).std(axis=1)
    after = scaled[:4].reshape(4, -1).std(axis=1)
    assert after[0] == pytest.approx(1.0, rel=1e-2)
    np.testing.assert_allclose(after[:3], np.sqrt(before[:3] / before[0]), rtol=1e-2)
    assert preparation.diffusion_scale[4] == 1.0


def test_diffusion_scale_of_an_empty_component_is_bounded(write_scene, spectra, fit):
    cube = spectra(2)
    cube[1] = 2 * cube[0]
    preparation, _, _ = fit(write_scene({"hsi": cube}))
    assert np.isfinite(preparation.diffusion_scale).all()
    assert preparation.diffusion_scale.max() < 20


def test_stored_and_rebuilt_it_gives_the_same_bits(write_scene, spectra, speckle, prepare, fit):
    path = write_scene({"hsi": spectra(), "sar": speckle()})
    preparation, values, missing = fit(path)
    description = json.loads(json.dumps(preparation.to_json()))
    again = Preparation.from_parts(preparation.to_tensors(), description)
    rebuilt, gone = prepare(Scene.open(path), again)
    np.testing.assert_array_equal(rebuilt, values)
    np.testing.assert_array_equal(gone, missing)
    np.testing.assert_array_equal(again.diffusion_scale, preparation.diffusion_scale)
    assert again.layout == preparation.layout


@pytest.mark.parametrize("damage", ["lost", "cut", "role", "beyond", "nothing"])
def test_damaged_parts_are_refused(write_scene, damage, spectra, speckle, fit):
    preparation, _, _ = fit(write_scene({"hsi": spectra(), "sar": speckle()}))
    tensors, description = preparation.to_tensors(), preparation.to_json()
    if damage == "lost":
        del tensors["preparation.1.mean"]
    elif damage == "cut":
        tensors["preparation.0.matrix"] = tensors["preparation.0.matrix"][:, :-1]
    elif damage == "role":
        description["modalities"][0]["role"] = "other"
    elif damage == "beyond":
        description["modalities"][0]["bands"] = 3
    else:
        description = {}
    with pytest.raises(RunFolderError, match="stored preparation cannot be used"):
        Preparation.from_parts(tensors, description)


def test_scene_of_other_bands_does_not_fit(write_scene, spectra, speckle, fit):
    preparation, _, _ = fit(write_scene({"hsi": spectra(9), "sar": speckle()}))
    preparation.check_fits(Scene.open(write_scene({"hsi": spectra(9, seed=3), "sar": speckle()})))
    other = Scene.open(write_scene({"hsi": spectra(8), "sar": speckle()}))
    with pytest.raises(RunFolderError, match=r"hsi \(spectral, 9 bands\).*hsi \(spectral, 8 bands"):
        preparation.check_fits(other)


@pytest.mark.parametrize("name", ["spain_s1s2", "augsburg_like"])
def test_real_scenes(shared_data, name):
    scene = Scene.open(shared_data / name)
    preparation = Preparation.fit(scene, PreparationSettings(fit_pixels=20_000), 0)
    area = Window(100, 100, 64, 64)
    read = [scene.tiles[0].read(m, area) for m in range(len(scene.modalities))]
    values, missing = preparation.transform([v for v, _ in read], [ok for _, ok in read])
    radar = next(one for one in preparation.fitted if one.name in ("s1", "sar"))
    assert radar.decibel.all() == (name == "augsburg_like")  # spain_s1s2 is in decibels already
    assert np.isfinite(values).all()
    assert not missing.any()


@pytest.mark.parametrize(("bands", "components"), [(12, 12), (180, 30)])
def test_prepared_values_have_the_same_bits_on_any_number_of_threads(bands, components, prepare):
    rng = np.random.default_rng(4)
    mixing = rng.normal(size=(bands, bands)).astype(np.float32)
    values = np.tensordot(mixing, rng.normal(size=(bands, 128, 128)), 1).astype(np.float32)
    scene = Scene.from_arrays({"hsi": values})
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            preparation = Preparation.fit(scene, PreparationSettings(components=components), 0)
            found.append((preparation.fitted[0].matrix, prepare(scene, preparation)[0]))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
