"""What all sub-commands share: the parser, and settings as options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, Namespace
from rich.console import Console

from bdgf import config, presets
from bdgf.console import harmless
from bdgf.errors import SettingsError

Command = Callable[[list[str], Console], None]
"""A sub-command: takes the words after its name, and prints to a console."""


class Parser(ArgumentParser):
    """Refuses with one sentence and exit status 2."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise instead of printing the usage."""
        text = " ".join(str(message).split())
        raise SettingsError(f"{text.rstrip('.')}; '{self.prog} --help' shows what it takes.")


def make_parser(name: str, summary: str, usage: str, example: str) -> Parser:
    """Return the parser of a sub-command.

    Args:
        name: Name of the sub-command.
        summary: What it does.
        usage: Its arguments.
        example: A call of it.
    """
    return Parser(
        prog=f"bdgf {name}",
        usage=f"bdgf {name} {usage}",
        description=f"{summary}. Example: {example}",
        allow_abbrev=False,
    )


def add_settings(parser: Parser, preset: str = "standard") -> None:
    """Add every setting as an option, and the presets."""
    parser.add_argument(
        "--preset",
        choices=tuple(presets.PRESETS),
        default=preset,
        help="Decides the effort (steps, whether folds weigh the heads); a setting that is given"
        " by itself outweighs it",
    )
    parser.add_class_arguments(config.Settings, nested_key=None)


def parse(parser: Parser, words: list[str], stored: dict[str, Any]) -> Namespace:
    """Parse with the defaults of the run that the folder holds, or else of the preset.

    A preset that is named goes before what is stored.
    """
    chosen = None if stored else parser.get_default("preset")
    for index, word in enumerate(words):
        if word == "--preset" and index + 1 < len(words):
            chosen = words[index + 1]
        elif word.startswith("--preset="):
            chosen = word.partition("=")[2]
    parser.set_defaults({**stored, **presets.PRESETS.get(chosen or "", {})})
    return parser.parse_args(words)


def as_settings(values: Namespace) -> config.Settings:
    """Return the settings among parsed options."""
    names = config.Settings.__dataclass_fields__
    # without the paths of files that groups of settings were read from
    plain = values.clone(with_meta=False).as_dict()
    return presets.from_values({k: v for k, v in plain.items() if k in names})


def say(console: Console, text: str) -> None:
    """Print a line: paths and names may look like markup, or hold what moves the cursor."""
    console.print(harmless(text), highlight=False, markup=False, soft_wrap=True)
