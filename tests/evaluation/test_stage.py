"""The stage that measures: what it does where there is nothing to measure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bdgf import config
from bdgf.errors import RunFolderError
from bdgf.evaluation.stage import evaluate
from bdgf.pipeline import Pipeline
from bdgf.scene.synthetic.generate import SyntheticSpec, make_scene


@pytest.fixture
def run(tmp_path: Path, tiny_settings: config.Settings, listener) -> Pipeline:
    """A finished run of a scene without test labels."""
    spec = SyntheticSpec(height=24, width=24, bands=4, classes=2, train_per_class=6)
    scene = make_scene(tmp_path / "scene", spec)
    text = scene.read_text().replace("  test: test.tif\n", "")
    assert "test.tif" not in text
    scene.write_text(text)
    pipeline = Pipeline(scene, tmp_path / "run", tiny_settings, listener)
    pipeline.run()
    return pipeline


def test_a_scene_without_test_labels_is_mapped_and_not_scored(run: Pipeline, listener) -> None:
    assert any("no test pixel" in line for line in listener.lines)
    written = json.loads(run.folder.metrics.read_text())
    assert written["methods"] == written["missing"] == written["calibration"] == {}
    assert written["transductive"].startswith("statistics, principal components, diffusion")
    assert {**evaluate(run), "peak_memory_mb": 0, "seconds": {}} == {
        **written,
        "peak_memory_mb": 0,
        "seconds": {},
    }
    assert (run.folder.path / "map.tif").is_file()
    assert (run.folder.path / "report.html").is_file()
    run.folder.balance.write_text(json.dumps({**written["balance"], "explained_r2": {"hsi": "x"}}))
    with pytest.raises(
        RunFolderError, match=r"balance\.json cannot be read .* run 'bdgf pretrain'"
    ):
        evaluate(run)
