"""Every declared benchmark at its full size, with generated files, from `bdgf inspect` to the map.

    python benchmarks/lookalikes.py --work FOLDER
    python benchmarks/lookalikes.py --work FOLDER --only augsburg --container index
    python benchmarks/lookalikes.py --work FOLDER --training.steps 20

For one container of every benchmark, files with invented values are written that are laid out as
the real ones; `bdgf inspect` and `bdgf run NAME --root FOLDER` then run on them, and one row of a
Markdown table is printed. Rows that are in the result file are not measured again, and the files of
a row are deleted when it is done. The values are invented: the accuracies show that the whole way
works, and say nothing about the real scenes.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bdgf.scene.benchmarks.catalogue import BENCHMARKS, find
from bdgf.scene.benchmarks.declaration import Benchmark, Container

TOOL = Path(__file__).resolve().parents[1] / "tests" / "scene" / "benchmarks" / "lookalike.py"
COLUMNS = ("benchmark", "container", "rows × columns", "GB", "inspect s", "run s", "MB", "OA")


def main() -> int:
    """Measure what is asked for and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for files and results")
    parser.add_argument("--only", action="append", help="a benchmark; may be given several times")
    parser.add_argument("--container", help="one container, or 'all'; the first by default")
    parser.add_argument("--preset", default="quick", help="preset of the run")
    parser.add_argument("--keep", action="store_true", help="keep the generated files and the run")
    # What is not known here is a setting of the run, as in --training.steps 20.
    values, settings = parser.parse_known_args()
    chosen = [find(name) for name in values.only] if values.only else list(BENCHMARKS.values())
    results = values.work / "lookalikes.json"
    rows = json.loads(results.read_text(encoding="utf-8")) if results.is_file() else {}
    failed = False
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    for benchmark in chosen:
        for container in containers(benchmark, values.container):
            key = "/".join((benchmark.name, container.name, values.preset, *settings))
            if key not in rows:
                row = measure(benchmark, container, values, settings)
                if row is None:
                    failed = True
                    continue
                rows[key] = row
                values.work.mkdir(parents=True, exist_ok=True)
                beside = results.with_suffix(".part")
                beside.write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")
                os.replace(beside, results)
            print(f"| {' | '.join(str(rows[key][name]) for name in COLUMNS)} |", flush=True)
    return int(failed)


def containers(benchmark: Benchmark, name: str | None) -> list[Container]:
    """The containers that are asked for."""
    if name is None:
        return [benchmark.containers[0]]
    return [one for one in benchmark.containers if name in ("all", one.name)]


def measure(
    benchmark: Benchmark, container: Container, values: argparse.Namespace, settings: list[str]
) -> dict[str, Any] | None:
    """Write the files of one container, run both commands, and return the row; None on failure."""
    here = values.work / f"{benchmark.name}-{container.name}"
    shutil.rmtree(here, ignore_errors=True)
    try:
        made = lookalike().make_lookalike(benchmark, container, here / "data")
        size = sum(path.stat().st_size for path in (here / "data").iterdir())
        inspect = command("inspect", here / "data")
        run = inspect and command(
            "run", benchmark.name, "--root", here / "data", "--out", here / "run",
            "--preset", values.preset, *settings,
        )  # fmt: skip
        if not run:
            return None
        metrics = json.loads((here / "run" / "metrics.json").read_text(encoding="utf-8"))
        best = {name: found["all"]["oa"] for name, found in metrics["methods"].items()}
        rows, cols = made.container.modalities[-1].stored.shape[:2]
        cells = (
            benchmark.name,
            container.name,
            f"{rows} × {cols}",
            f"{size / 1e9:.2f}",
            f"{inspect:.0f}",
            f"{run:.0f}",
            metrics["peak_memory_mb"],
            ", ".join(f"{name} {oa:.1f}" for name, oa in best.items()),
        )
        return dict(zip(COLUMNS, cells, strict=True))
    finally:
        if not values.keep:
            shutil.rmtree(here, ignore_errors=True)


def lookalike() -> Any:  # noqa: ANN401
    """The tests' tool that writes the files."""
    spec = importlib.util.spec_from_file_location("lookalike", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def command(*words: object) -> float | None:
    """Run a command of bdgf and return its seconds; on failure print why and return None."""
    began = time.perf_counter()
    line = [sys.executable, "-m", "bdgf", *map(str, words)]
    done = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        print(f"{' '.join(line)}\n{done.stdout[-2000:]}", file=sys.stderr, flush=True)
        return None
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
