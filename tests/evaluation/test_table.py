from __future__ import annotations

import json
from pathlib import Path

import pytest

from bdgf.errors import RunFolderError
from bdgf.evaluation.table import markdown, read_run


def write_run(folder: Path, scene: str, seed: int, oa: float, aa: float | None = 50.0) -> Path:
    folder.mkdir()
    part = {"oa": oa, "aa": aa, "kappa": oa - 10}
    metrics = {
        "scene": scene,
        "seed": seed,
        "methods": {"BDGF": {"all": part, "far": part}},
        "peak_memory_mb": 500 + seed,
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    stages = {"train": {"seconds": 10.0 + seed}, "evaluate": {"seconds": 5.0}}
    (folder / "stages.json").write_text(json.dumps(stages))
    return folder


def test_mean_and_sample_deviation_over_seeds(tmp_path: Path) -> None:
    runs = [
        read_run(write_run(tmp_path / "a", "one", 0, 80.0)),
        read_run(write_run(tmp_path / "b", "one", 1, 90.0)),
        read_run(write_run(tmp_path / "c", "two", 0, 70.0, None)),
    ]
    text = markdown(runs)
    assert "| BDGF | 85.00 ± 7.07 | 50.00 ± 0.00 | 75.00 ± 7.07 | 85.00 ± 7.07" in text
    assert "| BDGF | 70.00 | – | 60.00 | 70.00 | – |" in text
    assert "**one**, seeds 0, 1: 10 ± 1 s, with the other methods 16 ± 1 s; at most 501 MB" in text


def test_figures_without_a_modality_are_rows_of_their_own(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / n, "one", i, 80.0) for i, n in enumerate(("a", "b"))]
    for folder, oa in zip(folders, (60.0, 70.0), strict=True):
        metrics = json.loads((folder / "metrics.json").read_text())
        part = {"oa": oa, "aa": 40.0, "kappa": None}
        metrics["missing"] = {"sar": {"all": part, "far": part, "note": ""}}
        (folder / "metrics.json").write_text(json.dumps(metrics))
    lines = markdown([read_run(folder) for folder in folders]).splitlines()
    assert lines[-2].startswith("| BDGF | 80.00")
    assert lines[-1].startswith("| BDGF without sar | 65.00 ± 7.07 | 40.00 ± 0.00 | – |")


def test_a_method_of_some_of_the_runs_says_of_which(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / n, "one", i, 80.0) for i, n in enumerate(("a", "b"))]
    metrics = json.loads((folders[1] / "metrics.json").read_text())
    metrics["methods"]["RF"] = metrics["methods"]["BDGF"]
    (folders[1] / "metrics.json").write_text(json.dumps(metrics))
    lines = markdown([read_run(folder) for folder in folders]).splitlines()
    assert lines[-1].startswith("| RF (seed 1) | 80.00 | 50.00 |")


def test_one_seed_twice_is_no_repetition(tmp_path: Path) -> None:
    runs = [read_run(write_run(tmp_path / n, "one", 0, 80.0)) for n in ("a", "b")]
    with pytest.raises(RunFolderError, match="same seed"):
        markdown(runs)


def test_an_unfinished_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="holds no finished run"):
        read_run(tmp_path)
    for name, part in (("b", {}), ("c", {"oa": "x", "aa": 1.0, "kappa": 1.0})):
        damaged = write_run(tmp_path / name, "one", 0, 80.0) / "metrics.json"
        metrics = json.loads(damaged.read_text())
        metrics["methods"]["BDGF"]["far"] = part
        damaged.write_text(json.dumps(metrics))
        with pytest.raises(RunFolderError, match=r"methods\.BDGF\.far\.oa is"):
            read_run(damaged.parent)
    reopened = write_run(tmp_path / "a", "one", 0, 80.0)
    (reopened / "stages.json").write_text(json.dumps({"train": {"seconds": 1.0}}))
    with pytest.raises(RunFolderError, match="evaluation is not finished"):
        read_run(reopened)


def test_runs_of_other_settings_are_no_repetition(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / n, "one", i, 80.0) for i, n in enumerate("abc")]
    steps = (300, 300, 60)
    for seed, (folder, number) in enumerate(zip(folders, steps, strict=True)):
        lines = [f"scene: /somewhere/{seed}", f"seed: {seed}", "training:", f"  steps: {number}"]
        if seed:  # the first is of a version without it
            lines += ["features:", "  source: none"]
        (folder / "config.yaml").write_text("\n".join([*lines, "logger: none"]))
    runs = [read_run(folder) for folder in folders]
    assert "seeds 0, 1" in markdown(runs[:2])
    with pytest.raises(RunFolderError, match=r"c differ in training\.steps \(300, 60\)"):
        markdown(runs)
    (folders[0] / "config.yaml").write_text("a: [")
    with pytest.raises(RunFolderError, match="holds no finished run"):
        read_run(folders[0])
