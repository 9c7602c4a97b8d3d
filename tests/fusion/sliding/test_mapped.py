from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bdgf import config
from bdgf.fusion.network import build_network
from bdgf.fusion.sliding import mapped, trained

CASES = [(1, 3, 3), (1, 7, 12), (2, 9, 6), (3, 8, 11)]
"""Radius, height and width."""
HEADS, WIDTH, STATES = 2, 6, 3


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def planes(image: Tensor) -> Tensor:
    return image[0].permute(2, 0, 1).contiguous()


@pytest.mark.parametrize(("radius", "height", "width"), CASES)
def test_attention_equals_the_trainable_one(radius, height, width):
    query = draw(1, height - 2 * radius, width - 2 * radius, WIDTH)
    key, value = draw(1, height, width, WIDTH), draw(1, height, width, WIDTH).flip(1)
    bias = draw(HEADS, (2 * radius + 1) ** 2)
    expected = trained.window_attention(query, key, value, bias, radius)
    found = mapped.attention(planes(query), planes(key), planes(value), bias, radius)
    torch.testing.assert_close(found, planes(expected), atol=1e-5, rtol=1e-5)


def test_attention_of_large_scores_is_finite():
    query, key = 100 * draw(1, 3, 3, WIDTH), 100 * draw(1, 5, 5, WIDTH)
    bias = draw(HEADS, 9)
    found = mapped.attention(planes(query), planes(key), planes(key), bias, 1)
    expected = trained.window_attention(query, key, key, bias, 1)
    torch.testing.assert_close(found, planes(expected), atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize(("radius", "height", "width"), CASES)
def test_scan_equals_the_trainable_one(radius, height, width):
    x, dt = draw(1, height, width, WIDTH), draw(1, height, width, HEADS).abs()
    b = draw(1, height, width, STATES)
    c = draw(1, height - 2 * radius, width - 2 * radius, STATES)
    A = -draw(HEADS).abs()
    expected = trained.ssd_centre_readout(x, dt, A, b, c, radius)
    entry = (x.view(1, height, width, HEADS, -1) * dt.unsqueeze(4)).flatten(3)
    found = mapped.ssd_centre_readout(planes(entry), planes(dt * A), planes(b), planes(c), radius)
    torch.testing.assert_close(found, planes(expected), atol=1e-5, rtol=1e-5)


def test_projections_equal_linear_layers():
    image = draw(4, 5, WIDTH)
    layer = torch.nn.Linear(WIDTH, 3)
    expected = layer(image)
    found = mapped.to_planes(image[:, 1:-1], layer.weight, layer.bias)
    torch.testing.assert_close(found, expected[:, 1:-1].permute(2, 0, 1))
    back = mapped.to_pixels(image.permute(2, 0, 1), layer.weight, layer.bias)
    torch.testing.assert_close(back, expected)


@pytest.mark.parametrize("floats", [1, 1 << 18])
@pytest.mark.parametrize(
    ("query", "guidance"), [("task", (4, 5, 6)), ("diffusion", (4, 5, 6)), ("task", (0, 0, 0))]
)
def test_a_map_equals_what_is_trained(monkeypatch, layout_of, images, query, guidance, floats):
    monkeypatch.setattr(mapped, "_FLOATS", floats)  # one row at a time, or all
    layout = layout_of(5, 2)
    settings = config.NetworkSettings(width=16, groups=4, state=4, cross_query=query)
    network = build_network(settings, layout, guidance, 3, 0).eval()
    inputs = images(layout, (2, 40, 33), guidance)
    learned = network(*inputs).logits
    calls = []
    attention = mapped.attention
    monkeypatch.setattr(mapped, "attention", lambda *a: (calls.append(a), attention(*a))[1])
    with torch.inference_mode():
        by_strips = network(*inputs).logits
    assert calls, "the map is not computed by strips"
    torch.testing.assert_close(by_strips, learned.detach(), atol=1e-5, rtol=1e-5)


def test_strips_hold_every_row_once(monkeypatch):
    monkeypatch.setattr(mapped, "_FLOATS", 100)
    found = list(mapped.strips(10, 30))
    assert [row for part in found for row in range(10)[part]] == list(range(10))
    assert max(part.stop - part.start for part in found) == 3


class Asked(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if mapped.by_strips(x, 1) else x + 2


def test_what_is_exported_serves_any_size():
    rows, cols = torch.export.Dim("rows", min=4), torch.export.Dim("cols", min=4)
    image = draw(1, 40, 40, WIDTH)
    with torch.no_grad():
        program = torch.export.export(Asked(), (image,), dynamic_shapes=({1: rows, 2: cols},))
        small = image[:, :5, :6]
        assert torch.equal(program.module()(small), small + 2)
        assert torch.equal(program.module()(image), image + 2)
        assert torch.equal(Asked()(image), image + 1)
    assert torch.equal(Asked()(image), image + 2), "what is learned goes the trainable way"
