"""How all figures of a comparison are made and written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bdgf.files import atomic_path

DPI = 150


@contextmanager
def plain_text() -> Iterator[None]:
    """Take no text that is drawn in the block for mathematics, whatever signs names have."""
    with matplotlib.rc_context({"text.parse_math": False}):
        yield


def make_figure(size: tuple[float, float]) -> Figure:
    """Return an empty figure of a size in inches."""
    figure = Figure(figsize=size, dpi=DPI, facecolor="white")
    # The canvas is what draws; pyplot would keep the figure in a global list.
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all.

    Raises:
        RunFolderError: The folder cannot be written.
    """
    with atomic_path(path) as temporary:
        # without the writer's version, so that the same results give the same bytes
        figure.savefig(temporary, format="png", metadata={"Software": None})
