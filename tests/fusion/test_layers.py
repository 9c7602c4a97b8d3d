from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bdgf.fusion import layers
from bdgf.fusion.layers import ChannelConv, ConvolutionBlock, PatchEmbedding, Stem, pointwise


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(1, 5, 4), (3, 1, 1), (2, 3, 7)], ids=str)
@pytest.mark.parametrize("view", ["whole", "cropped", "channels first"])
def test_both_ways_of_a_pointwise_layer_agree(monkeypatch, shape, view):
    x = draw(*shape, 6)
    if view == "cropped":
        x = draw(shape[0], shape[1] + 2, shape[2] + 2, 6)[:, 1:-1, 1:-1]
    if view == "channels first":
        x = draw(shape[0], 6, *shape[1:]).permute(0, 2, 3, 1)
    weight, bias = draw(8, 6, seed=1), draw(8, seed=2)
    found = []
    for points in (0, 10**9):
        monkeypatch.setattr(layers, "_POINTS", points)
        inputs = [t.detach().requires_grad_() for t in (x, weight, bias)]
        y = pointwise(*inputs)
        found.append([y.detach(), *torch.autograd.grad(y.square().sum(), inputs)])
    for first, second in zip(*found, strict=True):
        assert first.shape == second.shape
        assert torch.allclose(first, second, atol=1e-4, rtol=1e-5)


def test_convolution_of_the_last_axis():
    convolution = ChannelConv(3, 5, 3)
    x = draw(2, 6, 7, 3)
    expected = F.conv2d(x.permute(0, 3, 1, 2), convolution.weight, convolution.bias)
    assert torch.allclose(convolution(x), expected.permute(0, 2, 3, 1), atol=1e-6)


@pytest.mark.parametrize(("padding", "side"), [(0, 4), (1, 6)])
def test_residual_of_a_block_is_cropped_with_it(padding, side):
    block = ConvolutionBlock(4, padding)
    x = draw(1, 6, 6, 4)
    torch.nn.init.zeros_(block.convolution.weight)
    torch.nn.init.zeros_(block.convolution.bias)
    margin = (6 - side) // 2
    assert torch.equal(block(x), x[:, margin : 6 - margin, margin : 6 - margin])


def test_stem_sees_that_a_modality_is_missing():
    stem = Stem([(0, 2), (2, 3)], 8, padding=0)
    values, missing = torch.zeros(1, 3, 3, 3), torch.zeros(1, 3, 3, 2)
    known = stem(values, missing)
    missing[..., 1] = 1
    assert known.shape == (1, 1, 1, 8)
    assert (stem(values, missing) - known).abs().max() > 1e-4


@pytest.mark.parametrize("window", [3, 5, 7, 9, 11, 15])
def test_a_patch_as_a_whole_in_an_image_is_what_it_is_by_itself(window):
    embed = PatchEmbedding(5, 6, window)
    image = draw(2, window + 3, window + 4, 5).requires_grad_()
    found = embed(image)
    assert found.shape == (2, 4, 5, 12)
    for row, col in ((0, 0), (3, 4), (1, 2)):
        patch = image[:, row : row + window, col : col + window]
        assert torch.allclose(embed(patch)[:, 0, 0], found[:, row, col], atol=1e-6)
    (gradient,) = torch.autograd.grad(found[0, 1, 1].square().sum(), image)
    seen = gradient[0].abs().sum(2) > 0
    rows, cols = (torch.nonzero(seen.any(1 - axis)).flatten().tolist() for axis in (0, 1))
    assert (rows[0], rows[-1], cols[0], cols[-1]) == (1, window, 1, window), "all of the patch"


def test_dilation_stands_for_pooling_by_strides():
    embed = PatchEmbedding(3, 4, 11)
    patch = draw(1, 11, 11, 3)
    first = F.gelu(embed.first_norm(embed.first(patch))).permute(0, 3, 1, 2)  # (1, D, 9, 9)
    expected = []
    for row in (0, 1):
        for col in (0, 1):  # the four grids of 2 x 2 pixels that the patch has
            pooled = F.max_pool2d(first[:, :, row:, col:], 2)
            second = F.conv2d(pooled, embed.second.weight, embed.second.bias).permute(0, 2, 3, 1)
            expected.append(F.gelu(embed.second_norm(second)).mean((1, 2)))
    assert torch.allclose(embed(patch)[:, 0, 0], torch.stack(expected).mean(0), atol=1e-6)
