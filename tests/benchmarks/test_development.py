"""Development scenes are what they say, and gains are those of the comparison."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from benchmarks import development
from benchmarks.development import LONG_TAIL, SCENES

from bdgf.fusion.label_counts import ENOUGH_LABELS
from bdgf.scene.scene import Scene


@pytest.mark.parametrize("name", ["tiles", "long tail"])
def test_a_scene_is_made_once_and_has_its_labels(tmp_path, name):
    path = development.scene_file(tmp_path, name)
    scene, before = Scene.open(path), path.stat().st_mtime_ns
    assert scene.name == name
    assert len(scene.tiles) == SCENES[name].tiles
    counts = np.bincount(scene.labels_at("train"), minlength=SCENES[name].classes)
    expected = LONG_TAIL if name == "long tail" else counts
    assert sorted(counts) == sorted(expected)
    assert counts.min() > 0
    assert development.scene_file(tmp_path, name).stat().st_mtime_ns == before


def test_many_labels_are_as_many_as_the_defaults_ask_for_and_far_from_the_test(tmp_path):
    scene = Scene.open(development.scene_file(tmp_path, "many labels"))
    assert len(scene.labels_at("train")) > ENOUGH_LABELS
    tiles = [set(scene.positions(part)[:, 0]) for part in ("train", "test")]
    assert not tiles[0] & tiles[1]


def test_gains_are_printed_by_scene_and_in_the_mean(tmp_path, monkeypatch, capsys):
    small = {"width": 64, "height": 64, "bands": 8, "classes": 3, "train_per_class": 10}
    monkeypatch.setattr(
        development, "SCENES", {n: replace(SCENES[n], **small) for n in ("six classes", "tiles")}
    )
    words = ["--work", str(tmp_path), "--methods", "BDGF,no guidance", "--seeds", "1"]
    words += ["--preset", "quick", "--jobs", "1", "--diffusion.steps", "2", "--training.steps", "2"]
    monkeypatch.setattr(sys, "argv", ["development.py", *words])
    assert development.main() == 0
    head, _, ours, other = capsys.readouterr().out.strip().splitlines()
    assert head == "|  | six classes | tiles | mean |"
    assert ours.startswith("| BDGF | ")
    cells = [cell.split(" / ") for cell in other.strip("| ").split(" | ")[1:]]
    gains = np.array([[float(value) for value in pair] for pair in cells])
    np.testing.assert_allclose(gains[-1], gains[:-1].mean(0), atol=0.02)
    assert all(value[0] in "+-" for pair in cells for value in pair)
