"""Sliding-window operators that are read at the window's centre: attention and the SSD scan.

Both are written as a matrix product over all tokens of an image, with what lies outside a centre's
window masked: few large operations instead of one small one per shift. An image that is larger than
a training patch is cut into small tiles that overlap by the radius, a few rows of tiles at a time,
so that memory stays a small multiple of the image whatever its size; the values are the same.
Tensors are (B, H, W, channels).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from bdgf.fusion.scan import spiral_order, split_last
from bdgf.fusion.sliding import exported

_WHOLE = 350_000
"""Centres × tokens × tokens up to which an image is one tile: a patch of 11 × 11 is."""
_TILE = 4
"""Side of a tile in centres; small ones waste less on masked pairs, large ones less on overlap."""
_SCORES = 300_000
"""Floats of weights of the tiles that are computed together on a CPU, whose cache holds them."""
_SCORES_ELSEWHERE = 1 << 26
"""The same on other devices, which wait for every round."""

Core = Callable[[Sequence[Tensor], Sequence[Tensor], int, int], Tensor]
"""Operator on flat tiles: centres (n, Q, ·), tokens (n, S, ·), height and width in tokens."""


def crop(x: Tensor, radius: int) -> Tensor:
    """Cut ``radius`` pixels from each side of (B, H, W, D)."""
    if radius == 0:
        return x
    return x[:, radius:-radius, radius:-radius]


def window_attention(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor, radius: int
) -> Tensor:
    """Multi-head attention of every centre to the tokens of its window.

    Args:
        query: (B, H - 2 radius, W - 2 radius, D), already scaled.
        key: (B, H, W, D).
        value: (B, H, W, D).
        bias: (heads, (2 radius + 1)²), relative position bias, row-major.
        radius: Radius of the window in pixels.

    Returns:
        (B, H - 2 radius, W - 2 radius, D).
    """
    if exported.exporting():
        return exported.window_attention(query, key, value, bias, radius)
    heads = bias.shape[0]
    # one more column for the tokens outside the window, that no centre may see
    table = torch.cat([bias, bias.new_full((heads, 1), float("-inf"))], 1)  # (heads, k² + 1)

    def core(centres: Sequence[Tensor], tokens: Sequence[Tensor], h: int, w: int) -> Tensor:
        offsets = _offsets(h, w, radius, bias.device)  # (Q, S)
        mask = table[:, offsets.flatten()].view(heads, *offsets.shape)  # (heads, Q, S)
        q, k, v = (_split(t, heads) for t in (centres[0], *tokens))  # (n, heads, ·, D/heads)
        scores = torch.matmul(q, k.transpose(2, 3)).add_(mask)  # (n, heads, Q, S)
        read = torch.matmul(torch.softmax(scores, 3), v)  # (n, heads, Q, D/heads)
        return read.transpose(1, 2).flatten(2)  # (n, Q, D)

    return _slide(core, [query], [key, value], radius, heads)


def ssd_centre_readout(
    x: Tensor, dt: Tensor, A: Tensor | None, B_: Tensor, C_: Tensor, radius: int
) -> Tensor:
    """State-space scan over every pixel's window, spiral outside-in, read at the centre.

    One scalar decay per head (SSD), so that the last token of the recurrence is a weighted sum,
    ``y = Σ_s [C · B_s] exp(A S_s) dt_s x_s`` with ``S_s`` the sum of the step sizes after ``s``;
    the skip ``D x`` is left to the caller. Computed in float32 at least.

    Args:
        x: (B, H, W, D) input.
        dt: (B, H, W, heads) step sizes, positive.
        A: (heads,) decay rates, negative; None for a window of one token, where nothing decays.
        B_: (B, H, W, N) input projection, common to the heads.
        C_: (B, H - 2 radius, W - 2 radius, N) output projection of the centres.
        radius: Radius of the window in pixels.

    Returns:
        (B, H - 2 radius, W - 2 radius, D).
    """
    if exported.exporting():
        return exported.ssd_centre_readout(x, dt, A, B_, C_, radius)
    heads = dt.shape[3]
    with torch.autocast(x.device.type, enabled=False):
        x, dt, B_, C_ = (t.float() if t.dtype.itemsize < 4 else t for t in (x, dt, B_, C_))
        entry = (split_last(x, heads) * dt.unsqueeze(4)).flatten(3)  # (B, H, W, D)
        if A is None:
            return crop(entry, radius) * (crop(B_, radius) * C_).sum(3, keepdim=True)

        def core(centres: Sequence[Tensor], tokens: Sequence[Tensor], h: int, w: int) -> Tensor:
            later, inside = _spiral_masks(h, w, radius, x.device, x.dtype)
            values, exponents, b = tokens  # (n, S, D), (n, S, heads), (n, S, N)
            match = torch.matmul(centres[0], b.transpose(1, 2)) * inside  # (n, Q, S)
            # the product with a matrix: as a batch of matrices it would be copied for each sample
            flat = exponents.transpose(1, 2).reshape(-1, h * w)  # (n·heads, S)
            after = (flat @ later).view(-1, heads, *inside.shape)  # (n, heads, Q, S)
            weight = after.exp_() * match.unsqueeze(1)  # (n, heads, Q, S)
            read = torch.matmul(weight, _split(values, heads))  # (n, heads, Q, D/heads)
            return read.transpose(1, 2).flatten(2)  # (n, Q, D)

        return _slide(core, [C_], [entry, dt * A, B_], radius, heads)


def _split(x: Tensor, heads: int) -> Tensor:
    """(n, S, D) to (n, heads, S, D / heads)."""
    return split_last(x, heads).transpose(1, 2)


def _slide(
    core: Core, centres: Sequence[Tensor], tokens: Sequence[Tensor], radius: int, heads: int
) -> Tensor:
    """Run an operator on the whole image where it is small, else tile by tile."""
    batch, height, width = tokens[0].shape[:3]
    rows, cols = height - 2 * radius, width - 2 * radius
    if rows * cols * (height * width) ** 2 <= _WHOLE:
        flat = [[t.flatten(1, 2) for t in tensors] for tensors in (centres, tokens)]
        read = core(flat[0], flat[1], height, width)
        return read.view(batch, rows, cols, read.shape[2])
    side = _TILE + 2 * radius
    across = -(-cols // _TILE)
    most = _SCORES if tokens[0].device.type == "cpu" else _SCORES_ELSEWHERE
    strip = max(1, most // (batch * across * heads * _TILE**2 * side**2)) * _TILE
    strips = []
    for top in range(0, rows, strip):
        count = min(strip, rows - top)
        down = -(-count // _TILE)
        reach = slice(top, top + count + 2 * radius)
        read = core(
            [_tiles(t[:, top : top + count], _TILE, _TILE, down, across) for t in centres],
            [_tiles(t[:, reach], side, _TILE, down, across) for t in tokens],
            side,
            side,
        )  # (B·down·across, tile², D)
        read = read.view(batch, down, across, _TILE, _TILE, -1).transpose(2, 3)
        read = read.reshape(batch, down * _TILE, across * _TILE, -1)
        strips.append(read[:, :count, :cols])
    return torch.cat(strips, 1)  # (B, rows, cols, D)


def _tiles(x: Tensor, side: int, step: int, down: int, across: int) -> Tensor:
    """Cut (B, H, W, C) into (B·down·across, side², C), padded with zeros beyond its end."""
    missing_rows = (down - 1) * step + side - x.shape[1]
    missing_cols = (across - 1) * step + side - x.shape[2]
    x = F.pad(x, (0, 0, 0, missing_cols, 0, missing_rows))
    tiles = x.unfold(1, side, step).unfold(2, side, step)  # (B, down, across, C, side, side)
    return tiles.permute(0, 1, 2, 4, 5, 3).reshape(-1, side * side, x.shape[3])


@functools.lru_cache(maxsize=64)
def _offsets(height: int, width: int, radius: int, device: torch.device) -> Tensor:
    """(Q, S) place of every token in every centre's window, (2 radius + 1)² where it is outside."""
    side = 2 * radius + 1
    # a tensor of inference mode could not take part in training later, and this one is kept
    with torch.inference_mode(False):
        rows = torch.arange(height)[None, :] - torch.arange(height - 2 * radius)[:, None]
        cols = torch.arange(width)[None, :] - torch.arange(width - 2 * radius)[:, None]
        row, col = rows[:, None, :, None], cols[None, :, None, :]
        inside = (row >= 0) & (row < side) & (col >= 0) & (col < side)
        place = torch.where(inside, row * side + col, side * side)
        return place.flatten(2).flatten(0, 1).to(device)


@functools.lru_cache(maxsize=64)
def _spiral_masks(
    height: int, width: int, radius: int, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Which tokens come after which in a centre's window.

    Returns:
        (S', Q·S), 1 where token s' comes after token s in the window of q; and (Q, S), 1 where
        token s lies in the window of q.
    """
    with torch.inference_mode(False):
        offsets = _offsets(height, width, radius, torch.device("cpu"))  # (Q, S)
        count = (2 * radius + 1) ** 2
        rank = torch.empty(count + 1, dtype=torch.int64)
        rank[spiral_order(2 * radius + 1)] = torch.arange(count)
        rank[count] = -1
        order = rank[offsets]  # (Q, S), -1 outside
        inside = order >= 0
        later = (order[:, None, :] > order[:, :, None]) & inside[:, :, None]  # (Q, S, S')
        return (
            later.flatten(0, 1).t().contiguous().to(device, dtype),
            inside.to(device, dtype),
        )
