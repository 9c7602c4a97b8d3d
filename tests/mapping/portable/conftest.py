"""One export of the tiny run, which takes a while, for all tests of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from bdgf.cli import main
from bdgf.mapping.pretrained import PretrainedMapper
from bdgf.scene.scene import Scene


@dataclass(frozen=True)
class Exported:
    """An exported run."""

    path: Path
    run: PretrainedMapper
    scene: Scene
    folder: Path


@pytest.fixture(scope="session")
def exported(
    trained_run: Path, tiny_scene: Path, tmp_path_factory: pytest.TempPathFactory
) -> Exported:
    """The tiny run, exported."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason=f"{name} is in the export extra")
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("exported") / "new"
    assert main(["export", str(trained_run), "--to", str(folder), "--whole"]) == 0
    return Exported(
        trained_run, PretrainedMapper.from_run(trained_run), Scene.open(tiny_scene), folder
    )
