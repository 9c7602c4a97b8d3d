"""Windows with data, drawn from all over a scene that is too large to be looked at whole."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bdgf.randomness import numpy_generator
from bdgf.scene.prepared import PreparedScene
from bdgf.scene.windows import Window, WindowGrid, shuffled

BLOCK = 128
"""Smallest side of a drawn window: what a prepared scene reads at once."""

BLOCKS = 256
"""Most windows that stand for a large scene."""


@dataclass(frozen=True)
class Sample:
    """A window of a scene that has data.

    Args:
        tile: Index of the tile.
        window: The window, inside the tile.
        valid: (h, w) pixels to be mapped, at least one.
    """

    tile: int
    window: Window
    valid: NDArray[np.bool_]


def windows_with_data(
    prepared: PreparedScene, side: int, generator: np.random.Generator
) -> Iterator[Sample]:
    """Yield all windows with a valid pixel of a grid over the scene, in random order.

    Args:
        prepared: The scene; a window is read when it comes up.
        side: Side of the windows; origins are multiples of it.
        generator: Draws the order.
    """
    grids = [WindowGrid(*prepared.shape(tile), side, side) for tile in range(prepared.tiles)]
    for tile, window in shuffled(grids, generator):
        valid = prepared.valid_in(tile, window)
        if valid.any():
            yield Sample(tile, window, valid)


def draw_blocks(prepared: PreparedScene, seed: int, least_side: int = BLOCK) -> list[Sample]:
    """Draw the windows that stand for a large scene in training.

    They are what is read again and again, so there are only as many as stay in memory together.

    Args:
        prepared: The scene.
        seed: Seed of the draw.
        least_side: Least side of the windows, rounded up to whole blocks.

    Returns:
        Up to ``BLOCKS`` windows, fewer where channels are many or windows are larger; none where no
        pixel of the scene is valid.
    """
    side = -(-least_side // BLOCK) * BLOCK
    most = max(1, min(BLOCKS * BLOCK**2, prepared.kept_pixels) // side**2)
    drawn = windows_with_data(prepared, side, numpy_generator(seed, "windows of a large scene"))
    return list(itertools.islice(drawn, most))
