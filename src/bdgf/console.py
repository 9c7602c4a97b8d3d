"""Progress on the terminal: bars with the time left, or a line now and then in a log."""

from __future__ import annotations

import re
import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

LINE_EVERY = 15.0
"""Seconds between two lines of one piece of work where there is no terminal."""


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def harmless(text: str) -> str:
    """Return a text whose control characters are spelled out.

    Names come from files: printed as they are they could move the cursor, rewrite lines, or turn
    the direction of writing.
    """
    return _CONTROL.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


class ConsoleProgress:
    """Draws progress on a console.

    Args:
        console: Where to draw.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[info]}"),
            console=console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._started: dict[str, tuple[float, int]] = {}
        self._told: dict[str, float] = {}

    def __enter__(self) -> ConsoleProgress:
        """Start drawing."""
        if self.console.is_terminal:
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop drawing."""
        self._bars.stop()

    def say(self, text: str) -> None:
        """Print one line above the bars."""
        self.console.print(harmless(text), highlight=False, markup=False, soft_wrap=True)

    def track(self, name: str, done: int, total: int, info: str = "") -> None:
        """Move the bar of a piece of work, or print a line when the last is long ago."""
        if self.console.is_terminal:
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task(name, total=total, info=info)
            self._bars.update(self._tasks[name], completed=done, total=total, info=info)
            if done >= total:
                self._bars.remove_task(self._tasks.pop(name))
            return
        now = time.monotonic()
        start, before = self._started.setdefault(name, (now, done))
        finished = done >= total
        if not finished and now - self._told.setdefault(name, now) < LINE_EVERY:
            return
        self._told[name] = now
        left = (now - start) / max(1, done - before) * (total - done)
        when = f"{now - start:.0f} s" if finished else f"{left:.0f} s left"
        self.say(f"{name}: {done}/{total}, {when}{', ' + info if info else ''}")
        if finished:
            self._started.pop(name)
            self._told.pop(name, None)
