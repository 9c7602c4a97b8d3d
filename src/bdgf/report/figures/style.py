"""The look of the figures of a run, and how they are written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from matplotlib.figure import Figure

from bdgf import drawing
from bdgf.errors import SettingsError

COLUMN, PAGE = 3.5, 7.2
"""Widths of figures in inches: a column, and the width of a page."""


@contextmanager
def styled(say: drawing.Say = drawing.logger.warning) -> Iterator[None]:
    """Use the style for what is drawn and written in the block.

    Args:
        say: Receives a sentence on signs that no font has.
    """
    with (
        resources.as_file(resources.files("bdgf.report.figures") / "bdgf.mplstyle") as path,
        drawing.plain_text(say, path),
    ):
        yield


def check_formats(formats: Sequence[str]) -> None:
    """Check the names of formats.

    Raises:
        SettingsError: One that figures are not written in, or none at all.
    """
    unknown = [name for name in formats if name not in drawing.FORMATS]
    if unknown or not formats:
        raise SettingsError(
            f"format {', '.join(unknown) or 'without a name'} is not known; figures are written as"
            f" {' or '.join(drawing.FORMATS)}: give --format {','.join(drawing.FORMATS)}."
        )


def save(figure: Figure, folder: Path, name: str, formats: Sequence[str]) -> list[Path]:
    """Write a figure in every format, and return the files.

    Raises:
        RunFolderError: The folder cannot be written.
    """
    written = [folder / f"{name}.{kind}" for kind in formats]
    for path in written:
        drawing.save(figure, path)
    return written
