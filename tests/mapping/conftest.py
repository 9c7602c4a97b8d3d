"""What the tests of mapping share."""

from __future__ import annotations

import pytest

from bdgf.progress import Silent


class Listener(Silent):
    """Keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def listener() -> Listener:
    """Progress whose lines can be looked at."""
    return Listener()
