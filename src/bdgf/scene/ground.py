"""Where pixels of different tiles lie on the ground: tiles may overlap, and are near each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from bdgf.scene.grid import apply, same_crs
from bdgf.scene.tiles import Tile


def share_ground(tiles: Sequence[Tile]) -> bool:
    """Tell whether there are several tiles, all with coordinates in one system."""
    if len(tiles) < 2 or not all(tile.transform for tile in tiles):
        return False
    # compared, not by their text: one system is spelled in many ways
    first = next((tile.crs for tile in tiles if tile.crs is not None), None)
    return all(tile.crs is first or same_crs(tile.crs, first) for tile in tiles)


def on_ground(tiles: Sequence[Tile], positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return pixels (n, 3) by their place on the ground, in their order.

    Where all tiles have coordinates in one system, rows and columns count pixels of the first tile
    from its corner and the first column is 0; otherwise this is ``positions``.

    Args:
        tiles: The tiles of a scene.
        positions: (n, 3) tile, row and column.
    """
    if not share_ground(tiles):
        return positions
    found = np.zeros_like(positions)
    first = tiles[0].transform
    for number, tile in enumerate(tiles):
        if first is None or tile.transform is None:
            continue
        here = positions[:, 0] == number
        rows, cols = positions[here, 1] + 0.5, positions[here, 2] + 0.5
        col, row = apply(~first, *apply(tile.transform, cols, rows))
        found[here, 1], found[here, 2] = np.floor(row), np.floor(col)
    return found


def distances(
    pixels: NDArray[np.int64], others: NDArray[np.int64], most: int
) -> NDArray[np.float64]:
    """Return rows or columns, whichever is more, from each pixel to the next of others, (n,).

    Args:
        pixels: (n, 3) tile, row and column, or places on the ground.
        others: (m, 3) likewise; those of another tile are infinitely far.
        most: Beyond this the distance is infinite.
    """
    found = np.full(len(pixels), np.inf)
    for tile in np.unique(pixels[:, 0]):
        here, there = pixels[:, 0] == tile, others[:, 0] == tile
        if there.any():
            tree = cKDTree(others[there, 1:])
            found[here], _ = tree.query(pixels[here, 1:], p=np.inf, distance_upper_bound=most + 0.5)
    return found
