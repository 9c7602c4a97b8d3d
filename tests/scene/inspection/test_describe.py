"""Inspection names what files hold, and suggests a scene file that opens."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.io
import yaml
from affine import Affine

from bdgf.errors import SceneError
from bdgf.scene.inspection.describe import inspect_paths, suggest_scene_file
from bdgf.scene.scene import Scene

RNG = np.random.default_rng(0)
CUBE = RNG.normal(size=(6, 40, 45)).astype(np.float32)
SAR = RNG.normal(size=(2, 40, 45)).astype(np.float32)


def codes(seed):
    return np.random.default_rng(seed).choice([0, 0, 0, 3, 7], size=(40, 45)).astype(np.uint8)


def test_raster(write_tif):
    place = {"crs": "EPSG:32632", "transform": Affine(2.5, 0, 5e5, 0, -2.5, 5e6)}
    text = inspect_paths([write_tif("hsi.tif", CUBE, nodata=-1, **place)])
    for part in ("40 × 45 pixels", "6 bands, float32", "EPSG:32632", "2.5 × 2.5 met", "nodata -1"):
        assert part in text


def test_label_raster_is_counted(write_tif):
    labels = codes(0)
    text = inspect_paths([write_tif("gt.tif", labels)])
    assert f"3: {(labels == 3).sum()}, 7: {(labels == 7).sum()}" in text


def test_mat_lists_every_array(tmp_path):
    scipy.io.savemat(
        tmp_path / "a.mat", {"HSI": CUBE.transpose(1, 2, 0), "wave": np.arange(6.0), "gt": codes(0)}
    )
    text = inspect_paths([tmp_path / "a.mat"])
    assert "key HSI: 40 × 45 × 6 single" in text
    assert "key wave: 1 × 6 double" in text
    assert f"3: {(codes(0) == 3).sum()}" in text


def test_scene_counts_classes_and_leak(write_scene):
    train, test = np.zeros((2, 40, 45), int)
    train[0, :4], train[1, 0] = 1, 2
    test[3, :6], test[30, 20:24] = 1, 2
    path = write_scene({"hsi": CUBE}, train, test)
    lines = inspect_paths([path]).splitlines()
    assert any(line.split() == ["1", "water", "4", "6"] for line in lines)
    assert any(line.split() == ["2", "forest", "1", "4"] for line in lines)
    assert "60.0 % of the test pixels" in lines[-1]
    assert inspect_paths([path.parent]) == "\n".join(lines)


def test_scene_without_labels(write_scene):
    assert "no labels" in inspect_paths([write_scene({"hsi": CUBE})])


def test_folder_without_a_scene_file_lists_its_rasters(write_tif, tmp_path):
    write_tif("a.tif", CUBE)
    write_tif("b.tif", SAR)
    assert inspect_paths([tmp_path]).count("40 × 45 pixels") == 2


def test_suggested_scene_of_tifs_opens(write_tif, tmp_path):
    train, test = codes(0), codes(1)
    test[train > 0] = 0
    for name, values in {"hsi": CUBE, "s1_vv": SAR, "train": train, "test": test}.items():
        write_tif(f"{name}.tif", values)
    (tmp_path / "scene.yaml").write_text(suggest_scene_file([tmp_path]))
    scene = Scene.open(tmp_path)
    assert {m.name: m.role for m in scene.modalities} == {"hsi": "spectral", "s1_vv": "auxiliary"}
    assert scene.class_codes == (3, 7)
    assert len(scene.positions("train")) == (train > 0).sum()
    assert len(scene.positions("test")) == (test > 0).sum()


def test_suggested_scene_of_mat_files_opens(tmp_path):
    train, test = codes(0), codes(1)
    test[train > 0] = 0
    scipy.io.savemat(
        tmp_path / "all.mat", {"HS": CUBE.transpose(1, 2, 0), "SAR": SAR.transpose(1, 2, 0)}
    )
    scipy.io.savemat(tmp_path / "TrainImage.mat", {"TrainImage": train.astype(float)})
    scipy.io.savemat(tmp_path / "TestImage.mat", {"TestImage": test.astype(float)})
    (tmp_path / "scene.yaml").write_text(suggest_scene_file(sorted(tmp_path.glob("*.mat"))))
    scene = Scene.open(tmp_path)
    assert {m.key: m.role for m in scene.modalities} == {"HS": "spectral", "SAR": "auxiliary"}
    assert len(scene.positions("test")) == (test > 0).sum()


def test_single_label_file_gets_a_split(write_tif, tmp_path):
    write_tif("hsi.tif", CUBE)
    write_tif("ground_truth.tif", codes(0))
    text = suggest_scene_file([tmp_path])
    assert "blocks" in yaml.safe_load(text)["split"]
    assert yaml.safe_load(text)["labels"]["all"] == "ground_truth.tif"


def test_different_sizes_are_noted(write_tif, tmp_path):
    write_tif("hsi.tif", CUBE)
    write_tif("dsm.tif", SAR[:1, :-1])
    assert "different sizes (39 × 45, 40 × 45)" in suggest_scene_file([tmp_path])


def test_what_cannot_be_inspected(tmp_path, write_tif):
    with pytest.raises(SceneError, match="does not exist"):
        inspect_paths([tmp_path / "none.tif"])
    with pytest.raises(SceneError, match="holds no raster"):
        inspect_paths([tmp_path])
    with pytest.raises(SceneError, match="can be a modality"):
        suggest_scene_file([write_tif("train.tif", codes(0))])


def test_real_files(shared_data):
    text = inspect_paths([shared_data / "spain_s1s2", shared_data / "trento_lidar"])
    assert "216,424" in text
    assert "key mask_test: 166 × 600 uint8" in text
    suggested = yaml.safe_load(suggest_scene_file([shared_data / "spain_s1s2"]))
    assert suggested["modalities"]["s2"]["role"] == "spectral"
    assert suggested["modalities"]["s1"]["role"] == "auxiliary"
    assert suggested["split"] == "given"
