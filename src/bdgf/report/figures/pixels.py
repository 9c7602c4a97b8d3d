"""Colours of single pixels: classes, right and wrong, and false colours of every n-th pixel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bdgf.scene.inspection.pictures import Image
from bdgf.scene.scene import Scene
from bdgf.scene.windows import Window

WHITE = (255, 255, 255)
RIGHT_COLOR, WRONG_COLOR, OTHER_COLOR = "#B4BEC5", "#000000", "#F3F4F5"
"""Grey, black, and nearly white for what is not tested: no colour that a class might have."""


def false_color(scene: Scene, tile: int, step: int = 1) -> Image:
    """Render the first spectral modality of a tile (the first modality where none is spectral).

    Near infrared, red and green, as far as the number of bands tells, become red, green and blue,
    each stretched between its 2nd and 98th percentile; missing pixels are white.

    Args:
        scene: The scene.
        tile: Index of the tile.
        step: Every how many pixels one is taken.

    Returns:
        (h, w, 3) uint8.
    """
    roles = [modality.role for modality in scene.modalities]
    modality = roles.index("spectral") if "spectral" in roles else 0
    place = scene.tiles[tile]
    strips = []
    strip = step * max(1, 256 // step)
    for row in range(0, place.height, strip):
        window = Window(row, 0, min(strip, place.height - row), place.width)
        values, valid = place.read(modality, window)
        bands = _three(len(values))
        strips.append(np.where(valid[bands], values[bands], np.float32(np.nan))[:, ::step, ::step])
    bands_of = np.concatenate(strips, axis=1)
    image = np.empty((*bands_of.shape[1:], 3), dtype=np.float32)
    for channel, band in enumerate(bands_of):
        known = band[np.isfinite(band)]
        low, high = np.percentile(known, (2, 98)) if known.size else (0.0, 1.0)
        image[..., channel] = (band - low) / max(float(high - low), 1e-12)
    missing = ~np.isfinite(image).all(axis=2)
    colors: Image = (np.clip(np.nan_to_num(image), 0.0, 1.0) * 255).astype(np.uint8)
    colors[missing] = WHITE
    return colors


def class_colors(scene: Scene, classes: NDArray[np.integer]) -> Image:
    """Return (h, w, 3) uint8 colours of (h, w) class indices; -1 is white."""
    table = np.array([WHITE, *(rgb(color) for color in scene.class_colors)], dtype=np.uint8)
    colors: Image = table[classes.astype(np.int64) + 1]
    return colors


def rgb(color: str) -> tuple[int, int, int]:
    """Return red, green and blue of a colour ``#rrggbb``."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def _three(bands: int) -> list[int]:
    """Choose bands for red, green and blue, as they lie in the usual order by wavelength."""
    if bands > 30:
        # 0.4 to 2.5 um: near infrared, red and green, clear of the water bands.
        return [round(share * (bands - 1)) for share in (0.25, 0.12, 0.06)]
    if bands > 4:
        # Sentinel-2 and its like: near infrared, red and green.
        return [round(share * (bands - 1)) for share in (0.6, 0.25, 0.15)]
    return [max(bands - 1 - lower, 0) for lower in range(3)]
