"""Results that are made up, so that every figure in tables and pictures is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bdgf.bench.cells import Cell, Result
from bdgf.evaluation.accuracy import compare
from bdgf.scene.leak import leakage
from bdgf.scene.scene import Scene


@pytest.fixture(scope="session")
def made_up() -> Callable[..., Result]:
    """Result of a method that is wrong at a share of the test pixels, drawn by the seed."""

    def make(scene, method, seed, wrong, of_class=None, budget=None, **cost):
        reference, classes = scene.labels_at("test"), len(scene.class_codes)
        rng = np.random.default_rng([seed, int(1000 * wrong)])
        drawn = rng.random(len(reference)) < wrong
        if of_class is not None:
            drawn &= reference == of_class
        predicted = np.where(drawn, (reference + 1) % classes, reference)
        accuracy = compare(scene, leakage(scene, 7), {"x": predicted})["x"]
        cell = Cell("scene.yaml", scene.name, method, seed, budget)
        return Result(cell, accuracy, predicted, 12.0 + seed, 900.0 + seed, "", cost)

    return make


@pytest.fixture(scope="session")
def scene(tiny_scene) -> Scene:
    """The tiny scene with all its labels."""
    return Scene.open(tiny_scene)
