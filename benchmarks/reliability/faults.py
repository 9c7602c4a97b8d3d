"""Faults that are planted in small runs: is nothing lost, and the result the same afterwards?

``python -m benchmarks.reliability faults --moments 30``

Every case plants one fault, looks at how the program ended, runs the same command again without the
fault, and compares all files of the run folder with those of an undisturbed run, byte for byte
(times and memory left out, by name). It runs on one thread of a Linux machine.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reliability.small_run import Child, contents, differences, make_scenes, start, words

SPACE = 64 << 20


@dataclass
class Undisturbed:
    """A run that nothing happened to.

    Args:
        scene: Its scene file.
        folder: Its run folder.
        files: What it wrote.
        begins: When each stage began, and 'end', in seconds.
    """

    scene: Path
    folder: Path
    files: dict[str, bytes]
    begins: dict[str, float]

    @property
    def stages(self) -> list[str]:
        """Names of the stages in their order."""
        return [name for name in self.begins if name != "end"]

    def duration(self, stage: str) -> float:
        """Seconds that a stage took."""
        names = list(self.begins)
        return self.begins[names[names.index(stage) + 1]] - self.begins[stage]


@dataclass
class Tally:
    """Cases of one kind of fault.

    Args:
        name: The kind.
        tried: Number of cases.
        struck: In how many the fault met the program, and was not too late or too small for it.
        lost: What went wrong, a line per case.
    """

    name: str
    tried: int = 0
    struck: int = 0
    lost: list[str] = field(default_factory=list)

    def line(self) -> str:
        """Return the line of the table."""
        return f"{self.name:<44}{self.tried:>6}{self.struck:>8}{self.tried - len(self.lost):>10}"


class Faults:
    """Plants faults.

    Args:
        folder: An empty folder to work in.
        seed: Seed of moments and sizes.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.random = folder, np.random.default_rng(seed)
        self.tallies: list[Tally] = []
        self._number = 0
        self.runs = []
        for scene in make_scenes(folder / "scenes"):
            out = folder / f"undisturbed_{scene.parent.name}"
            child = start(words(scene, out), folder / "log.txt")
            begins = child.stages()
            if child.end():
                raise RuntimeError(f"the undisturbed run failed: {child.text}")
            self.runs.append(Undisturbed(scene, out, contents(out), begins))

    def tally(self, name: str) -> Tally:
        """Return a new line of the table."""
        self.tallies.append(Tally(name))
        return self.tallies[-1]

    def place(self) -> tuple[Undisturbed, Path]:
        """Return an undisturbed run to compare with, and a folder for the next disturbed one."""
        self._number += 1
        return self.runs[self._number % len(self.runs)], self.folder / f"run{self._number}"

    def begin(
        self, run: Undisturbed, out: Path, prepare: Callable[[], None] | None = None
    ) -> Child:
        """Start a run."""
        return start(words(run.scene, out), out.with_suffix(".log"), prepare)

    def resume(self, tally: Tally, case: str, run: Undisturbed, out: Path, lost: str = "") -> None:
        """Run the same command again, and compare all files but one that is lost."""
        child = self.begin(run, out)
        child.stages()
        status = child.end()
        if status:
            tally.lost.append(f"{case}: the second run ended with {status}: {child.text[-600:]}")
            return
        changed = [name for name in differences(run.files, out) if name != lost]
        if changed:
            tally.lost.append(f"{case}: differs in {', '.join(changed)}")
            return
        shutil.rmtree(out)

    def refused(self, tally: Tally, case: str, child: Child, status: int) -> bool:
        """Check that a run ended with one sentence and status 2."""
        text = child.text
        if status != 2 or "Traceback" in text or "bdgf: " not in text:
            tally.lost.append(f"{case}: ended with {status}: {text[-1500:]}")
            return False
        return True

    # --- the kinds of faults ---

    def kills(self, moments: int) -> None:
        """SIGKILL at random moments, the stages in turn."""
        tally = self.tally("killed at a random moment")
        for number in range(moments):
            run, out = self.place()
            stage = run.stages[number // len(self.runs) % len(run.stages)]
            delay = float(self.random.uniform(0, run.duration(stage)))
            tally.tried += 1
            child = self.begin(run, out)
            child.wait_for(stage)
            time.sleep(delay)
            tally.struck += child.kill() == -signal.SIGKILL
            self.resume(tally, f"{stage} + {delay:.2f} s", run, out)

    def kills_at_renames(self, cases: int) -> None:
        """SIGKILL right before and right after a file takes its final name."""
        tally = self.tally("killed where a file takes its name")
        for number in range(cases):
            run, out = self.place()
            count, after = int(self.random.integers(1, 40)), bool(number % 2)
            tally.tried += 1
            child = self.begin(run, out, partial(_kill_at_rename, count, after))
            child.stages()
            tally.struck += child.end() == -signal.SIGKILL
            self.resume(tally, f"rename {count}, {'after' if after else 'before'}", run, out)

    def failing_writes(self, cases: int) -> None:
        """A limit of the file size: the kernel takes a part of a write and refuses the rest."""
        tally = self.tally("a write fails half-way")
        for _ in range(cases):
            run, out = self.place()
            sizes = sorted(len(data) for data in run.files.values())
            limit = int(self.random.choice(sizes) * self.random.uniform(0.05, 0.99)) + 1
            tally.tried += 1
            child = self.begin(run, out, partial(_limit_files, limit))
            child.stages()
            status = child.end()
            case = f"files of {limit} bytes at most"
            if status:
                tally.struck += 1
                if not self.refused(tally, case, child, status):
                    continue
            self.resume(tally, case, run, out)

    def failing_calls(self, cases: int) -> None:
        """The disk reports an error when a file is to be made safe."""
        tally = self.tally("the disk reports an error")
        for number in range(cases):
            run, out = self.place()
            count = int(self.random.integers(1, 60))
            code = (errno.EIO, errno.ENOSPC, errno.EDQUOT)[number % 3]
            tally.tried += 1
            child = self.begin(run, out, partial(_fail_sync, count, code))
            child.stages()
            status = child.end()
            case = f"{errno.errorcode[code]} at sync {count}"
            if status:
                tally.struck += 1
                if not self.refused(tally, case, child, status):
                    continue
            self.resume(tally, case, run, out)

    def full_disks(self, cases: int) -> None:
        """A small disk that is full before the run is through, then larger."""
        tally = self.tally("the disk is full")
        for _ in range(cases):
            run, out = self.place()
            need = sum(map(len, run.files.values()))
            size = int(need * self.random.uniform(0.05, 1.3)) // 4096 * 4096 + 8192
            with _disk(out, size) as grow:
                if grow is None:
                    self.tallies.remove(tally)
                    print("the disk is full: left out, a small disk can only be mounted by root")
                    return
                tally.tried += 1
                child = self.begin(run, out / "run")
                child.output = out.with_suffix(".log")
                child.stages()
                status = child.end()
                case = f"a disk of {size} bytes"
                if status:
                    tally.struck += 1
                    child.output = (out / "run").with_suffix(".log")
                    if not self.refused(tally, case, child, status):
                        continue
                grow()
                self.resume(tally, case, run, out / "run")

    def lost_files(self, cases: int) -> None:
        """A file of the run folder goes between two stages."""
        tally = self.tally("a file vanishes between stages")
        for _ in range(cases):
            run, out = self.place()
            stage = run.stages[int(self.random.integers(1, len(run.stages)))]
            names = [n for n in run.files if n != "stages.json"]
            name = names[int(self.random.integers(len(names)))]
            tally.tried += 1
            shutil.copytree(run.folder, out)
            _forget(out, stage)
            (out / name).unlink()
            child = self.begin(run, out)
            child.stages()
            status = child.end()
            tally.struck += 1
            case = f"{name} before {stage}"
            if status and not self.refused(tally, case, child, status):
                continue
            if status:
                # what it named has to be done by hand; it must not have gone on with less
                tally.lost.append(f"{case}: not made again: {child.text[-300:]}")
                continue
            # the record of the losses is made by training alone; nothing is computed from it
            self.resume(tally, case, run, out, name if name == "history.jsonl" else "")

    def cut_files(self, cases: int) -> None:
        """A file of the run folder is cut between two stages, as a failing disk would."""
        tally = self.tally("a file is cut between stages")
        for _ in range(cases):
            run, out = self.place()
            stage = run.stages[int(self.random.integers(1, len(run.stages)))]
            names = [n for n, data in run.files.items() if len(data) > 1]
            name = names[int(self.random.integers(len(names)))]
            tally.tried += 1
            shutil.copytree(run.folder, out)
            _forget(out, stage)
            os.truncate(out / name, int((out / name).stat().st_size * self.random.random()))
            child = self.begin(run, out)
            child.stages()
            status = child.end()
            case = f"{name} before {stage}"
            if status:
                tally.struck += 1
                self.refused(tally, case, child, status)
            else:
                # what was made anew must be right; what was not touched may still be cut
                wrong = [n for n in differences(run.files, out) if n != name]
                if wrong:
                    tally.lost.append(f"{case}: went on, and differs in {', '.join(wrong)}")
            shutil.rmtree(out)

    def clocks(self, cases: int) -> None:
        """The clock jumps, mostly backwards, at every reading."""
        tally = self.tally("the clock jumps")
        for _ in range(cases):
            run, out = self.place()
            seed = int(self.random.integers(1 << 30))
            tally.tried += 1
            child = self.begin(run, out, partial(_jumping_clock, seed))
            child.stages()
            status = child.end()
            tally.struck += 1
            if status:
                tally.lost.append(f"seed {seed}: ended with {status}: {child.text[-600:]}")
                continue
            self.resume(tally, f"seed {seed}", run, out)

    def two_at_once(self, cases: int) -> None:
        """A second run on the folder of one that is going on."""
        tally = self.tally("two runs on one folder")
        for number in range(cases):
            run, out = self.place()
            stage = run.stages[number % (len(run.stages) - 1)]
            tally.tried += 1
            first = self.begin(run, out)
            first.wait_for(stage)
            os.kill(first.process, signal.SIGSTOP)
            second = start(words(run.scene, out), out.with_suffix(".second.log"))
            second.stages()
            status = second.end()
            os.kill(first.process, signal.SIGCONT)
            first.stages()
            ended = first.end()
            tally.struck += 1
            if not self.refused(tally, f"at {stage}", second, status):
                continue
            if ended or f"is in use by another bdgf process (process {first.process} on" not in (
                " ".join(second.text.split())
            ):
                tally.lost.append(f"at {stage}: {ended} {first.text[-300:]} {second.text[-300:]}")
                continue
            self.resume(tally, f"at {stage}", run, out)

    def workers(self, cases: int) -> None:
        """The process that does one cell of a comparison dies."""
        tally = self.tally("a worker of a comparison dies")
        run = self.runs[0]
        whole = self.folder / "comparison"
        expected: dict[str, Any] = {}
        for number in range(cases + 1):
            out = whole if number == 0 else self.folder / f"comparison{number}"
            if number:
                tally.tried += 1
                status, text = _compare(run.scene, out, kill_after=self.random.uniform(0.2, 2.5))
                if status:
                    tally.struck += 1
                    if status != 2 or "Traceback" in text or "status -9" not in text:
                        tally.lost.append(f"case {number}: ended with {status}: {text[-600:]}")
                        continue
            status, text = _compare(run.scene, out)
            found = _cells(out)
            if number == 0:
                expected = found
            if status or found != expected or not found:
                tally.lost.append(f"case {number}: {status}: {text[-600:]}")


def _kill_at_rename(count: int, after: bool) -> None:
    replace, calls = os.replace, [0]

    def killing(*names: str) -> None:
        calls[0] += 1
        if calls[0] == count and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*names)
        if calls[0] == count:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = killing  # type: ignore[assignment]


def _limit_files(size: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write fails instead
    output = os.dup(2)
    reading, writing = os.pipe()  # a pipe has no size: the messages are not what is limited
    if os.fork() == 0:
        os.close(writing)
        while got := os.read(reading, 65536):
            os.write(output, got)
        os._exit(0)
    os.close(reading)
    os.dup2(writing, 1)
    os.dup2(writing, 2)
    os.close(writing)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _fail_sync(count: int, code: int) -> None:
    sync, calls = os.fsync, [0]

    def failing(descriptor: int) -> None:
        calls[0] += 1
        if calls[0] == count:
            raise OSError(code, os.strerror(code))
        sync(descriptor)

    setattr(os, "fsync", failing)  # noqa: B010


def _jumping_clock(seed: int) -> None:
    random, clocks = np.random.default_rng(seed), ("time", "perf_counter", "monotonic")
    for name in clocks:
        real = getattr(time, name)
        setattr(time, name, lambda real=real: real() - float(random.uniform(-10, 4e5)))


def _forget(out: Path, stage: str) -> None:
    """Make a finished run one that ended before a stage."""
    index = json.loads((out / "stages.json").read_text(encoding="utf-8"))
    names = list(index)
    kept = {name: index[name] for name in names[: names.index(stage)]}
    (out / "stages.json").write_text(json.dumps(kept), encoding="utf-8")


@contextlib.contextmanager
def _disk(folder: Path, size: int) -> Iterator[Callable[[], None] | None]:
    """Mount a small disk of memory; yields what makes it larger, None where that is not allowed."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        yield None
        return
    try:
        grow = ["mount", "-o", f"remount,size={SPACE}", str(folder)]

        def larger() -> None:
            subprocess.run(grow, check=True)

        yield larger
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _compare(scene: Path, out: Path, kill_after: float | None = None) -> tuple[int, str]:
    """Run a comparison; kill the first of its workers some seconds after it has started."""
    command = [
        sys.executable, "-m", "bdgf", *words(scene, out), "--methods", "RF raw,SVM raw",
        "--seeds", "1",
    ]  # fmt: skip
    command[command.index("run")] = "bench"
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if kill_after is not None:
        while process.poll() is None:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            tasks = list(Path(f"/proc/{process.pid}/task").iterdir())
            for task in tasks:
                with contextlib.suppress(OSError):
                    children += (task / "children").read_text().split()
            if children:
                time.sleep(kill_after)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(children[0]), signal.SIGKILL)
                break
            time.sleep(0.02)
    text, _ = process.communicate()
    return process.returncode, text


def _cells(out: Path) -> dict[str, Any]:
    found = {}
    for path in sorted((out / "cells").rglob("*.json")):
        values = json.loads(path.read_text(encoding="utf-8"))
        for name in ("seconds", "memory_mb", "cost"):
            values.pop(name)
        found[path.name] = (values, path.with_suffix(".npy").read_bytes())
    return found


def main(arguments: list[str]) -> int:
    """Plant the faults and print the table; 1 where anything was lost."""
    parser = argparse.ArgumentParser("python -m benchmarks.reliability faults")
    parser.add_argument("--moments", type=int, default=30, help="Kills at random moments")
    parser.add_argument("--others", type=int, default=None, help="Cases of each other kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default="", help="Only these, separated by commas")
    values = parser.parse_args(arguments)
    # forks have it all imported already
    for module in ("bdgf.commands.run", "bdgf.pipeline", "sklearn.svm", "sklearn.ensemble"):
        __import__(module)
    import torch

    torch.set_num_threads(1)
    others = max(2, values.moments // 2) if values.others is None else values.others
    counts = {
        "kills": values.moments,
        "kills_at_renames": others,
        "failing_writes": others,
        "failing_calls": others,
        "full_disks": others,
        "lost_files": others,
        "cut_files": others,
        "clocks": max(1, others // 3),
        "two_at_once": max(1, others // 3),
        "workers": max(1, others // 5),
    }
    chosen = [name for name in values.kinds.split(",") if name] or list(counts)
    with tempfile.TemporaryDirectory(prefix="bdgf-faults-") as folder:
        faults = Faults(Path(folder), values.seed)
        for name in chosen:
            getattr(faults, name)(counts[name])
            print(faults.tallies[-1].line() if faults.tallies else "", file=sys.stderr, flush=True)
    print(f"{'fault':<44}{'tried':>6}{'struck':>8}{'survived':>10}")
    for tally in faults.tallies:
        print(tally.line())
    tried = sum(tally.tried for tally in faults.tallies)
    lost = [line for tally in faults.tallies for line in tally.lost]
    print(f"{tried} faults tried, {tried - len(lost)} survived with the same bytes")
    for line in lost:
        print(line)
    return 1 if lost else 0
