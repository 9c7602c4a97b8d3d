"""How much the split leaks: test pixels whose patches hold training pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from bdgf.scene.scene import Scene


@dataclass(frozen=True)
class Leak:
    """How close test pixels are to training pixels.

    Args:
        test_pixels: Number of test pixels.
        inside: Share of them that have a training pixel inside their own patch.
        far: Per tile (H, W), test pixels farther than a patch from every training pixel of the
            tile: more than P rows or columns away, so that their patches share no pixel.
    """

    test_pixels: int
    inside: float
    far: tuple[NDArray[np.bool_], ...]


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
        marked = (tile.train >= 0).astype(np.uint8)
        is_test = tile.test >= 0
        own = maximum_filter(marked, size=window_side, mode="constant").astype(bool)
        inside += int((is_test & own).sum())
        near = maximum_filter(marked, size=2 * window_side + 1, mode="constant").astype(bool)
        far.append(is_test & ~near)
        tests += int(is_test.sum())
    return Leak(tests, inside / tests if tests else 0.0, tuple(far))
