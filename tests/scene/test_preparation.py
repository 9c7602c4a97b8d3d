"""Preparation: what it fits, what it leaves out, and that nothing unusable comes out of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from bdgf.config import PreparationSettings
from bdgf.errors import RunFolderError, SceneError
from bdgf.scene.layout import Window
from bdgf.scene.preparation import Preparation
from bdgf.scene.scene import Scene

H, W = 40, 50
SETTINGS = PreparationSettings(components=4)


def spectra(bands=9, seed=0):
    """Three smooth sources mixed into bands, with a little noise."""
    rng = np.random.default_rng(seed)
    sources = rng.normal(size=(3, H * W)) * np.array([[9.0], [4.0], [1.0]])
    mixing = rng.normal(size=(bands, 3))
    values = mixing @ sources + 0.05 * rng.normal(size=(bands, H * W)) + 100
    return values.reshape(bands, H, W).astype(np.float32)


def speckle(bands=2, seed=1):
    """Linear intensity of two looks over fields of different brightness."""
    rng = np.random.default_rng(seed)
    fields = np.repeat(rng.choice([0.02, 0.2, 1.0], size=(bands, H, W // 10)), 10, axis=2)
    return (fields * rng.gamma(2.0, 0.5, size=(bands, H, W))).astype(np.float32)


def prepare(scene, preparation, tile=0):
    area = Window(0, 0, scene.tiles[tile].height, scene.tiles[tile].width)
    read = [scene.tiles[tile].read(m, area) for m in range(len(scene.modalities))]
    return preparation.transform([values for values, _ in read], [valid for _, valid in read])


def fit(path, settings=SETTINGS, seed=0):
    scene = Scene.open(path)
    preparation = Preparation.fit(scene, settings, seed)
    values, missing = prepare(scene, preparation)
    return preparation, values, missing


def test_components_are_those_of_scikit_learn_with_one_common_scale(write_scene):
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


def test_largest_loading_of_every_component_is_positive(write_scene):
    preparation, _, _ = fit(write_scene({"hsi": spectra()}))
    matrix = preparation.fitted[0].matrix
    largest = np.abs(matrix).argmax(axis=1)
    assert (matrix[np.arange(4), largest] > 0).all()


def test_fewer_bands_than_components_keep_their_number(write_scene):
    _, values, _ = fit(write_scene({"hsi": spectra(3)}), PreparationSettings(components=30))
    assert len(values) == 3
    covariance = np.cov(values.reshape(3, -1))
    assert np.abs(covariance - np.diag(np.diagonal(covariance))).max() < 1e-2


def test_spectral_modalities_come_first_whatever_the_file_says(write_scene):
    images = {"dsm": speckle(1), "hsi": spectra(), "sar": speckle(2), "ms": spectra(4, seed=5)}
    preparation, values, missing = fit(write_scene(images))
    parts = preparation.layout.modalities
    assert [p.name for p in parts] == ["hsi", "ms", "dsm", "sar"]
    assert [(p.start, p.stop) for p in parts] == [(0, 4), (4, 8), (8, 9), (9, 11)]
    assert values.shape == (11, H, W)
    assert missing.shape == (4, H, W)


def test_auxiliary_bands_are_standardised_and_clipped(write_scene):
    dsm = np.random.default_rng(0).normal(500, 7, size=(1, H, W)).astype(np.float32)
    dsm[0, 0, 0] = 1e6
    settings = PreparationSettings(clip=2.5)
    _, values, _ = fit(write_scene({"dsm": dsm}), settings)
    assert np.abs(values).max() == 2.5
    _, values, _ = fit(write_scene({"dsm": np.delete(dsm, 0, axis=1)}))
    assert values.mean() == pytest.approx(0, abs=1e-3)
    assert values.std() == pytest.approx(1, abs=1e-3)


def test_constant_empty_and_nodata_bands_are_left_out(write_scene):
    cube = spectra(6)
    cube[1], cube[2], cube[4] = 7.0, np.nan, -9999
    changes = {"modalities": {"hsi": {"path": "hsi.tif", "role": "spectral", "nodata": -9999}}}
    preparation, values, missing = fit(write_scene({"hsi": cube}, changes=changes))
    assert preparation.fitted[0].kept.tolist() == [0, 3, 5]
    assert values.shape[0] == 3
    assert not missing.any()


def test_missing_pixels_are_zero_and_change_no_statistic(write_scene):
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


def test_values_that_overflow_become_missing(write_scene):
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


@pytest.mark.parametrize(
    ("name", "image", "units", "expected"),
    [
        ("sar", speckle(), "auto", True),
        ("sar", 10 * np.log10(speckle()), "auto", False),
        ("sar", np.abs(spectra(2)), "auto", False),  # positive and not skewed: scaled already
        ("dsm", speckle(), "auto", False),
        ("dsm", speckle(), "linear", True),
        ("sar", speckle(), "db", False),
        ("sar", speckle(), "none", False),
    ],
)
def test_decibels_where_the_values_are_linear_radar(write_scene, name, image, units, expected):
    modality = {name: {"path": f"{name}.tif", "role": "auxiliary", "units": units}}
    preparation, values, _ = fit(write_scene({name: image}, changes={"modalities": modality}))
    assert preparation.fitted[0].decibel.all() == expected
    assert preparation.fitted[0].decibel.any() == expected
    logged = 10 * np.log10(np.maximum(image, 1e-30)) if expected else image
    correlation = np.corrcoef(logged[0].ravel(), values[0].ravel())[0, 1]
    assert correlation > 0.999


def test_cross_terms_with_signs_stay_linear_beside_intensities(write_scene):
    image = np.concatenate([speckle(), np.random.default_rng(0).normal(size=(1, H, W))])
    preparation, _, _ = fit(write_scene({"sar": image.astype(np.float32)}))
    assert preparation.fitted[0].decibel.tolist() == [True, True, False]


def test_zero_intensity_is_finite_and_near_the_darkest_values(write_scene):
    image = speckle()
    image[:, :3] = 0.0
    _, values, missing = fit(write_scene({"sar": image}))
    assert not missing.any()
    assert values.min() > -8


def test_diffusion_scale_is_half_way_to_whitening(write_scene):
    preparation, values, _ = fit(write_scene({"hsi": spectra(), "dsm": speckle(1)}))
    scaled = values * preparation.diffusion_scale[:, None, None]
    before = values[:4].reshape(4, -1).std(axis=1)
    after = scaled[:4].reshape(4, -1).std(axis=1)
    assert after[0] == pytest.approx(1.0, rel=1e-2)
    np.testing.assert_allclose(after[:3], np.sqrt(before[:3] / before[0]), rtol=1e-2)
    assert preparation.diffusion_scale[4] == 1.0


def test_diffusion_scale_of_an_empty_component_is_bounded(write_scene):
    cube = spectra(2)
    cube[1] = 2 * cube[0]
    preparation, _, _ = fit(write_scene({"hsi": cube}))
    assert np.isfinite(preparation.diffusion_scale).all()
    assert preparation.diffusion_scale.max() < 20


def test_sample_is_even_over_tiles_and_seeded(tmp_path, write_tif):
    rng = np.random.default_rng(0)
    for name, level, size in (("a", 0.0, (30, 40)), ("b", 50.0, (90, 40))):
        write_tif(f"{name}.tif", (rng.normal(size=(2, *size)) + level).astype(np.float32))
    (tmp_path / "scene.yaml").write_text(
        "name: two\ntiles: [a, b]\nmodalities: {hsi: {path: '{tile}.tif', role: spectral}}\n"
    )
    scene = Scene.open(tmp_path)
    settings = PreparationSettings(fit_pixels=400)
    means = [Preparation.fit(scene, settings, seed).fitted[0].mean for seed in (0, 0, 1)]
    np.testing.assert_array_equal(means[0], means[1])
    assert not np.array_equal(means[0], means[2])
    # A quarter of the pixels lies in tile a, to the pixel: 100 of 400.
    np.testing.assert_allclose(means[0], 37.5, atol=0.3)


@pytest.mark.parametrize("stored", ["strips", "squares"])
def test_every_pixel_counts_once_however_the_file_is_stored(tmp_path, write_tif, stored):
    values = np.random.default_rng(0).gamma(1.0, size=(2, 120, 700)).astype(np.float32)
    squares = {"tiled": True, "blockxsize": 64, "blockysize": 64} if stored == "squares" else {}
    write_tif("hsi.tif", values, **squares)
    (tmp_path / "scene.yaml").write_text(
        "name: wide\nmodalities: {hsi: {path: hsi.tif, role: spectral}}\n"
    )
    fitted = Preparation.fit(Scene.open(tmp_path), SETTINGS, 0).fitted[0]
    np.testing.assert_allclose(fitted.mean, values.mean(axis=(1, 2)), rtol=1e-5)
    spread = np.cov(values.reshape(2, -1))
    rotated = fitted.matrix @ spread @ fitted.matrix.T
    np.testing.assert_allclose(rotated, np.diag(fitted.deviation**2), atol=1e-3)


def test_scene_of_mostly_nodata_still_gets_its_pixels(write_scene):
    cube = spectra()
    cube[:, :, 10:] = np.nan  # four fifths
    full, _, _ = fit(write_scene({"hsi": cube}), PreparationSettings(components=4))
    part, _, _ = fit(write_scene({"hsi": cube}), PreparationSettings(components=4, fit_pixels=400))
    np.testing.assert_array_equal(full.fitted[0].mean, part.fitted[0].mean)


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        (np.nan, "all bands of modality dsm are nodata"),
        (3.0, "all bands of modality dsm are const"),
    ],
)
def test_modality_without_a_usable_band(write_scene, fill, message):
    path = write_scene({"hsi": spectra(), "dsm": np.full((1, H, W), fill, np.float32)})
    with pytest.raises(SceneError, match=message):
        fit(path)


def test_bands_that_never_overlap(write_scene):
    cube = spectra(2)
    cube[0, :, :25], cube[1, :, 25:] = np.nan, np.nan
    with pytest.raises(SceneError, match="no pixel where all of its 2 bands are valid"):
        fit(write_scene({"hsi": cube}))


def test_stored_and_rebuilt_it_gives_the_same_bits(write_scene):
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
def test_damaged_parts_are_refused(write_scene, damage):
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


def test_scene_of_other_bands_does_not_fit(write_scene):
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


@pytest.mark.parametrize("name", ["sar", "hsi"])
def test_a_band_that_varies_only_where_another_has_no_data_is_left_out(write_scene, name, caplog):
    caplog.set_level("INFO", logger="bdgf")
    values = spectra(3)
    values[1] = 0.0
    values[1, :5] = np.random.default_rng(0).normal(size=values[1, :5].shape)
    values[0, :5] = np.nan
    images = {"hsi": spectra(), name: values}
    preparation, _, missing = fit(write_scene(images))
    index = list(images).index(name)
    assert preparation.fitted[index].kept.tolist() == [0, 2]
    assert np.isfinite(preparation.fitted[index].matrix).all()
    assert missing[index].mean() == pytest.approx(5 / H)
    assert f"{name}: 1 of 3 bands are constant or have no data and are not used (2)." in caplog.text
    images[name] = np.ones((2, H, W), np.float32)
    for band, rows in enumerate((slice(5), slice(5, 10))):
        images[name][band, rows] = spectra(1)[0, rows]
        images[name][1 - band, rows] = np.nan
    with pytest.raises(SceneError, match="are constant"):
        fit(write_scene(images))


def test_a_band_that_costs_the_others_their_pixels_is_told(write_scene, caplog):
    cube = spectra()
    fit(write_scene({"hsi": cube}))
    assert not caplog.records
    cube[4, 10:] = np.nan  # data in a quarter of the rows
    _, _, missing = fit(write_scene({"hsi": cube}))
    assert missing.mean() == pytest.approx(0.75)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    told = record.getMessage()
    assert "all of its bands at 25.0 % of its pixels only, and some of them at 100.0 %" in told
    assert "(bands 5)" in told


@pytest.mark.parametrize(("bands", "components"), [(12, 12), (180, 30)])
def test_prepared_values_have_the_same_bits_on_any_number_of_threads(bands, components):
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
