"""What is fitted: from which pixels, and which bands are left out."""

from __future__ import annotations

import numpy as np
import pytest

from bdgf.config import PreparationSettings
from bdgf.errors import SceneError
from bdgf.scene.fitting import sample_pixels
from bdgf.scene.preparation import Preparation
from bdgf.scene.scene import Scene

H, W = 40, 50
SETTINGS = PreparationSettings(components=4)


def test_largest_loading_of_every_component_is_positive(write_scene, spectra, fit):
    preparation, _, _ = fit(write_scene({"hsi": spectra()}))
    matrix = preparation.fitted[0].matrix
    largest = np.abs(matrix).argmax(axis=1)
    assert (matrix[np.arange(4), largest] > 0).all()


def test_constant_empty_and_nodata_bands_are_left_out(write_scene, spectra, fit):
    cube = spectra(6)
    cube[1], cube[2], cube[4] = 7.0, np.nan, -9999
    changes = {"modalities": {"hsi": {"path": "hsi.tif", "role": "spectral", "nodata": -9999}}}
    preparation, values, missing = fit(write_scene({"hsi": cube}, changes=changes))
    assert preparation.fitted[0].kept.tolist() == [0, 3, 5]
    assert values.shape[0] == 3
    assert not missing.any()


@pytest.mark.parametrize(
    ("name", "kind", "units", "expected"),
    [
        ("sar", "linear", "auto", True),
        ("sar", "logarithmic", "auto", False),
        ("sar", "scaled", "auto", False),
        ("dsm", "linear", "auto", False),
        ("dsm", "linear", "linear", True),
        ("sar", "linear", "db", False),
        ("sar", "linear", "none", False),
    ],
)
def test_decibels_where_the_values_are_linear_radar(
    write_scene, name, kind, units, expected, spectra, speckle, fit
):
    image = {
        "linear": speckle(),
        "logarithmic": 10 * np.log10(speckle()),
        "scaled": np.abs(spectra(2)),  # positive and not skewed
    }[kind]
    modality = {name: {"path": f"{name}.tif", "role": "auxiliary", "units": units}}
    preparation, values, _ = fit(write_scene({name: image}, changes={"modalities": modality}))
    assert preparation.fitted[0].decibel.all() == expected
    assert preparation.fitted[0].decibel.any() == expected
    logged = 10 * np.log10(np.maximum(image, 1e-30)) if expected else image
    correlation = np.corrcoef(logged[0].ravel(), values[0].ravel())[0, 1]
    assert correlation > 0.999


def test_cross_terms_with_signs_stay_linear_beside_intensities(write_scene, speckle, fit):
    image = np.concatenate([speckle(), np.random.default_rng(0).normal(size=(1, H, W))])
    preparation, _, _ = fit(write_scene({"sar": image.astype(np.float32)}))
    assert preparation.fitted[0].decibel.tolist() == [True, True, False]


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


def test_scene_of_mostly_nodata_still_gets_its_pixels(write_scene, spectra, fit):
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
def test_modality_without_a_usable_band(write_scene, fill, message, spectra, fit):
    path = write_scene({"hsi": spectra(), "dsm": np.full((1, H, W), fill, np.float32)})
    with pytest.raises(SceneError, match=message):
        fit(path)


def test_bands_that_never_overlap(write_scene, spectra, fit):
    cube = spectra(2)
    cube[0, :, :25], cube[1, :, 25:] = np.nan, np.nan
    with pytest.raises(SceneError, match="no pixel where all of its 2 bands are valid"):
        fit(write_scene({"hsi": cube}))


@pytest.mark.parametrize("name", ["sar", "hsi"])
def test_a_band_that_varies_only_where_another_has_no_data_is_left_out(
    write_scene, name, caplog, spectra, fit
):
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


def test_a_band_that_costs_the_others_their_pixels_is_told(write_scene, caplog, spectra, fit):
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


def test_statistics_of_a_large_scene_come_from_some_windows(write_scene, monkeypatch):
    rng = np.random.default_rng(0)
    cube = rng.normal(5.0, 2.0, size=(4, 1100, 900)).astype(np.float32)
    scene = Scene.open(write_scene({"hsi": cube}))
    assert not scene.large
    monkeypatch.setattr("bdgf.scene.scene.WHOLE_PIXELS", 1000)
    assert scene.large
    read = []
    source = scene.tiles[0].sources[0]
    monkeypatch.setattr(
        source, "read", lambda window, whole=source.read: read.append(window) or whole(window)
    )
    monkeypatch.setattr("bdgf.scene.fitting._WINDOWS_OF_LARGE", 4)
    sample = sample_pixels(scene, 0, 5000, np.random.default_rng(1))
    assert len(sample) == 5000
    assert sample.mean(axis=0) == pytest.approx([5.0] * 4, abs=0.15)
    assert sum(w.height * w.width for w in read) < 0.5 * 1100 * 900
    again = sample_pixels(scene, 0, 5000, np.random.default_rng(1))
    np.testing.assert_array_equal(sample, again)


@pytest.mark.parametrize("value", [-9999.0, 1e6])
@pytest.mark.parametrize(("name", "role"), [("hsi", "spectral"), ("dsm", "auxiliary")])
def test_one_value_that_no_sensor_measured_decides_nothing(
    write_scene, spectra, fit, caplog, name, role, value
):
    image = spectra()
    gone = image.copy()
    gone[:, 20, 30] = np.nan
    spiked = image.copy()
    spiked[1, 20, 30] = value
    modality = {"modalities": {name: {"path": f"{name}.tif", "role": role}}}
    expected, _, _ = fit(write_scene({name: gone}, changes=modality))
    assert not caplog.records
    preparation, values, missing = fit(write_scene({name: spiked}, changes=modality))
    for array in ("mean", "matrix", "deviation"):
        ours, theirs = (getattr(p.fitted[0], array) for p in (preparation, expected))
        np.testing.assert_array_equal(ours, theirs)
    # it is cut, and has data all the same
    assert not missing.any()
    limits = preparation.fitted[0].limits(preparation.clip)
    assert (np.abs(values[:, 20, 30]) <= limits).all()
    assert (np.abs(values[:, 20, 30]) == limits).any()
    (record,) = caplog.records
    told = record.getMessage()
    assert f"{value:g}" in told
    assert "do not count in its statistics" in told
    assert "nodata" in told


def test_a_frame_of_an_undeclared_fill_value_is_told_and_decides_nothing(
    write_scene, spectra, fit, caplog
):
    image = spectra()
    framed, gone = image.copy(), image.copy()
    framed[:, :, :10], gone[:, :, :10] = -9999, np.nan
    expected, _, _ = fit(write_scene({"hsi": gone}))
    preparation, _, _ = fit(write_scene({"hsi": framed}))
    np.testing.assert_array_equal(preparation.fitted[0].matrix, expected.fitted[0].matrix)
    assert "the value -9999 on 20 % of its pixels" in caplog.text
    assert "add 'nodata: -9999' to the modality" in caplog.text


def test_rare_values_of_a_clean_scene_count_as_before(write_scene, spectra, fit, caplog):
    image = spectra()
    image[:, 3, 3] = image.max()
    preparation, _, _ = fit(write_scene({"hsi": image}))
    np.testing.assert_allclose(preparation.fitted[0].mean, image.mean(axis=(1, 2)), rtol=1e-5)
    assert not caplog.records
