from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bdgf.fusion.sliding import exported, trained

CASES = [(1, 0, 4, 5), (2, 1, 3, 3), (2, 1, 6, 9), (1, 2, 9, 6), (1, 3, 8, 11)]
"""Batch, radius, height and width."""
HEADS, WIDTH, STATES = 2, 6, 3


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("case", CASES)
def test_attention_equals_that_of_the_tiles(case: tuple[int, int, int, int]) -> None:
    batch, radius, height, width = case
    query = draw(batch, height - 2 * radius, width - 2 * radius, WIDTH)
    key, value = draw(batch, height, width, WIDTH), draw(batch, height, width, WIDTH).flip(1)
    bias = draw(HEADS, (2 * radius + 1) ** 2)
    found = exported.window_attention(query, key, value, bias, radius)
    expected = trained.window_attention(query, key, value, bias, radius)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_scan_equals_that_of_the_tiles(case: tuple[int, int, int, int]) -> None:
    batch, radius, height, width = case
    x, dt = draw(batch, height, width, WIDTH), draw(batch, height, width, HEADS).abs()
    b = draw(batch, height, width, STATES)
    c = draw(batch, height - 2 * radius, width - 2 * radius, STATES)
    A = -draw(HEADS).abs() if radius else None
    found = exported.ssd_centre_readout(x, dt, A, b, c, radius)
    expected = trained.ssd_centre_readout(x, dt, A, b, c, radius)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


class Both(torch.nn.Module):
    def forward(self, x: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        inner = trained.crop(x, 1)
        dt = x[..., :HEADS].abs()
        return (
            trained.window_attention(inner, x, x, bias, 1),
            trained.ssd_centre_readout(x, dt, -bias[:, 0].abs(), x, inner, 1),
        )


def test_they_are_what_is_exported_and_serve_any_size() -> None:
    assert not exported.exporting()
    rows, cols = torch.export.Dim("rows", min=4), torch.export.Dim("cols", min=4)
    inputs = (draw(1, 9, 8, WIDTH), draw(HEADS, 9))
    program = torch.export.export(Both(), inputs, dynamic_shapes=({1: rows, 2: cols}, None))
    for height, width in ((9, 8), (5, 31), (40, 12)):
        x = draw(1, height, width, WIDTH)
        found, expected = program.module()(x, inputs[1]), Both()(x, inputs[1])
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
