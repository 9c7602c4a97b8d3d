"""What a run knows of its stages, and what it reads of those that are finished."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from bdgf import checkpoint, config, presets
from bdgf.errors import SettingsError
from bdgf.mapping.pretrained import PretrainedMapper
from bdgf.mapping.reading import read_map
from bdgf.progress import Silent
from bdgf.run import Run, fingerprints_of
from bdgf.scene.scene import Scene


@pytest.fixture
def run(tiny_scene: Path, trained_run: Path, tiny_settings: config.Settings) -> Run:
    return Run(tiny_scene, trained_run, tiny_settings, Silent())


def test_finished_are_the_stages_whose_files_are_there(
    run: Run, tiny_scene: Path, trained_run: Path, tiny_settings: config.Settings
) -> None:
    done = [stage for stage in run.fingerprints if run.finished(stage)]
    assert done == ["prepare", "pretrain", "features", "train", "map"]
    longer = presets.replace(tiny_settings, {"training.steps": 9})
    other = Run(tiny_scene, trained_run, longer, Silent())
    done = [stage for stage in other.fingerprints if other.finished(stage)]
    assert done == ["prepare", "pretrain", "features"]


def test_labels_that_turn_the_image_are_a_change_of_the_image(tmp_path: Path) -> None:
    np.save(tmp_path / "hsi.npy", np.random.default_rng(0).normal(size=(20, 30, 8)))
    path = tmp_path / "scene.yaml"
    path.write_text(
        "name: tiny\nmodalities: {hsi: {path: hsi.npy, role: spectral}}\n"
        "labels: {train: train.npy, test: test.npy, classes: {1: a, 2: b}}\n"
    )
    marks = []
    for turned in (False, True, False):
        codes = np.zeros((2, 20, 30), dtype=np.uint8)
        codes[0, :2, :4], codes[0, 2:4, :4], codes[1, 8:9], codes[1, 9:11] = 1, 2, 1, 2
        for name, part in zip(("train", "test"), codes, strict=True):
            np.save(tmp_path / f"{name}.npy", part.T if turned else part)
        scene = Scene.open(path)
        assert scene.tiles[0].height == (30 if turned else 20)
        assert scene.tiles[0].agreed_axes == ("WHC" if turned else None)
        marks.append(fingerprints_of(scene, tmp_path / "run", config.Settings()))
    for stage in ("prepare", "pretrain", "features"):
        assert marks[0][stage] == marks[2][stage] != marks[1][stage]


def test_a_list_of_pixels_beside_an_array_need_not_have_two_axes(tmp_path: Path) -> None:
    np.save(tmp_path / "hsi.npy", np.random.default_rng(0).normal(size=(20, 30, 8)))
    codes = np.zeros((20, 30), dtype=np.uint8)
    codes[3:6, 4:20], codes[10:13, 7:25] = 1, 2
    np.save(tmp_path / "gt.npy", codes)
    (tmp_path / "scene.yaml").write_text(
        "name: tiny\nmodalities: {hsi: {path: hsi.npy, role: spectral}}\n"
        "labels:\n"
        "  train: {path: train.npy, index_base: 0, index_order: row-major}\n"
        "  test: {path: test.npy, index_base: 0, index_order: row-major}\n"
        "  map: gt.npy\n"
        "  classes: {1: a, 2: b}\n"
    )
    places = np.random.default_rng(1).permutation(np.flatnonzero(codes))
    for shape in ((-1,), (-1, 1), (1, -1)):
        np.save(tmp_path / "train.npy", places[:40].reshape(shape))
        np.save(tmp_path / "test.npy", places[40:].reshape(shape))
        scene = Scene.open(tmp_path / "scene.yaml")
        where = scene.positions("train")[:, 1:]
        assert sorted(where @ [30, 1]) == sorted(places[:40].tolist())
        np.testing.assert_array_equal(scene.labels_at("train"), codes[tuple(where.T)] - 1)


def test_what_a_stage_must_have_left_follows_the_settings(
    run: Run, tiny_scene: Path, tiny_settings: config.Settings, tmp_path: Path
) -> None:
    assert {path.name for path in run.outputs("map")} >= {"map.tif", "confidence.tif", "votes.tif"}
    assert all(path.is_file() for stage in ("features", "train") for path in run.outputs(stage))
    none = presets.replace(tiny_settings, {"features.source": "none"})
    unguided = Run(tiny_scene, tmp_path / "run", none, Silent())
    assert unguided.outputs("pretrain") == unguided.outputs("features") == []


def test_the_map_is_read_at_pixels(run: Run) -> None:
    classes = read_map(run.folder.path / "map.tif", run.scene.class_codes)
    positions = np.array([[0, 3, 4], [0, 44, 50], [0, 0, 0]])
    expected = classes[positions[:, 1], positions[:, 2]]
    np.testing.assert_array_equal(run.mapped_classes(positions), expected)


def test_settings_that_cannot_be_used_make_no_folder(
    tiny_scene: Path, tiny_settings: config.Settings, tmp_path: Path
) -> None:
    even = presets.replace(tiny_settings, {"network.window": 8})
    with pytest.raises(SettingsError, match="window"):
        Run(tiny_scene, tmp_path / "run", even, Silent())
    assert not (tmp_path / "run").exists()


def test_the_temperature_reaches_the_map_and_those_of_other_scenes(
    trained_run: Path, tiny_scene: Path, tiny_settings: config.Settings, tmp_path: Path
) -> None:
    out = shutil.copytree(trained_run, tmp_path / "run")
    tensors, origin = checkpoint.load_tensors(out / "network.safetensors")
    changed = {**origin, "temperature": 2.5}
    checkpoint.save_tensors(out / "network.safetensors", tensors, changed)
    run = Run(tiny_scene, out, tiny_settings, Silent())
    expected = [weight / 2.5 for weight in origin["fusion_weights"]]
    assert run.trained(run.store)[1] == pytest.approx(expected)
    assert PretrainedMapper.from_run(out).weights == pytest.approx(expected)
