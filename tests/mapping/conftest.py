"""A tiny run, trained once for all tests of what is done with trained runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bdgf import config
from bdgf.pipeline import Pipeline
from bdgf.progress import Silent


class Listener(Silent):
    """Keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def listener() -> Listener:
    """Progress whose lines can be looked at."""
    return Listener()


@pytest.fixture(scope="session")
def trained_run(
    tiny_scene: Path, tiny_settings: config.Settings, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Run folder of the tiny scene, with its map; not to be changed."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("trained") / "run"
    Pipeline(tiny_scene, out, tiny_settings, Silent()).run(("pretrain", "features", "train", "map"))
    return out
