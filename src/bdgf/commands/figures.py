"""``bdgf figures``."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from bdgf import presets
from bdgf.commands.options import make_parser, say
from bdgf.commands.run import stored
from bdgf.console import ConsoleProgress
from bdgf.errors import RunFolderError

SUMMARY = "Figures for a paper from a finished run"


def command(words: list[str], console: Console) -> None:
    """Write the figures of a finished run."""
    parser = make_parser(
        "figures", SUMMARY, "RUN --to FOLDER [--format png,pdf]",
        "bdgf figures runs/first --to figures --format png,pdf",
    )  # fmt: skip
    parser.add_argument("run", help="Folder of a finished run")
    parser.add_argument(
        "--to", required=True, help="Folder for the figures; files of the same names are replaced"
    )
    parser.add_argument("--format", default="png,pdf", help="png, pdf or both, with a comma")
    parser.add_argument("--tile", default=None, help="The only tile that pictures show, by name")
    parser.add_argument(
        "--colors", choices=("scene", "safe"), default="scene",
        help="Colours of the classes: the scene's, or those for colour-blind readers",
    )  # fmt: skip
    values = parser.parse_args(words)
    from bdgf.pipeline import open_results
    from bdgf.report.figures.style import check_formats
    from bdgf.report.figures.writing import write_figures

    formats = [part.strip() for part in str(values.format).split(",") if part.strip()]
    check_formats(formats)
    run = Path(values.run)
    scene, settings = stored(run)
    if scene is None:
        raise RunFolderError(f"{run} holds no run; make one with 'bdgf run SCENE --out RUN'.")
    results = open_results(run, Path(scene), presets.from_values(settings))
    with ConsoleProgress(console) as progress:
        written = write_figures(
            results, Path(values.to), formats, values.tile, values.colors, progress
        )
    for path in written:
        say(console, str(path))
