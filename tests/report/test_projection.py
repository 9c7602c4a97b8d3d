from __future__ import annotations

import dataclasses

import numpy as np

from bdgf import presets
from bdgf.report.projection import project
from bdgf.report.results import Results


def with_points(results: Results, points: int, seed: int = 0) -> Results:
    settings = presets.replace(results.settings, {"report.points": points, "seed": seed})
    return dataclasses.replace(results, settings=settings)


def test_the_same_seed_gives_the_same_points(results: Results) -> None:
    first, again = project(with_points(results, 30)), project(with_points(results, 30))
    assert first is not None
    assert again is not None
    assert first.points.shape == (30, 2)
    assert np.isfinite(first.points).all()
    np.testing.assert_array_equal(first.points, again.points)
    np.testing.assert_array_equal(first.classes, again.classes)
    other = project(with_points(results, 30, seed=1))
    assert other is not None
    assert not np.array_equal(first.classes, other.classes)
    assert set(first.classes.tolist()) <= set(range(len(results.scene.class_codes)))


def test_without_features_or_points_there_is_none(
    results: Results, single_results: Results
) -> None:
    assert project(single_results) is None
    assert project(with_points(results, 0)) is None
    assert project(with_points(results, 5)) is None


def test_near_points_have_like_features(results: Results) -> None:
    found = project(with_points(results, 120))
    assert found is not None
    distance = np.linalg.norm(found.points[:, None] - found.points[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    alike = float((found.classes[distance.argmin(1)] == found.classes).mean())
    chance = float(np.mean([(found.classes == c).mean() for c in found.classes]))
    assert alike > chance + 0.1
