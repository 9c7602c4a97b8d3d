"""A trained run without its scene maps as the run does."""

from __future__ import annotations

import errno
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from bdgf import checkpoint, config, presets, processes
from bdgf.diffusion.store import FeatureStore
from bdgf.errors import RunFolderError, SettingsError
from bdgf.mapping.pretrained import PretrainedMapper
from bdgf.mapping.reading import read_confidence, read_map
from bdgf.pipeline import Pipeline
from bdgf.progress import Silent
from bdgf.scene.scene import Scene
from bdgf.scene.windows import Window


@pytest.fixture(scope="module", params=["diffusion", "none"])
def run(
    request: pytest.FixtureRequest,
    tiny_scene: Path,
    tiny_settings: config.Settings,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("trained") / "run"
    settings = presets.replace(tiny_settings, {"features.source": request.param})
    Pipeline(tiny_scene, out, settings, Silent()).run(("pretrain", "features", "train", "map"))
    return out


def mapped(mapper: PretrainedMapper, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    shape = (scene.tiles[0].height, scene.tiles[0].width)
    classes, confidence = np.full(shape, -9), np.zeros(shape, np.float32)
    for tile, window, scores, present in mapper.windows(scene):
        assert tile == 0
        best = np.exp(scores).max(0)
        classes[window.slices] = np.where(present, np.exp(scores).argmax(0), -1)
        confidence[window.slices] = np.where(present, best, np.nan)
    return classes, confidence


def test_it_maps_as_the_run_did(run, tiny_scene):
    scene = Scene.open(tiny_scene)
    classes, confidence = mapped(PretrainedMapper.from_run(run), scene)
    np.testing.assert_array_equal(classes, read_map(run / "map.tif", scene.class_codes))
    np.testing.assert_allclose(confidence, read_confidence(run / "confidence.tif"), rtol=1e-5)


def test_its_features_and_classified_windows_are_those_of_the_run(run, tiny_scene):
    mapper, scene = PretrainedMapper.from_run(run), Scene.open(tiny_scene)
    prepared, features = mapper.on(scene)
    shape = prepared.shape(0)
    folder = run / "features" if features.channels else None
    stored = FeatureStore(folder, [scene.tiles[0].name], [shape])
    window = Window(3, 4, 30, 40)
    np.testing.assert_array_equal(features.window(0, window), stored.window(0, window))
    classes, confidence = np.empty(shape, int), np.empty(shape, np.float32)
    for part in mapper.mapped(prepared, features, 0):
        classes[part.window.slices] = part.classes
        confidence[part.window.slices] = part.confidence
    np.testing.assert_array_equal(classes, read_map(run / "map.tif", scene.class_codes))
    np.testing.assert_array_equal(confidence, read_confidence(run / "confidence.tif"))


def test_it_knows_its_classes_without_its_scene(run, tiny_scene):
    scene, classes = Scene.open(tiny_scene), PretrainedMapper.from_run(run).classes
    assert (classes.codes, classes.names, classes.colors) == (
        scene.class_codes,
        scene.class_names,
        scene.class_colors,
    )


def test_folder_and_pickle_keep_it(run, tiny_scene, tmp_path):
    scene = Scene.open(tiny_scene)
    mapper = PretrainedMapper.from_run(run)
    expected, _ = mapped(mapper, scene)
    mapper.save(tmp_path / "kept")
    mapper.save(tmp_path / "kept")  # over its own earlier save
    assert {p.suffix for p in (tmp_path / "kept").iterdir()} == {".json", ".safetensors"}
    state = pickle.dumps(mapper)
    assert b"bdgf.fusion" not in state, "modules are built again, not pickled"
    for again in (PretrainedMapper.load(tmp_path / "kept"), pickle.loads(state)):
        np.testing.assert_array_equal(mapped(again, scene)[0], expected)
        assert again.classes == mapper.classes
        assert again.settings == mapper.settings


def test_settings_can_be_replaced_on_loading(run, tiny_scene):
    scene = Scene.open(tiny_scene)
    other = PretrainedMapper.load(run, {"mapping.tile": 16})
    assert other.settings.mapping.tile == 16
    expected, _ = mapped(PretrainedMapper.load(run), scene)
    np.testing.assert_array_equal(mapped(other, scene)[0], expected)
    with pytest.raises(SettingsError, match=r"mapping\.side is not a setting"):
        PretrainedMapper.load(run, {"mapping.side": 16})


def test_a_scene_of_other_sensors_is_refused(run, tiles_scene):
    with pytest.raises(RunFolderError, match="hsi \\(spectral, 8 bands\\)"):
        next(PretrainedMapper.from_run(run).windows(Scene.open(tiles_scene)))


def test_what_cannot_be_loaded_is_refused(run, tmp_path):
    with pytest.raises(RunFolderError, match="holds neither config"):
        PretrainedMapper.load(tmp_path)
    with pytest.raises(RunFolderError, match="is not a run folder"):
        PretrainedMapper.from_run(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="nothing was written"):
        PretrainedMapper.from_run(run).save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    kept = tmp_path / "kept"
    PretrainedMapper.from_run(run).save(kept)
    description = json.loads((kept / "config.json").read_text())
    for changes in (
        {"settings": 3},
        {"classes": {"codes": [1], "names": [], "colors": []}},
        {"settings": {"seed": "x"}},
    ):
        (kept / "config.json").write_text(json.dumps({**description, **changes}))
        with pytest.raises(RunFolderError, match="kept"):
            PretrainedMapper.load(kept)
    (kept / "config.json").write_text("{")
    with pytest.raises(RunFolderError, match="cannot be read"):
        PretrainedMapper.load(kept)
    (kept / "config.json").write_text(json.dumps(description))
    (kept / "network.safetensors").unlink()
    with pytest.raises(RunFolderError, match="is missing"):
        PretrainedMapper.load(kept)


def test_a_run_that_is_not_trained_is_refused(run, tmp_path):
    half = shutil.copytree(run, tmp_path / "half")
    stages = json.loads((half / "stages.json").read_text())
    stages.pop("train")
    (half / "stages.json").write_text(json.dumps(stages))
    with pytest.raises(RunFolderError, match="not trained; finish it with 'bdgf train"):
        PretrainedMapper.load(half)
    (half / "stages.json").write_text("[")
    with pytest.raises(RunFolderError, match=r"stages\.json cannot be read"):
        PretrainedMapper.load(half)


def test_the_settings_are_those_the_network_was_trained_with(run, tmp_path):
    changed = shutil.copytree(run, tmp_path / "changed")
    config_file = changed / "config.yaml"
    config_file.write_text(config_file.read_text().replace("width: 16", "width: 24"))
    mapper, other = PretrainedMapper.load(run), PretrainedMapper.load(changed)
    assert mapper.settings == other.settings
    assert mapper.settings.network.width == 16


def test_features_of_files_belong_to_one_scene(run, tmp_path):
    foreign = shutil.copytree(run, tmp_path / "foreign")
    tensors, origin = checkpoint.load_tensors(foreign / "network.safetensors")
    origin["settings"]["features"]["source"] = "embedding.tif"
    checkpoint.save_tensors(foreign / "network.safetensors", tensors, origin)
    with pytest.raises(SettingsError, match="belong to one scene"):
        PretrainedMapper.load(foreign)
    with pytest.raises(SettingsError, match="belong to one scene"):
        PretrainedMapper.load(run, {"features.source": "features.npy"})


def test_what_a_killed_save_left_goes(run, tmp_path):
    mapper = PretrainedMapper.from_run(run)
    left = tmp_path / ".network.bdgf-0a1b2c3d.safetensors"
    left.write_bytes(b"half")
    mapper.save(tmp_path)
    assert not left.exists()
    left.write_bytes(b"half")
    mapper.save(tmp_path)
    assert not left.exists()
    assert not (tmp_path / ".lock").exists()


def test_a_save_that_fails_leaves_the_earlier_one(run, tmp_path, monkeypatch):
    mapper = PretrainedMapper.from_run(run)
    mapper.save(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    save = checkpoint.save_tensors

    def full(path, tensors, origin):
        if "network" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(path, {name: value + 1 for name, value in tensors.items()}, origin)

    monkeypatch.setattr(checkpoint, "save_tensors", full)
    with pytest.raises(RunFolderError, match="No space left"):
        mapper.save(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_of_several_processes_the_first_saves(run, tmp_path, monkeypatch):
    mapper = PretrainedMapper.from_run(run)
    monkeypatch.setattr(processes, "rank", lambda: 1)
    monkeypatch.setattr(processes, "count", lambda: 2)
    left = tmp_path / ".network.bdgf-0a1b2c3d.safetensors"  # which the first one is writing
    left.write_bytes(b"half")
    mapper.save(tmp_path)
    assert list(tmp_path.iterdir()) == [left]
