"""The stage that pre-trains: where it starts, and what it keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bdgf import checkpoint, config, presets
from bdgf.diffusion import stage
from bdgf.diffusion.pretraining import Pretraining
from bdgf.diffusion.stage import pretrain
from bdgf.history import History
from bdgf.progress import Silent
from bdgf.runfolder import RunFolder
from bdgf.scene.prepared import PreparedScene
from bdgf.scene.synthetic.generate import SyntheticSpec, make_scene


def carry_out(prepared: PreparedScene, out: Path, settings: config.Settings, listener) -> RunFolder:
    folder = RunFolder(out)
    pretrain(prepared, settings, folder, {"scene": "s"}, History(folder.history), listener)
    return folder


def test_a_denoiser_of_another_scene_is_the_start(
    trained_run: Path, tiny_settings: config.Settings, tmp_path: Path, prepare, listener
) -> None:
    spec = SyntheticSpec(height=24, width=24, bands=5, classes=2, train_per_class=8)
    prepared = prepare(make_scene(tmp_path / "scene", spec))
    theirs, _ = checkpoint.load_tensors(trained_run / "diffusion.safetensors")
    settings = presets.replace(tiny_settings, {"diffusion.from_run": str(trained_run)})
    still = presets.replace(settings, {"diffusion.pretrain": False})
    folder = carry_out(prepared, tmp_path / "as is", still, listener)
    assert any(line.startswith("denoiser: starts from that of") for line in listener.lines)
    assert any("the denoiser keeps the weights taken over" in line for line in listener.lines)
    kept, origin = checkpoint.load_tensors(folder.diffusion)
    assert origin["from_run"]["random"] == ["stem", "out"]
    assert origin["from_run"]["source"] == str(trained_run / "diffusion.safetensors")
    for name, value in kept.items():
        if name.split(".")[0] not in ("stem", "out"):
            assert torch.equal(value, theirs[name])
    on, origin = checkpoint.load_tensors(
        carry_out(prepared, tmp_path / "on", settings, listener).diffusion
    )
    assert origin["from_run"]["steps"] == tiny_settings.diffusion.steps
    assert not torch.equal(on["up1.conv1.weight"], theirs["up1.conv1.weight"])
    # six steps move the weights a little; random ones lie far from them
    moved = (on["up1.conv1.weight"] - theirs["up1.conv1.weight"]).norm()
    assert moved < 0.3 * theirs["up1.conv1.weight"].norm()


def test_a_run_keeps_the_precision_that_it_began_in(
    prepared: PreparedScene,
    tiny_settings: config.Settings,
    tmp_path: Path,
    listener,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen = ["32-true"]
    monkeypatch.setattr(Pretraining, "precision", lambda self: chosen.pop())
    first = carry_out(prepared, tmp_path / "run", tiny_settings, listener)
    weights = first.diffusion.read_bytes()
    assert chosen == []
    again = carry_out(prepared, tmp_path / "run", tiny_settings, listener)
    assert again.diffusion.read_bytes() == weights, "and is not asked for it again"


def test_the_average_is_what_is_stored(
    prepared: PreparedScene,
    tiny_settings: config.Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[stage.Pretraining] = []
    last: list[dict[str, torch.Tensor]] = []
    exact: list[tuple[bool, str]] = []
    own, measured, reliance = stage.Pretraining, stage._measure_balance, stage.measure_reliance

    def kept(*arguments: Any) -> stage.Pretraining:
        made.append(own(*arguments))
        return made[-1]

    def exactly(*arguments: Any) -> Any:
        flags = torch.backends.cudnn
        exact.append((flags.deterministic, flags.conv.fp32_precision))
        return reliance(*arguments)

    def before(work: stage.Pretraining, *rest: Any) -> Any:
        last.append({name: value.clone() for name, value in work.model.state_dict().items()})
        return measured(work, *rest)

    monkeypatch.setattr(stage, "Pretraining", kept)
    monkeypatch.setattr(stage, "_measure_balance", before)
    monkeypatch.setattr(stage, "measure_reliance", exactly)
    folder = RunFolder(tmp_path / "run")
    history = History(folder.history)
    stage.pretrain(prepared, tiny_settings, folder, {"scene": "s"}, history, Silent())
    stored, _ = checkpoint.load_tensors(folder.diffusion)
    average = made[0].average.state_dict()
    assert all(torch.equal(stored[name], average[name]) for name in average)
    assert not all(torch.equal(stored[name], last[0][name]) for name in average)
    assert exact == [(True, "ieee")], "measured as it is learned and read"
