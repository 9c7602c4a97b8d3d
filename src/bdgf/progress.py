"""How long work tells how far it is; the command line draws it, the library stays silent."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receiver of progress."""

    def say(self, text: str) -> None:
        """Tell one line."""

    def track(self, name: str, done: int, total: int, info: str = "") -> None:
        """Tell that ``done`` of ``total`` parts of the work ``name`` are done."""


class Silent:
    """Progress that goes nowhere."""

    def say(self, text: str) -> None:
        """Ignore the line."""

    def track(self, name: str, done: int, total: int, info: str = "") -> None:
        """Ignore the step."""
