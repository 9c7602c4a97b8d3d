"""The moving average of the weights against its definition."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from bdgf.fusion.averaging import WeightAverage
from bdgf.fusion.normalisation import BatchNorm


def test_the_average_follows_its_recursion():
    network = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        network.weight.fill_(0.0)
    average = WeightAverage(network, 0.5)
    expected = 0.0
    for step in range(12):
        with torch.no_grad():
            network.weight.fill_(step + 1.0)
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * (step + 1.0)
    assert network.weight.item() == 12.0, "the weights themselves are left alone"
    average.adopt()
    assert network.weight.item() == pytest.approx(expected)
    assert expected < 11.9


def test_all_weights_move_in_one_call_by_the_bits_of_one_by_one():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), BatchNorm(8), nn.Linear(8, 5))
    network[0].weight.data = network[0].weight.data.contiguous(memory_format=torch.channels_last)
    average = WeightAverage(network, 0.9)
    expected = {name: value.clone() for name, value in average.tensors.items()}
    for step in range(5):
        with torch.no_grad():
            for value in network.parameters():
                value.add_(torch.randn(value.shape))
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            average.update(step)
        assert sum("lerp" in event.name for event in profiled.events() if not event.cpu_parent) == 1
        share = 1.0 - min(0.9, (1 + step) / (10 + step))
        learned = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        for name, value in expected.items():
            value.lerp_(learned[name].detach(), share)
            assert torch.equal(average.tensors[name], value)


def test_an_average_that_goes_on_is_the_one_that_was_not_stopped():
    networks = [nn.Linear(3, 2) for _ in range(2)]
    networks[1].load_state_dict(networks[0].state_dict())
    through, resumed = (WeightAverage(network, 0.9) for network in networks)
    draws = torch.Generator().manual_seed(0)
    for step in range(6):
        change = torch.randn(2, 3, generator=draws)
        for network, average in zip(networks, (through, resumed), strict=True):
            with torch.no_grad():
                network.weight.add_(change)
            average.update(step)
        if step == 2:
            kept = {name: value.clone() for name, value in resumed.tensors.items()}
            resumed = WeightAverage(networks[1], 0.9)
            resumed.restore(kept)
    assert all(torch.equal(through.tensors[n], resumed.tensors[n]) for n in through.tensors)


def test_what_a_layer_keeps_of_its_batches_is_averaged_with_its_weights():
    network = BatchNorm(2)
    average = WeightAverage(network, 0.5)
    assert set(average.tensors) == {"weight", "bias", "mean", "variance"}
    expected = torch.zeros(2)
    for step in range(8):
        network(torch.randn(4, 3, 3, 2, generator=torch.Generator().manual_seed(step)) + 5.0)
        average.update(step)
        expected = expected.lerp(network.mean, 1 - min(0.5, (1 + step) / (10 + step)))
    assert not torch.equal(expected, network.mean)
    average.adopt()
    torch.testing.assert_close(network.mean, expected)


def test_without_decay_nothing_is_kept():
    network = nn.Linear(3, 2)
    average = WeightAverage(network, 0.0)
    before = network.weight.clone()
    average.update(0)
    average.adopt()
    assert average.tensors == {}
    assert torch.equal(network.weight, before)
