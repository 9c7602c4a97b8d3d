"""The look of all figures, and how they are written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bdgf.errors import SettingsError
from bdgf.files import atomic_path

COLUMN, PAGE = 3.5, 7.2
"""Widths of figures in inches: a column, and the width of a page."""

# What a file would otherwise say of when and by which version it was written; without it the same
# run gives the same bytes.
_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
FORMATS = tuple(_METADATA)


@contextmanager
def styled() -> Iterator[None]:
    """Use the style for what is drawn and written in the block."""
    with (
        resources.as_file(resources.files("bdgf.report.figures") / "bdgf.mplstyle") as path,
        matplotlib.rc_context(fname=path),
    ):
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return a figure of a size in inches."""
    figure = Figure(figsize=(width, height))
    # The canvas is what draws; pyplot would keep the figure in a global list.
    FigureCanvasAgg(figure)
    return figure


def check_formats(formats: Sequence[str]) -> None:
    """Check the names of formats.

    Raises:
        SettingsError: One that figures are not written in, or none at all.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise SettingsError(
            f"format {', '.join(unknown) or 'without a name'} is not known; figures are written as"
            f" {' or '.join(FORMATS)}: give --format {','.join(FORMATS)}."
        )


def save(figure: Figure, folder: Path, name: str, formats: Sequence[str]) -> list[Path]:
    """Write a figure in every format, and return the files.

    Raises:
        RunFolderError: The folder cannot be written.
    """
    written = []
    for kind in formats:
        path = folder / f"{name}.{kind}"
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format=kind, metadata=_METADATA[kind])
        written.append(path)
    return written
