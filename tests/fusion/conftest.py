"""Random scenes for the networks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bdgf.scene.layout import ChannelLayout, ModalityChannels

Images = tuple[Tensor, Tensor, list[Tensor]]


@pytest.fixture
def layout_of() -> Callable[..., ChannelLayout]:
    """Layout of modalities of these sizes, the first of them spectral."""

    def make(*sizes: int) -> ChannelLayout:
        stops = [sum(sizes[: i + 1]) for i in range(len(sizes))]
        return ChannelLayout(
            tuple(
                ModalityChannels(f"m{i}", "auxiliary" if i else "spectral", stop - size, stop)
                for i, (size, stop) in enumerate(zip(sizes, stops, strict=True))
            )
        )

    return make


@pytest.fixture
def images() -> Callable[..., Images]:
    """Random values, missing indicators and guidance of an image."""

    def make(
        layout: ChannelLayout,
        shape: tuple[int, int, int],
        guidance: tuple[int, ...] = (4, 5, 6),
        seed: int = 0,
    ) -> Images:
        batch, height, width = shape
        generator = torch.Generator().manual_seed(seed)
        draw = torch.rand(batch, len(layout.modalities), height, width, generator=generator)
        return (
            torch.randn(batch, layout.channels, height, width, generator=generator),
            (draw < 0.15).float(),
            [torch.randn(batch, g, height, width, generator=generator) for g in guidance],
        )

    return make


@pytest.fixture
def patches_of() -> Callable[..., Images]:
    """Every pixel's own patch, pixels of an image in row-major order."""

    def make(inputs: Images, side: int) -> Images:
        def cut(image: Tensor) -> Tensor:
            windows = image.unfold(2, side, 1).unfold(3, side, 1)  # (B, C, h, w, P, P)
            return windows.permute(0, 2, 3, 1, 4, 5).reshape(-1, image.shape[1], side, side)

        values, missing, guidance = inputs
        return cut(values), cut(missing), [cut(level) for level in guidance]

    return make


ScanArguments = Callable[[tuple[int, int, int, int], torch.dtype], list[Tensor]]


@pytest.fixture
def scan_arguments() -> ScanArguments:
    """Random x, dt, A, B, C, D of an S6 scan of B × L × D × N; the same numbers in every dtype."""

    def make(shape: tuple[int, int, int, int], dtype: torch.dtype) -> list[Tensor]:
        batch, length, width, states = shape
        generator = torch.Generator().manual_seed(length)

        def normal(*size: int) -> Tensor:
            return torch.randn(*size, generator=generator, dtype=torch.float64)

        drawn = [
            normal(batch, length, width),
            torch.nn.functional.softplus(normal(batch, length, width) - 2),
            -torch.nn.functional.softplus(normal(width, states)),
            normal(batch, length, states),
            normal(batch, length, states),
            normal(width),
        ]
        return [t.to(dtype).requires_grad_() for t in drawn]

    return make


@pytest.fixture
def scan_gradients() -> Callable[..., list[Tensor]]:
    """Output of a scan and the gradients of all its arguments."""

    def compute(function: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
        y = function(*inputs)
        weights = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).view_as(y).to(y.dtype)
        gradients = torch.autograd.grad((y * weights).sum(), inputs, allow_unused=False)
        return [y.detach(), *gradients]

    return compute


@pytest.fixture
def largest_error() -> Callable[[list[Tensor], list[Tensor]], float]:
    """Largest difference of tensors, as a share of the largest value of each but at least of 1."""

    def compare(found: list[Tensor], expected: list[Tensor]) -> float:
        return max(
            float((f.double() - e).abs().max() / e.abs().max().clamp(min=1))
            for f, e in zip(found, expected, strict=True)
        )

    return compare
