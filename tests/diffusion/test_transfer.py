"""Denoisers taken over from other scenes: layer by layer, and told."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from bdgf import checkpoint, presets
from bdgf.diffusion.pretraining import build_denoiser
from bdgf.diffusion.transfer import described, start_signature, take_over, with_absolute_start
from bdgf.errors import RunFolderError, SettingsError
from bdgf.scene.layout import ChannelLayout, ModalityChannels


def layout(*sizes, names="hsdx"):
    start, found = 0, []
    for name, size in zip(names, sizes, strict=False):
        role = "auxiliary" if found else "spectral"
        found.append(ModalityChannels(name, role, start, start + size))
        start += size
    return ChannelLayout(tuple(found))


@pytest.fixture
def diffusion(tiny_settings):
    return tiny_settings.diffusion


@pytest.fixture
def stored(tmp_path, diffusion):
    """A denoiser of five spectral and two auxiliary channels, in a folder like a run's."""
    own = layout(5, 2)
    model = build_denoiser(diffusion, own, 7)
    for value in model.state_dict().values():
        value.add_(0.01)
    origin = {
        "scene": "elsewhere",
        "settings": {"diffusion": {"steps": 6, "pretrain": True}},
        "modalities": described(own),
    }
    checkpoint.save_tensors(tmp_path / "diffusion.safetensors", model.state_dict(), origin)
    return tmp_path, model.state_dict(), origin


def test_same_channels_take_everything(stored, diffusion):
    folder, weights, _ = stored
    models = [build_denoiser(diffusion, layout(5, 2, names="ab"), seed) for seed in (0, 1)]
    transfer = take_over(models, layout(5, 2, names="ab"), folder)
    assert transfer.random == ()
    assert transfer.share == 1.0
    for model in models:
        for name, value in model.state_dict().items():
            assert torch.equal(value, weights[name])
    assert "of elsewhere (6 steps" in transfer.describe()
    assert "100.0 % of the parameters" in transfer.describe()


def test_other_channels_keep_the_first_and_last_layer_random(stored, diffusion):
    folder, weights, _ = stored
    model = build_denoiser(diffusion, layout(4, 1, 1), 0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    transfer = take_over([model], layout(4, 1, 1), folder / "diffusion.safetensors")
    assert set(transfer.random) == {"stem", "out"}
    for name, value in model.state_dict().items():
        source = before if name.split(".")[0] in ("stem", "out") else weights
        assert torch.equal(value, source[name]), name
    assert "stem and out keep random weights" in transfer.describe()
    assert "there h 5, s 2; here h 4, s 1, d 1" in transfer.describe()
    taken = sum(v.numel() for n, v in before.items() if n.split(".")[0] not in ("stem", "out"))
    assert transfer.share == pytest.approx(taken / sum(v.numel() for v in before.values()))
    assert set(transfer.to_json()) >= {"taken", "random", "share", "scene", "steps"}


def test_channels_of_other_meaning_are_not_taken_for_the_same(stored, diffusion):
    folder, weights, origin = stored
    model = build_denoiser(diffusion, layout(4, 3), 0)  # seven channels of two modalities, as there
    assert model.stem.weight.shape == weights["stem.weight"].shape
    assert set(take_over([model], layout(4, 3), folder).random) == {"stem", "out"}
    # a file without a record of its channels can only be judged by its shapes
    bare = {name: value for name, value in origin.items() if name != "modalities"}
    checkpoint.save_tensors(folder / "diffusion.safetensors", weights, bare)
    assert take_over([model], layout(4, 3), folder).random == ()


def test_completion_there_and_not_here_leaves_the_last_layer(stored, diffusion):
    folder, _, _ = stored
    masking = dataclasses.replace(diffusion.masking, hidden_loss="x0")
    model = build_denoiser(dataclasses.replace(diffusion, masking=masking), layout(5, 2), 0)
    transfer = take_over([model], layout(5, 2), folder)
    assert transfer.random == ("out",)
    assert "completes the hidden image" in transfer.describe()


def test_what_cannot_be_taken_over_is_refused_at_once(stored, tiny_settings):
    folder, weights, origin = stored

    def signature(path, **changes):
        values = {"diffusion.from_run": str(path), **changes}
        return start_signature(presets.replace(tiny_settings, values))

    assert len(signature(folder)) == 64
    own = presets.replace(tiny_settings, {"diffusion.from_run": str(folder)})
    with pytest.raises(SettingsError, match="give the run another folder"):
        start_signature(own, folder / "diffusion.safetensors")
    assert start_signature(tiny_settings) == ""
    with pytest.raises(
        SettingsError, match=r"width 8, this run's has 12.*set diffusion.width to 8"
    ):
        signature(folder, **{"diffusion.width": 12})
    with pytest.raises(SettingsError, match=r"absent/diffusion.safetensors does not exist"):
        signature(folder / "absent")
    checkpoint.save_tensors(folder / "network.safetensors", {"a": torch.zeros(2)}, origin)
    with pytest.raises(SettingsError, match="holds no denoiser"):
        signature(folder / "network.safetensors")
    (folder / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(RunFolderError, match="cannot be read"):
        signature(folder / "bad.safetensors")
    lacking = {name: value for name, value in weights.items() if not name.startswith("up2")}
    checkpoint.save_tensors(folder / "old.safetensors", lacking, origin)
    model = build_denoiser(tiny_settings.diffusion, layout(5, 2), 0)
    with pytest.raises(SettingsError, match="no denoiser of this version"):
        take_over([model], layout(5, 2), folder / "old.safetensors")


def test_the_path_holds_in_any_folder(tiny_settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = presets.replace(tiny_settings, {"diffusion.from_run": "runs/a"})
    found = with_absolute_start(settings).diffusion.from_run
    assert found == str(tmp_path / "runs" / "a")
    assert with_absolute_start(tiny_settings) is tiny_settings
