"""Pictures of a tile as panels: the modalities, the map, its confidence and its errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import matplotlib
import numpy as np
from numpy.typing import NDArray

from bdgf.files import file_name
from bdgf.report.figures.ground import Ground
from bdgf.report.figures.pixels import OTHER_COLOR, RIGHT_COLOR, WHITE, WRONG_COLOR, rgb
from bdgf.report.overview import TileOverview
from bdgf.report.pictures import modality_picture
from bdgf.report.results import Results
from bdgf.report.viewer import HEAT
from bdgf.scene.inspection.pictures import Image

Key = Literal["none", "classes", "confidence", "errors"]


@dataclass(frozen=True)
class Panel:
    """A picture of a whole tile.

    Args:
        name: What it shows, as part of a file name.
        title: The same in words.
        image: (h, w, 3).
        size: Rows and columns of the tile.
        key: What explains its colours.
        ground: How the tile lies on the ground, None where that is not known.
    """

    name: str
    title: str
    image: Image
    size: tuple[int, int]
    key: Key
    ground: Ground | None


def panels_of(results: Results, overview: TileOverview, colors: Sequence[str]) -> list[Panel]:
    """Draw the panels of a tile: every modality, then map, confidence and errors.

    Args:
        results: The run.
        overview: Of the tile.
        colors: (K,) colour of every class, ``#rrggbb``.

    Returns:
        The panels; errors only where the scene has test pixels.

    Raises:
        SceneError: A raster of the scene cannot be read.
    """
    tile = results.scene.tiles[overview.tile]
    size, ground = (tile.height, tile.width), Ground.of(tile.grid)

    def panel(name: str, title: str, image: Image, key: Key) -> Panel:
        return Panel(name, title, image, size, key, ground)

    found: list[Panel] = []
    for index in range(len(results.scene.modalities)):
        drawn = modality_picture(results, overview.tile, index)
        name = f"modality_{file_name(drawn.name)}"
        if name in {other.name for other in found}:  # alike but for signs that no file may have
            name = f"{name}_{index + 1}"
        found.append(panel(name, drawn.name, drawn.image, "none"))
    table = np.array([WHITE, *map(rgb, colors)], dtype=np.uint8)
    found.append(panel("map", "Map", table[overview.classes + 1], "classes"))
    heat = matplotlib.colormaps[HEAT](np.nan_to_num(overview.confidence), bytes=True)
    confidence: Image = np.array(heat[..., :3], dtype=np.uint8)
    confidence[overview.classes < 0] = WHITE
    found.append(panel("confidence", "Confidence", confidence, "confidence"))
    if results.metrics["test_pixels"]:
        found.append(panel("errors", _error_title(overview), _errors(overview.verdict), "errors"))
    return found


def _errors(verdict: NDArray[np.uint8]) -> Image:
    colors = (OTHER_COLOR, RIGHT_COLOR, WRONG_COLOR)
    return np.array([rgb(color) for color in colors], dtype=np.uint8)[verdict]


def _error_title(overview: TileOverview) -> str:
    count = len(overview.test_right)
    if not count:
        return "No test pixels"
    wrong = 100 * float((~overview.test_right).mean())
    return f"Errors, {wrong:.1f} % of {count:,} test pixels"
