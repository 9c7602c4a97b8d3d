"""Numbers, counts and short lines as the text of an inspection shows them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from bdgf.scene.grid import Grid

WIDTH = 100
"""Longest line, as far as names allow."""

INDENT = 13
"""Column in which the text beside a label begins."""


def number(value: float) -> str:
    """Write a value with four digits, whole ones as they are."""
    if not np.isfinite(value):
        return "none" if np.isnan(value) else str(value)
    if value == int(value) and abs(value) < 1e7:
        return str(int(value))
    return f"{value:.4g}"


def exact(value: float) -> str:
    """Write a value as it must stand in a scene file to be read as the same number."""
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    text = repr(float(value))
    return text if "." in text else text.replace("e", ".0e")  # YAML takes 1e+20 for a text


def percent(share: float) -> str:
    """Write a share; a small one is not said to be none, and one that is not all not to be all."""
    share = min(max(share, 0.0), 1.0)
    if share < 1e-9 or share > 1 - 1e-9:
        return f"{100 * share:.0f} %"
    if share < 0.001:
        return "under 0.1 %"
    if share > 0.999:
        return "over 99.9 %"
    return f"{100 * share:.1f} %"


def plural(count: int, one: str, many: str | None = None) -> str:
    """Write a count with its noun."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def listed(names: Iterable[str], most: int = 8) -> str:
    """Join names, of many the first ones and the last."""
    names = list(names)
    if len(names) > most:
        names = [*names[: most - 2], "...", names[-1]]
    return ", ".join(names)


def line(label: str, text: str) -> str:
    """One entry: its label in a column of its own, its text wrapped beside it."""
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=f"  {label:<{INDENT - 3}} ",
        subsequent_indent=" " * INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )


def item(text: str) -> str:
    """One entry of a list, wrapped."""
    return textwrap.fill(
        text, WIDTH, initial_indent="  - ", subsequent_indent="    ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def columns(
    rows: Sequence[Sequence[str]], numbers: Sequence[int] = (), indent: int = 2
) -> list[str]:
    """Align a table's cells; the columns whose places are given are numbers."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    found = []
    for row in rows:
        aligned = [
            f"{cell:>{width}}" if place in numbers else f"{cell:<{width}}"
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        found.append(" " * indent + "  ".join(aligned).rstrip())
    return found


def cells(texts: Sequence[str]) -> list[str]:
    """Lay short texts out in columns of one width, as many beside each other as fit."""
    width = max(map(len, texts)) + 3
    across = max(1, (WIDTH - INDENT) // width)
    return [
        " " * INDENT
        + "".join(f"{text:<{width}}" for text in texts[start : start + across]).rstrip()
        for start in range(0, len(texts), across)
    ]


def codes(counts: Mapping[int, int], names: Mapping[int, str], about: bool = False) -> list[str]:
    """Lay out pixels by code and name; estimates with two digits, as they are no better."""
    longest = max(len(str(code)) for code in counts)
    shown = {code: f"{float(f'{n:.2g}'):,.0f}" if about else f"{n:,}" for code, n in counts.items()}
    digits = max(map(len, shown.values()))
    return cells(
        [
            f"{code:>{longest}}: {count:>{digits}} {names.get(code, '')}".rstrip()
            for code, count in shown.items()
        ]
    )


def system(crs: Any | None) -> str:  # noqa: ANN401
    """Name a coordinate reference system: its code, and its name where the code says little."""
    if crs is None:
        return "no coordinate reference system"
    short = str(crs.to_string())
    name = str(crs.to_wkt()).partition('"')[2].partition('"')[0]
    if short.startswith("EPSG"):
        return f"{short} ({name})" if name else short
    return name or short[:60]


def unit(crs: Any | None) -> str:  # noqa: ANN401
    """Name the unit of map coordinates."""
    if crs is None:
        return "map units"
    if crs.is_geographic:
        return "degrees"
    units = str(crs.linear_units)
    return "m" if units.lower() in ("metre", "meter", "m") else units


def pixel(grid: Grid) -> str:
    """Write width and height of a pixel, of degrees and feet also in metres."""
    if grid.pixel is None:
        return "no pixel size"
    across, down = grid.pixel
    text = f"pixel {across:.6g} × {down:.6g} {unit(grid.crs)}"
    if grid.pixel_metres is not None and unit(grid.crs) != "m":
        text += f", about {grid.pixel_metres[0]:.3g} × {grid.pixel_metres[1]:.3g} m"
    return text


def extent(grid: Grid) -> str:
    """Write which part of the map a grid covers, and how large that is."""
    if grid.bounds is None:
        return "not known"
    left, bottom, right, top = grid.bounds
    metres = grid.pixel_metres
    size = ""
    if metres is not None:
        size = f" ({_distance(grid.width * metres[0])} × {_distance(grid.height * metres[1])})"
    if grid.crs is not None and grid.crs.is_geographic:
        return f"longitude {left:.5f} to {right:.5f}, latitude {bottom:.5f} to {top:.5f}{size}"
    return f"x {left:.10g} to {right:.10g}, y {bottom:.10g} to {top:.10g}{size}"


def _distance(metres: float) -> str:
    return f"{metres / 1000:.3g} km" if metres >= 1000 else f"{metres:.3g} m"
