"""How every figure is made and written, and how the text in it is drawn."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import matplotlib
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bdgf.files import atomic_path

logger = logging.getLogger(__name__)

SCREEN = 150
"""Dots per inch of figures that are looked at on a screen."""

Say = Callable[[str], None]

FONTS = (
    "Noto Sans",
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Noto Sans Arabic",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "WenQuanYi Zen Hei",
    "Arial Unicode MS",
    "PingFang SC",
    "Hiragino Sans",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "Nirmala UI",
)
"""Fonts of scripts that matplotlib's own does not have; those that are installed help it out."""

_MISSING = r"Glyph (\d+) \(.*\) missing from"

SOFTWARE = "bdgf"
"""By which a picture of ours is known."""

# What a file would otherwise say of when and by which version it was written; without it the same
# figure gives the same bytes.
_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": SOFTWARE},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
FORMATS = tuple(_METADATA)


@contextmanager
def plain_text(say: Say = logger.warning, style: Path | None = None) -> Iterator[None]:
    """Draw text in the block as it stands: no mathematics, any script that there is a font of.

    Args:
        say: Receives a sentence at the end of the block if signs were drawn as empty boxes, because
            no installed font has them.
        style: A matplotlib style file that also counts in the block.
    """
    missing: set[str] = set()
    with warnings.catch_warnings(), matplotlib.rc_context(fname=style):
        own = matplotlib.rcParams["font.sans-serif"][:1]
        installed = {font.name for font in font_manager.fontManager.ttflist}
        fonts = [*own, *(name for name in FONTS if name in installed and name not in own)]
        matplotlib.rcParams.update({"text.parse_math": False, "font.family": fonts})
        warnings.filterwarnings("always", _MISSING)
        others = warnings.showwarning

        def sort_out(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            found = re.match(_MISSING, str(message))
            if found is None:
                others(message, category, filename, lineno, file, line)
            else:
                missing.add(chr(int(found[1])))

        warnings.showwarning = sort_out
        yield
    if missing:
        say(
            f"no installed font has {' '.join(sorted(missing))}, drawn as empty boxes; install one"
            " that has, such as Noto Sans, and draw the figures again"
        )


def new_figure(width: float, height: float, dpi: float | None = None) -> Figure:
    """Return an empty figure of a size in inches, with the style's dots per inch or others."""
    figure = Figure(figsize=(width, height), dpi=dpi, facecolor="white")
    # The canvas is what draws; pyplot would keep the figure in a global list.
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure, whole or not at all.

    Args:
        figure: To be written.
        path: Ends in one of ``FORMATS``.

    Raises:
        RunFolderError: The folder cannot be written.
    """
    kind = path.suffix.removeprefix(".")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=kind, metadata=_METADATA[kind])
