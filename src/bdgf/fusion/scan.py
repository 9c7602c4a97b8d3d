"""Selective state-space scans: the S6 recurrence by the fastest means there is, and references.

The S6 scan is the one of Gu and Dao, "Mamba: Linear-time sequence modeling with selective state
spaces", arXiv 2312.00752, algorithm 2; SSD is its restriction to a scalar decay per head, Dao and
Gu, "Transformers are SSMs", arXiv 2405.21060. Letters: B batch, L tokens, D channels, N state size.
"""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from bdgf.fusion.scan_blocks import blocked_scan

logger = logging.getLogger(__name__)

Scan = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
"""A scan of x, dt, A, B, C and D."""


def split_last(x: Tensor, parts: int) -> Tensor:
    """(..., D) to (..., parts, D / parts), without a copy."""
    return x.view(*x.shape[:-1], parts, x.shape[-1] // parts)


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

    On CUDA it runs our own Triton kernels, and where nothing is learned the kernel of ``mamba_ssm``
    if that package is installed; everywhere else blocks of a time-major loop in plain PyTorch. The
    states are computed again in the backward.

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
    arguments = (x.to(A.dtype), dt.to(A.dtype), A, B_.to(A.dtype), C_.to(A.dtype), D_.to(A.dtype))
    learning = torch.is_grad_enabled() and any(t.requires_grad for t in arguments)
    return _fastest(x.device.type, A.dtype, learning)(*arguments).to(x.dtype)


def _fastest(device: str, dtype: torch.dtype, learning: bool) -> Scan:
    """Return the fastest scan of a kind of device that is installed and gives the same every time.

    The kernel of ``mamba_ssm`` adds gradients up in any order, so that the same command would give
    another network every time: what is learned takes ours, if it works.
    """
    if device != "cuda":
        return blocked_scan
    kernel = _cuda_kernel() if dtype == torch.float32 else None
    if kernel is None or learning:
        own = _triton_scan()
        if own is not None:
            return own
    return blocked_scan if kernel is None else functools.partial(_scan_by_kernel, kernel)


@functools.cache
def _triton_scan() -> Scan | None:
    """Return our own CUDA kernels, or None where Triton is missing or cannot compile them."""
    try:
        module = importlib.import_module("bdgf.fusion.scan_triton")
    except ImportError:
        return None
    scan = cast(Scan, module.triton_scan)
    return scan if _works(scan, "Triton") else None


def _works(scan: Scan, name: str) -> bool:
    """Try a scan on one token, and its gradients."""
    try:
        # also where the first scan is that of a map, which asks for no gradients
        with torch.inference_mode(False), torch.enable_grad():
            one = torch.ones(1, 1, 1, device="cuda", requires_grad=True)
            scan(one, one, -one[0], one, one, one[0, 0]).sum().backward()  # type: ignore[no-untyped-call]
    except Exception as error:  # whatever its compiler, driver or linker fails with
        logger.warning("%s does not work here, the scan does without it: %s", name, error)
        return False
    return True


@functools.cache
def _cuda_kernel() -> Callable[..., Tensor] | None:
    """Return the fused scan of ``mamba_ssm``, or None where it is not installed."""
    try:
        module = importlib.import_module("mamba_ssm.ops.selective_scan_interface")
    except ImportError:
        return None
    except Exception as error:  # what it needs loads lazily, and fails with errors of its own
        logger.warning("mamba_ssm cannot be loaded, the scan does without it: %s", error)
        return None
    kernel = cast("Callable[..., Tensor]", module.selective_scan_fn)
    # it may have been built for other cards
    return kernel if _works(functools.partial(_scan_by_kernel, kernel), "mamba_ssm") else None


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


def ssd_reference(x: Tensor, dt: Tensor, A: Tensor, B_: Tensor, C_: Tensor, D_: Tensor) -> Tensor:
    """SSD scan (one scalar decay per head) as a plain loop over the tokens.

    The reference of ``ssd_centre_readout`` of :mod:`bdgf.fusion.sliding`, which gives the last
    token.

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
