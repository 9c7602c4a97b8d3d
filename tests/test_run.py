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
from bdgf.run import Run


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
