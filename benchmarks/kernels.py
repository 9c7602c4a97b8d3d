"""The scan, its readout at the centre, and the denoiser against what the processor can do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bdgf.compute import place
from bdgf.diffusion.denoiser import Denoiser
from bdgf.fusion.scan import selective_scan, selective_scan_reference, ssd_reference
from bdgf.fusion.scan_blocks import block_sizes
from bdgf.fusion.sliding.trained import ssd_centre_readout
from benchmarks.cases import AUGSBURG, SMALL, mapper
from benchmarks.results import Values
from benchmarks.timing import Setup, Work, interleaved


def unbind_loop(x: Tensor, dt: Tensor, A: Tensor, B_: Tensor, C_: Tensor, D_: Tensor) -> Tensor:
    """S6 scan as reference code has it, its steps taken by ``unbind``.

    Decays and entries of all tokens are computed at once, then the tokens are gone through;
    autograd does the rest. With an index in place of ``unbind`` the backward would be quadratic in
    the tokens. Arguments as in :func:`bdgf.fusion.scan.selective_scan`.
    """
    decays = torch.exp(dt.unsqueeze(3) * A)  # (B, L, D, N)
    entries = (dt * x).unsqueeze(3) * B_.unsqueeze(2)  # (B, L, D, N)
    h = torch.zeros_like(entries[:, 0])  # (B, D, N)
    outputs = []
    for decay, entry, c in zip(decays.unbind(1), entries.unbind(1), C_.unbind(1), strict=True):
        h = decay * h + entry
        outputs.append((h @ c.unsqueeze(2)).squeeze(2))  # (B, D)
    return torch.stack(outputs, 1) + D_ * x


def _both(function: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Work:
    """Forward and the gradients of all inputs."""

    def work() -> None:
        y = function(*inputs)
        torch.autograd.grad(y, inputs, torch.ones_like(y))

    return work


def _forward(function: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Work:
    def work() -> None:
        with torch.no_grad():
            function(*inputs)

    return work


def scan(setup: Setup, work: Path) -> Values:
    """Return milliseconds of ways to scan, and the largest error of ours."""
    batch, side, width, states = (4, 5, 16, 4) if setup.small else (64, 11, 128, 16)
    length, head = side * side, min(64, width)
    draws = torch.Generator().manual_seed(0)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=draws)

    drawn = [
        normal(batch, length, width),
        F.softplus(normal(batch, length, width) - 2),
        -torch.arange(1.0, states + 1).expand(width, states).clone(),
        normal(batch, length, states),
        normal(batch, length, states),
        torch.ones(width),
    ]
    s6 = [t.to(setup.device).requires_grad_() for t in drawn]
    # the same scan with one decay per head, read at the centre of every window
    heads = width // head
    image = [
        normal(batch, side, side, width),
        F.softplus(normal(batch, side, side, heads) - 2),
        -torch.arange(1.0, heads + 1),
        normal(batch, side, side, states),
        normal(batch, 1, 1, states),
    ]
    ssd = [t.to(setup.device).requires_grad_() for t in image]
    tokens = [
        normal(batch, length, heads, head),
        F.softplus(normal(batch, length, heads) - 2),
        -torch.arange(1.0, heads + 1),
        normal(batch, length, states),
        normal(batch, length, states),
        torch.ones(heads, head),
    ]
    loop = [t.to(setup.device).requires_grad_() for t in tokens]

    def readout(x: Tensor, dt: Tensor, A: Tensor, b: Tensor, c: Tensor) -> Tensor:
        return ssd_centre_readout(x, dt, A, b, c, side // 2)

    ways: dict[str, tuple[Callable[..., Tensor], Sequence[Tensor]]] = {
        "S6, loop with unbind": (unbind_loop, s6),
        "S6, loop without stored decays": (selective_scan_reference, s6),
        "S6, ours": (selective_scan, s6),
        "SSD, loop": (ssd_reference, loop),
        "SSD, read at the centre": (readout, ssd),
    }
    works: dict[str, Work] = {}
    for name, (function, inputs) in ways.items():
        works[f"{name}: forward"] = _forward(function, inputs)
        works[f"{name}: both"] = _both(function, inputs)
    seconds = interleaved(setup, works)
    return {
        # on CUDA the scan is one kernel, without these passes
        "passes": _passes(setup, batch, length, width, states) if setup.device == "cpu" else {},
        "size": f"B {batch}, L {length}, D {width}, N {states}",
        "ms": {name: 1e3 * s for name, s in seconds.items()},
        "error": _error(s6),
    }


def _passes(
    setup: Setup, batch: int, length: int, width: int, states: int
) -> dict[str, tuple[int, float]]:
    """What our scan on a CPU is made of: how often each operation is done, and its milliseconds.

    Timed on one block and scaled to the whole; the copies between the layouts are left out.
    """
    samples, tokens = block_sizes(batch, length, width * states)
    rows = samples * tokens
    draws = torch.Generator().manual_seed(0)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=draws)

    dt, small = normal(tokens, samples, width), normal(tokens, samples, states)
    A = -normal(states, width).abs()
    decay = normal(tokens, samples, states, width).sigmoid()
    h, other = torch.randn_like(decay), torch.randn_like(decay)
    read, ones = normal(rows, 1, width), torch.ones(1, rows)
    flat = h.view(rows, states, width)

    def recurrence() -> None:
        steps = h.unbind(0)
        for t, decay_t in enumerate(decay.unbind(0)):
            steps[t].addcmul_(decay_t, steps[t - 1])

    works: dict[str, tuple[int, Work]] = {
        "dt·A": (2, lambda: torch.mul(dt.unsqueeze(2), A, out=other)),
        "exp2": (2, lambda: torch.exp2(other, out=other)),
        "dt·x·B, C·gy": (3, lambda: torch.mul(dt.unsqueeze(2), small.unsqueeze(3), out=h)),
        "the loop over the tokens": (3, recurrence),
        "products with C, gy, B, dt·x": (
            4,
            lambda: torch.bmm(small.view(rows, 1, states), flat, out=read),
        ),
        "decay·gh, ·h": (2, lambda: torch.mul(decay, h, out=other)),
        "·A, summed over N": (1, lambda: torch.mul(h, A, out=other).sum(2)),
        "·dt, summed over B and L": (
            1,
            lambda: ones @ other.mul_(dt.unsqueeze(2)).view(rows, states * width),
        ),
    }
    with torch.no_grad():
        seconds = interleaved(setup, {name: work for name, (_, work) in works.items()})
    scale = 1e3 * batch * length / rows
    return {name: (count, scale * seconds[name]) for name, (count, _) in works.items()}


def _error(inputs: Sequence[Tensor]) -> float:
    """Largest relative difference of output and gradients from the loop in 64 bits."""
    few = [t[:8] if t.dim() == 3 else t for t in inputs]
    found = []
    for function, dtype in (
        (selective_scan, torch.float32),
        (selective_scan_reference, torch.float64),
    ):
        given = [t.detach().to(dtype).requires_grad_() for t in few]
        y = function(*given)
        found.append([y.detach(), *torch.autograd.grad(y.sum(), given)])
    return max(
        float((one - two).abs().max() / two.abs().max()) for one, two in zip(*found, strict=True)
    )


def denoiser(setup: Setup, work: Path) -> Values:
    """Return GF/s of the denoiser's forward at two widths, and of matrix products."""
    side = 32 if setup.small else 224
    case = mapper(work, SMALL if setup.small else AUGSBURG, setup.device)
    layout = case.prepared.layout
    channels, modalities = layout.channels, len(layout.modalities)
    device = case.device
    x = torch.randn(1, channels, side, side).to(device)
    gone = torch.zeros(1, modalities, side, side, device=device)
    t = torch.tensor([50], device=device)
    works: dict[str, Work] = {}
    flops: dict[str, float] = {}
    for width in (32, 64):
        network = place(Denoiser(channels, modalities, width), device).eval()
        name = f"denoiser, width {width}"
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(x, gone, t)
        flops[name] = counter.get_total_flops()

        def run(network: Denoiser = network) -> None:
            with torch.inference_mode():
                network(x, gone, t)

        works[name] = run
    size = 128 if setup.small else 1024
    a, b = torch.randn(size, size).to(device), torch.randn(size, size).to(device)
    # as a batch: a single image is not taken by the convolution library on one thread
    rows = torch.randn(size // 32, size, 32, 1).to(device, memory_format=torch.channels_last)
    kernel = torch.randn(size, size, 1, 1).to(device)

    def product() -> None:
        torch.mm(a, b)

    def convolution() -> None:  # the same product by the convolution library
        with torch.inference_mode():
            F.conv2d(rows, kernel)

    works |= {
        "product, linear algebra library": product,
        "product, convolution library": convolution,
    }
    flops |= {"product, linear algebra library": 2.0 * size**3}
    flops |= {"product, convolution library": 2.0 * size**3}
    seconds = interleaved(setup, works)
    return {
        "pixels": side * side,
        "gflops": {name: flops[name] / seconds[name] / 1e9 for name in works},
        "us": {name: 1e6 * seconds[name] / side**2 for name in works if "denoiser" in name},
    }
