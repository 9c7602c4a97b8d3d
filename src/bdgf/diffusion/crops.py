"""Random crops of a scene for pre-training."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bdgf.errors import SceneError
from bdgf.scene.layout import Window
from bdgf.scene.prepared import PreparedScene

TRIES = 8
LEAST_VALID = 0.1


class CropSampler:
    """Draws square crops over all tiles, in proportion to their valid area.

    A crop may hang over the edge of its tile by a quarter of its side, and a tile that is smaller
    than the crop lies whole inside it; what is outside is missing, never mirrored.

    Args:
        prepared: The scene.
        side: Side of a crop in pixels.
    """

    def __init__(self, prepared: PreparedScene, side: int) -> None:
        self.prepared, self.side = prepared, side
        self.valid = [prepared.valid(tile) for tile in range(prepared.tiles)]
        area = np.array([mask.sum() for mask in self.valid], dtype=np.float64)
        if not area.any():
            raise SceneError(
                f"{prepared.scene.name} has no pixel with a spectral value; check the nodata values"
                " in the scene file."
            )
        self.share = area / area.sum()
        self.scale = torch.from_numpy(prepared.preparation.diffusion_scale).view(1, -1, 1, 1)

    def draw(self, count: int, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Draw crops, turned and flipped at random.

        Returns:
            Values scaled for the denoiser (B, C, S, S), 1 where a modality is missing (B, M, S, S).
        """
        values, missing = [], []
        for _ in range(count):
            tile, window = self._place(generator)
            v, m = self.prepared.window(tile, window, edge="missing")
            turns, flip = int(generator.integers(4)), bool(generator.integers(2))
            values.append(_turned(v, turns, flip))
            missing.append(_turned(m, turns, flip))
        return (
            torch.from_numpy(np.stack(values)) * self.scale,
            torch.from_numpy(np.stack(missing)).float(),
        )

    def _place(self, generator: np.random.Generator) -> tuple[int, Window]:
        for _ in range(TRIES):
            tile = int(generator.choice(len(self.share), p=self.share))
            row = self._origin(self.valid[tile].shape[0], generator)
            col = self._origin(self.valid[tile].shape[1], generator)
            window = Window(row, col, self.side, self.side)
            inside = window.inside(*self.valid[tile].shape)
            if self.valid[tile][inside.slices].sum() >= LEAST_VALID * inside.height * inside.width:
                break
        return tile, window

    def _origin(self, size: int, generator: np.random.Generator) -> int:
        overhang = self.side // 4
        if size <= self.side:
            return int(generator.integers(size - self.side, 1))
        return int(generator.integers(-overhang, size - self.side + overhang + 1))


def _turned(array: NDArray[Any], turns: int, flip: bool) -> NDArray[Any]:
    turned = np.rot90(array, turns, axes=(1, 2))
    return np.ascontiguousarray(turned[:, :, ::-1] if flip else turned)
