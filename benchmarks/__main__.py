"""Measurements of this tree, printed as Markdown.

    python -m benchmarks --work FOLDER
    python -m benchmarks --work FOLDER --only scan denoiser --threads 1
    python -m benchmarks --work FOLDER --only growth --plot growth.png

Alternatives take turns in one run, and medians are compared: on one thread of the time that the
process was given, so that other processes do not count; on several threads and on CUDA of the time
on the clock. Results are kept in ``results.json`` in the folder of the work; what this very code
measured with the same options is printed and not measured again, unless ``--again`` is given.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from bdgf.compute import keep_freed_memory
from benchmarks import exactness, jobs, kernels, large, maps, origin, profiles, report, steps
from benchmarks.results import Results, Values
from benchmarks.timing import Setup, machine

PARTS: dict[str, Callable[[Setup, Path], Values]] = {
    "exactness": exactness.exactness,
    "maps": maps.maps,
    "scan": kernels.scan,
    "denoiser": kernels.denoiser,
    "steps": steps.steps,
    "profile": profiles.profile,
    "memory": jobs.memory,
    "large": large.large,
    "jobs": jobs.jobs,
    "growth": jobs.growth,
}
"""The parts in the order in which they are measured."""
ONCE = ("memory", "large", "growth")
"""Parts that are measured with the first setup alone."""


def main(words: list[str] | None = None) -> int:
    """Measure what is asked for and print it."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for scenes and results")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART",
                        help=f"parts to measure and print: {', '.join(PARTS)}")  # fmt: skip
    parser.add_argument("--threads", default="1,all", help="numbers of CPU threads: 1, all or both")
    parser.add_argument("--devices", default="cpu,cuda", help="cpu, cuda or both, where present")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of which the median is taken")
    parser.add_argument("--preset", default="quick", help="preset of the whole jobs")
    parser.add_argument("--again", action="store_true", help="measure what was measured before")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to try the program")
    parser.add_argument("--plot", type=Path, help="where the plot of the growth is written")
    values = parser.parse_args(words)
    keep_freed_memory()
    options = {name: getattr(values, name) for name in ("rounds", "preset", "small")}
    measured = {"code": origin.code(), **options}
    results = Results(values.work / "results.json", machine(), origin.commit(), measured)
    values.work.mkdir(parents=True, exist_ok=True)
    setups = [
        dataclasses.replace(setup, **options) for setup in chosen(values.devices, values.threads)
    ]
    failed = []
    for part in values.only:
        for setup in setups[:1] if part in ONCE else setups:
            if results.get(part, setup.name) is not None and not values.again:
                continue
            print(f"measuring {part}, {setup.name}", file=sys.stderr, flush=True)
            try:
                results.put(part, setup.name, PARTS[part](setup, values.work))
            except RuntimeError as error:
                print(f"{part}, {setup.name}: {error}", file=sys.stderr, flush=True)
                failed.append(part)
    print(report.markdown(results, values.only, [setup.name for setup in setups]))
    if values.plot and (found := results.get("growth", setups[0].name)):
        jobs.draw_growth(found["growth"], values.plot)
    return int(bool(failed))


def chosen(devices: str, threads: str) -> list[Setup]:
    """Return the setups that are asked for and possible on this machine."""
    every = torch.get_num_threads()
    numbers = {every if word == "all" else int(word) for word in threads.split(",")}
    setups = []
    if "cpu" in devices.split(","):
        setups += [Setup("cpu", number) for number in sorted(numbers)]
    if "cuda" in devices.split(",") and torch.cuda.is_available():
        setups.append(Setup("cuda", every))
    return setups


if __name__ == "__main__":
    sys.exit(main())
