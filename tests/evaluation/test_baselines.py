"""Features of the simple methods against a plain loop, and the methods against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from bdgf.config import EvaluationSettings
from bdgf.evaluation import baselines
from bdgf.evaluation.baselines import pixel_table, run_baselines
from bdgf.scene.layout import Window
from bdgf.scene.scene import Scene
from bdgf.scene.synthetic.generate import SyntheticSpec, make_scene

SETTINGS = EvaluationSettings(trees=30, svm_pixels=500)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    spec = SyntheticSpec(57, 70, bands=6, classes=5, nodata_share=0.08)
    return Scene.open(make_scene(tmp_path_factory.mktemp("one"), spec))


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    spec = SyntheticSpec(19, 22, bands=4, classes=4, tiles=6)
    return Scene.open(make_scene(tmp_path_factory.mktemp("tiles"), spec))


def _whole(tile, modalities):
    """All bands of a tile, NaN where missing."""
    parts = [tile.read(m, Window(0, 0, tile.height, tile.width)) for m in range(modalities)]
    return np.concatenate([np.where(valid, values, np.nan) for values, valid in parts])


def _everywhere(scene):
    return np.concatenate(
        [
            np.column_stack(
                [np.full(t.height * t.width, i), np.argwhere(np.ones((t.height, t.width)))]
            )
            for i, t in enumerate(scene.tiles)
        ]
    )


@pytest.mark.parametrize("name", ["scene", "tiles"])
def test_neighbourhoods_equal_a_plain_loop(name, request):
    scene = request.getfixturevalue(name)
    rng = np.random.default_rng(0)
    positions = _everywhere(scene)
    positions = positions[rng.permutation(len(positions))[:600]]
    table = pixel_table(scene, positions, "5x5")
    wholes = [
        np.pad(
            _whole(t, len(scene.modalities)).astype(np.float64), ((0, 0), (2, 2), (2, 2)), "reflect"
        )
        for t in scene.tiles
    ]
    for (tile, row, col), found in zip(positions, table, strict=True):
        around = wholes[tile][:, row : row + 5, col : col + 5].reshape(len(wholes[tile]), -1)
        known = ~np.isnan(around).all(axis=1)
        wanted = np.concatenate(
            [np.nanmean(around[known], axis=1), np.nanstd(around[known], axis=1)]
        )
        np.testing.assert_allclose(found[np.tile(known, 2)], wanted, rtol=2e-4, atol=2e-3)


def test_raw_values_and_what_fills_the_gaps(scene):
    positions = _everywhere(scene)
    whole = _whole(scene.tiles[0], len(scene.modalities)).reshape(-1, len(positions)).T
    table = pixel_table(scene, positions, "raw")
    missing = np.isnan(whole)
    assert missing.any()
    np.testing.assert_array_equal(table[~missing], whole[~missing])
    means = np.broadcast_to(np.nanmean(whole.astype(np.float64), axis=0), whole.shape)
    np.testing.assert_allclose(table[missing], means[missing], rtol=1e-5)
    given = pixel_table(scene, positions, "raw", fill=np.arange(9, dtype=np.float32))
    np.testing.assert_array_equal(
        given[missing], np.broadcast_to(np.arange(9), whole.shape)[missing]
    )


def test_a_band_that_is_missing_everywhere_is_zero(scene):
    corner = np.array([[0, 0, 0], [0, 1, 1]])
    table = pixel_table(scene, corner, "raw")
    assert (table[:, :6] == 0).all()
    assert (table[:, 6:] != 0).all()


def test_no_pixels_have_an_empty_table(scene):
    assert pixel_table(scene, np.zeros((0, 3), dtype=np.int64), "5x5").shape == (0, 18)


def test_all_four_methods(scene, monkeypatch):
    # Chunks that do not divide the test pixels must not show.
    whole = run_baselines(scene, SETTINGS, seed=0, threads=1)
    monkeypatch.setattr(baselines, "CHUNK", 257)
    monkeypatch.setattr(baselines, "KERNEL_CHUNK", 100)
    said = []
    cut = run_baselines(scene, SETTINGS, seed=0, threads=1, progress=said.append)
    assert list(whole) == ["RF raw", "SVM raw", "RF 5x5", "SVM 5x5"]
    reference = scene.labels_at("test")
    for name, result in whole.items():
        np.testing.assert_array_equal(result.predicted, cut[name].predicted)
        assert (result.predicted == reference).mean() > 0.5
        assert result.seconds > 0
        assert "left" not in result.note
    assert len(said) == 6, "features, forest and machine of each kind"


def test_forest_is_scikit_learns(scene):
    result = run_baselines(scene, SETTINGS, seed=3, threads=1)["RF raw"]
    train = pixel_table(scene, scene.positions("train"), "raw")
    forest = RandomForestClassifier(
        30, random_state=int(np.random.default_rng([3, 0]).integers(2**31))
    ).fit(train, scene.labels_at("train"))
    predicted = forest.predict(pixel_table(scene, scene.positions("test"), "raw"))
    np.testing.assert_array_equal(result.predicted, predicted)


def test_svm_is_scikit_learns(scene):
    result = run_baselines(scene, SETTINGS, seed=0, threads=1)["SVM raw"]
    c, gamma = (float(text.split()[-1]) for text in result.note.split(" / ")[0].split(","))
    train = pixel_table(scene, scene.positions("train"), "raw")
    scaler = StandardScaler().fit(train)
    machine = SVC(C=c, gamma=gamma / 9).fit(scaler.transform(train), scene.labels_at("train"))
    # Gaps of the test pixels hold the means of the training pixels.
    test = pixel_table(scene, scene.positions("test"), "raw", fill=train.mean(axis=0))
    predicted = machine.predict(scaler.transform(test))
    assert (predicted == result.predicted).mean() > 0.998


def test_svm_says_when_it_leaves_training_pixels_out(tiles):
    settings = EvaluationSettings(trees=5, svm_pixels=40)
    total = len(tiles.positions("train"))
    results = run_baselines(tiles, settings, seed=0, threads=1)
    assert results["SVM raw"].note.endswith(f"40 of {total} training pixels")


def test_pixels_are_drawn_evenly_over_classes():
    labels = np.repeat([0, 1, 2, 3], [3, 500, 50, 1000])
    kept = baselines._evenly(labels, 200, np.random.default_rng(0))
    assert np.bincount(labels[kept]).tolist() == [3, 73, 50, 74]
    assert len(set(kept)) == 200


def test_folds_keep_neighbours_together():
    rng = np.random.default_rng(0)
    labels, groups = rng.integers(0, 4, 300), rng.integers(0, 25, 300)
    folds = list(baselines._folds(labels, groups, 0))
    assert sorted(np.concatenate([held for _, held in folds])) == list(range(300))
    for fit, held in folds:
        assert not set(groups[fit]) & set(groups[held])


@pytest.mark.parametrize("per_class", [1, 2])
def test_very_few_labels(tmp_path, per_class):
    spec = SyntheticSpec(
        40, 40, bands=3, classes=2, train_per_class=per_class, sar=False, dsm=False
    )
    scene = Scene.open(make_scene(tmp_path, spec))
    results = run_baselines(scene, SETTINGS, seed=0, threads=1)
    for result in results.values():
        assert len(result.predicted) == len(scene.labels_at("test"))
        assert set(result.predicted) <= {0, 1}
