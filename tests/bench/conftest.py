"""Results that are made up, so that every figure in tables and pictures is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bdgf.bench.cells import Cell, Result
from bdgf.bench.published import Published
from bdgf.bench.rows import blocks
from bdgf.bench.variants import OURS, variant
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


SEEDS = range(5)
PUBLISHED = Published("x", 0, 0, "Other_1", 50.0, None, 41.5, "a survey")


@pytest.fixture(scope="session")
def make(scene, made_up):
    """Result of a method that is wrong at a share of the pixels of the scene."""
    return lambda *a, **k: made_up(scene, *a, **k)


@pytest.fixture(scope="session")
def block(scene, make):
    results = [
        result
        for seed in SEEDS
        for result in (
            make(OURS, seed, 0.10, train_seconds=4.0, train_steps=100),
            make("RF raw", seed, 0.30),
            make("SVM raw", seed, 0.20),
            make(variant("untrained denoiser"), seed, 0.15),
            make(variant("no masking"), seed, 0.05),
        )
    ]
    (found,) = blocks(results, [scene], lambda _: (PUBLISHED,))
    return found
