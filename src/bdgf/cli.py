"""The command line: finds the sub-command, and ends errors in one sentence with exit status 2."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

from bdgf import __version__, processes
from bdgf.commands import bench, demo, export, fetch, figures, inspect, polygons, run, table
from bdgf.commands.options import Command
from bdgf.console import harmless
from bdgf.errors import BdgfError, SettingsError

COMMANDS: dict[str, tuple[str, Command]] = {
    "demo": (demo.SUMMARY, demo.command),
    "inspect": (inspect.SUMMARY, inspect.command),
    "fetch": (fetch.SUMMARY, fetch.command),
    "run": (run.SUMMARY, run.command),
    **{name: (text, run.stage(name)) for name, text in run.STAGE_SUMMARIES.items()},
    "figures": (figures.SUMMARY, figures.command),
    "export": (export.SUMMARY, export.command),
    "polygons": (polygons.SUMMARY, polygons.command),
    "bench": (bench.SUMMARY, bench.command),
    "table": (table.SUMMARY, table.command),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    # of several processes of one job the first one reports
    console, errors = Console(quiet=processes.rank() > 0), Console(stderr=True)
    if not words or words[0] in ("-h", "--help"):
        _print_help(console)
        return 0
    if words[0] == "--version":
        console.print(f"bdgf {__version__}", highlight=False)
        return 0
    handler = RichHandler(console=errors, show_time=False, show_path=False, markup=False)
    handler.addFilter(_harmless)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])
    logging.getLogger("bdgf").setLevel(logging.INFO)
    try:
        if words[0] not in COMMANDS:
            raise SettingsError(
                f"{words[0]!r} is not a command; choose one of {', '.join(COMMANDS)}."
            )
        COMMANDS[words[0]][1](words[1:], console)
    except BdgfError as error:
        text = harmless(f"bdgf: {error}")
        errors.print(text, style="red", highlight=False, markup=False, soft_wrap=True)
        return error.exit_status
    except OSError as error:
        if error.strerror is None:  # of a library, which means something else by it
            raise
        place = "" if error.filename is None else f"{error.filename}: "
        text = harmless(
            f"bdgf: {place}{error.strerror}; the system refuses this file: check its path, its"
            " rights and the disk."
        )
        errors.print(text, style="red", highlight=False, markup=False, soft_wrap=True)
        return BdgfError.exit_status
    except (MemoryError, RuntimeError) as error:
        if _is_lost(error):
            errors.print(
                "bdgf: another process of the job has ended, which says why by itself; the same"
                " command goes on from the last checkpoint.",
                style="red",
                highlight=False,
                soft_wrap=True,
            )
            return BdgfError.exit_status
        if not _is_memory(error):
            raise
        errors.print(
            f"bdgf: the memory is not enough ({_first_line(error)}); close other programs, choose a"
            " smaller scene or smaller settings (batches, crops, tiles, widths), or use a larger"
            " machine. The same command goes on from the last checkpoint.",
            style="red",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        return BdgfError.exit_status
    except KeyboardInterrupt:
        errors.print("bdgf: stopped; the same command goes on from the last checkpoint.")
        return 130
    return 0


def _harmless(record: logging.LogRecord) -> bool:
    record.msg, record.args = harmless(record.getMessage()), ()
    return True


def _is_memory(error: BaseException) -> bool:
    """Whether an error says that memory is used up; torch has words for it and no type."""
    text = str(error)
    return (
        isinstance(error, MemoryError)
        or "can't allocate memory" in text
        or "out of memory" in text.lower()
    )


def _is_lost(error: BaseException) -> bool:
    """Whether a process waited for another one that has ended; gloo and NCCL have words for it."""
    words = ("closed by peer", "reset by peer", "Broken pipe", "remote process exiting")
    return processes.count() > 1 and any(found in str(error) for found in words)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else "no further word of the system"


def _print_help(console: Console) -> None:
    grid = Table.grid(padding=(0, 2))
    for name, (text, _) in COMMANDS.items():
        grid.add_row(f"  {name}", text)
    console.print("usage: bdgf COMMAND ...\n", highlight=False)
    console.print("Land-cover maps from rasters of different sensors, by balanced")
    console.print("diffusion-guided fusion.\n")
    console.print(grid)
    console.print(
        "\n'bdgf COMMAND --help' shows the options and an example of each.", highlight=False
    )
