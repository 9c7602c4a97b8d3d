"""Splits are disjoint, seeded and keep their promises; the leak is measured exactly."""

from __future__ import annotations

import numpy as np
import pytest

from bdgf.scene.leak import leakage
from bdgf.scene.scene import Scene


@pytest.mark.parametrize("side", [3, 5, 11])
def test_leak_equals_a_search_over_all_pairs(write_scene, side):
    rng = np.random.default_rng(side)
    codes = np.where(rng.random((30, 37)) < 0.02, 1, 0)
    codes[0, 0] = 2
    later = np.where((rng.random((30, 37)) < 0.3) & (codes == 0), 1, 0)
    path = write_scene({"hsi": rng.normal(size=(2, 30, 37))}, codes, later)
    scene = Scene.open(path)
    leak = leakage(scene, side)
    ours = scene.positions("train")[:, 1:]
    theirs = scene.positions("test")[:, 1:]
    distance = np.abs(theirs[:, None] - ours[None]).max(axis=2).min(axis=1)
    near, far = distance <= side // 2, distance > side
    assert 0 < near.mean() < 1
    assert leak.inside == pytest.approx(near.mean())
    np.testing.assert_array_equal(leak.is_far(scene.positions("test")), far)
    assert len(leak.far_pixels[0]) == far.sum()


def test_leak_of_the_official_augsburg_split(shared_data):
    leak = leakage(Scene.open(shared_data / "augsburg_like"), 11)
    assert leak.inside == pytest.approx(0.14, abs=0.005)
