"""Figures of curves, of the confusion matrix and of the t-SNE."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bdgf.drawing import new_figure
from bdgf.report.charts import Chart, look_of, thinned
from bdgf.report.figures.style import COLUMN, PAGE
from bdgf.report.projection import Projection

MARKERS = ("o", "s", "^", "D")
"""Marks of the classes in turn, as on the page: colour alone does not tell them apart."""

_MOST_NUMBERS = 16


def chart_figure(charts: Sequence[Chart]) -> Figure:
    """Draw line charts side by side, two to a row."""
    columns = min(2, len(charts))
    rows = -(-len(charts) // columns)
    figure = new_figure(COLUMN if columns == 1 else PAGE, 2.5 * rows)
    for number, chart in enumerate(charts):
        axes: Any = figure.add_subplot(rows, columns, number + 1)
        for place, line in enumerate(thinned(line) for line in chart.lines):
            color, dash = look_of(place)
            style = (0, [float(part) for part in dash.split()]) if dash else "-"
            mark = "o" if len(line.x) == 1 else None
            axes.plot(line.x, line.y, color=color, linestyle=style, marker=mark, label=line.name)
        axes.set_title(chart.title)
        axes.set_xlabel(chart.x_label)
        axes.set_ylabel(chart.y_label)
        if len(chart.lines) > 1:
            axes.legend(fontsize=6.5)
    figure.tight_layout()
    return figure


def confusion_figure(
    confusion: NDArray[np.int64], names: Sequence[str], totals: NDArray[np.int64]
) -> Figure:
    """Draw a confusion matrix: shades by share of the row, counts while there is room.

    Args:
        confusion: (K, K) counts, rows are the test labels.
        names: (K,) names of the classes.
        totals: (K,) test pixels of every class, those without a class in the map among them: they
            have a column of their own where there are any.
    """
    without = totals - confusion.sum(axis=1)
    columns = list(names)
    if without.any():
        confusion, columns = np.column_stack([confusion, without]), [*names, "none"]
    classes = len(names)
    longest = 0.055 * max(len(name) for name in names)
    side = min(6.0, max(1.8, 0.36 * classes))
    figure = new_figure(side + longest + 0.9, side + longest + 0.5)
    figure.set_layout_engine("constrained")
    axes: Any = figure.add_subplot(1, 1, 1)
    share = confusion / np.maximum(totals[:, None], 1)
    picture = axes.imshow(100 * share, cmap="Blues", vmin=0, vmax=100)
    size = 7.5 if classes <= _MOST_NUMBERS else max(3.5, 120 / classes)
    axes.set_xticks(range(len(columns)), columns, rotation=90, fontsize=size)
    axes.set_yticks(range(classes), names, fontsize=size)
    axes.set_xlabel("map")
    axes.set_ylabel("test label")
    axes.grid(visible=False)
    if classes <= _MOST_NUMBERS:
        for (row, col), count in np.ndenumerate(confusion):
            if count:
                color = "white" if share[row, col] > 0.55 else "black"
                text = f"{count:,}"
                small = min(7.0, 28.0 / len(text))
                axes.text(col, row, text, ha="center", va="center", color=color, fontsize=small)
    bar = figure.colorbar(picture, ax=axes, fraction=0.046, pad=0.03)
    bar.set_label("% of the row")
    return figure


def projection_figure(
    projection: Projection, classes: Sequence[tuple[str, str]], title: str
) -> Figure:
    """Draw a t-SNE with a mark and a colour for every class.

    Args:
        projection: The points.
        classes: Name and colour of every class.
        title: What was projected.
    """
    shown = sorted(set(projection.classes.tolist()))
    longest = max(len(classes[index][0]) for index in shown)
    columns = max(1, min(len(shown), int(COLUMN / (0.07 * longest + 0.35))))
    lines = math.ceil(len(shown) / columns)
    height = 3.1 + 0.17 * lines
    figure = new_figure(COLUMN, height)
    axes: Any = figure.add_axes((0.03, (0.17 * lines + 0.1) / height, 0.94, 2.75 / height))
    for index in shown:
        name, color = classes[index]
        x, y = projection.points[projection.classes == index].T
        look = {"marker": MARKERS[index % len(MARKERS)], "edgecolors": "#444444"}
        axes.scatter(x, y, s=9, c=color, linewidths=0.2, label=name, **look)
    axes.set_title(title)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
    figure.legend(
        ncols=columns, loc="lower center", bbox_to_anchor=(0.5, 0.04 / height), borderaxespad=0.0,
        borderpad=0.0, labelspacing=0.35, handletextpad=0.2,
    )  # fmt: skip
    return figure
