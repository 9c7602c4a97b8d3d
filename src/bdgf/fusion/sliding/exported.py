"""The sliding-window operators in the form in which a network is exported.

Those of :mod:`bdgf.fusion.sliding.trained` cut an image into as many tiles as its size asks for; a
graph that serves images of any size cannot. Here every place of the window is one shift of the
whole image: a fixed number of small operations whatever the size, slower in training and in memory,
with the same values up to rounding. Arguments and results are those of the operators of the same
names there; tensors are (B, H, W, channels), of which only the centres' lack the border of the
radius.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from bdgf.fusion.scan import spiral_places, split_last


def exporting() -> bool:
    """Whether `torch.export` is recording what is computed."""
    return bool(torch.compiler.is_exporting())


def window_attention(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor, radius: int
) -> Tensor:
    """Attend as ``trained.window_attention`` does, of the same tensors."""
    heads = bias.shape[0]
    q = split_last(query, heads)  # (B, h, w, heads, D/heads)
    scores = torch.stack(
        [
            (q * split_last(shifted, heads)).sum(4) + bias[:, place]
            for place, shifted in enumerate(_shifts(key, radius))
        ]
    )  # (k², B, h, w, heads)
    weights = torch.softmax(scores, 0)
    read = torch.zeros_like(q)
    for place, shifted in enumerate(_shifts(value, radius)):
        read = read + weights[place].unsqueeze(4) * split_last(shifted, heads)
    return read.flatten(3)


def ssd_centre_readout(
    x: Tensor, dt: Tensor, A: Tensor | None, B_: Tensor, C_: Tensor, radius: int
) -> Tensor:
    """Scan as ``trained.ssd_centre_readout`` does, of the same tensors.

    The tokens are visited from the last to the first, so that the sum of the step sizes after a
    token is known when its turn comes.
    """
    heads = dt.shape[3]
    entries = list(_shifts((split_last(x, heads) * dt.unsqueeze(4)).flatten(3), radius))
    matches = [(b * C_).sum(3, keepdim=True) for b in _shifts(B_, radius)]  # k² × (B, h, w, 1)
    order = spiral_places(2 * radius + 1)[::-1]
    if A is None:
        return entries[0] * matches[0]
    steps = list(_shifts(dt * A, radius))  # k² × (B, h, w, heads)
    after = torch.zeros_like(steps[0])
    read = torch.zeros_like(split_last(entries[0], heads))
    for place in order:
        weight = (after.exp() * matches[place]).unsqueeze(4)  # (B, h, w, heads, 1)
        read = read + weight * split_last(entries[place], heads)
        after = after + steps[place]
    return read.flatten(3)


def _shifts(x: Tensor, radius: int) -> Iterator[Tensor]:
    """Yield the token (B, h, w, C) at every place of every centre's window, row-major."""
    side = 2 * radius + 1
    height, width = x.shape[1] - 2 * radius, x.shape[2] - 2 * radius
    for row in range(side):
        for col in range(side):
            yield x[:, row : row + height, col : col + width]
