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
        commit: Of the code that is measured.
        options: The code itself, as a digest, and the options of the program. Values of others
            count as not measured.

    Raises:
        SystemExit: The file holds values of another machine.
    """

    def __init__(self, path: Path, machine: dict[str, str], commit: str, options: Values) -> None:
        self.path = path
        self.entries: dict[str, Values] = {}
        self.machine, self.commit, self.options = machine, commit, options
        if path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
            if found["machine"] != machine:
                raise SystemExit(
                    f"{path} was measured on another machine or with another torch; give another"
                    " folder with --work."
                )
            self.entries = found["values"]

    def get(self, part: str, setup: str) -> Values | None:
        """Return the values of a part, None before it is measured with this code and options."""
        entry = self.entries.get(f"{part}, {setup}", {})
        return entry["values"] if self._belongs(entry) else None

    def _belongs(self, entry: Values) -> bool:
        return entry.get("options") == self.options

    def commits(self, setups: Sequence[str]) -> list[str]:
        """Return the commits that the values of some setups were measured at."""
        return sorted(
            {
                str(entry["commit"])
                for key, entry in self.entries.items()
                if self._belongs(entry) and key.split(", ")[1] in setups
            }
        )

    def put(self, part: str, setup: str, values: Values) -> None:
        """Keep the values of a part; the file is written whole or not at all."""
        entry = {"commit": self.commit, "options": self.options, "values": values}
        self.entries[f"{part}, {setup}"] = entry
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_suffix(".part")
        text = json.dumps({"machine": self.machine, "values": self.entries}, indent=1)
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
