"""Every container of every benchmark goes from its files through the commands to a map."""

from __future__ import annotations

import json

import rasterio

from bdgf.cli import main
from bdgf.scene.benchmarks import catalogue


def _options(values):
    return [word for name, value in values.items() for word in (f"--{name}", str(value))]


def test_inspect_and_run(make, tmp_path, container_name, tiny_values, monkeypatch, capsys):
    made = make(container_name)
    # the declaration is as small as its files
    monkeypatch.setattr(catalogue, "find", lambda name: made.benchmark)
    folder, out = tmp_path / "data", tmp_path / "run"
    assert main(["inspect", str(folder)]) == 0
    shown = capsys.readouterr().out
    for file in made.files.values():
        assert file.name in shown
    # what is to be seen is the way of the files, not what is learned of them
    settings = {
        **tiny_values,
        "diffusion.steps": 2,
        "diffusion.batch": 2,
        "training.steps": 2,
        "training.batch": 8,
        "training.fold_pixels": 0,
        "training.consistency": 0,
        "evaluation.missing_modalities": "true",
        "report.points": 0,
        "compute.threads": 1,
    }
    words = ["run", made.benchmark.name, "--root", str(folder), "--out", str(out)]
    assert main([*words, "--preset", "quick", *_options(settings)]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["train_pixels"] == sum(made.container.counts_train.values())
    assert metrics["test_pixels"] == sum(made.container.counts_test.values())
    assert set(metrics["missing"]) == {m.name for m in made.container.modalities}
    with rasterio.open(out / "map.tif") as written:
        assert written.read(1).any()
