"""The S6 scan in plain PyTorch, in blocks of time that stay in the cache, with its own backward.

The states of some tokens and samples at a time are written into one buffer, token by token in
place: autograd would keep every one of them. The forward keeps the state in front of each block
and nothing else; the backward goes through the blocks from the last to the first and computes
their states again. Buffers are time-major, so that a token's states are one piece of memory.
Letters: B batch, b samples of a part, L tokens, T tokens of a block, D channels, N state size.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

_LOG2_E = math.log2(math.e)
_STEP = 1 << 16
"""Floats of one token's states: fewer cost more calls, more leave the innermost caches."""
_BUFFER = 1 << 20
"""Floats of the states of a block: with more the buffers leave the cache that cores share."""


def block_sizes(batch: int, length: int, per_token: int) -> tuple[int, int]:
    """Return the samples of a part and the tokens of a block, both cut evenly.

    Args:
        batch: B.
        length: L.
        per_token: D · N, floats of one token's states of one sample.
    """
    samples = _even(batch, _STEP // max(1, per_token))
    return samples, _even(length, _BUFFER // max(1, samples * per_token))


def _even(total: int, most: int) -> int:
    """Return the size of the pieces when a total is cut into as few even ones as are allowed."""
    pieces = -(-total // max(1, most))
    return -(-total // max(1, pieces))


def blocked_scan(x: Tensor, dt: Tensor, A: Tensor, B_: Tensor, C_: Tensor, D_: Tensor) -> Tensor:
    """S6 scan of tensors of one dtype; arguments as in :func:`bdgf.fusion.scan.selective_scan`."""
    inputs = (x, dt, A, B_, C_, D_)
    differentiated = torch.is_grad_enabled() and any(t.requires_grad for t in inputs)
    y: Tensor = _BlockedScan.apply(*inputs, differentiated)  # type: ignore[no-untyped-call]
    return y


def _time_major(part: slice, *tensors: Tensor) -> tuple[Tensor, ...]:
    """(B, L, ·) to (L, b, ·), contiguous, of some samples."""
    return tuple(t[part].transpose(0, 1).contiguous() for t in tensors)


def _pieces(total: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, total)) for start in range(0, total, max(1, size))]


def _states(dt: Tensor, entry: Tensor, At2: Tensor, B_: Tensor, decay: Tensor, h: Tensor) -> None:
    """Write the decays and the states of a block.

    Args:
        dt: (T, b, D).
        entry: (T, b, D), dt·x.
        At2: (N, D), A transposed, times log2 e.
        B_: (T, b, N).
        decay: (T, b, N, D), is filled.
        h: (T + 1, b, N, D); the first is the state in front of the block, the rest is filled.
    """
    torch.mul(dt.unsqueeze(2), At2, out=decay)  # (T, b, N, D)
    # exp2 is vectorised by torch itself; exp goes through a library that is four times slower on
    # some processors
    torch.exp2(decay, out=decay)  # (T, b, N, D)
    torch.mul(entry.unsqueeze(2), B_.unsqueeze(3), out=h[1:])  # (T, b, N, D)
    steps = h.unbind(0)  # (T + 1) × (b, N, D)
    for t, decay_t in enumerate(decay.unbind(0)):
        steps[t + 1].addcmul_(decay_t, steps[t])  # (b, N, D), in place


class _BlockedScan(torch.autograd.Function):
    """S6 scan by blocks, their states computed again in the backward."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        x: Tensor,
        dt: Tensor,
        A: Tensor,
        B_: Tensor,
        C_: Tensor,
        D_: Tensor,
        differentiated: bool,
    ) -> Tensor:
        (batch, length, width), states = x.shape, A.shape[1]
        samples, tokens = block_sizes(batch, length, A.numel())
        blocks = _pieces(length, tokens)
        At2 = A.t().mul(_LOG2_E).contiguous()  # (N, D)
        y = torch.empty_like(x, memory_format=torch.contiguous_format)  # (B, L, D)
        starts = x.new_empty(len(blocks) if differentiated else 0, batch, states, width)
        # taken once: fresh pages cost more than the arithmetic
        decays = x.new_empty(tokens * samples, states, width)
        room = x.new_empty((tokens + 1) * samples, states, width)
        for part in _pieces(batch, samples):
            x_, dt_, b_, c_ = _time_major(part, x, dt, B_, C_)  # (L, b, ·)
            count = x_.shape[1]
            entry = dt_ * x_  # (L, b, D)
            read = torch.empty_like(x_)  # (L, b, D)
            h = room[: (tokens + 1) * count].view(-1, count, states, width)
            h[0] = 0.0
            for index, block in enumerate(blocks):
                size = block.stop - block.start
                rows = size * count
                if differentiated:
                    starts[index, part] = h[0]
                decay = decays[:rows].view(size, count, states, width)
                _states(dt_[block], entry[block], At2, b_[block], decay, h[: size + 1])
                torch.bmm(
                    c_[block].view(rows, 1, states),
                    h[1 : size + 1].view(rows, states, width),
                    out=read[block].view(rows, 1, width),
                )
                h[0].copy_(h[size])
            y[part] = read.addcmul_(x_, D_).transpose(0, 1)  # (b, L, D)
        ctx.save_for_backward(x, dt, A, B_, C_, D_, starts)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gy: Tensor) -> tuple[Tensor | None, ...]:
        x, dt, A, B_, C_, D_, starts = ctx.saved_tensors  # type: ignore[attr-defined]
        (batch, length, width), states = x.shape, A.shape[1]
        samples, tokens = block_sizes(batch, length, A.numel())
        blocks = _pieces(length, tokens)
        At = A.t().contiguous()  # (N, D)
        gx, gdt = torch.empty_like(x), torch.empty_like(dt)  # (B, L, D)
        gB, gC = torch.empty_like(B_), torch.empty_like(C_)  # (B, L, N)
        gA, gD = x.new_zeros(1, A.numel()), torch.zeros_like(D_)  # (1, N·D), (D,)
        ones = x.new_ones(1, tokens * samples)
        decays, adjoints = (x.new_empty(tokens * samples, states, width) for _ in range(2))
        room = x.new_empty((tokens + 1) * samples, states, width)
        for part in _pieces(batch, samples):
            x_, dt_, b_, c_, gy_ = _time_major(part, x, dt, B_, C_, gy)  # (L, b, ·)
            count = x_.shape[1]
            entry = dt_ * x_  # (L, b, D)
            g_entry, g_step = torch.empty_like(x_), torch.empty_like(x_)  # (L, b, D)
            g_b, g_c = torch.empty_like(b_), torch.empty_like(c_)  # (L, b, N)
            h = room[: (tokens + 1) * count].view(-1, count, states, width)
            later = x.new_zeros(count, states, width)  # decay · gh of the token after the block
            for index in range(len(blocks) - 1, -1, -1):
                block = blocks[index]
                size = block.stop - block.start
                rows = size * count
                decay = decays[:rows].view(size, count, states, width)
                gh = adjoints[:rows].view(size, count, states, width)
                # 1. the states again
                h[0].copy_(starts[index, part])
                _states(dt_[block], entry[block], At * _LOG2_E, b_[block], decay, h[: size + 1])
                torch.bmm(
                    gy_[block].view(rows, 1, width),
                    h[1 : size + 1].view(rows, states, width).transpose(1, 2),
                    out=g_c[block].view(rows, 1, states),
                )
                # 2. adjoint of the states: gh_t = C_t gy_t + decay_{t+1} gh_{t+1}
                torch.mul(c_[block].unsqueeze(3), gy_[block].unsqueeze(2), out=gh)
                steps, decay_of = gh.unbind(0), decay.unbind(0)  # T × (b, N, D)
                steps[-1].add_(later)
                for t in range(size - 2, -1, -1):
                    steps[t].addcmul_(decay_of[t + 1], steps[t + 1])  # (b, N, D), in place
                # 3. the entry dt·x of every token, and what it was multiplied by
                flat = gh.view(rows, states, width)
                torch.bmm(
                    b_[block].view(rows, 1, states), flat, out=g_entry[block].view(rows, 1, -1)
                )
                torch.bmm(
                    entry[block].view(rows, 1, width),
                    flat.transpose(1, 2),
                    out=g_b[block].view(rows, 1, states),
                )
                # 4. the exponents dt·A: decay_t gh_t h_{t-1}
                decay.mul_(gh)  # (T, b, N, D)
                later.copy_(decay[0])
                exponent = decay.mul_(h[:size])  # (T, b, N, D)
                torch.sum(torch.mul(exponent, At, out=gh), 2, out=g_step[block])
                # a product and a row of ones: einsum would take half of the backward
                by_row = exponent.mul_(dt_[block].unsqueeze(2)).view(rows, A.numel())
                gA.addmm_(ones[:, :rows], by_row)  # (1, N·D)
            gdt[part] = g_step.addcmul_(g_entry, x_).transpose(0, 1)  # (b, L, D)
            gx[part] = g_entry.mul_(dt_).addcmul_(gy_, D_).transpose(0, 1)  # (b, L, D)
            gB[part], gC[part] = g_b.transpose(0, 1), g_c.transpose(0, 1)  # (b, L, N)
            gD += (gy_ * x_).sum((0, 1))  # (D,)
        return gx, gdt, gA.view(states, width).t(), gB, gC, gD, None
