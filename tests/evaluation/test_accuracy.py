from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bdgf.evaluation.accuracy import compare
from bdgf.scene.leak import leakage
from bdgf.scene.scene import Scene


def test_far_pixels_are_scored_apart(tiny_scene: Path) -> None:
    scene = Scene.open(tiny_scene)
    leak = leakage(scene, 11)
    positions, reference = scene.positions("test"), scene.labels_at("test")
    far = leak.is_far(positions)
    assert 0 < far.mean() < 1 - leak.inside
    train = scene.positions("train")[:, 1:]
    for (_, row, col), away in zip(positions, far, strict=True):
        distance = np.abs(train - (row, col)).max(axis=1).min()
        assert away == (distance > 11)
    near_only = np.where(far, (reference + 1) % 4, reference)
    found = compare(scene, leak, {"perfect": reference, "near only": near_only})
    assert found["perfect"]["all"]["oa"] == found["perfect"]["far"]["oa"] == 100.0
    assert found["near only"]["far"]["oa"] == 0.0
    assert found["near only"]["all"]["oa"] == pytest.approx(100 * (1 - far.mean()))
    assert np.array(found["perfect"]["confusion"]).sum() == len(reference)


def test_unmapped_test_pixels_count_as_errors(tiny_scene: Path) -> None:
    scene = Scene.open(tiny_scene)
    reference = scene.labels_at("test")
    predicted = reference.copy()
    predicted[: len(predicted) // 2] = -1
    found = compare(scene, leakage(scene, 5), {"half": predicted})
    assert found["half"]["all"]["oa"] == pytest.approx(50.0, abs=1.0)
