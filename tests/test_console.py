from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from bdgf import console
from bdgf.console import ConsoleProgress


def drawn(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(console, "LINE_EVERY", 0.0)
    file = io.StringIO()
    target = Console(file=file, force_terminal=terminal, width=120)
    with ConsoleProgress(target) as progress:
        progress.say("a line [with] brackets")
        for step in range(1, 5):
            progress.track("pretrain", step, 4, "loss 0.5")
    return file.getvalue()


def test_a_log_has_lines_with_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    text = drawn(False, monkeypatch)
    assert "a line [with] brackets" in text
    assert re.search(r"pretrain: 2/4, \d+ s left, loss 0\.5", text)
    assert re.search(r"pretrain: 4/4, \d+ s, loss 0\.5", text)
    assert "\x1b" not in text


def test_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    text = drawn(True, monkeypatch)
    assert "a line [with] brackets" in text
    assert "\x1b" in text
