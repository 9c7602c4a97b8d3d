from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bdgf import config, presets
from bdgf.compute import make_fabric
from bdgf.diffusion.denoiser import DenoiserOutput
from bdgf.diffusion.masking import ramp_strength
from bdgf.diffusion.pretraining import Pretraining, build_denoiser, modality_losses
from bdgf.errors import TrainingError
from bdgf.history import History
from bdgf.optimisation import optimise
from bdgf.progress import Silent
from bdgf.scene.layout import ChannelLayout, ModalityChannels
from bdgf.scene.prepared import PreparedScene
from bdgf.scene.scene import Scene
from bdgf.scene.synthetic.generate import SyntheticSpec, make_scene


def carry_out(
    prepared: PreparedScene, settings: config.Settings, path: Path, work: Pretraining | None = None
) -> tuple[Pretraining, History]:
    work = work or Pretraining(prepared, settings.diffusion, settings.compute, settings.seed)
    history = History(None)
    optimise(work, make_fabric(settings.compute, "32-true"), path, {}, history, Silent())
    return work, history


def weights(work: Pretraining) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in work.average.state_dict().items()}


def test_a_step_waits_for_no_device(
    prepared: PreparedScene, tiny_settings: config.Settings, read_back: Any
) -> None:
    # full strength from the first step, so that both masks are drawn
    settings = presets.replace(tiny_settings, {"diffusion.masking.ramp": "fixed"})
    work = Pretraining(prepared, settings.diffusion, settings.compute, settings.seed)
    with read_back:
        loss, parts = work.loss(work.model, 3)
        loss.backward()
        work.after_step(3, parts)
    assert read_back.found == []


@pytest.mark.parametrize("ramp", ["fixed", "adaptive"])
def test_a_step_stays_on_its_device(
    prepared: PreparedScene,
    tiny_settings: config.Settings,
    no_cpu: torch.device,
    monkeypatch: pytest.MonkeyPatch,
    ramp: str,
) -> None:
    monkeypatch.setattr("bdgf.diffusion.pretraining.device_of", lambda _: no_cpu)
    settings = presets.replace(tiny_settings, {"diffusion.masking.ramp": ramp})
    work = Pretraining(prepared, settings.diffusion, settings.compute, settings.seed)
    loss, parts = work.loss(work.model, 3)
    loss.backward()
    with pytest.MonkeyPatch.context() as patch:
        if ramp == "adaptive":  # reads its losses, as its setting says
            patch.setattr(torch.Tensor, "tolist", lambda tensor: [1.0] * len(tensor))
        work.after_step(3, parts)
    levels = work.clean_features(10)(*work.crops.draw(4, np.random.default_rng(0)))
    assert loss.device == no_cpu
    assert {p.grad.device for p in work.model.parameters() if p.grad is not None} == {no_cpu}
    assert {level.device for level in levels} == {no_cpu}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"diffusion.masking.ramp": "adaptive"},
        {"diffusion.loss_weights": "controlled", "diffusion.masking.ramp": "fixed"},
    ],
)
def test_resumed_equals_uninterrupted(
    prepared: PreparedScene,
    tiny_settings: config.Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
) -> None:
    monkeypatch.setattr("bdgf.diffusion.balance.MEASURE_EVERY", 2)
    monkeypatch.setattr("bdgf.diffusion.balance.READ_EVERY", 3)
    settings = presets.replace(tiny_settings, changes)
    whole, _ = carry_out(prepared, settings, tmp_path / "a.safetensors")

    work = Pretraining(prepared, settings.diffusion, settings.compute, settings.seed)
    after_step = work.after_step

    def killed(step: int, parts: dict[str, torch.Tensor]) -> dict[str, float]:
        if step == 4:
            raise KeyboardInterrupt
        return after_step(step, parts)

    work.after_step = killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        carry_out(prepared, settings, tmp_path / "b.safetensors", work)
    assert (tmp_path / "b.safetensors").is_file()
    resumed, _ = carry_out(prepared, settings, tmp_path / "b.safetensors")
    found, expected = weights(resumed), weights(whole)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert resumed.balance.state.to_json() == whole.balance.state.to_json()


def test_it_learns_to_predict_noise(
    prepared: PreparedScene, tiny_settings: config.Settings, tmp_path: Path
) -> None:
    settings = presets.replace(
        tiny_settings,
        {"diffusion.steps": 60, "diffusion.learning_rate": 5e-3, "diffusion.checkpoint_every": 99},
    )
    _, history = carry_out(prepared, settings, tmp_path / "a.safetensors")
    losses = [row["loss"] for row in history.rows]
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("bands", [2, 200])
@pytest.mark.parametrize("auxiliary", [True, False])
def test_one_and_many_modalities_few_and_many_bands(
    tmp_path: Path,
    tiny_settings: config.Settings,
    prepare: Callable[[Path], PreparedScene],
    bands: int,
    auxiliary: bool,
) -> None:
    spec = SyntheticSpec(
        height=20, width=25, bands=bands, classes=2, train_per_class=5, sar=auxiliary, dsm=auxiliary
    )
    prepared = prepare(make_scene(tmp_path / "scene", spec))
    assert isinstance(prepared.scene, Scene)
    settings = presets.replace(tiny_settings, {"diffusion.masking.hidden_loss": "x0"})
    work, history = carry_out(prepared, settings, tmp_path / "a.safetensors")
    assert all(value.isfinite().all() for value in weights(work).values())
    assert [row["step"] for row in history.rows] == [2, 4, 6]


def test_hidden_losses() -> None:
    layout = ChannelLayout(
        (ModalityChannels("hsi", "spectral", 0, 2), ModalityChannels("dsm", "auxiliary", 2, 3))
    )
    noise, clean = torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    hidden = torch.zeros(1, 1, 4, 4)
    hidden[..., :2] = 1.0
    predicted = torch.ones(1, 3, 4, 4) * (1.0 + hidden)  # error 4 where hidden, 1 elsewhere
    completed = torch.full((1, 2, 4, 4), 3.0)
    present = torch.ones(1, 2, 4, 4)

    def losses(kind: str, clean_prediction: torch.Tensor | None = None) -> list[float]:
        output = DenoiserOutput(predicted, clean_prediction)
        return modality_losses(output, noise, clean, present, hidden, layout, kind).tolist()

    assert losses("eps") == pytest.approx([2.5, 2.5])
    assert losses("none") == pytest.approx([1.0, 2.5]), "only the spectral image is ever hidden"
    assert losses("x0", completed) == pytest.approx([0.5 * 9.0 + 0.5 * 1.0, 2.5])
    present[:, 1] = 0.0
    assert losses("eps")[1] == 0.0


def test_weights_depend_on_the_seed_alone(
    prepared: PreparedScene, tiny_settings: config.Settings
) -> None:
    before = torch.random.get_rng_state()
    first = build_denoiser(tiny_settings.diffusion, prepared.layout, 3).state_dict()
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(99)
    again = build_denoiser(tiny_settings.diffusion, prepared.layout, 3).state_dict()
    other = build_denoiser(tiny_settings.diffusion, prepared.layout, 4).state_dict()
    assert all(torch.equal(first[n], again[n]) for n in first)
    assert not torch.equal(first["stem.weight"], other["stem.weight"])


def test_a_loss_that_explodes_stops_it(
    prepared: PreparedScene, tiny_settings: config.Settings, tmp_path: Path
) -> None:
    settings = presets.replace(tiny_settings, {"diffusion.steps": 10})
    path = tmp_path / "a.safetensors"
    work = Pretraining(prepared, settings.diffusion, settings.compute, 0)
    with torch.no_grad():
        work.model.out.weight.fill_(float("inf"))
    with pytest.raises(TrainingError, match="step 2"):
        carry_out(prepared, settings, path, work)
    assert not path.exists(), "weights that are not finite are no checkpoint"


def test_estimate_says_size_time_and_when_it_stops(
    prepared: PreparedScene, tiny_settings: config.Settings
) -> None:
    told: list[str] = []

    class Listener(Silent):
        def say(self, text: str) -> None:
            told.append(text)

    work = Pretraining(prepared, tiny_settings.diffusion, tiny_settings.compute, 0)
    before = {n: v.clone() for n, v in work.model.state_dict().items()}
    own = work.loss

    def watched(*arguments: Any) -> Any:
        flags = torch.backends.cudnn
        switches = (flags.deterministic, flags.conv.fp32_precision)
        assert switches == (True, "ieee"), "as training runs"
        return own(*arguments)

    work.loss = watched  # type: ignore[method-assign]
    work.estimate(Listener())
    assert all(torch.equal(before[n], v) for n, v in work.model.state_dict().items())
    for word in ("parameters", "MB", "minutes", "stops after 6 steps"):
        assert word in told[0]


def test_adaptive_masks_go_by_what_is_seen(
    prepared: PreparedScene, tiny_settings: config.Settings
) -> None:
    """Noise cannot be predicted where the image is hidden: counted, it would weaken the masks."""
    changes = {"diffusion.masking.ramp": "adaptive", "diffusion.masking.structure_ratio": 0.9}
    s = presets.replace(tiny_settings, changes)
    work = Pretraining(prepared, s.diffusion, s.compute, s.seed)
    _, parts = work.loss(work.model, s.diffusion.steps - 1)
    (spectral,) = (work.layout.modalities[i].name for i in work.layout.spectral)
    observed: list[torch.Tensor] = []
    work.balance.observe = lambda step, losses, of: observed.append(losses)  # type: ignore[method-assign]
    with torch.no_grad():
        work.after_step(0, {**parts, f"seen_{spectral}": torch.tensor(0.125)})
    assert observed[0][work.layout.spectral[0]] == 0.125
    assert parts[f"seen_{spectral}"] > 0
    assert parts[f"seen_{spectral}"] != parts[f"loss_{spectral}"]
    fixed = presets.replace(s, {"diffusion.masking.ramp": "cosine"})
    work = Pretraining(prepared, fixed.diffusion, fixed.compute, fixed.seed)
    assert not any(name.startswith("seen_") for name in work.loss(work.model, 5)[1])


def test_what_is_hidden_is_not_seen_and_modalities_have_their_weights(
    prepared: PreparedScene, tiny_settings: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Pretraining(prepared, tiny_settings.diffusion, tiny_settings.compute, 0)
    strengths, seen = [], []

    def left(
        s: Any, strength: float, batch: int, height: int, width: int, draws: Any
    ) -> torch.Tensor:
        strengths.append(strength)
        mask = torch.zeros(batch, 1, height, width, dtype=torch.bool)
        mask[..., : width // 2] = True
        return mask

    class Listener(torch.nn.Module):
        def forward(self, x: Any, missing: Any, t: Any) -> Any:
            seen.append((x, missing))
            return work.model(x, missing, t)

    monkeypatch.setattr("bdgf.diffusion.pretraining.draw_hidden", left)
    work.balance.state.log_weights = [1.0, 0.0, -1.0]
    work.balance.state.log_gain = 0.5
    step = 3
    loss, parts = work.loss(Listener(), step)
    ramp = ramp_strength(tiny_settings.diffusion.masking, step, tiny_settings.diffusion.steps)
    assert strengths == [pytest.approx(ramp * math.exp(0.5))]
    x, missing = seen[0]
    half = x.shape[3] // 2
    for index, part in enumerate(work.layout.modalities):
        own = x[:, part.start : part.stop]
        assert own[..., half:].any()
        assert own[..., :half].any() == (index not in work.layout.spectral)
        if index in work.layout.spectral:
            assert missing[:, index, :, :half].all()
    losses = torch.stack([parts[f"loss_{m.name}"] for m in work.layout.modalities])
    torch.testing.assert_close(loss.detach(), (losses * work.balance.weights).sum())


def test_the_average_follows_the_weights(
    prepared: PreparedScene, tiny_settings: config.Settings
) -> None:
    settings = presets.replace(tiny_settings, {"diffusion.ema_decay": 0.3})
    work = Pretraining(prepared, settings.diffusion, settings.compute, 0)
    expected = {name: value.clone() for name, value in work.average.named_parameters()}
    for step in range(4):
        with torch.no_grad():
            for value in work.model.parameters():
                value.add_(0.1 * (step + 1))
        _, parts = work.loss(work.model, step)
        work.after_step(step, parts)
        decay = min(0.3, (1 + step) / (10 + step))
        for name, value in work.model.named_parameters():
            expected[name].lerp_(value.detach(), 1 - decay)
    for name, value in work.average.named_parameters():
        assert torch.equal(value, expected[name])
