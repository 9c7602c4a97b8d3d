"""How much the split leaks: test pixels whose patches hold training pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from bdgf.scene.labels.pixels import TileLabels
from bdgf.scene.scene import Scene


@dataclass(frozen=True)
class Leak:
    """How close test pixels are to training pixels.

    Args:
        test_pixels: Number of test pixels.
        inside: Share of them that have a training pixel inside their own patch.
        far_pixels: Per tile, the test pixels farther than a patch from every training pixel of the
            tile: more than P rows or columns away, so that their patches share no pixel.
    """

    test_pixels: int
    inside: float
    far_pixels: tuple[TileLabels, ...]

    @property
    def far(self) -> tuple[NDArray[np.bool_], ...]:
        """``far_pixels`` as a mask (H, W) per tile."""
        return tuple(tile.whole() >= 0 for tile in self.far_pixels)

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
    far, tests, inside = [], 0, 0
    for tile in scene.tiles:
        test = tile.labels("test")
        distance = _distances(test, tile.labels("train"), window_side)
        inside += int((distance <= window_side // 2).sum())
        far.append(test.select(distance > window_side))
        tests += len(test)
    return Leak(tests, inside / tests if tests else 0.0, tuple(far))


def _distances(test: TileLabels, train: TileLabels, most: int) -> NDArray[np.float64]:
    """Rows or columns, whichever is more, from each test pixel (n,) to the next training pixel.

    Infinite beyond ``most``.
    """
    if not len(train) or not len(test):
        return np.full(len(test), np.inf)
    tree = cKDTree(train.positions)
    found, _ = tree.query(test.positions, p=np.inf, distance_upper_bound=most + 0.5)
    return np.asarray(found, dtype=np.float64)
