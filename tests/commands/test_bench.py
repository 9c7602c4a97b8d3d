"""What the command writes and prints; the cells themselves are made up, or of the forest alone."""

from __future__ import annotations

import numpy as np
import pytest

from bdgf.bench.cells import Cell, Result
from bdgf.bench.runner import Bench
from bdgf.cli import main
from bdgf.evaluation.accuracy import compare
from bdgf.scene.leak import leakage


@pytest.fixture
def made_up_cells(monkeypatch):
    """A comparison whose cells cost nothing: each method is wrong at a share of the pixels."""
    plans = []

    def run(self):
        plans.append(self.plan)
        (scene,) = self.scenes.values()
        reference, leak = scene.labels_at("test"), leakage(scene, 11)
        results = []
        for cell in self.cells:
            rng = np.random.default_rng([cell.seed, len(cell.method)])
            wrong = rng.random(len(reference)) < 0.02 * len(cell.method)
            predicted = np.where(wrong, (reference + 1) % 4, reference)
            accuracy = compare(scene, leak, {"x": predicted})["x"]
            results.append(Result(Cell(**vars(cell)), accuracy, predicted, 1.0, 100.0, ""))
        return results

    monkeypatch.setattr(Bench, "run", run)
    return plans


def test_tables_and_figures_are_written(made_up_cells, tiny_scene, tmp_path, capsys):
    out = tmp_path / "bench"
    words = ["bench", str(tiny_scene.parent), "--out", str(out), "--seeds", "2"]
    words += ["--methods", "controls,RF raw,no cross-attention", "--labels", "5,all"]
    assert main([*words, "--training.steps", "7"]) == 0
    (plan,) = made_up_cells
    assert plan.methods == (
        "BDGF",
        "BDGF, untrained denoiser",
        "BDGF, no guidance",
        "RF raw",
        "BDGF, no cross-attention",
    )
    assert plan.seeds == (0, 1)
    assert plan.budgets == (5, None)
    assert plan.settings.training.steps == 7
    for name in ("table.md", "classes.md", "table.csv", "table.tex"):
        assert (out / name).read_text().count("RF raw") >= 2
    figures = {path.name for path in (out / "figures").iterdir()}
    kinds = [f"{labels}.{kind}" for labels in ("5", "all") for kind in ("maps", "recall")]
    assert figures == {f"synthetic.{kind}.png" for kind in (*kinds, "labels")}
    printed = capsys.readouterr().out
    assert "BDGF against the control 'untrained denoiser'" in printed
    assert "BDGF against the control 'no guidance'" in printed
    assert "synthetic.labels.png" in printed


def test_seeds_start_with_that_of_the_settings(made_up_cells, tiny_scene, tmp_path):
    words = ["bench", str(tiny_scene), "--out", str(tmp_path / "bench"), "--methods", "RF raw"]
    assert main([*words, "--seeds", "2", "--seed", "7"]) == 0
    assert made_up_cells[0].seeds == (7, 8)


def test_tables_of_others_are_left_alone(made_up_cells, tiny_scene, tmp_path, capsys):
    own = tmp_path / "table.csv"
    own.write_text("a,b\n")
    words = ["bench", str(tiny_scene), "--out", str(tmp_path), "--methods", "RF raw"]
    assert main(words) == 2
    assert "table.csv of no comparison" in " ".join(capsys.readouterr().err.split())
    assert not made_up_cells
    assert own.read_text() == "a,b\n"
    (tmp_path / "cells").mkdir()  # as a comparison leaves it
    assert main(words) == 0


def test_the_embedding_is_drawn_when_it_is_asked_for(
    made_up_cells, tiny_scene, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("bdgf.bench.tsne.PIXELS", 60)
    words = ["bench", str(tiny_scene), "--out", str(tmp_path), "--methods", "RF raw", "--tsne"]
    assert main(words) == 0
    assert (tmp_path / "figures" / "synthetic.tsne.png").is_file()
    printed = " ".join(capsys.readouterr().out.split())
    assert "Raw bands, standardised: 5-NN OA" in printed
    assert "no features of BDGF, untrained denoiser; BDGF, no masking; BDGF with" in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--labels", "5,few"], "--labels has 'few'"),
        (["--seeds", "0"], "from 1 on"),
        (["--methods", "no cross attention"], "did you mean 'no cross-attention'"),
        (["--network.guided", "[cnn,rnn]"], "network.guided"),
        (
            ["--methods", "BDGF,t = 200", "--diffusion.timesteps", "100"],
            "BDGF, t = 200: features.timesteps is [200]",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(tiny_scene, tmp_path, capsys, words, message):
    out = tmp_path / "bench"
    assert main(["bench", str(tiny_scene), "--out", str(out), "--methods", "RF raw", *words]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not out.exists()
