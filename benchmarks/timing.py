"""Clocks, machines and processes: what a number was measured on, and how."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

from bdgf.compute import exact

Work = Callable[[], object]


@dataclass(frozen=True)
class Setup:
    """How alternatives are timed.

    Args:
        device: cpu or cuda.
        threads: CPU threads.
        rounds: Rounds that every alternative is run in, after one that is not counted.
        preset: Of the whole jobs.
        small: Sizes by which the program itself can be tried; their numbers mean nothing.
    """

    device: str = "cpu"
    threads: int = 1
    rounds: int = 7
    preset: str = "quick"
    small: bool = False

    @property
    def name(self) -> str:
        """What stands in the tables."""
        if self.device == "cuda":
            return "CUDA"
        return "1 thread" if self.threads == 1 else f"{self.threads} threads"

    def clock(self) -> float:
        """Seconds: user and system time on one thread, else wall-clock time.

        Other processes take turns on the same cores; on one thread they do not count.
        """
        if self.device == "cuda":
            torch.cuda.synchronize()
        elif self.threads == 1:
            return time.process_time()
        return time.perf_counter()

    def seconds(self, done: Finished) -> float:
        """Seconds of a process, as `clock` counts them."""
        return done.cpu if self.device == "cpu" and self.threads == 1 else done.wall

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give torch and NumPy this number of threads, and convolutions bdgf's own precision."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            with threadpool_limits(self.threads, user_api="blas"), exact():
                yield
        finally:
            torch.set_num_threads(before)


def interleaved(setup: Setup, alternatives: Mapping[str, Work]) -> dict[str, float]:
    """Return the median seconds of alternatives that take turns.

    Args:
        setup: Clock, threads and rounds.
        alternatives: By name; in every round each is called once, in this order.
    """
    found: dict[str, list[float]] = {name: [] for name in alternatives}
    with setup.applied():
        for turn in range(setup.rounds + 1):
            for name, work in alternatives.items():
                start = setup.clock()
                work()
                if turn:  # the first round fills caches
                    found[name].append(setup.clock() - start)
    return {name: statistics.median(seconds) for name, seconds in found.items()}


@dataclass(frozen=True)
class Finished:
    """A process that has ended.

    Args:
        wall: Seconds on the clock.
        cpu: Seconds of all its threads, user and system.
        peak: Largest resident memory, bytes.
        gpu_peak: Most memory of the GPU that its tensors took, bytes; 0 without one.
        output: What it wrote.
    """

    wall: float
    cpu: float
    peak: int
    gpu_peak: int
    output: str


BDGF = """
import atexit, runpy, sys
import torch
from bdgf.compute import peak_memory
place = sys.argv.pop(1)
def tell():
    gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else 0
    open(place, "w").write(f"{peak_memory()} {gpu}")
atexit.register(tell)
sys.argv[0] = "bdgf"
runpy.run_module("bdgf", run_name="__main__", alter_sys=True)
"""
"""Runs bdgf and writes the peak memory at its end: waiting for a process tells one that counts the
memory of the process that started it."""


def bdgf(words: list[object], threads: int) -> Finished:
    """Run a command of bdgf as a process of its own and measure it.

    Raises:
        RuntimeError: It failed.
    """
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = {**os.environ, **{name: str(threads) for name in names}}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "peak"
        return _measured(
            [sys.executable, "-c", BDGF, str(place), *map(str, words)], place, environment
        )


def _measured(words: list[str], place: Path, environment: dict[str, str]) -> Finished:
    start = time.perf_counter()
    with subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        text=True,
    ) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"bdgf {' '.join(words[4:])} failed:\n{output[-3000:]}")
    wall = time.perf_counter() - start
    peak, gpu_peak = map(int, place.read_text(encoding="utf-8").split())
    return Finished(wall, usage.ru_utime + usage.ru_stime, peak, gpu_peak, output)


def machine() -> dict[str, str]:
    """Return what the numbers belong to."""
    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text(encoding="utf-8").splitlines()
        named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        processor = named[0] if named else processor
    supported = getattr(torch.cpu, "_is_amx_tile_supported", None)
    found = {
        "processor": processor,
        "cores": str(os.cpu_count()),
        "instructions": str(torch.backends.cpu.get_cpu_capability())
        + (", AMX" if supported and supported() else ", no AMX"),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if torch.cuda.is_available():
        found["cuda"] = torch.cuda.get_device_name()
    return found
