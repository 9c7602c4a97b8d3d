"""Colours of classes where the scene file names none."""

from __future__ import annotations

import colorsys
from collections.abc import Collection

# Okabe and Ito's colours for colour-blind readers, then Paul Tol's muted scheme.
_PALETTE = (
    *("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"),
    *("#332288", "#88CCEE", "#117733", "#DDCC77", "#882255", "#44AA99", "#999933", "#AA4499"),
)


def palette(number: int, taken: Collection[str] = ()) -> tuple[str, ...]:
    """Return as many colours (#rrggbb), the first fifteen chosen for colour-blind readers.

    Args:
        number: How many.
        taken: Colours that are in use already, and not among them.
    """
    used = {color.upper() for color in taken}
    free = [color for color in _PALETTE if color not in used][:number]
    index = 0
    while len(free) < number:
        # Steps of the golden angle keep any number of hues apart.
        red, green, blue = colorsys.hls_to_rgb(
            0.618034 * index % 1.0, 0.35 + 0.15 * (index % 3), 0.6
        )
        color = f"#{round(red * 255):02X}{round(green * 255):02X}{round(blue * 255):02X}"
        index += 1
        if color not in used:
            free.append(color)
    return tuple(free)
