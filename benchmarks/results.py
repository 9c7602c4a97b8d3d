"""What was measured, kept as JSON so that a run that was ended goes on, and tables in Markdown."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Values = dict[str, Any]


class Results:
    """Measured values by part and setup.

    Args:
        path: JSON file; read when it is there.
        machine: Where it is measured. Values of another machine or torch are not mixed with these.

    Raises:
        SystemExit: The file holds values of another machine.
    """

    def __init__(self, path: Path, machine: dict[str, str]) -> None:
        self.path = path
        self.values: dict[str, Values] = {}
        self.machine = machine
        if path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
            if found["machine"] != machine:
                raise SystemExit(
                    f"{path} was measured on another machine or with another torch; give another"
                    " folder with --work."
                )
            self.values = found["values"]

    def get(self, part: str, setup: str) -> Values | None:
        """Return the values of a part, None before it is measured."""
        return self.values.get(f"{part}, {setup}")

    def put(self, part: str, setup: str, values: Values) -> None:
        """Keep the values of a part; the file is written whole or not at all."""
        self.values[f"{part}, {setup}"] = values
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_suffix(".part")
        text = json.dumps({"machine": self.machine, "values": self.values}, indent=1)
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, self.path)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def figure(value: float, digits: int = 3) -> str:
    """Return a number with about this many digits, in full and not as a power where it is plain."""
    if value == 0:
        return "0"
    if not 1e-3 <= abs(value) < 1e5:
        return f"{value:.1e}"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"
