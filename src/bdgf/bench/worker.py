"""Does one cell in a process of its own: its cost is its own, and what kills it kills no other.

``python -m bdgf.bench.worker TASK.json``, with an input that stays open as long as whoever asked
for the cell is there: a comparison that is killed leaves no worker behind.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import bdgf
from bdgf import presets
from bdgf.bench.case import Case
from bdgf.bench.cells import (
    Cell,
    Result,
    fingerprint,
    read_result,
    write_result,
)
from bdgf.bench.cross_model.sources import Elsewhere
from bdgf.bench.methods import find, named_files, outside_signature
from bdgf.compute import keep_freed_memory, peak_memory, set_threads
from bdgf.errors import BdgfError
from bdgf.evaluation.accuracy import compare
from bdgf.files import code_digest, file_name
from bdgf.progress import Silent
from bdgf.scene.leak import leakage


def work(task: Path) -> None:
    """Do the cell that a task describes and write its result.

    Args:
        task: JSON with the folder, the cell and the settings.

    Raises:
        BdgfError: The method or the scene cannot be used.
    """
    code = code_digest(
        Path(bdgf.__file__).parent
    )  # of what is at work, whatever is edited meanwhile
    values = json.loads(task.read_text(encoding="utf-8"))
    folder, cell = Path(values["folder"]), Cell(**values["cell"])
    settings = presets.replace(presets.from_values(values["settings"]), {"seed": cell.seed})
    set_threads(settings.compute)
    keep_freed_memory()
    scene = cell.open()
    own = folder / "work" / file_name(cell.name) / str(cell.seed)
    own.mkdir(parents=True, exist_ok=True)
    signatures = scene.signature("images"), scene.signature("labels")

    elsewhere = Elsewhere(**values.get("elsewhere", {}))

    def mark(one: Cell) -> str:
        named = named_files(one.method, settings, scene)
        outside = outside_signature(one.method, elsewhere, scene, one.seed, named)
        return fingerprint(one, settings, *signatures, outside)

    def costs(method: str) -> Mapping[str, float] | None:
        other = dataclasses.replace(cell, method=method)
        found = read_result(folder, other, mark(other))
        return None if found is None else found.cost

    start = time.perf_counter()
    outcome = find(cell.method)(Case(scene, settings, own, Silent(), elsewhere, costs))
    spent = time.perf_counter() - start
    leak = leakage(scene, settings.network.window)
    accuracy = compare(scene, leak, {cell.method: outcome.predicted})[cell.method]
    seconds = spent if outcome.seconds is None else outcome.seconds
    memory = max(peak_memory() / 2**20, outcome.memory_mb)
    result = Result(
        cell,
        accuracy,
        outcome.predicted,
        seconds,
        memory,
        outcome.note,
        outcome.cost,
        outcome.confidence,
        code,
    )
    write_result(folder, result, mark(cell))


def _end_with_input() -> None:
    """End this process, whatever it is doing, when its input has ended."""
    while os.read(0, 4096):
        pass
    os._exit(1)


def main() -> int:
    """Do the cell of the task that the command line names."""
    threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        work(Path(sys.argv[1]))
    except BdgfError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
