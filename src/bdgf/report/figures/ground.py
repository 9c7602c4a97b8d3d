"""Scale bar and north arrow of pictures whose place on the ground is known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Circle, Polygon
from matplotlib.transforms import ScaledTranslation
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

from bdgf.scene.grid import Grid


@dataclass(frozen=True)
class Ground:
    """How a picture lies on the ground.

    Args:
        across: Width of a pixel in metres.
        down: Height of a pixel in metres.
        north: Angle of grid north in radians, clockwise from straight up.
    """

    across: float
    down: float
    north: float

    @classmethod
    def of(cls, grid: Grid) -> Ground | None:
        """Return how a grid lies, None where that is not known."""
        metres, t = grid.pixel_metres, grid.transform
        if metres is None or t is None or not grid.placed or min(metres) <= 0:
            return None
        # The step in columns and rows by which the second coordinate alone rises.
        determinant = t.a * t.e - t.b * t.d
        if determinant == 0:
            return None
        col, row = -t.b / determinant, t.a / determinant
        return cls(*metres, math.atan2(col * metres[0], -row * metres[1]))


def bar_length(metres: float) -> float:
    """Return the longest round length (1, 2 or 5 times a power of ten) that fits."""
    power = 10.0 ** math.floor(math.log10(metres))
    return power * next(factor for factor in (5, 2, 1) if factor * power <= metres * (1 + 1e-9))


def length_text(metres: float) -> str:
    """Return a length with its unit."""
    if metres >= 1000:
        return f"{metres / 1000:g} km"
    return f"{metres:g} m" if metres >= 1 else f"{100 * metres:g} cm"


def add_scale(axes: Any, ground: Ground, width: int) -> None:  # noqa: ANN401
    """Draw a scale bar into a picture.

    Args:
        axes: Axes with the picture in pixels of the tile.
        ground: How it lies.
        width: Its width in pixels.
    """
    length = bar_length(width * ground.across / 3.5)
    bar = AnchoredSizeBar(
        axes.transData,
        length / ground.across,
        length_text(length),
        "lower left",
        pad=0.3,
        sep=2,
        borderpad=0.4,
        frameon=True,
        size_vertical=0,
        fontproperties=FontProperties(size=6.5),
    )
    bar.patch.set(alpha=0.85, linewidth=0)
    axes.add_artist(bar)


def add_north(axes: Any, ground: Ground, size: float = 1.0) -> None:  # noqa: ANN401
    """Draw a north arrow into the upper right corner of a picture.

    Args:
        axes: Axes with the picture.
        ground: How it lies.
        size: Size of the arrow, 1 for a third of an inch.
    """
    # In inches from the corner, so that the arrow is alike on every picture.
    points = axes.figure.dpi_scale_trans + ScaledTranslation(1, 1, axes.transAxes)
    middle, reach, radius = size * np.array([-0.2, -0.2]), 0.1 * size, 0.17 * size
    up = np.array([math.sin(ground.north), math.cos(ground.north)])
    side = np.array([up[1], -up[0]])
    plate = Circle(tuple(middle), radius, facecolor="white", alpha=0.85, linewidth=0)
    tip, foot = middle + reach * up, middle - 0.4 * reach * up
    arrow = Polygon(
        [tip, foot + 0.55 * reach * side, foot + 0.25 * reach * up, foot - 0.55 * reach * side],
        facecolor="black",
        linewidth=0,
    )
    for patch in (plate, arrow):
        patch.set_transform(points)
        axes.add_artist(patch)
    axes.text(
        *(middle - 0.95 * reach * up),
        "N",
        fontsize=6 * size,
        ha="center",
        va="center",
        transform=points,
    )
