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
