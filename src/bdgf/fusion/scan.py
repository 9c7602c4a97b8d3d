"""Selective state-space scans: the S6 recurrence with its own backward, and the SSD reference.

The S6 scan is the one of Gu and Dao, "Mamba: Linear-time sequence modeling with selective state
spaces", arXiv 2312.00752, algorithm 2; SSD is its restriction to a scalar decay per head, Dao and
Gu, "Transformers are SSMs", arXiv 2405.21060. Letters: B batch, L tokens, D channels, N state size.
"""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

_LOG2_E = math.log2(math.e)
_BUFFER = 2_000_000
"""Floats of one time-major buffer: larger ones leave the cache, smaller ones cost more calls."""


@functools.lru_cache(maxsize=32)
def spiral_places(side: int) -> tuple[int, ...]:
    """Return the order of ``spiral_order`` as numbers."""
    top, left, bottom, right = 0, 0, side - 1, side - 1
    order: list[int] = []
    while top < bottom:
        order += [top * side + col for col in range(left, right)]
        order += [row * side + right for row in range(top, bottom)]
        order += [bottom * side + col for col in range(right, left, -1)]
        order += [row * side + left for row in range(bottom, top, -1)]
        top, left, bottom, right = top + 1, left + 1, bottom - 1, right - 1
    return (*order, top * side + left)


def spiral_order(side: int) -> Tensor:
    """Order of the pixels of a square window, clockwise from its corner to its centre.

    Args:
        side: Side of the window, odd.

    Returns:
        (side²,) int64, row-major positions in the order in which they are visited.

    Raises:
        ValueError: The side is even or not positive, so there is no centre to end at.
    """
    if side < 1 or side % 2 == 0:
        raise ValueError(
            f"The side of the window is {side}; a spiral ends at the centre pixel, so the side"
            f" must be odd and positive: use {max(1, side + 1)}."
        )
    return torch.tensor(spiral_places(side), dtype=torch.int64)


def selective_scan_reference(
    x: Tensor, dt: Tensor, A: Tensor, B_: Tensor, C_: Tensor, D_: Tensor
) -> Tensor:
    """S6 scan as a plain loop over the tokens, differentiated by autograd.

    ``h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t``, ``y_t = C_t h_t + D x_t`` (arXiv 2312.00752, eq. 2
    with the discretisation of section 3.6).

    Args:
        x: (B, L, D) input.
        dt: (B, L, D) step sizes, positive.
        A: (D, N) decay rates, negative.
        B_: (B, L, N) input projection of every token.
        C_: (B, L, N) output projection of every token.
        D_: (D,) skip.

    Returns:
        (B, L, D).
    """
    h = x.new_zeros(x.shape[0], x.shape[2], A.shape[1])  # (B, D, N)
    outputs = []
    for x_t, dt_t, b_t, c_t in zip(
        x.unbind(1), dt.unbind(1), B_.unbind(1), C_.unbind(1), strict=True
    ):  # (B, D), (B, D), (B, N), (B, N)
        decay = torch.exp(dt_t.unsqueeze(2) * A)  # (B, D, N)
        h = decay * h + (dt_t * x_t).unsqueeze(2) * b_t.unsqueeze(1)  # (B, D, N)
        outputs.append((h * c_t.unsqueeze(1)).sum(2) + D_ * x_t)  # (B, D)
    return torch.stack(outputs, 1)  # (B, L, D)


def selective_scan(x: Tensor, dt: Tensor, A: Tensor, B_: Tensor, C_: Tensor, D_: Tensor) -> Tensor:
    """S6 scan, the fast path; the same values and gradients as :func:`selective_scan_reference`.

    Runs the kernel of ``mamba_ssm`` on CUDA tensors where that package is installed, else a
    time-major loop in plain PyTorch that keeps no state for the backward but computes it again.

    Args:
        x: (B, L, D) input.
        dt: (B, L, D) step sizes, positive.
        A: (D, N) decay rates, negative. The scan runs in its dtype.
        B_: (B, L, N) input projection of every token.
        C_: (B, L, N) output projection of every token.
        D_: (D,) skip.

    Returns:
        (B, L, D) in the dtype of ``x``.
    """
    kernel = _cuda_kernel() if x.is_cuda and A.dtype == torch.float32 else None
    arguments = (x.to(A.dtype), dt.to(A.dtype), A, B_.to(A.dtype), C_.to(A.dtype), D_.to(A.dtype))
    if kernel is not None:
        return _scan_by_kernel(kernel, *arguments).to(x.dtype)
    return cast(Tensor, _SelectiveScan.apply(*arguments)).to(x.dtype)  # type: ignore[no-untyped-call]


@functools.cache
def _cuda_kernel() -> Callable[..., Tensor] | None:
    """Return the fused scan of ``mamba_ssm``, or None where it is not installed."""
    try:
        module = importlib.import_module("mamba_ssm.ops.selective_scan_interface")
    except ImportError:
        return None
    return cast("Callable[..., Tensor]", module.selective_scan_fn)


def _scan_by_kernel(
    kernel: Callable[..., Tensor],
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B_: Tensor,
    C_: Tensor,
    D_: Tensor,
) -> Tensor:
    """Call a kernel with the interface of ``mamba_ssm``, which puts channels before tokens."""
    channels_first = (t.transpose(1, 2).contiguous() for t in (x, dt, B_, C_))  # (B, ·, L)
    x_, dt_, b_, c_ = channels_first
    return kernel(x_, dt_, A, b_, c_, D_).transpose(1, 2)  # (B, L, D)


def _chunks(batch: int, per_sample: int) -> list[slice]:
    """Cut the batch evenly so that a buffer of ``per_sample`` floats each stays in the cache."""
    most = max(1, _BUFFER // max(1, per_sample))
    count = -(-batch // max(1, -(-batch // most)))
    return [slice(start, min(start + count, batch)) for start in range(0, batch, max(1, count))]


def _time_major(part: slice, *tensors: Tensor) -> tuple[Tensor, ...]:
    """(B, L, ·) to (L, b, ·), contiguous, of one chunk of the batch."""
    return tuple(t[part].transpose(0, 1).contiguous() for t in tensors)


def _buffers(like: Tensor, parts: list[slice], per_sample: int, count: int) -> list[Tensor]:
    """Room for the largest chunk, taken once: fresh pages cost more than the arithmetic."""
    largest = max((part.stop - part.start for part in parts), default=0)
    return [like.new_empty(largest * per_sample) for _ in range(count)]


def _view(buffer: Tensor, length: int, batch: int, states: int, width: int) -> Tensor:
    """The front of a buffer as (L, b, N, D)."""
    return buffer[: length * batch * states * width].view(length, batch, states, width)


def _states(x: Tensor, dt: Tensor, At2: Tensor, B_: Tensor, decay: Tensor, h: Tensor) -> None:
    """Write the decays and the states of all tokens of a chunk.

    Args:
        x: (L, b, D).
        dt: (L, b, D).
        At2: (N, D), A transposed, times log2 e.
        B_: (L, b, N).
        decay: (L, b, N, D), is filled.
        h: (L, b, N, D), is filled.
    """
    torch.mul(dt.unsqueeze(2), At2, out=decay)  # (L, b, N, D)
    # exp2 is vectorised by torch itself; exp goes through a library that is four times slower on
    # some processors
    torch.exp2(decay, out=decay)  # (L, b, N, D)
    torch.mul((dt * x).unsqueeze(2), B_.unsqueeze(3), out=h)  # (L, b, N, D)
    steps, decays = h.unbind(0), decay.unbind(0)  # L × (b, N, D)
    for t in range(1, len(steps)):
        steps[t].addcmul_(decays[t], steps[t - 1])  # (b, N, D), in place


class _SelectiveScan(torch.autograd.Function):
    """S6 scan in time-major buffers of one chunk of the batch, computed again in the backward."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        x: Tensor,
        dt: Tensor,
        A: Tensor,
        B_: Tensor,
        C_: Tensor,
        D_: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(x, dt, A, B_, C_, D_)
        length, (width, states) = x.shape[1], A.shape
        At2 = A.t().mul(_LOG2_E).contiguous()  # (N, D)
        y = torch.empty_like(x, memory_format=torch.contiguous_format)  # (B, L, D)
        parts = _chunks(x.shape[0], length * A.numel())
        room = _buffers(x, parts, length * A.numel(), 2)
        for part in parts:
            x_, dt_, b_, c_ = _time_major(part, x, dt, B_, C_)  # (L, b, ·)
            decay, h = (_view(r, length, x_.shape[1], states, width) for r in room)
            _states(x_, dt_, At2, b_, decay, h)  # (L, b, N, D)
            read = torch.matmul(c_.unsqueeze(2), h).squeeze(2)  # (L, b, D)
            y[part] = read.addcmul_(x_, D_).transpose(0, 1)  # (b, L, D)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gy: Tensor) -> tuple[Tensor, ...]:
        x, dt, A, B_, C_, D_ = ctx.saved_tensors  # type: ignore[attr-defined]
        length, (width, states) = x.shape[1], A.shape
        At = A.t().contiguous()  # (N, D)
        gx, gdt = torch.empty_like(x), torch.empty_like(dt)  # (B, L, D)
        gB, gC = torch.empty_like(B_), torch.empty_like(C_)  # (B, L, N)
        gA, gD = torch.zeros_like(At), torch.zeros_like(D_)  # (N, D), (D,)
        parts = _chunks(x.shape[0], length * A.numel())
        room = _buffers(x, parts, length * A.numel(), 3)
        for part in parts:
            x_, dt_, b_, c_, gy_ = _time_major(part, x, dt, B_, C_, gy)  # (L, b, ·)
            batch = x_.shape[1]
            decay, h, gh = (_view(r, length, batch, states, width) for r in room)
            _states(x_, dt_, At * _LOG2_E, b_, decay, h)  # (L, b, N, D)
            by_token = torch.matmul(gy_.unsqueeze(2), h.transpose(2, 3)).squeeze(2)  # (L, b, N)
            gC[part] = by_token.transpose(0, 1)  # (b, L, N)
            # 1. adjoint of the states: gh_t = C_t gy_t + decay_{t+1} gh_{t+1}
            torch.mul(c_.unsqueeze(3), gy_.unsqueeze(2), out=gh)  # (L, b, N, D)
            steps, decays = gh.unbind(0), decay.unbind(0)  # L × (b, N, D)
            for t in range(length - 2, -1, -1):
                steps[t].addcmul_(decays[t + 1], steps[t + 1])  # (b, N, D), in place
            # 2. the entry dt·x of every token
            g_entry = torch.matmul(b_.unsqueeze(2), gh).squeeze(2)  # (L, b, D)
            entry = (dt_ * x_).unsqueeze(2)  # (L, b, 1, D)
            gB[part] = torch.matmul(entry, gh.transpose(2, 3)).squeeze(2).transpose(0, 1)
            # 3. the exponents dt·A: gh_t h_{t-1} decay_t, nothing at the first token
            exponent = gh[1:].mul_(h[:-1]).mul_(decay[1:])  # (L-1, b, N, D)
            g_step = g_entry * x_  # (L, b, D)
            g_step[1:] += torch.mul(exponent, At, out=h[1:]).sum(2)  # (L-1, b, D)
            # a product and a row of ones: einsum would take half of the backward
            rows = exponent.mul_(dt_[1:].unsqueeze(2)).view((length - 1) * batch, A.numel())
            gA += (rows.new_ones(1, rows.shape[0]) @ rows).view(-1, width)  # (N, D)
            gx[part] = g_entry.mul_(dt_).addcmul_(gy_, D_).transpose(0, 1)  # (b, L, D)
            gdt[part] = g_step.transpose(0, 1)  # (b, L, D)
            gD += (gy_ * x_).sum((0, 1))  # (D,)
        return gx, gdt, gA.t(), gB, gC, gD


def ssd_reference(x: Tensor, dt: Tensor, A: Tensor, B_: Tensor, C_: Tensor, D_: Tensor) -> Tensor:
    """SSD scan (one scalar decay per head) as a plain loop over the tokens.

    The reference of :func:`bdgf.fusion.windows.ssd_centre_readout`, which gives the last token.

    Args:
        x: (B, L, heads, D / heads) input.
        dt: (B, L, heads) step sizes, positive.
        A: (heads,) decay rates, negative.
        B_: (B, L, N) input projection, common to the heads.
        C_: (B, L, N) output projection, common to the heads.
        D_: (heads, D / heads) skip.

    Returns:
        (B, L, heads, D / heads).
    """
    batch, length, heads, width = x.shape
    h = x.new_zeros(batch, heads, width, B_.shape[2])  # (B, heads, D/heads, N)
    outputs = []
    for t in range(length):
        decay = torch.exp(dt[:, t] * A)[:, :, None, None]  # (B, heads, 1, 1)
        entry = (dt[:, t].unsqueeze(2) * x[:, t]).unsqueeze(3)  # (B, heads, D/heads, 1)
        h = decay * h + entry * B_[:, t, None, None]  # (B, heads, D/heads, N)
        outputs.append((h * C_[:, t, None, None]).sum(3) + D_ * x[:, t])  # (B, heads, D/heads)
    return torch.stack(outputs, 1)  # (B, L, heads, D/heads)
