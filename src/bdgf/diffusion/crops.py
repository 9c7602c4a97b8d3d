"""Random crops of a scene for pre-training."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bdgf.errors import SceneError
from bdgf.scene.prepared import PreparedScene
from bdgf.scene.sampling import draw_blocks
from bdgf.scene.windows import Window

TRIES = 8
LEAST_VALID = 0.1


class CropSampler:
    """Draws square crops over all tiles, in proportion to their valid area.

    A crop may hang over the edge of its tile by a quarter of its side, and a tile that is smaller
    than the crop lies whole inside it; what is outside is missing, never mirrored.

    Crops of a large scene come from inside some windows that are drawn from all over it.

    Args:
        prepared: The scene.
        side: Side of a crop in pixels.
        seed: Seed of the windows of a large scene.

    Raises:
        SceneError: No pixel of the scene has a spectral value.
    """

    def __init__(self, prepared: PreparedScene, side: int, seed: int = 0) -> None:
        self.prepared, self.side = prepared, side
        if prepared.scene.large:
            samples = draw_blocks(prepared, seed, side)
            self.places = [(sample.tile, sample.window) for sample in samples]
            self.valid = [sample.valid for sample in samples]
        else:
            self.places = [
                (tile, Window(0, 0, *prepared.shape(tile))) for tile in range(prepared.tiles)
            ]
            self.valid = [prepared.valid(tile) for tile, _ in self.places]
        self._overhang = 0 if prepared.scene.large else side // 4
        area = np.array([mask.sum() for mask in self.valid], dtype=np.float64)
        if not area.any():
            raise SceneError(
                f"{prepared.scene.name} has no pixel with a spectral value; check the nodata values"
                " in the scene file."
            )
        self.share = area / area.sum()
        self.scale = torch.from_numpy(prepared.preparation.diffusion_scale).view(1, -1, 1, 1)

    def draw(
        self,
        count: int,
        generator: np.random.Generator,
        rows: NDArray[np.int64] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Draw crops, turned and flipped at random.

        Args:
            count: B, number of crops.
            generator: Draws them.
            rows: Which of them are read and returned; None for all.

        Returns:
            Values scaled for the denoiser (B, C, S, S), 1 where a modality is missing (B, M, S, S).
        """
        values, missing = [], []
        wanted = range(count) if rows is None else set(rows.tolist())
        for number in range(count):
            tile, window = self._place(generator)
            turns, flip = int(generator.integers(4)), bool(generator.integers(2))
            if number not in wanted:
                continue
            v, m = self.prepared.window(tile, window, edge="missing")
            values.append(_turned(v, turns, flip))
            missing.append(_turned(m, turns, flip))
        return (
            torch.from_numpy(np.stack(values)) * self.scale,
            torch.from_numpy(np.stack(missing)).float(),
        )

    def _place(self, generator: np.random.Generator) -> tuple[int, Window]:
        for _ in range(TRIES):
            place = int(generator.choice(len(self.share), p=self.share))
            valid = self.valid[place]
            row = self._origin(valid.shape[0], generator)
            col = self._origin(valid.shape[1], generator)
            inside = Window(row, col, self.side, self.side).inside(*valid.shape)
            if valid[inside.slices].sum() >= LEAST_VALID * inside.height * inside.width:
                break
        tile, around = self.places[place]
        return tile, Window(around.row + row, around.col + col, self.side, self.side)

    def _origin(self, size: int, generator: np.random.Generator) -> int:
        if size <= self.side:
            return int(generator.integers(size - self.side, 1))
        return int(generator.integers(-self._overhang, size - self.side + self._overhang + 1))


def _turned(array: NDArray[Any], turns: int, flip: bool) -> NDArray[Any]:
    turned = np.rot90(array, turns, axes=(1, 2))
    return np.ascontiguousarray(turned[:, :, ::-1] if flip else turned)
