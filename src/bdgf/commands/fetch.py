"""``bdgf fetch``."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from bdgf.commands.options import make_parser, say
from bdgf.console import ConsoleProgress

SUMMARY = "Get the files of a public benchmark, checksums verified"


def command(words: list[str], console: Console) -> None:
    """Get a benchmark's files, or say which page has them."""
    parser = make_parser(
        "fetch", SUMMARY, "NAME [--to FOLDER] [--container NAME]", "bdgf fetch augsburg --to data"
    )
    parser.add_argument("name", help="Name of a benchmark, such as augsburg")
    parser.add_argument("--to", default=None, help="Folder for the files, NAME by default")
    parser.add_argument(
        "--container",
        default=None,
        help="Which of its forms in circulation; see docs/benchmarks.md",
    )
    values = parser.parse_args(words)
    from bdgf.scene.benchmarks.catalogue import find
    from bdgf.scene.benchmarks.fetch import fetch

    benchmark = find(values.name)
    folder = Path(values.to or benchmark.name)
    with ConsoleProgress(console) as progress:
        fetch(benchmark, folder, progress, container=values.container)
    say(console, f"run it with: bdgf run {benchmark.name} --root {folder} --out RUN")
