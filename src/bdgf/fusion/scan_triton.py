"""The S6 scan on CUDA, as Triton kernels of our own: forward and backward.

For what is learned, and for GPUs on which ``mamba_ssm`` is not installed: that package adds
gradients up in any order and is compiled against one build of PyTorch, while Triton comes with
every build for CUDA. One program goes through the tokens of one sample with the states of some
channels in registers. The forward keeps the state in front of each block of tokens; the backward
goes through the blocks from the last to the first, writes the states of a block into scratch memory
and walks back over them. Sums over samples and channels are left to PyTorch, which adds in a fixed
order: the same inputs give the same bits.

Importing this module fails where Triton is not installed; :mod:`bdgf.fusion.scan` asks for it.
Letters: B batch, L tokens, T tokens of a block, D channels, N state size.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

_CHANNELS = 32
"""Channels of a program."""
_WARPS = 1
"""Groups of 32 threads of a program: sums over channels and states stay within one group, so that
no token waits for another group. Chosen by reasoning, not measured."""


@triton.jit
def _forward(
    x_ptr: tl.tensor,
    dt_ptr: tl.tensor,
    a_ptr: tl.tensor,
    b_ptr: tl.tensor,
    c_ptr: tl.tensor,
    d_ptr: tl.tensor,
    y_ptr: tl.tensor,
    starts_ptr: tl.tensor,
    length: int,
    width: int,
    states: int,
    tokens: int,
    blocks: int,
    KEEP: tl.constexpr,
    WIDTH: tl.constexpr,
    STATES: tl.constexpr,
) -> None:
    """Scan the tokens of one sample: WIDTH channels, all states, padded to STATES."""
    sample = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)  # (WIDTH,)
    state = tl.arange(0, STATES)  # (STATES,)
    of_channel, of_state = channel < width, state < states
    inside = of_channel[:, None] & of_state[None, :]
    place = channel[:, None] * states + state[None, :]  # (WIDTH, STATES) in (D, N)
    a = tl.load(a_ptr + place, mask=inside, other=0.0)
    skip = tl.load(d_ptr + channel, mask=of_channel, other=0.0)
    h = tl.zeros_like(a)
    for t in range(length):
        if KEEP and t % tokens == 0:
            at = (sample * blocks + t // tokens) * width * states
            tl.store(starts_ptr + at + place, h, mask=inside)
        row = sample * length + t
        x = tl.load(x_ptr + row * width + channel, mask=of_channel, other=0.0)
        dt = tl.load(dt_ptr + row * width + channel, mask=of_channel, other=0.0)
        b = tl.load(b_ptr + row * states + state, mask=of_state, other=0.0)
        c = tl.load(c_ptr + row * states + state, mask=of_state, other=0.0)
        h = tl.exp(dt[:, None] * a) * h + (dt * x)[:, None] * b[None, :]
        y = tl.sum(h * c[None, :], 1) + skip * x
        tl.store(y_ptr + row * width + channel, y, mask=of_channel)


@triton.jit
def _backward(
    x_ptr: tl.tensor,
    dt_ptr: tl.tensor,
    a_ptr: tl.tensor,
    b_ptr: tl.tensor,
    c_ptr: tl.tensor,
    d_ptr: tl.tensor,
    gy_ptr: tl.tensor,
    starts_ptr: tl.tensor,
    scratch_ptr: tl.tensor,
    gx_ptr: tl.tensor,
    gdt_ptr: tl.tensor,
    ga_ptr: tl.tensor,
    gb_ptr: tl.tensor,
    gc_ptr: tl.tensor,
    gd_ptr: tl.tensor,
    length: int,
    width: int,
    states: int,
    tokens: int,
    blocks: int,
    WIDTH: tl.constexpr,
    STATES: tl.constexpr,
) -> None:
    """Gradients of one sample and WIDTH channels; sums over samples and channels are partial."""
    sample = tl.program_id(0).to(tl.int64)
    group = tl.program_id(1)
    samples = tl.num_programs(0)
    channel = group * WIDTH + tl.arange(0, WIDTH)  # (WIDTH,)
    state = tl.arange(0, STATES)  # (STATES,)
    of_channel, of_state = channel < width, state < states
    inside = of_channel[:, None] & of_state[None, :]
    place = channel[:, None] * states + state[None, :]  # (WIDTH, STATES) in (D, N)
    plane = width * states
    a = tl.load(a_ptr + place, mask=inside, other=0.0)
    skip = tl.load(d_ptr + channel, mask=of_channel, other=0.0)
    ga = tl.zeros_like(a)
    gd = tl.zeros_like(skip)
    later = tl.zeros_like(a)  # decay · gh of the token after
    scratch = scratch_ptr + sample * (tokens + 1) * plane
    for back in range(blocks):
        block = blocks - 1 - back
        first = block * tokens
        size = tl.minimum(tokens, length - first)
        # 1. the states of the block again, the one in front of it first
        h = tl.load(starts_ptr + (sample * blocks + block) * plane + place, mask=inside, other=0.0)
        tl.store(scratch + place, h, mask=inside)
        for i in range(size):
            row = sample * length + first + i
            x = tl.load(x_ptr + row * width + channel, mask=of_channel, other=0.0)
            dt = tl.load(dt_ptr + row * width + channel, mask=of_channel, other=0.0)
            b = tl.load(b_ptr + row * states + state, mask=of_state, other=0.0)
            h = tl.exp(dt[:, None] * a) * h + (dt * x)[:, None] * b[None, :]
            tl.store(scratch + (i + 1) * plane + place, h, mask=inside)
        tl.debug_barrier()  # what is read below was written above
        # 2. back over its tokens
        for j in range(size):
            i = size - 1 - j
            row = sample * length + first + i
            x = tl.load(x_ptr + row * width + channel, mask=of_channel, other=0.0)
            dt = tl.load(dt_ptr + row * width + channel, mask=of_channel, other=0.0)
            gy = tl.load(gy_ptr + row * width + channel, mask=of_channel, other=0.0)
            b = tl.load(b_ptr + row * states + state, mask=of_state, other=0.0)
            c = tl.load(c_ptr + row * states + state, mask=of_state, other=0.0)
            before = tl.load(scratch + i * plane + place, mask=inside, other=0.0)
            after = tl.load(scratch + (i + 1) * plane + place, mask=inside, other=0.0)
            part = ((group * samples + sample) * length + first + i) * states + state
            tl.store(gc_ptr + part, tl.sum(gy[:, None] * after, 0), mask=of_state)
            gh = later + gy[:, None] * c[None, :]
            tl.store(gb_ptr + part, tl.sum((dt * x)[:, None] * gh, 0), mask=of_state)
            g_entry = tl.sum(gh * b[None, :], 1)
            later = tl.exp(dt[:, None] * a) * gh
            exponent = later * before
            ga += exponent * dt[:, None]
            gd += gy * x
            g_step = tl.sum(exponent * a, 1) + g_entry * x
            tl.store(gdt_ptr + row * width + channel, g_step, mask=of_channel)
            gx = g_entry * dt + gy * skip
            tl.store(gx_ptr + row * width + channel, gx, mask=of_channel)
        tl.debug_barrier()  # the next block writes where this one reads
    tl.store(ga_ptr + sample * plane + place, ga, mask=inside)
    tl.store(gd_ptr + sample * width + channel, gd, mask=of_channel)


def triton_scan(x: Tensor, dt: Tensor, A: Tensor, B_: Tensor, C_: Tensor, D_: Tensor) -> Tensor:
    """S6 scan of tensors of one dtype; arguments as in :func:`bdgf.fusion.scan.selective_scan`."""
    inputs = (x, dt, A, B_, C_, D_)
    differentiated = torch.is_grad_enabled() and any(t.requires_grad for t in inputs)
    y: Tensor = _TritonScan.apply(*inputs, differentiated)  # type: ignore[no-untyped-call]
    return y


def _grid(x: Tensor, A: Tensor) -> tuple[tuple[int, int], int, int, dict[str, int]]:
    """Return the grid, the tokens of a block, the blocks, and the sizes of a program."""
    (batch, length, width), states = x.shape, A.shape[1]
    tokens = max(1, math.isqrt(length))  # as many states kept as are written again
    channels = min(_CHANNELS, triton.next_power_of_2(width))
    sizes = {"WIDTH": channels, "STATES": triton.next_power_of_2(states), "num_warps": _WARPS}
    return (batch, -(-width // channels)), tokens, -(-length // tokens), sizes


class _TritonScan(torch.autograd.Function):
    """S6 scan by the two kernels."""

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
        x, dt, A, B_, C_, D_ = (t.contiguous() for t in (x, dt, A, B_, C_, D_))
        (batch, length, width), states = x.shape, A.shape[1]
        grid, tokens, blocks, sizes = _grid(x, A)
        y = torch.empty_like(x)
        kept = (batch, blocks, width, states) if differentiated else (0,)
        starts = x.new_empty(kept)
        if x.numel():
            _forward[grid](
                x,
                dt,
                A,
                B_,
                C_,
                D_,
                y,
                starts,
                length,
                width,
                states,
                tokens,
                blocks,
                KEEP=differentiated,
                **sizes,
            )
        ctx.save_for_backward(x, dt, A, B_, C_, D_, starts)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gy: Tensor) -> tuple[Tensor | None, ...]:
        x, dt, A, B_, C_, D_, starts = ctx.saved_tensors  # type: ignore[attr-defined]
        (batch, length, width), states = x.shape, A.shape[1]
        grid, tokens, blocks, sizes = _grid(x, A)
        gx, gdt = torch.empty_like(x), torch.empty_like(dt)  # (B, L, D)
        gA, gD = x.new_empty(batch, *A.shape), x.new_empty(batch, width)
        gB, gC = (x.new_empty(grid[1], batch, length, states) for _ in range(2))
        if x.numel():
            _backward[grid](
                x,
                dt,
                A,
                B_,
                C_,
                D_,
                gy.contiguous(),
                starts,
                x.new_empty(batch, tokens + 1, width, states),
                gx,
                gdt,
                gA,
                gB,
                gC,
                gD,
                length,
                width,
                states,
                tokens,
                blocks,
                **sizes,
            )
        return gx, gdt, gA.sum(0), gB.sum(0), gC.sum(0), gD.sum(0), None
