from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from bdgf import config, presets
from bdgf.cli import main
from bdgf.diffusion.store import are_stored
from bdgf.errors import SettingsError
from bdgf.pipeline import Pipeline
from bdgf.progress import Silent

NOBODY = "tcp://127.0.0.1:9"


@pytest.fixture(scope="module", autouse=True)
def _small_blocks() -> Iterator[None]:
    """Blocks of 16 pixels, so that small tiles have several; workers get them from the client."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("features", "cluster"):
            patch.setattr(f"bdgf.diffusion.{module}.WINDOW", 16)
        yield


@pytest.fixture(scope="module")
def settings(tiny_settings: config.Settings) -> config.Settings:
    return presets.replace(tiny_settings, {"features.noised": True})


@pytest.fixture(scope="module")
def alone(
    tiles_scene: Path, settings: config.Settings, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Run folder whose features one process has computed; not to be changed."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("alone") / "run"
    Pipeline(tiles_scene, out, settings, Silent()).run(("pretrain", "features"))
    return out


def without_features(run: Path, out: Path) -> Path:
    """Copy a run without its features."""
    shutil.copytree(run, out)
    shutil.rmtree(out / "features")
    return out


def contents(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run / "features").iterdir()}


def test_the_features_of_a_cluster_that_loses_a_worker_are_those_of_one_process(
    cluster: Any,
    killer: Any,
    alone: Path,
    tiles_scene: Path,
    settings: config.Settings,
    tmp_path: Path,
) -> None:
    many = without_features(alone, tmp_path / "many")
    Pipeline(tiles_scene, many, settings, killer, cluster.scheduler_address).run(("features",))
    assert killer.killed == "features"
    assert contents(many) == contents(alone)
    assert len(contents(many)) == 6 + 2, "six tiles, components and index"


def test_the_command_computes_features_on_a_cluster(
    cluster: Any, alone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = without_features(alone, tmp_path / "run")
    assert main(["features", str(out), "--scheduler", cluster.scheduler_address]) == 0
    assert contents(out) == contents(alone)
    assert "Traceback" not in capsys.readouterr().err


def test_features_that_are_not_stored_need_no_scheduler(
    cluster: Any,
    alone: Path,
    tiles_scene: Path,
    settings: config.Settings,
    listener: Any,
    tmp_path: Path,
) -> None:
    never = presets.replace(settings, {"features.stored": "never"})
    out = without_features(alone, tmp_path / "run")
    Pipeline(tiles_scene, out, never, listener, cluster.scheduler_address).run(("features",))
    assert listener.lines[-1].endswith("only components are written, no scheduler is needed")
    assert not are_stored(out / "features")
    assert len(contents(out)) == 2


def test_a_scheduler_that_is_not_there_is_one_sentence(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("bdgf.cluster.CONNECT_SECONDS", 1)
    out = without_features(alone, tmp_path / "run")
    assert main(["features", str(out), "--scheduler", NOBODY]) == 2
    error = capsys.readouterr().err
    assert f"no scheduler answers at {NOBODY}" in error
    assert "Traceback" not in error
    assert not (out / "features" / "features.json").exists()


def test_features_of_another_model_stay_with_their_run(
    tiles_scene: Path, settings: config.Settings, tmp_path: Path
) -> None:
    other = presets.replace(settings, {"features.source": "features.npy"})
    with pytest.raises(SettingsError, match=r"belong to one scene.*leave --scheduler out"):
        Pipeline(tiles_scene, tmp_path / "new", other, Silent(), NOBODY)
    assert not (tmp_path / "new").exists()


def test_a_run_without_guidance_asks_for_no_scheduler(
    tiles_scene: Path, settings: config.Settings, listener: Any, tmp_path: Path
) -> None:
    unguided = presets.replace(settings, {"features.source": "none"})
    pipeline = Pipeline(tiles_scene, tmp_path / "run", unguided, listener, NOBODY)
    pipeline.run(("pretrain", "features"))
    assert "features: none, the branches are not guided" in listener.lines
