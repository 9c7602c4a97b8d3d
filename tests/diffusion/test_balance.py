from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bdgf.config import DiffusionSettings, MaskingSettings
from bdgf.diffusion import balance
from bdgf.diffusion.balance import BalanceController
from bdgf.scene.layout import ChannelLayout, ModalityChannels

LAYOUT = ChannelLayout(
    (
        ModalityChannels("hsi", "spectral", 0, 6),
        ModalityChannels("sar", "auxiliary", 6, 8),
        ModalityChannels("dsm", "auxiliary", 8, 9),
    )
)


def work() -> SimpleNamespace:
    crops = SimpleNamespace(draw=lambda count, rng: (torch.zeros(1), torch.zeros(1)))
    return SimpleNamespace(seed=0, crops=crops, probe_timestep=50, clean_features=lambda t: None)


def steered(
    reliance: tuple[float, float, float], steps: int, monkeypatch, start: float = 0.0
) -> BalanceController:
    measured = SimpleNamespace(reliance=reliance)
    monkeypatch.setattr(balance, "measure_reliance", lambda *args: measured)
    settings = DiffusionSettings(loss_weights="controlled", steps=1000, balance_from=start)
    controller = BalanceController(settings, LAYOUT)
    for step in range(steps):
        controller.observe(step, torch.ones(3), work())
    return controller


def test_plain_and_modality_weights() -> None:
    plain = BalanceController(DiffusionSettings(loss_weights="plain"), LAYOUT)
    assert plain.weights.tolist() == pytest.approx([6 / 9, 2 / 9, 1 / 9])
    each = BalanceController(DiffusionSettings(loss_weights="modality"), LAYOUT)
    assert each.weights.tolist() == pytest.approx([1 / 3] * 3)


def test_what_the_first_process_measures_steers_all(monkeypatch) -> None:
    first = steered((2.0, 0.5, 0.5), balance.MEASURE_EVERY, monkeypatch)
    monkeypatch.setattr(balance.processes, "of_first", lambda find: [2.0, 0.5, 0.5])
    other = steered((0.2, 1.0, 1.0), balance.MEASURE_EVERY, monkeypatch)
    assert other.state == first.state


@pytest.mark.parametrize(("reliance", "rises"), [((2.0, 0.5, 0.5), False), ((0.2, 1.0, 1.0), True)])
def test_the_side_that_dominates_loses_weight(reliance, rises, monkeypatch) -> None:
    few = steered(reliance, balance.MEASURE_EVERY, monkeypatch).weights
    many = steered(reliance, 5 * balance.MEASURE_EVERY, monkeypatch).weights
    assert (few[0] > 1 / 3) == rises
    assert (many[0] > few[0]) == rises
    assert many[1] == pytest.approx(float(many[2]))
    assert float(many.sum()) == pytest.approx(1.0)


def test_what_is_not_yet_learned_is_measured_and_not_steered(monkeypatch) -> None:
    early = steered((0.2, 1.0, 1.0), 500, monkeypatch, start=0.5)
    assert early.values()["reliance_hsi"] == 0.2
    assert early.weights.tolist() == pytest.approx([1 / 3] * 3)
    assert early.gain == 1.0
    late = steered((0.2, 1.0, 1.0), 500 + balance.MEASURE_EVERY, monkeypatch, start=0.5)
    assert late.weights[0] > 1 / 3
    assert late.gain < 1.0


def test_masks_follow_the_side_that_dominates(monkeypatch) -> None:
    assert steered((2.0, 0.5, 0.5), 3 * balance.MEASURE_EVERY, monkeypatch).gain > 1.1
    weak = steered((0.3, 1.0, 1.0), 5 * balance.MEASURE_EVERY, monkeypatch)
    assert weak.gain < 0.5
    assert weak.values()["mask_gain"] == weak.gain
    each = BalanceController(DiffusionSettings(loss_weights="modality"), LAYOUT)
    assert each.gain == 1.0
    for way in (1e6, 1e-6):
        extreme = steered((way, 1.0, 1.0), 100 * balance.MEASURE_EVERY, monkeypatch)
        low, high = balance.LEAST_LOG_GAIN, balance.LARGEST_LOG_GAIN
        assert low <= extreme.state.log_gain <= high


def test_balanced_features_move_nothing_and_limits_hold(monkeypatch) -> None:
    for spectral in (0.8, 0.8 * 1.5, 0.8 / 1.5):
        still = steered((spectral, 0.8, 0.8), 10 * balance.MEASURE_EVERY, monkeypatch)
        assert still.weights.tolist() == pytest.approx([1 / 3] * 3)
        assert still.gain == 1.0
    extreme = steered((1e6, 1e-6, 1e-6), 100 * balance.MEASURE_EVERY, monkeypatch)
    assert np.abs(extreme.state.log_weights).max() <= balance.LARGEST_LOG_WEIGHT
    assert extreme.weights.min() > 0


def test_masks_grow_while_the_spectral_loss_is_the_smaller() -> None:
    masks = MaskingSettings(ramp="adaptive")
    settings = DiffusionSettings(loss_weights="modality", masking=masks)
    controller = BalanceController(settings, LAYOUT)
    assert controller.gain == 1.0
    for step in range(100):
        controller.observe(step, torch.tensor([0.1, 0.4, 0.4]), work())
    assert controller.gain > 1.5
    for step in range(100):
        controller.observe(step, torch.tensor([0.8, 0.1, 0.1]), work())
    assert controller.gain < 0.5


def test_what_is_not_measured_steers_nothing(monkeypatch) -> None:
    still = steered((2.0, None, None), balance.MEASURE_EVERY, monkeypatch)
    assert still.weights.tolist() == pytest.approx([1 / 3] * 3)
    assert still.gain == 1.0
    assert "reliance_sar" not in still.values()
    assert still.values()["reliance_hsi"] == 2.0
    assert steered((2.0, None, 0.5), balance.MEASURE_EVERY, monkeypatch).weights[0] < 1 / 3


def test_batches_without_a_sensor_do_not_count_as_learned() -> None:
    masks = MaskingSettings(ramp="adaptive")
    controller = BalanceController(DiffusionSettings(loss_weights="plain", masking=masks), LAYOUT)
    for step in range(100):
        there = float(step % 5 == 4)
        controller.observe(step, torch.tensor([0.4, 0.4 * there, 0.4 * there]), work())
    assert controller.gain == pytest.approx(1.0)


def test_losses_are_read_every_few_steps_and_a_restart_forgets_none() -> None:
    settings = DiffusionSettings(loss_weights="modality", masking=MaskingSettings(ramp="adaptive"))
    whole, before = BalanceController(settings, LAYOUT), BalanceController(settings, LAYOUT)
    losses = [torch.tensor([0.1 + 0.03 * step, 0.4, 0.2]) for step in range(2 * balance.READ_EVERY)]
    gains = []
    for step, value in enumerate(losses):
        whole.observe(step, value, work())
        gains.append(whole.gain)
    assert len(set(gains)) == 3  # as it began, and after each of two readings
    stop = balance.READ_EVERY + 3
    for step, value in enumerate(losses[:stop]):
        before.observe(step, value, work())
    after = BalanceController(settings, LAYOUT)
    after.restore(json.loads(json.dumps(before.state.to_json())))
    for step, value in enumerate(losses[stop:], stop):
        after.observe(step, value, work())
    assert after.gain == whole.gain != 1.0


def test_nothing_is_read_from_the_device_between_two_readings(no_cpu: torch.device) -> None:
    settings = DiffusionSettings(loss_weights="modality", masking=MaskingSettings(ramp="adaptive"))
    controller = BalanceController(settings, LAYOUT)
    for step in range(balance.READ_EVERY - 1):
        controller.observe(step, torch.ones(3, device=no_cpu), work())
        controller.values()
    with pytest.raises((RuntimeError, NotImplementedError)):  # there are no values to read
        controller.observe(balance.READ_EVERY - 1, torch.ones(3, device=no_cpu), work())
