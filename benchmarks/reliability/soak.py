"""Repeated small runs in one process: does memory stay flat, and does every file get closed?

``python -m benchmarks.reliability soak --minutes 60``
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

WARM = 10
"""Runs in which caches fill, that are not counted."""


def resident() -> float:
    """Return the resident memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def descriptors() -> int:
    """Return how many files this process holds open."""
    return len(os.listdir("/proc/self/fd"))


def threads() -> int:
    """Return how many threads this process has."""
    return len(os.listdir("/proc/self/task"))


def main(arguments: list[str]) -> int:
    """Run for some minutes and print what was held at the beginning and at the end."""
    parser = argparse.ArgumentParser("python -m benchmarks.reliability soak")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--runs", type=int, default=10**9, help="At most so many runs")
    values = parser.parse_args(arguments)
    import torch

    from bdgf import config, presets
    from bdgf.pipeline import Pipeline
    from bdgf.progress import Silent
    from benchmarks.reliability.small_run import SETTINGS, make_scenes

    torch.set_num_threads(1)
    settings = presets.replace(config.Settings(), SETTINGS)
    memory: list[float] = []
    files: list[int] = []
    tasks: list[int] = []
    with tempfile.TemporaryDirectory(prefix="bdgf-soak-") as name:
        folder = Path(name)
        scenes = make_scenes(folder / "scenes")
        end = time.monotonic() + 60 * values.minutes
        while time.monotonic() < end and len(memory) < values.runs:
            out = folder / "run"
            seeded = presets.replace(settings, {"seed": len(memory)})
            Pipeline(scenes[len(memory) % len(scenes)], out, seeded, Silent()).run()
            shutil.rmtree(out)
            gc.collect()
            memory.append(resident())
            files.append(descriptors())
            tasks.append(threads())
            print(
                f"run {len(memory)}: {memory[-1]:.1f} MB, {files[-1]} files, {tasks[-1]} threads",
                file=sys.stderr,
                flush=True,
            )
    counted = memory[WARM:]
    if len(counted) < 6:
        print(f"{len(memory)} runs are too few to judge; {WARM + 6} are needed")
        return 1
    third = len(counted) // 3
    before, after = statistics.median(counted[:third]), statistics.median(counted[-third:])
    growth = 100 * (after / before - 1)
    leaked = files[-1] - files[WARM]
    print(
        f"{len(memory)} runs in {values.minutes:.0f} minutes: {before:.1f} MB in the first third"
        f" after {WARM} runs, {after:.1f} MB in the last ({growth:+.2f} %); {files[WARM]} open"
        f" files after {WARM} runs, {files[-1]} at the end; {tasks[WARM]} and {tasks[-1]} threads"
    )
    return 1 if growth > 5 or leaked > 0 else 0
