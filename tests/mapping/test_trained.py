from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from bdgf import checkpoint
from bdgf.diffusion.store import FeatureStore
from bdgf.errors import RunFolderError
from bdgf.mapping.reading import read_confidence, read_map
from bdgf.mapping.trained import TrainedRun
from bdgf.scene.layout import Window, windows_of
from bdgf.scene.scene import Scene


def test_on_its_own_scene_it_gives_what_the_run_stored(trained_run: Path, tiny_scene: Path) -> None:
    run, scene = TrainedRun(trained_run), Scene.open(tiny_scene)
    prepared, features = run.on(scene, run.settings)
    shape = prepared.shape(0)
    stored = FeatureStore(trained_run / "features", [scene.tiles[0].name], [shape])
    window = Window(3, 4, 30, 40)
    np.testing.assert_array_equal(features.window(0, window), stored.window(0, window))
    classes, confidence = np.empty(shape, int), np.empty(shape, np.float32)
    for part in run.mapped(prepared, features, 0, windows_of(*shape, 32)):
        classes[part.window.slices] = part.classes
        confidence[part.window.slices] = part.confidence
    np.testing.assert_array_equal(classes, read_map(trained_run / "map.tif", scene.class_codes))
    np.testing.assert_array_equal(confidence, read_confidence(trained_run / "confidence.tif"))


def test_it_knows_its_classes_without_its_scene(trained_run: Path, tiny_scene: Path) -> None:
    scene = Scene.open(tiny_scene)
    legend = TrainedRun(trained_run).legend
    assert (legend.codes, legend.names, legend.colors) == (
        scene.class_codes,
        scene.class_names,
        scene.class_colors,
    )


def test_what_is_no_trained_run_is_refused(trained_run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="is not a run folder"):
        TrainedRun(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
    half = tmp_path / "half"
    half.mkdir()
    (half / "stages.json").write_text('{"prepare": {"fingerprint": "x", "seconds": 1}}')
    with pytest.raises(RunFolderError, match="not trained yet"):
        TrainedRun(half)
    shutil.copytree(trained_run, tmp_path / "foreign")
    network = tmp_path / "foreign" / "network.safetensors"
    tensors, origin = checkpoint.load_tensors(network)
    origin["settings"]["features"]["source"] = "embedding.tif"
    checkpoint.save_tensors(network, tensors, origin)
    with pytest.raises(RunFolderError, match="another model that the run does not hold"):
        TrainedRun(tmp_path / "foreign")
