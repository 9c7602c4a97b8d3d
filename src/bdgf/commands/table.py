"""``bdgf table``."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from bdgf.commands.options import make_parser, say

SUMMARY = "One Markdown table of several runs, mean and deviation over their seeds"


def command(words: list[str], console: Console) -> None:
    """Print the table of finished runs."""
    parser = make_parser(
        "table", SUMMARY, "RUN...", "bdgf table runs/first-0 runs/first-1 runs/first-2"
    )
    parser.add_argument("runs", nargs="+", help="Folders of finished runs")
    values = parser.parse_args(words)
    from bdgf.evaluation.table import markdown, read_run

    say(console, markdown([read_run(Path(run)) for run in values.runs]))
