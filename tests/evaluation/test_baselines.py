"""The methods beside every run: complete, whatever the chunks and however few the labels."""

from __future__ import annotations

import numpy as np
import pytest

from bdgf.config import EvaluationSettings
from bdgf.evaluation import baselines, classifiers
from bdgf.evaluation.baselines import run_baselines
from bdgf.scene.scene import Scene
from bdgf.scene.synthetic.generate import SyntheticSpec, make_scene

SETTINGS = EvaluationSettings(trees=30, svm_pixels=500)


def test_all_four_methods(scene, monkeypatch):
    # Chunks that do not divide the test pixels must not show.
    whole = run_baselines(scene, SETTINGS, seed=0, threads=1)
    monkeypatch.setattr(baselines, "CHUNK", 257)
    monkeypatch.setattr(classifiers, "PREDICTED", 100)
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
