"""The curves of a run: one JSON object per line, written whole with every checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from bdgf.errors import RunFolderError
from bdgf.files import JSON_ERRORS, atomic_write_text

Follower: TypeAlias = Callable[[str, int, Mapping[str, float]], None]
"""Is told stage, step and values of every new row."""


class History:
    """Values over the steps of the stages of one run.

    Args:
        path: ``history.jsonl``; None keeps the history in memory only.
        follower: Is told every row that is added, such as an experiment tracker.

    Raises:
        RunFolderError: The file is damaged.
    """

    def __init__(self, path: Path | None, follower: Follower | None = None) -> None:
        self.path, self._follower = path, follower
        self.rows: list[dict[str, Any]] = []
        if path is not None and path.is_file():
            try:
                lines = path.read_text(encoding="utf-8").splitlines()
                self.rows = [json.loads(line) for line in lines if line]
                for row in self.rows:
                    _check(row)
            except (*JSON_ERRORS, TypeError, KeyError) as error:
                raise RunFolderError(
                    f"{path} cannot be read ({error}); delete it: only the curves of the report are"
                    " lost, or run 'bdgf train' again for them."
                ) from None

    def restart(self, stage: str, after: int) -> None:
        """Forget what a stage wrote after a step: it will be computed again."""
        self.rows = [r for r in self.rows if r["stage"] != stage or r["step"] <= after]

    def keep(self, kind: str, stages: Iterable[str]) -> None:
        """Forget the stages whose names begin with ``kind``, but for these: others left them."""
        kept = set(stages)
        self.rows = [r for r in self.rows if not r["stage"].startswith(kind) or r["stage"] in kept]

    def add(self, stage: str, step: int, **values: float) -> None:
        """Add the values of one step, to nine digits: all that 32 bits have."""
        rounded = {name: float(f"{value:.9g}") for name, value in values.items()}
        self.rows.append({"stage": stage, "step": step, **rounded})
        if self._follower is not None:
            self._follower(stage, step, rounded)

    def save(self) -> None:
        """Write the file whole."""
        if self.path is None:
            return
        atomic_write_text(self.path, "".join(json.dumps(row) + "\n" for row in self.rows))


def _check(row: dict[str, Any]) -> None:
    row["stage"], row["step"], row["loss"]
    for name, value in row.items():
        if name == "stage":
            if not isinstance(value, str):
                raise TypeError(f"the stage {value!r} is no text")
        elif type(value) is not float and not (type(value) is int and abs(value) <= 2**53):
            raise TypeError(f"{name} of stage {row['stage']!r} is no number")
