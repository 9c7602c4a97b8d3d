from __future__ import annotations

import pytest
import torch

from bdgf.diffusion.denoiser import HALO, STRIDE, Denoiser


def build(channels: int = 5, modalities: int = 2, completed: int = 0) -> Denoiser:
    torch.manual_seed(0)
    model = Denoiser(channels, modalities, 8, completed)
    torch.nn.init.normal_(model.out.weight, std=0.1)
    return model


@pytest.mark.parametrize(("channels", "modalities"), [(1, 1), (2, 1), (34, 3), (200, 2)])
def test_predicts_noise_of_every_channel(channels: int, modalities: int) -> None:
    model = Denoiser(channels, modalities, 8)
    x, missing = torch.randn(2, channels, 16, 12), torch.zeros(2, modalities, 16, 12)
    output = model(x, missing, torch.tensor([0, 499]))
    assert output.noise.shape == x.shape
    assert output.clean is None
    assert not output.noise.any(), "the output layer starts at zero"
    shapes = [tuple(level.shape) for level in model.decode(x, missing, torch.tensor([3, 4]))]
    assert shapes == [(2, 16, 4, 3), (2, 16, 8, 6), (2, 8, 16, 12)]
    assert tuple(s[1] for s in shapes) == model.level_channels


def test_completion_has_channels_of_its_own() -> None:
    model = build(completed=3)
    output = model(torch.randn(1, 5, 8, 8), torch.zeros(1, 2, 8, 8), torch.tensor([7]))
    assert output.noise.shape == (1, 5, 8, 8)
    assert output.clean is not None
    assert output.clean.shape == (1, 3, 8, 8)


def test_every_parameter_gets_a_gradient() -> None:
    model = build()
    output = model(torch.randn(2, 5, 16, 16), torch.ones(2, 2, 16, 16), torch.tensor([3, 400]))
    output.noise.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_timestep_matters() -> None:
    model = build()
    x, missing = torch.randn(1, 5, 8, 8), torch.zeros(1, 2, 8, 8)
    early = model(x, missing, torch.tensor([1])).noise
    late = model(x, missing, torch.tensor([400])).noise
    assert (early - late).abs().max() > 1e-3


def test_receptive_field_lies_within_the_halo() -> None:
    model = build()
    side = 2 * HALO + STRIDE
    x = torch.randn(1, 5, side, side, requires_grad=True)
    levels = model.decode(x, torch.zeros(1, 2, side, side), torch.tensor([50]))
    for level in levels:
        factor = side // level.shape[2]
        place = HALO // factor
        # one coarse pixel more on each side is what bilinear interpolation reads
        near = level[0, :, place - 1 : place + 2, place - 1 : place + 2]
        (gradient,) = torch.autograd.grad(near.sum(), x, retain_graph=True)
        touched = gradient[0].abs().sum(0).nonzero()
        distance = (touched - HALO).abs().max()
        assert 0 < distance < HALO
