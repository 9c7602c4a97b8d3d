"""One process at a time on a folder.

The operating system holds the lock and lets go of it when the process ends, however it ends: a lock
of a process that was killed is taken over by the next one without being asked for.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from bdgf import processes
from bdgf.errors import RunFolderError

LOCK = ".lock"
"""Name of the lock's file; it says who holds it, and goes when it is let go."""

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes, and other threads, from working on a folder.

    Ranks of one distributed launch share the lock that its first rank holds.

    Args:
        folder: It exists and can be written.

    Raises:
        RunFolderError: Another process works on it; nothing was changed.
    """
    if processes.rank() > 0:
        yield
        return
    path = folder / LOCK
    descriptor = _acquire(path)
    try:
        yield
    finally:
        # first the name, then the lock: who waits for the name finds a new file
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(descriptor)


def _acquire(path: Path) -> int:
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise RunFolderError(
                f"{path} cannot be written ({error.strerror}); the folder must accept new files:"
                " choose another output folder, or free its space and rights."
            ) from None
        try:
            _lock(descriptor)
        except BlockingIOError:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise RunFolderError(
                f"{path.parent} is in use by another bdgf process{holder}; one folder takes one"
                " run at a time: wait for it to end, or give another folder."
            ) from None
        except OSError as error:
            # some network file systems have no locks; the run is as good as it was without one
            logger.warning("%s cannot be locked (%s); start only one run on it.", path, error)
        # Who held it before may have removed the name between our opening and our locking.
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                break
        os.close(descriptor)
    text = json.dumps({"process": os.getpid(), "machine": socket.gethostname()})
    with contextlib.suppress(OSError):  # a full disk is told by who needs more than a line
        os.ftruncate(descriptor, 0)
        os.write(descriptor, text.encode())
    return descriptor


def _lock(descriptor: int) -> None:
    """Lock an open file or raise BlockingIOError at once."""
    if os.name == "nt":
        import msvcrt

        os.lseek(descriptor, 1 << 20, os.SEEK_SET)  # beyond the text, which others are to read
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        except PermissionError as error:
            raise BlockingIOError from error
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
        return
    import fcntl

    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _holder(descriptor: int) -> str:
    try:
        found = json.loads(os.read(descriptor, 1000))
        return f" (process {int(found['process'])} on {found['machine']})"
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return ""
