"""Line charts as numbers: what they show, and where it lies on a drawing of a fixed size."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

MOST_POINTS = 240
"""Most points of a line; more are averaged in groups."""

WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 46, 22, 10, 38
"""Size of a drawing and of its margins; small, so that its text can be read on a phone, and wide
enough for half of the number below the last tick."""

BOX = {
    "width": WIDTH,
    "height": HEIGHT,
    "left": LEFT,
    "right": WIDTH - RIGHT,
    "bottom": HEIGHT - BOTTOM,
}
"""Where the axes of every drawing lie."""

# Okabe and Ito's colours that show on white. Lines differ in their dashes too.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#000000", "#56B4E9")
DASHES = ("", "7 3", "2 2.5", "9 3 2 3")


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Args:
        name: For the legend.
        x: (n,) rising values.
        y: (n,) values; those that are not finite are left out.
        reference: Whether it is drawn to compare with; the legend then tells no value of it.
    """

    name: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    reference: bool = False


@dataclass(frozen=True)
class Chart:
    """A line chart.

    Args:
        title: What it shows.
        x_label: With unit.
        y_label: With unit.
        lines: Its lines.
    """

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class DrawnLine:
    """A line on the drawing: its look, its points as SVG wants them, and its last value.

    A line to compare with has no last value.
    """

    name: str
    color: str
    dash: str
    points: str
    last: str

    @property
    def single(self) -> bool:
        """Whether it has one point only, which no line shows."""
        return " " not in self.points


@dataclass(frozen=True)
class Drawing:
    """A chart laid out on ``WIDTH`` × ``HEIGHT``.

    Args:
        chart: The chart.
        x_ticks: Position and text.
        y_ticks: Position and text.
        lines: The lines.
    """

    chart: Chart
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    lines: tuple[DrawnLine, ...]


def look_of(number: int) -> tuple[str, str]:
    """Return colour and dashes of the line with a number; no two of the first 28 are alike."""
    return COLORS[number % len(COLORS)], DASHES[number // len(COLORS) % len(DASHES)]


def thinned(line: Line, most: int = MOST_POINTS) -> Line:
    """Return a line of finite values, with many points averaged in ``most`` even groups.

    The last point stays as it is.
    """
    known = np.isfinite(line.y)
    x, y = line.x[known], line.y[known]
    if len(x) <= most:
        return Line(line.name, x, y, line.reference)
    edges = np.linspace(0, len(x) - 1, most).astype(int)
    sizes = np.diff(np.append(edges, len(x)))
    x, y = (np.add.reduceat(values, edges) / sizes for values in (x, y))
    return Line(line.name, x, y, line.reference)


def draw(chart: Chart) -> Drawing:
    """Lay a chart out."""
    lines = [thinned(line) for line in chart.lines]
    xs = np.concatenate([line.x for line in lines]) if lines else np.zeros(0)
    ys = np.concatenate([line.y for line in lines]) if lines else np.zeros(0)
    x_ticks, x_low, x_high = _axis(xs, tight=True)
    y_ticks, y_low, y_high = _axis(ys, tight=False)

    def across(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)

    def up(y: NDArray[np.float64]) -> NDArray[np.float64]:
        return HEIGHT - BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)

    drawn = []
    for number, line in enumerate(lines):
        if not len(line.x):
            continue
        color, dash = look_of(number)
        pairs = zip(across(line.x), up(line.y), strict=True)
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in pairs)
        last = "" if line.reference else _text(float(line.y[-1]))
        drawn.append(DrawnLine(line.name, color, dash, points, last))
    return Drawing(
        chart,
        tuple((round(float(across(np.array(t))), 1), _text(t)) for t in x_ticks),
        tuple((round(float(up(np.array(t))), 1), _text(t)) for t in y_ticks),
        tuple(drawn),
    )


def _axis(values: NDArray[np.float64], tight: bool) -> tuple[list[float], float, float]:
    """Return ticks, and the ends of the axis; a tight axis ends where its values do."""
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    if high - low < 1e-9 * max(1.0, abs(high)):
        low, high = low - 0.5, high + 0.5
    ticks = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    if not tight:
        low, high = min(low, float(ticks[0])), max(high, float(ticks[-1]))
    margin = 1e-9 * (high - low)
    return [float(t) for t in ticks if low - margin <= t <= high + margin], low, high


def _text(value: float) -> str:
    """Return a number as a reader wants it: 1,500, 0.25."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "–"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
