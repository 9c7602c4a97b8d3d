"""How long work tells how far it is; the command line draws it, the library stays silent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")


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


def tracked(items: Iterable[T], progress: Progress, name: str, total: int) -> Iterator[T]:
    """Yield the items and tell the progress after each."""
    for done, item in enumerate(items, 1):
        yield item
        progress.track(name, done, total)
