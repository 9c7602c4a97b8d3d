"""A run that takes seconds, carried out in a process that may be ended at any moment."""

from __future__ import annotations

import json
import os
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SETTINGS = {
    "features.stored": "always",  # a full disk is to be met, not gone round
    "diffusion.steps": 12,
    "diffusion.width": 8,
    "diffusion.batch": 4,
    "diffusion.crop": 16,
    "diffusion.checkpoint_every": 3,
    "training.steps": 16,
    "training.batch": 16,
    "training.checkpoint_every": 4,
    "training.folds": 2,
    "training.fold_steps": 1.0,
    "network.width": 16,
    "network.window": 7,
    "network.state": 4,
    "features.components": 4,
    "mapping.tile": 32,
    "mapping.acquired": "2024-06-01",
    "evaluation.trees": 10,
    "evaluation.svm_pixels": 60,
    "report.points": 40,
    "compute.precision": "32",
    "compute.threads": 1,
}
"""Small, and with a checkpoint every few steps."""

VOLATILE = {
    "stages.json": ("seconds",),
    "metrics.json": ("seconds", "peak_memory_mb"),
    "map.json": ("created",),
}
"""What two equal runs may differ in, by file: times and memory. The report shows them, too."""


def words(scene: Path, out: Path, changes: dict[str, Any] | None = None) -> list[str]:
    """Return the words of ``bdgf run`` for a small run."""
    values = {**SETTINGS, **(changes or {})}
    options = [word for name, value in values.items() for word in (f"--{name}", str(value))]
    return ["run", str(scene), "--out", str(out), *options]


def make_scenes(folder: Path) -> list[Path]:
    """Write a scene of one tile and one of three."""
    from bdgf.scene.synthetic.generate import SyntheticSpec, make_scene

    one = SyntheticSpec(height=37, width=41, bands=6, classes=3, train_per_class=10, seed=1)
    three = SyntheticSpec(
        height=19, width=23, bands=5, classes=3, train_per_class=10, tiles=3, seed=2
    )
    return [make_scene(folder / "one", one), make_scene(folder / "three", three)]


@dataclass
class Child:
    """A child process that carries out a command line.

    Args:
        process: Its id.
        events: Read end of the pipe on which it tells the stages that it starts.
        output: File with all that it prints.
    """

    process: int
    events: int
    output: Path

    def wait_for(self, stage: str) -> bool:
        """Wait until a stage starts; False where the process ends before."""
        pending = b""
        while True:
            got = os.read(self.events, 1)
            if not got:
                return False
            pending += got
            if pending.endswith(b"\n"):
                if pending.decode().strip() == stage:
                    return True
                pending = b""

    def stages(self) -> dict[str, float]:
        """Read to the end; return when each stage started, and 'end', in seconds."""
        start, found, pending = time.monotonic(), {}, b""
        while got := os.read(self.events, 1):
            pending += got
            if got == b"\n":
                found[pending.decode().strip()] = time.monotonic() - start
                pending = b""
        return {**found, "end": time.monotonic() - start}

    def end(self) -> int:
        """Wait for the end; return the exit status, negative for a signal."""
        _, status = os.waitpid(self.process, 0)
        os.close(self.events)
        return os.waitstatus_to_exitcode(status)

    def kill(self) -> int:
        """End it without any chance to clean up."""
        os.kill(self.process, signal.SIGKILL)
        return self.end()

    @property
    def text(self) -> str:
        """What it printed."""
        return self.output.read_text(encoding="utf-8", errors="replace")


def start(arguments: list[str], output: Path, prepare: Callable[[], None] | None = None) -> Child:
    """Carry out ``bdgf ARGUMENTS`` in a fork of this process.

    A fork has everything imported already; the caller must not have started threads.

    Args:
        arguments: The words of the command line.
        output: Where its output goes.
        prepare: Called in the child before the command, such as to plant a fault.
    """
    reading, writing = os.pipe()
    process = os.fork()
    if process:
        os.close(writing)
        return Child(process, reading, output)
    status = 99
    try:
        os.close(reading)
        target = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(target, 1)
        os.dup2(target, 2)
        _tell_stages(writing)
        if prepare is not None:
            prepare()
        from bdgf.cli import main

        status = main(arguments)
    except BaseException:  # what a user would see as a traceback
        os.write(2, traceback.format_exc().encode())
        status = 1
    finally:
        os._exit(status)


def _tell_stages(writing: int) -> None:
    from bdgf.runfolder import RunFolder

    reopen = RunFolder.reopen

    def told(folder: RunFolder, stage: str) -> None:
        os.write(writing, f"{stage}\n".encode())
        reopen(folder, stage)

    setattr(RunFolder, "reopen", told)  # noqa: B010


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files of a run folder by name, without what may differ between equal runs."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or name == "report.html":
            continue
        data = path.read_bytes()
        drop = VOLATILE.get(name, ("created",) if name.startswith("maps/") else ())
        if path.suffix == ".json" and drop:
            data = json.dumps(_without(json.loads(data), drop), sort_keys=True).encode()
        found[name] = data
    return found


def _without(value: Any, names: tuple[str, ...]) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        return {k: _without(v, names) for k, v in value.items() if k not in names}
    if isinstance(value, list):
        return [_without(v, names) for v in value]
    return value


def differences(expected: dict[str, bytes], folder: Path) -> list[str]:
    """Return in which files a folder differs from the contents of an undisturbed run."""
    found = contents(folder)
    names = sorted(set(expected) ^ set(found))
    names += [n for n in expected if n in found and expected[n] != found[n]]
    if not (folder / "report.html").is_file():
        names.append("report.html")
    return names
