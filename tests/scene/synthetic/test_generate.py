"""The synthetic scene holds what it promises."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from bdgf.errors import SettingsError
from bdgf.scene.scene import Scene
from bdgf.scene.synthetic.generate import DSM_PAIR, SAR_PAIR, SyntheticSpec, make_scene

SMALL = SyntheticSpec(height=61, width=75, bands=12, classes=7, train_per_class=20)


def _read(path):
    with rasterio.open(path) as raster:
        return raster.read()


@pytest.fixture(scope="module")
def default(tmp_path_factory):
    folder = tmp_path_factory.mktemp("default")
    make_scene(folder, SyntheticSpec())
    return folder


def _features(folder, *names):
    bands = [_read(folder / f"{name}.tif").astype(np.float32) for name in names]
    # Radar noise multiplies: in decibels it is even.
    bands = [10 * np.log10(b) if n == "sar" else b for n, b in zip(names, bands, strict=True)]
    return np.concatenate(bands)


def _pair_accuracy(folder, pair, *modalities):
    """Share of test pixels of two classes that a linear classifier of the truth tells apart."""
    scene = Scene.open(folder)
    codes = [scene.class_codes[scene.class_names.index(name)] for name in pair]
    labels = _read(folder / "test.tif")[0]
    here = np.isin(labels, codes)
    values, wanted = _features(folder, *modalities)[:, here].T, labels[here]
    # Fitted on one half of the scene and tested on the other: no parcel is on both sides.
    left = np.nonzero(here)[1] < labels.shape[1] // 2
    fitted = LinearDiscriminantAnalysis().fit(values[left], wanted[left])
    return fitted.score(values[~left], wanted[~left])


def test_one_pair_needs_the_radar(default):
    assert _pair_accuracy(default, SAR_PAIR, "hsi", "dsm") < 0.65
    assert _pair_accuracy(default, SAR_PAIR, "sar") > 0.8


def test_one_pair_needs_the_surface_model(default):
    assert _pair_accuracy(default, DSM_PAIR, "hsi", "sar") < 0.65
    assert _pair_accuracy(default, DSM_PAIR, "dsm") > 0.8


def test_other_classes_show_in_the_spectrum(default):
    assert _pair_accuracy(default, ("Meadow", "Water"), "hsi") > 0.97


def test_same_spec_gives_the_same_files(tmp_path):
    for name in ("a", "b"):
        make_scene(tmp_path / name, SMALL)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == ["dsm.tif", "hsi.tif", "sar.tif", "scene.yaml", "test.tif", "train.tif"]
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_another_seed_gives_another_scene(tmp_path, default):
    make_scene(tmp_path, SyntheticSpec(seed=1))
    assert (_read(tmp_path / "train.tif") != _read(default / "train.tif")).any()
    assert (_read(tmp_path / "hsi.tif") != _read(default / "hsi.tif")).any()


def test_leaving_a_sensor_out_changes_no_other(tmp_path):
    make_scene(tmp_path / "all", SMALL)
    make_scene(tmp_path / "hsi", SyntheticSpec(**{**vars(SMALL), "sar": False, "dsm": False}))
    assert not (tmp_path / "hsi" / "sar.tif").exists()
    for name in ("hsi", "train", "test"):
        np.testing.assert_array_equal(
            _read(tmp_path / "all" / f"{name}.tif"), _read(tmp_path / "hsi" / f"{name}.tif")
        )


def test_labels(default):
    train, test = (_read(default / f"{name}.tif")[0] for name in ("train", "test"))
    assert not ((train > 0) & (test > 0)).any()
    assert ((train == 0) & (test == 0)).any()
    counts = np.bincount(train.ravel(), minlength=8)[1:]
    # Water is rare.
    assert counts.tolist() == [30] * 6 + [12]
    # Training pixels lie in patches: most have another one beside them.
    beside = np.zeros(train.shape, dtype=bool)
    beside[1:] |= train[:-1] == train[1:]
    beside[:-1] |= train[:-1] == train[1:]
    assert beside[train > 0].mean() > 0.8


@pytest.mark.parametrize(
    "spec",
    [
        SyntheticSpec(height=24, width=17, bands=1, classes=2, sar=False, dsm=False),
        SyntheticSpec(height=45, width=32, bands=2, classes=3, sar_bands=1),
        SyntheticSpec(height=64, width=64, bands=230, classes=20, sar_bands=4, train_per_class=4),
        SyntheticSpec(height=23, width=18, bands=5, classes=4, tiles=2, train_per_class=6),
        SyntheticSpec(height=23, width=19, bands=8, classes=7, tiles=9, seed=3),
    ],
)
def test_any_size_opens_as_a_scene(tmp_path, spec):
    scene = Scene.open(make_scene(tmp_path, spec))
    assert len(scene.class_names) == spec.classes
    assert len(scene.modalities) == 1 + spec.sar + spec.dsm
    for which in ("train", "test"):
        assert set(scene.labels_at(which)) == set(range(spec.classes))
    assert scene.tiles[0].crs.to_epsg() == 32632


def test_tiles_are_wholly_train_or_test(tmp_path):
    scene = Scene.open(make_scene(tmp_path, SyntheticSpec(24, 24, 4, 5, tiles=8)))
    parts = [{bool((t.train >= 0).any()), bool((t.test >= 0).any())} for t in scene.tiles]
    assert all(part == {True, False} for part in parts)
    assert len({(tile.height, tile.width) for tile in scene.tiles}) > 3
    corners = {(tile.transform.c, tile.transform.f) for tile in scene.tiles}
    assert len(corners) == 8


def test_nodata_corner(tmp_path):
    spec = SyntheticSpec(100, 80, 3, 4, nodata_share=0.1)
    scene = Scene.open(make_scene(tmp_path, spec))
    hsi, sar = _read(tmp_path / "hsi.tif"), _read(tmp_path / "sar.tif")
    missing = (hsi == 0).all(axis=0)
    assert missing.mean() == pytest.approx(0.1, abs=0.01)
    assert not (hsi == 0)[:, ~missing].any()
    assert np.isnan(sar).mean() == pytest.approx(0.05, abs=0.01)
    for which in ("train", "test"):
        _, row, col = scene.positions(which).T
        assert not missing[row, col].any()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"classes": 1}, "2 to 255"),
        ({"bands": 0}, "at least 1"),
        ({"height": 10, "width": 10, "classes": 12}, "too small"),
        ({"nodata_share": 0.9}, "0 to 0.5"),
    ],
)
def test_spec_that_cannot_be_met_is_one_sentence(tmp_path, changes, words):
    with pytest.raises(SettingsError, match=words):
        make_scene(tmp_path / "scene", SyntheticSpec(**changes))
    assert not (tmp_path / "scene").exists()
