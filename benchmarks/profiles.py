"""What the time of the three phases goes to: operators of the processor, or of the GPU."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import torch
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity

from benchmarks.cases import AUGSBURG, SMALL, mapper
from benchmarks.maps import dense
from benchmarks.results import Values
from benchmarks.steps import Trainings
from benchmarks.timing import Setup, Work

TOP = 8
"""Operators of a phase that are kept."""
OUTSIDE = "outside of torch's operators"


def profile(setup: Setup, work: Path) -> Values:
    """Return of a step of each training and of a map the time, and what it goes to."""
    case = mapper(work, SMALL if setup.small else AUGSBURG, setup.device)
    features, branches = dense(case, work / "features").values()

    def whole_map() -> None:
        features()
        branches()

    steps = Trainings.of(case, setup).steps()
    counts = {**dict.fromkeys(steps, setup.rounds), "map": 1}
    phases: dict[str, Work] = {**steps, "map": whole_map}
    with setup.applied():
        found = {
            name: profiled(run, setup.device == "cuda", counts[name])
            for name, run in phases.items()
        }
    return {"phases": found}


def profiled(run: Work, cuda: bool, count: int = 1) -> Values:
    """Profile a phase after one run that is not counted.

    Args:
        run: The phase.
        cuda: Whether it uses a GPU.
        count: How often it is run.

    Returns:
        ``seconds`` of a run on the clock, with what profiling costs; ``operators`` as
        :func:`shares` gives them; on CUDA ``busy``, the share of the time that the GPU was, and
        ``gpu_peak``, bytes that its tensors took.
    """
    run()
    activities = [ProfilerActivity.CPU]
    if cuda:
        activities.append(ProfilerActivity.CUDA)
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    with torch.profiler.profile(activities=activities) as profiler:
        start = time.perf_counter()
        for _ in range(count):
            run()
        if cuda:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
    events: list[FunctionEvent] = [e for e in profiler.events() or [] if not e.is_user_annotation]
    of_cpu = [event for event in events if event.device_type.name == "CPU"]
    found: Values = {"seconds": seconds / count}
    if not cuda:
        own = ((event.name, event.self_cpu_time_total) for event in of_cpu)
        return {**found, "operators": shares(own, 1e6 * seconds)}
    busy = covered(
        (event.time_range.start, event.time_range.end)
        for event in events
        if event.device_type.name == "CUDA"
    )
    own = ((event.name, event.self_device_time_total) for event in of_cpu)
    return {
        **found,
        "operators": shares(own, busy),
        "busy": busy / (1e6 * seconds),
        "gpu_peak": torch.cuda.max_memory_allocated(),
    }


def shares(own: Iterable[tuple[str, float]], total: float) -> list[tuple[str, float, int]]:
    """Return the operators with the largest shares of a time: name, share and calls.

    Args:
        own: Name and own time of every call.
        total: All time; what no operator has of it is listed as ``OUTSIDE``, with no calls.
    """
    times: dict[str, float] = defaultdict(float)
    calls: dict[str, int] = defaultdict(int)
    for name, spent in own:
        times[name] += spent
        calls[name] += spent > 0
    times[OUTSIDE] = max(0.0, total - sum(times.values()))
    largest = sorted(times, key=lambda name: -times[name])[:TOP]
    return [(name, times[name] / total, calls[name]) for name in largest if times[name]]


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Return how long at least one of some spans of time lasts."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
