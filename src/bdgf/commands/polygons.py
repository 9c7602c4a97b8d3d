"""``bdgf polygons``."""

from __future__ import annotations

import contextlib
from pathlib import Path

from rich.console import Console

from bdgf.commands.options import make_parser, say
from bdgf.console import ConsoleProgress
from bdgf.errors import SettingsError

SUMMARY = "The map as polygons in a GeoPackage, small areas joined to their neighbours"


def command(words: list[str], console: Console) -> None:
    """Write the polygons of a run's map."""
    parser = make_parser(
        "polygons",
        SUMMARY,
        "RUN [--to FILE.gpkg] [--minimum-area M]",
        "bdgf polygons runs/first --to map.gpkg --minimum-area 500",
    )
    parser.add_argument("run", help="Run folder, or another folder that 'bdgf map' wrote to")
    parser.add_argument("--to", default=None, help="GeoPackage to write; RUN/map.gpkg by default")
    parser.add_argument(
        "--minimum-area",
        type=float,
        default=0.0,
        help="Smaller areas, in square metres (pixels for a scene without coordinates), join the"
        " neighbour with the longest shared border; 0 keeps all",
    )
    values = parser.parse_args(words)
    from bdgf.lock import locked
    from bdgf.mapping.folder import RECORD
    from bdgf.mapping.polygons import find_maps, write_polygons
    from bdgf.runfolder import is_run_folder

    target = Path(values.run) / "map.gpkg" if values.to is None else Path(values.to)
    minimum = float(values.minimum_area)
    if not 0 <= minimum < float("inf"):
        raise SettingsError(f"--minimum-area is {minimum}; it must be 0 or more.")
    if target.suffix.lower() != ".gpkg":
        raise SettingsError(
            f"{target} does not end in .gpkg; polygons are written as a GeoPackage: name it so."
        )
    if "!" in str(target.absolute()):
        raise SettingsError(
            f"{target} has the sign ! in its path, which the writer of vector files takes for its"
            " own: name another file with --to."
        )
    if target.exists():
        raise SettingsError(
            f"{target} exists and was not overwritten; remove it, or name another file with --to."
        )
    with contextlib.ExitStack() as held:
        progress = held.enter_context(ConsoleProgress(console))
        if (target.parent / RECORD).is_file() or is_run_folder(target.parent):
            held.enter_context(locked(target.parent))  # its other commands remove what is half done
        summary = write_polygons(find_maps(Path(values.run)), target, minimum, progress)
    unit = "m²" if summary.unit == "m2" else "pixels"
    merged = f", of {summary.before:,} before areas below {minimum:g} {unit} were joined"
    say(console, f"{target}: {summary.after:,} polygons{merged if minimum else ''}")
