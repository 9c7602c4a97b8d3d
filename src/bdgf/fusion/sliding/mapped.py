"""The sliding-window operators on whole images where nothing is learned: maps on a CPU.

A strip of rows at a time, channels before pixels: every place of the window is then one shift of
whole planes, whose rows are long and lie side by side in memory, and nothing is cut into tiles or
masked. The projections in front write planes and the one behind reads them, as matrix products, so
that no tensor has to be turned around. Same values as those of :mod:`bdgf.fusion.sliding.trained`
up to rounding. Planes are (channels, rows, columns); images are (B, H, W, channels).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from bdgf.fusion.scan import spiral_places
from bdgf.fusion.sliding.exported import exporting

_LEAST = 1024
"""Pixels from which on an image is worth it."""
_FLOATS = 1 << 18
"""Floats of the planes of a strip: they stay in the cache."""
_LOG2_E = math.log2(math.e)


def by_strips(image: Tensor, radius: int) -> bool:
    """Whether an image (B, H, W, D) is mapped by these operators, and not by the trainable ones."""
    if exporting():  # asked first: what is exported must not depend on the size of its example
        return False
    return (
        radius > 0
        and not torch.is_grad_enabled()
        and image.device.type == "cpu"
        and image.shape[1] * image.shape[2] >= _LEAST
    )


def strips(rows: int, floats: int) -> Iterator[slice]:
    """Yield slices of rows, ``floats`` being those of a row of planes."""
    step = max(1, _FLOATS // max(1, floats))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def to_planes(pixels: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Linear map from pixels (r, w, C) to planes (D, r, w); weight (D, C), bias (D,)."""
    flat = pixels.reshape(-1, pixels.shape[2]).t()  # (C, r·w)
    read = weight @ flat if bias is None else torch.addmm(bias[:, None], weight, flat)
    return read.view(-1, *pixels.shape[:2])


def to_pixels(planes: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Linear map from planes (C, r, w) to pixels (r, w, D); weight (D, C), bias (D,)."""
    read = torch.addmm(bias, planes.flatten(1).t(), weight.t())
    return read.view(*planes.shape[1:], -1)


def attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, radius: int) -> Tensor:
    """Multi-head attention of every centre to its window, see ``trained.window_attention``.

    Args:
        query: (D, r, w), already scaled.
        key: (D, r + 2 radius, w + 2 radius).
        value: Like the key.
        bias: (heads, (2 radius + 1)²), relative position bias, row-major.
        radius: Radius of the window in pixels.

    Returns:
        (D, r, w).
    """
    heads, places = bias.shape
    rows, cols = query.shape[1:]
    product = torch.empty_like(query)
    by_head = product.view(heads, -1, rows * cols)
    # a product with a row of ones: torch's own sum is slower along this axis
    ones = query.new_ones(1, 1, 1).expand(heads, 1, by_head.shape[1])
    scores = query.new_empty(places, heads, 1, rows * cols)
    for place, shifted in enumerate(_shifts(key, radius, rows, cols)):
        torch.mul(query, shifted, out=product)
        torch.bmm(ones, by_head, out=scores[place])
    scores += bias.t()[:, :, None, None]
    # exp2 is vectorised by torch itself, see bdgf.fusion.scan_blocks
    scores.sub_(scores.amax(0)).mul_(_LOG2_E).exp2_()
    scores.div_(scores.sum(0))
    read = product.view(heads, -1, rows, cols).zero_()
    for place, shifted in enumerate(_shifts(value, radius, rows, cols)):
        weight = scores[place].view(heads, 1, rows, cols)
        read.addcmul_(_by_head(shifted, heads), weight)
    return product


def ssd_centre_readout(
    entry: Tensor, step: Tensor, match: Tensor, centre: Tensor, radius: int
) -> Tensor:
    """State-space scan read at the centre, see ``trained.ssd_centre_readout``.

    The tokens are visited from the last to the first, so that the sum of the step sizes after a
    token is known when its turn comes.

    Args:
        entry: (D, r + 2 radius, w + 2 radius), dt·x.
        step: (heads, r + 2 radius, w + 2 radius), dt·A.
        match: (N, r + 2 radius, w + 2 radius), B.
        centre: (N, r, w), C.
        radius: Radius of the window in pixels.

    Returns:
        (D, r, w).
    """
    heads, states = len(step), len(match)
    rows, cols = centre.shape[1:]
    by_head = _by_head(entry, heads)
    after = entry.new_zeros(heads, rows, cols)
    read = entry.new_zeros(heads, by_head.shape[1], rows, cols)
    product = torch.empty_like(centre)
    ones = entry.new_ones(1, states)
    side = 2 * radius + 1
    for place in reversed(spiral_places(side)):
        row, col = divmod(place, side)
        here = (..., slice(row, row + rows), slice(col, col + cols))
        torch.mul(centre, match[here], out=product)
        matched = (ones @ product.view(states, -1)).view(1, rows, cols)
        weight = torch.exp2(after * _LOG2_E).mul_(matched)  # (heads, r, w)
        read.addcmul_(by_head[here], weight.unsqueeze(1))
        after += step[here]
    return read.flatten(0, 1)


def _by_head(planes: Tensor, heads: int) -> Tensor:
    """(D, r, w) to (heads, D / heads, r, w), without a copy."""
    return planes.view(heads, -1, *planes.shape[1:])


def _shifts(planes: Tensor, radius: int, rows: int, cols: int) -> Iterator[Tensor]:
    """Yield the planes (D, r, w) of every place of the window, row-major."""
    side = 2 * radius + 1
    for row in range(side):
        for col in range(side):
            yield planes[:, row : row + rows, col : col + cols]
