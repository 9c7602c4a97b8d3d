"""Figures: the map beside the image, its confidence and its errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from bdgf.files import atomic_path
from bdgf.scene.layout import Window
from bdgf.scene.scene import Scene

WHITE = (255, 255, 255)
RIGHT_COLOR, WRONG_COLOR, OTHER_COLOR = "#3a9a5b", "#d62839", "#e9e9e9"

MOST_PIXELS = 1200
"""Longest side of a panel in pixels; larger tiles are thinned out."""

MOST_TILES = 24
"""Most tiles of a mosaic."""

DPI = 130
Image = NDArray[np.uint8]


@dataclass(frozen=True)
class TileMap:
    """The map of one tile.

    Args:
        tile: Index of the tile in the scene.
        classes: (H, W) class index, -1 for no data.
        confidence: (H, W) probability of the class, NaN for no data.
    """

    tile: int
    classes: NDArray[np.integer]
    confidence: NDArray[np.floating]


def map_figure(scene: Scene, mapped: TileMap, path: Path) -> None:
    """Draw false colours, map, confidence and errors on the test pixels of a tile, side by side.

    Args:
        scene: The scene.
        mapped: The map of one of its tiles.
        path: PNG to write.

    Raises:
        RunFolderError: The folder cannot be written.
    """
    height, width = mapped.classes.shape
    step = max(1, -(-max(height, width) // MOST_PIXELS))
    panels, errors = _panels(scene, mapped, step)
    # Tall tiles stand in one row, wide ones in two, so that the page is used.
    rows = 1 if width <= 1.3 * height else 2
    cols = 4 // rows
    panel_width = 4.2
    panel_height = min(9.0, panel_width * height / width)
    legend = _legend_rows(scene, cols * panel_width)
    size = (cols * panel_width, rows * (panel_height + 0.4) + 0.24 * legend + 0.2)
    figure = _figure(size)
    titles = ("False colours", "Map", "Confidence, 0 (dark) to 1 (bright)", _error_title(errors))
    for number, (title, panel) in enumerate(zip(titles, panels, strict=True)):
        axes = figure.add_subplot(rows, cols, number + 1)
        _show(axes, panel, title)
    _legend(figure, scene, size)
    figure.subplots_adjust(
        left=0.01,
        right=0.99,
        top=1.0 - 0.35 / size[1],
        bottom=(0.24 * legend + 0.1) / size[1],
        wspace=0.04,
        hspace=0.12,
    )
    _save(figure, path)


def mosaic_figure(scene: Scene, maps: Sequence[TileMap], path: Path) -> None:
    """Draw false colours, map, confidence and errors of up to 24 tiles, four panels each.

    Of more tiles those with test pixels are shown; how many are left out is said in the title.

    Args:
        scene: The scene.
        maps: Maps of its tiles.
        path: PNG to write.

    Raises:
        RunFolderError: The folder cannot be written.
        ValueError: No map.
    """
    if not maps:
        raise ValueError("a mosaic needs the map of at least one tile.")
    tested = [m for m in maps if (scene.tiles[m.tile].test >= 0).any()]
    pool = list(maps) if len(maps) <= MOST_TILES else tested or list(maps)
    # Evenly over the list, which often goes by place: not the first corner only.
    picked = np.unique(np.linspace(0, len(pool) - 1, MOST_TILES).round().astype(int))
    shown = [pool[i] for i in picked]
    blocks = 1 if len(shown) <= 4 else 2 if len(shown) <= 12 else 3
    rows = -(-len(shown) // blocks)
    size_x = 1.35 * 4 * blocks + 0.2
    legend = _legend_rows(scene, size_x)
    size = (size_x, 1.5 * rows + 0.24 * legend + 0.8)
    figure = _figure(size)
    for number, mapped in enumerate(shown):
        side = max(mapped.classes.shape)
        panels, _ = _panels(scene, mapped, max(1, -(-side // (MOST_PIXELS // 4))))
        row, block = number % rows, number // rows
        for place, panel in enumerate(panels):
            axes = figure.add_subplot(rows, 4 * blocks, row * 4 * blocks + block * 4 + place + 1)
            _show(axes, panel, scene.tiles[mapped.tile].name if place == 0 else "", size=7)
    left_out = len(maps) - len(shown)
    title = "Of each tile: false colours, map, confidence (dark is low), errors on test pixels"
    figure.suptitle(title + (f"; {left_out} more tiles are not shown" if left_out else ""), size=9)
    _legend(figure, scene, size)
    figure.subplots_adjust(
        left=0.01,
        right=0.99,
        top=1.0 - 0.6 / size[1],
        bottom=(0.24 * legend + 0.15) / size[1],
        wspace=0.05,
        hspace=0.2,
    )
    _save(figure, path)


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
    table = np.array([WHITE, *(_rgb(color) for color in scene.class_colors)], dtype=np.uint8)
    colors: Image = table[classes.astype(np.int64) + 1]
    return colors


def _panels(scene: Scene, mapped: TileMap, step: int) -> tuple[list[Image], tuple[int, int]]:
    """Return the four panels, and (wrong, all) test pixels of the tile."""
    reference = scene.tiles[mapped.tile].test
    tested = reference >= 0
    wrong = tested & (mapped.classes != reference)
    errors = np.empty((*reference.shape, 3), dtype=np.uint8)
    errors[...] = _rgb(OTHER_COLOR)
    errors[tested] = _rgb(RIGHT_COLOR)
    errors[wrong] = _rgb(WRONG_COLOR)
    confidence = mapped.confidence[::step, ::step]
    panels = [
        false_color(scene, mapped.tile, step),
        class_colors(scene, mapped.classes[::step, ::step]),
        _heat(confidence),
        errors[::step, ::step],
    ]
    return panels, (int(wrong.sum()), int(tested.sum()))


def _heat(confidence: NDArray[np.floating]) -> Image:
    colors = matplotlib.colormaps["viridis"](np.nan_to_num(confidence), bytes=True)[..., :3]
    heat: Image = np.array(colors, dtype=np.uint8)
    heat[~np.isfinite(confidence)] = WHITE
    return heat


def _three(bands: int) -> list[int]:
    """Choose bands for red, green and blue, as they lie in the usual order by wavelength."""
    if bands > 30:
        # 0.4 to 2.5 um: near infrared, red and green, clear of the water bands.
        return [round(share * (bands - 1)) for share in (0.25, 0.12, 0.06)]
    if bands > 4:
        # Sentinel-2 and its like: near infrared, red and green.
        return [round(share * (bands - 1)) for share in (0.6, 0.25, 0.15)]
    return [max(bands - 1 - lower, 0) for lower in range(3)]


def _rgb(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def _error_title(errors: tuple[int, int]) -> str:
    wrong, tested = errors
    if not tested:
        return "No test pixels on this tile"
    return f"Errors: {100 * wrong / tested:.1f} % of {tested:,} test pixels"


def _figure(size: tuple[float, float]) -> Figure:
    figure = Figure(figsize=size, dpi=DPI, facecolor="white")
    # The canvas is what draws; pyplot would keep the figure in a global list.
    FigureCanvasAgg(figure)
    return figure


def _show(axes: Any, image: Image, title: str, size: float = 10) -> None:  # noqa: ANN401
    axes.imshow(image, interpolation="nearest")
    axes.set_title(title, fontsize=size, pad=3)
    axes.set_xticks([])
    axes.set_yticks([])


def _legend_rows(scene: Scene, inches: float) -> int:
    return -(-len(scene.class_names) // _legend_columns(scene, inches)) + 1


def _legend_columns(scene: Scene, inches: float) -> int:
    longest = max(len(name) for name in scene.class_names)
    return max(1, min(len(scene.class_names), int(inches / (0.085 * longest + 0.55))))


def _legend(figure: Figure, scene: Scene, size: tuple[float, float]) -> None:
    columns = _legend_columns(scene, size[0])
    classes = [
        Patch(facecolor=color, edgecolor="#555555", linewidth=0.5, label=name)
        for name, color in zip(scene.class_names, scene.class_colors, strict=True)
    ]
    errors = [
        Patch(facecolor=color, edgecolor="#555555", linewidth=0.5, label=label)
        for label, color in (
            ("right", RIGHT_COLOR),
            ("wrong", WRONG_COLOR),
            ("not a test pixel", OTHER_COLOR),
        )
    ]
    common = {"frameon": False, "fontsize": 8.5, "handlelength": 1.2, "columnspacing": 1.2}
    below = 0.03 / size[1]
    figure.legend(
        handles=errors,
        ncols=3,
        loc="lower center",
        bbox_to_anchor=(0.5, below),
        borderaxespad=0.0,
        **common,
    )
    figure.legend(
        handles=classes,
        ncols=columns,
        loc="lower center",
        bbox_to_anchor=(0.5, below + 0.26 / size[1]),
        borderaxespad=0.0,
        **common,
    )


def _save(figure: Figure, path: Path) -> None:
    with atomic_path(path) as temporary:
        # Without the writer's version, so that the same map gives the same bytes everywhere.
        figure.savefig(temporary, format="png", metadata={"Software": None})
