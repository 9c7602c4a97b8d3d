"""`BDGFClassifier` keeps to scikit-learn's conventions and maps as the command line does."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
import yaml
from rasterio.crs import CRS
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.utils import estimator_checks

import bdgf
from bdgf import presets
from bdgf.errors import BdgfError, RunFolderError, SceneError, SettingsError
from bdgf.estimator import BDGFClassifier, _ordered
from bdgf.pipeline import Pipeline
from bdgf.progress import Silent
from bdgf.scene.scene import Scene
from bdgf.stages import plain


def read(folder: Path, name: str) -> np.ndarray:
    with rasterio.open(folder / f"{name}.tif") as file:
        values = file.read().astype(np.float64)
        if file.nodata is not None:
            values[values == file.nodata] = np.nan
        return values


@pytest.fixture(scope="module")
def images(tiny_scene: Path) -> dict[str, np.ndarray]:
    return {name: read(tiny_scene.parent, name) for name in ("hsi", "sar", "dsm")}


@pytest.fixture(scope="module")
def labels(tiny_scene: Path) -> np.ndarray:
    return np.nan_to_num(read(tiny_scene.parent, "train")[0]).astype(int)


@pytest.fixture(scope="module")
def fitted(
    tiny_scene: Path,
    tiny_values: dict[str, object],
    tmp_path_factory: pytest.TempPathFactory,
) -> BDGFClassifier:
    """Fitted in a run folder that is kept."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("fitted") / "run"
    return BDGFClassifier(settings=tiny_values, folder=folder).fit(tiny_scene)


def test_the_constructor_only_stores_and_parameters_come_and_go(tiny_values):
    model = BDGFClassifier(preset="nonsense", settings=tiny_values, random_state=3)
    assert model.settings is tiny_values
    assert set(model.get_params()) == {"preset", "settings", "random_state", "folder", "verbose"}
    assert vars(model) == model.get_params()
    assert model.set_params(preset="quick") is model
    other = clone(model)
    assert other.get_params() == model.get_params()
    assert other is not model
    assert is_classifier(model)
    with pytest.raises(ValueError, match="Invalid parameter 'width'"):
        model.set_params(width=3)


def test_scikit_learns_own_checks_of_parameters():
    for check in (
        "check_no_attributes_set_in_init",
        "check_get_params_invariance",
        "check_set_params",
        "check_parameters_default_constructible",
        "check_estimator_cloneable",
        "check_estimator_repr",
    ):
        getattr(estimator_checks, check)("BDGFClassifier", BDGFClassifier())


def test_settings_by_preset_seed_and_name():
    model = BDGFClassifier(preset="quick", settings={"training.steps": 7}, random_state=5)
    settings = model.resolved_settings()
    assert (settings.seed, settings.training.steps, settings.diffusion.steps) == (5, 7, 200)
    assert BDGFClassifier(settings=settings).resolved_settings() is settings
    odd = presets.replace(settings, {"network.window": 10})
    with pytest.raises(SettingsError, match="odd"):
        BDGFClassifier(settings=odd).resolved_settings()
    nested = BDGFClassifier(settings={"features": {"timesteps": [5, 9]}}).resolved_settings()
    assert nested.features.timesteps == (5, 9)
    seeded = BDGFClassifier(random_state=np.int64(3), settings={"training.steps": np.int32(2)})
    assert json.dumps(plain(seeded.resolved_settings())), "as parameter searches give them"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preset": "fast"}, "'fast' is not a preset"),
        ({"settings": {"training.step": 3}}, "training.step is not a setting"),
        ({"settings": {"network.window": 4}}, "must be odd"),
        ({"settings": {"training.steps": "many"}}, "must be a whole number"),
        ({"settings": {"features.source": "a.npy"}}, "belong to one scene"),
    ],
)
def test_bad_settings_are_refused_by_fit(tiny_scene, changes, message):
    with pytest.raises(SettingsError, match=message):
        BDGFClassifier(**changes).fit(tiny_scene)


def test_it_maps_as_the_command_line_does(fitted, tiny_scene):
    run = Path(fitted.folder)
    Pipeline(tiny_scene, run, fitted.resolved_settings(), Silent()).run(("map",))
    codes = fitted.predict(tiny_scene)
    with rasterio.open(run / "map.tif") as file:
        np.testing.assert_array_equal(codes, file.read(1))
    rows = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert fitted.history_ == rows
    again = BDGFClassifier.from_pretrained(run)
    np.testing.assert_array_equal(again.predict(tiny_scene), codes)


def test_arrays_give_what_their_files_give(
    fitted, tiny_scene, images, labels, tiny_values, tmp_path
):
    model = BDGFClassifier(settings=tiny_values, folder=tmp_path / "run")
    codes = model.fit(images, labels).predict(images)
    np.testing.assert_array_equal(codes, fitted.predict(tiny_scene))
    np.testing.assert_array_equal(model.classes_, [1, 2, 3, 4])
    shuffled = {name: images[name] for name in ("dsm", "hsi", "sar")}
    np.testing.assert_array_equal(model.predict(shuffled), codes)
    np.testing.assert_array_equal(model.predict([shuffled])[0], codes)
    # a scene of arrays goes through all stages of a run as one of files does
    settings = presets.replace(model.resolved_settings(), {"evaluation.baselines": False})
    test = np.nan_to_num(read(tiny_scene.parent, "test")[0]).astype(int)
    scene = Scene.from_arrays(images, labels, test)
    Pipeline(scene, tmp_path / "all", settings, Silent()).run()
    with rasterio.open(tmp_path / "all" / "map.tif") as file:
        np.testing.assert_array_equal(file.read(1), codes)
    metrics = json.loads((tmp_path / "all" / "metrics.json").read_text())
    accuracy = metrics["methods"]["BDGF"]["all"]["oa"]
    assert accuracy == pytest.approx(100 * model.score(scene))
    assert (tmp_path / "all" / "report.html").is_file()


def test_probabilities(fitted, tiny_scene):
    codes, shares = fitted.predict(tiny_scene), fitted.predict_proba(tiny_scene)
    assert shares.shape == (4, 45, 51)
    assert (np.isnan(shares).all(0) == (codes == 0)).all()
    known = codes > 0
    assert known.any()
    assert not known.all()
    np.testing.assert_allclose(shares[:, known].sum(0), 1, rtol=1e-5)
    np.testing.assert_array_equal(fitted.classes_[shares[:, known].argmax(0)], codes[known])


def test_the_score_is_the_overall_accuracy(fitted, tiny_scene, images, labels):
    scene, codes = Scene.open(tiny_scene), fitted.predict(tiny_scene)
    _, rows, cols = scene.positions("test").T
    truth = np.array(scene.class_codes)[scene.labels_at("test")]
    assert fitted.score(scene) == pytest.approx((codes[rows, cols] == truth).mean())
    inside = labels > 0
    expected = (codes[inside] == labels[inside]).mean()
    assert fitted.score(images, labels) == pytest.approx(expected)
    one = np.where(labels == 2, 2, 0)
    assert fitted.score(images, one) == pytest.approx((codes[one > 0] == 2).mean())
    with pytest.raises(SceneError, match="no class 9"):
        fitted.score(images, np.where(labels == 2, 9, 0))
    with pytest.raises(SceneError, match="no test pixel"):
        fitted.score(Scene.from_arrays(images, labels))


def _lazy(array: np.ndarray) -> object:
    """The array as xarray's, computed by parts."""
    dask = pytest.importorskip("dask.array", reason="dask is in the test extra")
    xarray = pytest.importorskip("xarray", reason="xarray is in the test extra")
    return xarray.DataArray(dask.from_array(array, chunks=(3, 16, 16)), dims=("band", "y", "x"))


def test_a_new_scene_of_the_same_sensors(fitted, images):
    part = {name: array[:, 5:30, 7:40] for name, array in images.items()}
    assert fitted.predict(part).shape == (25, 33)
    lazy = {name: _lazy(array) for name, array in part.items()}
    np.testing.assert_array_equal(fitted.predict(lazy), fitted.predict(part))
    maps = fitted.predict([part, images])
    assert [one.shape for one in maps] == [(25, 33), (45, 51)]
    with pytest.raises(SceneError, match="fitted on hsi, sar, dsm"):
        fitted.predict({"hsi": images["hsi"]})
    with pytest.raises(BdgfError, match="8 bands"):
        fitted.predict({**images, "hsi": images["hsi"][:5]})


def test_a_dataset_with_its_crs_is_predicted_as_it_was_fitted(fitted, images):
    xarray = pytest.importorskip("xarray", reason="xarray is in the test extra")
    crs = xarray.DataArray(0, attrs={"crs_wkt": CRS.from_epsg(32632).to_wkt()})
    dataset = xarray.Dataset(
        {name: ((f"{name}_band", "y", "x"), array) for name, array in images.items()},
        coords={"y": 119.5 - np.arange(45), "x": 0.5 + np.arange(51)},
    )
    expected = fitted.predict(images)
    np.testing.assert_array_equal(fitted.predict(dataset), expected)
    np.testing.assert_array_equal(fitted.predict(dataset.assign(spatial_ref=crs)), expected)
    with pytest.raises(SceneError, match="X has the modalities hsi, sar, and"):
        fitted.predict(dataset.assign(spatial_ref=crs).drop_vars("dsm"))


def test_names_of_modalities_need_not_be_text(images):
    tile = {1: images["hsi"], 2: images["sar"]}
    ordered = _ordered(tile, {"2": "auxiliary", "1": "spectral"})
    assert list(ordered) == ["2", "1"]
    assert ordered["1"] is tile[1]
    with pytest.raises(SceneError, match=r"X has the modalities 1, 1, and .* fitted on 1;"):
        _ordered({1: images["hsi"], "1": images["sar"]}, {"1": "spectral"})


def test_modalities_of_a_scene_may_stand_in_another_order(fitted, tiny_scene, images, tmp_path):
    values = yaml.safe_load(tiny_scene.read_text())
    values["modalities"] = dict(reversed(values["modalities"].items()))
    path = tiny_scene.with_name("reversed.yaml")
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    try:
        np.testing.assert_array_equal(fitted.predict(path), fitted.predict(tiny_scene))
    finally:
        path.unlink()
    roles = {"hsi": "spectral", "sar": "auxiliary", "dsm": "auxiliary"}
    arrays = dict(reversed(images.items()))
    np.testing.assert_array_equal(
        fitted.predict(Scene.from_arrays(arrays, roles=roles)), fitted.predict(arrays)
    )


def test_arrays_are_brought_to_the_grid_of_the_training_scene(tiny_values):
    xarray = pytest.importorskip("xarray", reason="xarray is in the test extra")
    rng = np.random.default_rng(0)

    def placed(values, step):
        rows, cols = (step * (np.arange(n) + 0.5) for n in values.shape[1:])
        coords = {"y": 100.0 - rows, "x": cols}
        return xarray.DataArray(values.astype(np.float32), dims=("band", "y", "x"), coords=coords)

    fine, coarse = rng.normal(size=(2, 36, 40)), rng.normal(size=(5, 18, 20))
    X = {"sar": placed(fine, 10.0), "hsi": placed(coarse, 20.0)}
    labels = np.repeat([[1], [2]], 9, axis=0) * np.ones((1, 20), dtype=np.int64)
    roles = {"sar": "auxiliary", "hsi": "spectral"}
    scene = Scene.from_arrays(X, labels, align_to="hsi", roles=roles)
    model = BDGFClassifier(settings=tiny_values).fit(scene)
    found = model.predict(X)
    assert found.shape == (18, 20)
    np.testing.assert_array_equal(found, model.predict(scene))


def test_pickle_and_folder_keep_it(fitted, tiny_scene, tmp_path):
    codes = fitted.predict(tiny_scene)
    fitted.save_pretrained(tmp_path / "kept")
    for again in (
        pickle.loads(pickle.dumps(fitted)),
        BDGFClassifier.from_pretrained(tmp_path / "kept"),
    ):
        np.testing.assert_array_equal(again.predict(tiny_scene), codes)
        assert again.fusion_weights_ == fitted.fusion_weights_
        assert again.class_names_ == fitted.class_names_
        assert again.mapper_.settings == fitted.mapper_.settings
    # what the number of labels decides belongs to what was learned: others decide anew
    assert again.mapper_.settings.network.patch_norm == "batch"
    assert again.resolved_settings() == fitted.resolved_settings()


def test_what_is_not_fitted_says_so(tiny_scene, tmp_path):
    model = BDGFClassifier()
    for call in (model.predict, model.predict_proba, model.score, model.save_pretrained):
        with pytest.raises(NotFittedError):
            call(tiny_scene)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        ({"hsi": np.ones((3, 9, 9))}, None, "fit needs labels"),
        (np.ones((3, 9, 9)), np.ones((9, 9)), "X is a ndarray"),
        ("scene", np.ones((9, 9)), "labels are given beside a scene"),
    ],
)
def test_input_that_cannot_be_learned_from(X, y, message):
    with pytest.raises(SceneError, match=message):
        BDGFClassifier().fit(X, y)


def test_maps_are_written_for_every_tile(fitted, tiny_scene, images, tmp_path):
    codes = fitted.predict(tiny_scene)
    (path,) = fitted.write_map(tiny_scene, tmp_path / "one")
    with rasterio.open(path) as file, rasterio.open(tiny_scene.parent / "hsi.tif") as image:
        np.testing.assert_array_equal(file.read(1), codes)
        assert file.transform == image.transform
        assert file.crs == image.crs
    part = {name: array[:, :20, :30] for name, array in images.items()}
    paths = fitted.write_map([part, images], tmp_path / "two")
    assert [p.relative_to(tmp_path / "two").as_posix() for p in paths] == [
        "maps/tile_1.tif",
        "maps/tile_2.tif",
    ]
    with rasterio.open(paths[1]) as file:
        np.testing.assert_array_equal(file.read(1), codes)
    assert (tmp_path / "two" / "confidence" / "tile_1.tif").is_file()


def test_when_the_training_scene_was_taken_says_nothing_of_another(fitted, tiny_scene, tmp_path):
    for name, when in (("unknown", ""), ("known", "2021-03-04")):
        fitted.write_map(tiny_scene, tmp_path / name, acquired=when)
    unknown, known = (
        json.loads((tmp_path / name / "map.json").read_text())["properties"]["datetime"]
        for name in ("unknown", "known")
    )
    assert not unknown.startswith(("2018", "2021"))
    assert known.startswith("2021-03-04")
    with pytest.raises(SettingsError, match="ISO 8601"):
        fitted.write_map(tiny_scene, tmp_path / "bad", acquired="last summer")
    assert not (tmp_path / "bad").exists()


def test_a_scene_without_a_band_that_is_used_is_refused(fitted, images):
    hsi = images["hsi"].astype(np.float32)
    hsi[2] = np.nan
    for use in (fitted.predict, fitted.predict_proba):
        with pytest.raises(SceneError, match=r"no pixel of .* can be mapped: .* band 3"):
            use({**images, "hsi": hsi})


def test_values_far_from_the_training_scene_are_told(fitted, images, caplog):
    fitted.predict(images)
    assert not caplog.records
    fitted.predict({**images, "hsi": images["hsi"] + 1000.0})
    assert any("hsi" in record.getMessage() for record in caplog.records)


def test_maps_replace_earlier_maps_and_nothing_else(fitted, tiny_scene, images, tmp_path):
    part = {name: array[:, :20, :30] for name, array in images.items()}
    fitted.write_map(part, tmp_path / "out")
    fitted.write_map([part, part], tmp_path / "out")
    assert not (tmp_path / "out" / "map.tif").exists()
    run = Path(fitted.folder)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    with pytest.raises(RunFolderError, match="holds files but no mapped"):
        fitted.write_map(tiny_scene, run)
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_a_folder_keeps_what_is_finished(fitted, tiny_scene, capsys, caplog):
    network = Path(fitted.folder) / "network.safetensors"
    before = network.stat().st_mtime_ns
    other = clone(fitted)
    with caplog.at_level("INFO", "bdgf"):
        codes = other.fit(tiny_scene).predict(tiny_scene)
    assert network.stat().st_mtime_ns == before
    np.testing.assert_array_equal(codes, fitted.predict(tiny_scene))
    assert "train: finished before, nothing changed; kept" in caplog.messages
    assert not capsys.readouterr().out
    other.set_params(verbose=True).fit(tiny_scene)
    assert "train: finished before" in capsys.readouterr().out


def test_the_temporary_folder_is_gone_also_after_a_failure(tiny_scene, tmp_path, monkeypatch):
    seen = []

    def fails(pipeline, stages):
        seen.append(pipeline.folder.path)
        raise SceneError("stopped")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(Pipeline, "run", fails)
    with pytest.raises(SceneError, match="stopped"):
        BDGFClassifier().fit(tiny_scene)
    assert seen[0].parent == tmp_path
    assert not list(tmp_path.iterdir())


def test_the_package_offers_its_names_without_importing_them():
    assert bdgf.BDGFClassifier is BDGFClassifier
    assert bdgf.Scene is Scene
    assert set(dir(bdgf)) >= {"BDGFClassifier", "Pipeline", "Scene", "SceneChips", "Settings"}
    with pytest.raises(AttributeError, match="no attribute 'Sceen'"):
        bdgf.Sceen  # noqa: B018
    code = "import bdgf, sys; sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
