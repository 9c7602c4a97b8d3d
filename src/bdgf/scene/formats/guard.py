"""HDF5 files are opened by another process first.

Damaged bytes can make the HDF5 library loop for ever or crash, inside of one call that nothing in
this process can end. So a process of its own reads the structure of each file and a few of its
values before this one does; where it does not answer in time, or dies, the file is refused.
"""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

from bdgf.errors import SceneError

SECONDS = 20.0
"""Time that one file is given; a slow disk needs a part of it, a loop all."""

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_OFFSETS = (0, 512, 1024, 2048)
_MAIN = "import bdgf.scene.formats.probe as p; p.serve()"


def has_signature(path: Path) -> bool:
    """Whether the bytes at the places where a signature may be are those of HDF5."""
    try:
        with path.open("rb") as file:
            for offset in _OFFSETS:
                file.seek(offset)
                if file.read(len(_SIGNATURE)) == _SIGNATURE:
                    return True
    except OSError:
        pass  # whoever opens it says what is wrong
    return False


def check_hdf5(path: Path) -> None:
    """Let another process read a file's structure once, if it is an HDF5 file.

    Args:
        path: Any file on this machine.

    Raises:
        SceneError: The HDF5 library does not get through it.
    """
    if _Probe.inside or not has_signature(path):
        return
    try:
        status = path.stat()
        known = (str(path.resolve()), status.st_size, status.st_mtime_ns)
    except OSError:
        return
    with _LOCK:
        if known in _PASSED:
            return
        answer = _probe().ask(known[0])
        if answer:
            raise SceneError(
                f"{path.name} {answer}: its structure is damaged, or it holds too many"
                " variables to be looked through in time: get it again, or save what is needed."
            )
        _PASSED.add(known)


class _Probe:
    """The other process; it lives as long as this one and ends with it."""

    inside = False
    """Whether this process is the other one."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.usable = False
        self._answers: queue.Queue[str] = queue.Queue()
        package = str(Path(__file__).resolve().parents[3])
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process: subprocess.Popen[str] | None = None
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _MAIN],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
                errors="surrogateescape",
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            )
        except (OSError, TypeError):
            return  # no interpreter to be had, such as inside another program: read it unguarded
        stdout = self._process.stdout
        threading.Thread(target=self._listen, args=(stdout,), daemon=True).start()
        self.usable = self._answer(60.0) == "ready"

    def ask(self, path: str) -> str:
        """Return what is wrong with a file, nothing where nothing is."""
        if self._process is None or self._process.stdin is None or not self.usable:
            return ""
        try:
            self._process.stdin.write(path.replace("\n", "\0") + "\n")
            self._process.stdin.flush()
        except OSError:
            return self._gone()
        answer = self._answer(SECONDS)
        if answer is None:
            self.end()
            return (
                f"keeps the HDF5 library busy for more than {SECONDS:.0f} seconds without an answer"
            )
        return "" if answer == "passed" else self._gone()

    def end(self) -> None:
        """End the process; the next question starts another."""
        self.usable = False
        self.owner = -1
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()

    def _gone(self) -> str:
        self.end()
        return "makes the HDF5 library crash"

    def _answer(self, seconds: float) -> str | None:
        try:
            return self._answers.get(timeout=seconds)
        except queue.Empty:
            return None

    def _listen(self, stdout: IO[str]) -> None:
        try:
            for line in stdout:
                self._answers.put(line.strip())
        except (OSError, ValueError):
            pass
        self._answers.put("ended")


_LOCK = threading.Lock()
_PASSED: set[tuple[str, int, int]] = set()
_STARTED: list[_Probe] = []


def _probe() -> _Probe:
    """Return the process of this process: one that a fork has inherited is its parent's."""
    if not _STARTED or _STARTED[0].owner != os.getpid():
        _STARTED[:] = [_Probe()]
    return _STARTED[0]


def mark_inside() -> None:
    """Make this process the one that reads without being guarded."""
    _Probe.inside = True
