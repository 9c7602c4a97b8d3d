"""Same seed, same map: across tile sizes, threads, restarts and what ran before."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from bdgf import config
from bdgf.mapping.inference import window_logits
from bdgf.pipeline import Pipeline
from bdgf.progress import Silent
from bdgf.randomness import numpy_generator, torch_generator
from bdgf.scene.windows import Window


@pytest.fixture(scope="module")
def pipeline(trained_run: Path, tiny_scene: Path, tiny_settings: config.Settings) -> Pipeline:
    return Pipeline(tiny_scene, trained_run, tiny_settings, Silent())


def logits(pipeline: Pipeline, window: Window) -> torch.Tensor:
    store = pipeline.store
    network, _ = pipeline.trained(store)
    with torch.inference_mode():
        return window_logits(network, pipeline.prepared, store, 0, window)


def test_threads_change_logits_by_less_than_1e_5(pipeline: Pipeline) -> None:
    window = Window(0, 0, *pipeline.prepared.shape(0))
    found = {}
    for threads in (1, 2, 4):
        torch.set_num_threads(threads)
        found[threads] = logits(pipeline, window)
    torch.set_num_threads(1)
    for threads in (2, 4):
        assert (found[threads] - found[1]).abs().max() < 1e-5
    assert found[1].std() > 1e-2, "logits that are all alike would prove nothing"


@pytest.mark.parametrize("side", [7, 19])
def test_the_tile_changes_logits_by_less_than_1e_5(pipeline: Pipeline, side: int) -> None:
    height, width = pipeline.prepared.shape(0)
    whole = logits(pipeline, Window(0, 0, height, width))
    for row, col in ((0, 0), (0, width - side), (height - side, 3), (11, 13)):
        part = logits(pipeline, Window(row, col, side, side))
        here = whole[..., row : row + side, col : col + side]
        assert (part - here).abs().max() < 1e-5


def test_draws_depend_on_seed_purpose_and_step_alone() -> None:
    for make, read in (
        (numpy_generator, lambda g: g.integers(0, 2**62, 4).tolist()),
        (torch_generator, lambda g: torch.randint(2**62, (4,), generator=g).tolist()),
    ):
        first = read(make(3, "crops", 7))
        np.random.default_rng(0).random(10)
        torch.rand(10)
        assert read(make(3, "crops", 7)) == first
        others = [read(make(*args)) for args in ((4, "crops", 7), (3, "noise", 7), (3, "crops", 8))]
        assert first not in others
        assert len({str(other) for other in others}) == 3


def test_no_global_generator_is_touched_or_read(pipeline: Pipeline) -> None:
    window = Window(0, 0, 16, 16)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = logits(pipeline, window)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(logits(pipeline, window), first)


def test_seeds_are_recorded(trained_run: Path) -> None:
    assert yaml.safe_load((trained_run / "config.yaml").read_text())["seed"] == 0
    seeds = json.loads((trained_run / "environment.json").read_text())["seeds"]
    assert seeds == {"run": 0, "split": 0, "thinned_labels": 0}
