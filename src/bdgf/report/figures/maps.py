"""Figures of panels: one large, or many in rows, with what explains their colours below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bdgf.drawing import new_figure
from bdgf.report.figures.ground import add_north, add_scale
from bdgf.report.figures.panels import Key, Panel
from bdgf.report.figures.pixels import OTHER_COLOR, RIGHT_COLOR, WRONG_COLOR
from bdgf.report.viewer import HEAT

_GAP, _TITLE, _LINE, _BAR = 0.08, 0.2, 0.17, 0.42
"""Inches between panels, for a title, for a line of the legend, and for the colour bar."""

_TALLEST = 9.0
_ROOM_FOR_SCALE, _ROOM_FOR_NORTH = 0.9, 1.5
"""Inches of width that a panel needs for them."""

Classes = Sequence[tuple[str, str]]
"""Name and colour of every class."""


def panel_figure(
    rows: Sequence[Sequence[Panel]],
    classes: Classes,
    width: float,
    titles: Sequence[str] | None = None,
) -> Figure:
    """Draw panels in rows, each with scale bar and north arrow where its place is known.

    Args:
        rows: Panels by row; the first row is the longest.
        classes: Name and colour of every class.
        width: Of the figure in inches.
        titles: Titles of all panels in their order; None takes their own.
    """
    columns = len(rows[0])
    across = (width - _GAP * (columns + 1)) / columns
    ratio = max(_ratio(panel) for row in rows for panel in row)
    keys = {panel.key for row in rows for panel in row}
    below = _below(keys, classes, width)
    room = (_TALLEST - below) / len(rows) - _TITLE - _GAP
    down = min(across * ratio, max(room, 0.6))
    height = len(rows) * (down + _TITLE + _GAP) + below
    figure = new_figure(width, height)
    number = 0
    for line, row in enumerate(rows):
        for place, panel in enumerate(row):
            left = _GAP + place * (across + _GAP)
            bottom = height - (line + 1) * (down + _TITLE + _GAP) + _GAP
            box = (left / width, bottom / height, across / width, down / height)
            axes = figure.add_axes(box)
            title = panel.title if titles is None else titles[number]
            _show(axes, panel, title, min(across, down / _ratio(panel)), number == 0)
            number += 1
    _explain(figure, keys, classes, width, height)
    return figure


def _ratio(panel: Panel) -> float:
    """Height of a panel over its width, on the ground where that is known."""
    shape = panel.ground.down / panel.ground.across if panel.ground else 1.0
    return panel.size[0] * shape / panel.size[1]


def _show(axes: Any, panel: Panel, title: str, inches: float, first: bool) -> None:  # noqa: ANN401
    height, width = panel.size
    shape = panel.ground.down / panel.ground.across if panel.ground else 1.0
    shrunk = panel.image.shape[1] > 300 * inches
    axes.imshow(
        panel.image,
        extent=(0, width, height, 0),
        aspect=shape,
        interpolation="antialiased" if shrunk else "nearest",
    )
    axes.set_title(title, pad=3)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(True)
    if panel.ground is None:
        return
    # On a small panel they would hide too much of the picture; one arrow does for all of a figure.
    if inches >= _ROOM_FOR_SCALE:
        add_scale(axes, panel.ground, width)
    if inches >= _ROOM_FOR_NORTH:
        add_north(axes, panel.ground)
    elif first:
        add_north(axes, panel.ground, 0.6)


def _below(keys: set[Key], classes: Classes, width: float) -> float:
    """Return the inches that the explanations take."""
    lines = -(-len(classes) // _columns(classes, width)) if "classes" in keys else 0
    errors = 1 if "errors" in keys else 0
    return _GAP + _LINE * (lines + errors) + (_BAR if "confidence" in keys else 0)


def _columns(classes: Classes, width: float) -> int:
    longest = max(len(name) for name, _ in classes)
    return max(1, min(len(classes), int(width / (0.07 * longest + 0.5))))


def _explain(figure: Figure, keys: set[Key], classes: Classes, width: float, height: float) -> None:
    bottom = _GAP
    if "confidence" in keys:
        bar = figure.add_axes(
            (0.5 - 0.9 / width, (bottom + 0.27) / height, 1.8 / width, 0.09 / height)
        )
        colors = ScalarMappable(cmap=matplotlib.colormaps[HEAT])
        figure.colorbar(colors, cax=bar, orientation="horizontal", ticks=[0, 0.5, 1])
        bar.set_xlabel("confidence", labelpad=1, fontsize=7)
        bar.tick_params(length=2, pad=1)
        bottom += _BAR
    if "errors" in keys:
        marks = (
            ("right", RIGHT_COLOR), ("wrong", WRONG_COLOR), ("not a test pixel", OTHER_COLOR),
        )  # fmt: skip
        _legend(figure, marks, 3, bottom / height)
        bottom += _LINE
    if "classes" in keys:
        _legend(figure, classes, _columns(classes, width), bottom / height)


def _legend(figure: Figure, marks: Classes, columns: int, bottom: float) -> None:
    handles = [
        Patch(facecolor=color, edgecolor="#555555", linewidth=0.4, label=name)
        for name, color in marks
    ]
    figure.legend(
        handles=handles,
        ncols=columns,
        loc="lower center",
        bbox_to_anchor=(0.5, bottom),
        borderaxespad=0.0,
        borderpad=0.0,
        labelspacing=0.35,
    )
