"""How much the split leaks: test pixels whose patches hold training pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bdgf.scene.ground import distances, share_ground
from bdgf.scene.labels.pixels import TileLabels
from bdgf.scene.scene import Scene


@dataclass(frozen=True)
class Leak:
    """How close test pixels are to training pixels.

    Args:
        inside: Share of them that have a training pixel inside their own patch.
        far_pixels: Per tile, the test pixels farther than a patch from every training pixel: more
            than P rows or columns away, so that their patches share no pixel. Tiles whose
            coordinates are in one system are seen to overlap or to be near.
    """

    inside: float
    far_pixels: tuple[TileLabels, ...]

    def is_far(self, positions: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which pixels (n, 3), given as tile, row and column, are among the far ones."""
        found = np.zeros(len(positions), dtype=bool)
        for number, tile in enumerate(self.far_pixels):
            here = positions[:, 0] == number
            flat = positions[here, 1] * tile.width + positions[here, 2]
            found[here] = np.isin(flat, tile.flat)
        return found


def leakage(scene: Scene, window_side: int) -> Leak:
    """Measure the share of test pixels that have a training pixel inside their own patch.

    Args:
        scene: A scene with labels.
        window_side: P, side of the patch, odd.

    Raises:
        SceneError: The scene has no labels.
    """
    test, train = scene.positions("test"), scene.positions("train")
    distance = distances(test, train, window_side)
    if share_ground(scene.tiles):
        test, train = scene.ground_positions("test"), scene.ground_positions("train")
        distance = np.minimum(distance, distances(test, train, window_side))
    inside = int((distance <= window_side // 2).sum())
    parts = [tile.labels("test") for tile in scene.tiles]
    is_far = np.split(distance > window_side, np.cumsum([len(part) for part in parts])[:-1])
    far = tuple(part.select(keep) for part, keep in zip(parts, is_far, strict=True))
    return Leak(inside / len(test) if len(test) else 0.0, far)
