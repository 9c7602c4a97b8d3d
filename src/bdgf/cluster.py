"""The work of several machines: groups of windows as tasks of ``dask.distributed``.

Workers get from the client what they need beside the scene, which they read, halo included, from
its source; what they hand back the client alone writes. What a lost worker was at is done again by
another one.
"""

from __future__ import annotations

import itertools
import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeAlias, TypeVar

import torch

from bdgf import __version__
from bdgf.errors import RunFolderError, SettingsError
from bdgf.scene.layout import Window

if TYPE_CHECKING:
    from distributed import Client, Future

CONNECT_SECONDS = 30
"""How long the scheduler and a first worker are waited for."""

Result = TypeVar("Result")
"""What a worker hands back for a window."""

Group: TypeAlias = tuple[int, list[Window]]
"""The windows of a task, with the index of their tile."""

_TASKS_PER_THREAD = 8  # at least, so that a scene of few windows is divided all the same
_IN_ADVANCE = 3  # tasks that are handed out per thread of the cluster
_ATTEMPTS = 10  # of a task that took its workers with it


class Job(ABC, Generic[Result]):
    """What workers do with windows of a scene, and what they need for it.

    It pickles; the scene's files lie under the same names on every machine.
    """

    again: ClassVar[str]
    """What the same command does after an error, as the error says it."""

    @abstractmethod
    def open(self) -> Callable[[int, Window], Result]:
        """Open the scene and build the networks, in a worker.

        Returns:
            What is done with a window of a tile.

        Raises:
            BdgfError: The scene cannot be read, or is not what the job was made for.
        """


@dataclass(frozen=True, eq=False)
class Parcel(Generic[Result]):
    """A job on its way to the workers.

    Args:
        job: The job.
        threads: CPU threads of torch, so that sums have the same order everywhere.
        version: Version of the package.
    """

    job: Job[Result]
    threads: int
    version: str = __version__

    def open(self) -> Callable[[int, Window], Result]:
        """Open the job in a worker.

        Raises:
            RunFolderError: The worker has another version of the package.
            BdgfError: The scene cannot be read, or is not what the job was made for.
        """
        if self.version != __version__:
            raise RunFolderError(
                f"a worker has bdgf {__version__} and the client {self.version}; features and maps"
                " are made by one version: install the same on all machines."
            )
        torch.set_num_threads(self.threads)
        return self.job.open()


_LOCK = threading.Lock()
_OPENED: list[tuple[Parcel[Any], Callable[[int, Window], Any]]] = []


def carry_out(parcel: Parcel[Result], tile: int, windows: list[Window]) -> list[Result]:
    """Do a job on windows of a tile, in a worker.

    One thread of a process works at a time: what windows share is kept for the next.

    Raises:
        BdgfError: The scene cannot be read, or is not what the job was made for.
    """
    with _LOCK:
        work = _opened(parcel)
        return [work(tile, window) for window in windows]


def _opened(parcel: Parcel[Result]) -> Callable[[int, Window], Result]:
    """Return a job as this process holds it, opened with its first task."""
    if not _OPENED or _OPENED[0][0] is not parcel:
        _OPENED.clear()  # before the next one takes its memory
        _OPENED.append((parcel, parcel.open()))
    return _OPENED[0][1]


@contextmanager
def connected(address: str) -> Iterator[Client]:
    """Connect to a scheduler, and wait for a first worker.

    Args:
        address: Such as ``tcp://host:8786``.

    Raises:
        SettingsError: ``dask.distributed`` is not installed, or nobody answers.
    """
    try:
        from distributed import Client
        from distributed.comm import parse_address, parse_host_port
    except ImportError:
        raise SettingsError(
            "--scheduler needs dask.distributed, which is not installed: pip install 'bdgf[dask]'."
        ) from None
    try:
        # without a port the client would fail half-made, and wait a minute at its end
        scheme, location = parse_address(address)
        if scheme in ("tcp", "tls"):
            parse_host_port(location)
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"no scheduler answers at {address} ({_first(error)}); start one with 'dask scheduler'"
            " and name the address that it prints."
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        except OSError:  # a TimeoutError, since Python 3.11
            raise SettingsError(
                f"the scheduler at {address} has no worker after {CONNECT_SECONDS} s; start some"
                f" with 'dask worker {address} --nthreads 1'."
            ) from None
        yield client


class Tasks(Generic[Result]):
    """A job on a cluster.

    Args:
        client: Connected to the scheduler.
        job: The job; every worker gets it once.
    """

    def __init__(self, client: Client, job: Job[Result]) -> None:
        self.client, self.job = client, job
        self._parcel = self._sent()

    @property
    def threads(self) -> int:
        """Threads of all workers that are there now."""
        counts: dict[str, int] = self.client.nthreads()
        return max(1, sum(counts.values()))

    def run(self, groups: Iterable[Group]) -> Iterator[tuple[int, Window, Result]]:
        """Yield what becomes of windows as the workers finish them, in any order.

        Args:
            groups: The tasks; they are asked for as workers become free.

        Yields:
            Index of the tile, window, and what the job makes of it.

        Raises:
            RunFolderError: A group of windows has taken down its worker again and again, or the
                scheduler is gone.
            BdgfError: What a worker found wrong with the scene.
        """
        from distributed import CancelledError, KilledWorker, as_completed
        from distributed.comm import CommClosedError

        waiting = iter(groups)
        at: dict[str, tuple[Group, int]] = {}
        tasks = as_completed(loop=self.client.loop)

        def submit(group: Group, attempt: int = 1) -> None:
            future = self.client.submit(carry_out, self._parcel, *group, pure=False)
            at[future.key] = (group, attempt)
            tasks.add(future)

        def hand_out() -> None:
            free = _IN_ADVANCE * self.threads - len(at)  # workers may have joined
            for group in itertools.islice(waiting, max(0, free)):
                submit(group)

        hand_out()
        for future in tasks:
            group, attempt = at.pop(future.key)
            tile, windows = group
            try:
                results: list[Result] = future.result()
                future.release()
                hand_out()
            except KilledWorker:
                if attempt == _ATTEMPTS:
                    raise RunFolderError(
                        f"the windows from row {windows[0].row}, column {windows[0].col} on were"
                        f" lost with their workers {attempt} times; look at the workers' logs, and"
                        f" give each process more memory: {self.job.again}."
                    ) from None
                submit(group, attempt + 1)
                continue
            except CancelledError:
                if attempt == _ATTEMPTS or self.client.status != "running":
                    raise self._lost() from None
                # the parcel is gone with the last worker that held it
                if self._parcel.status in ("cancelled", "lost"):
                    self.client.wait_for_workers(1)
                    self._parcel = self._sent()
                submit(group, attempt + 1)
                continue
            except CommClosedError:
                raise self._lost() from None
            for window, result in zip(windows, results, strict=True):
                yield tile, window, result
        if at or next(waiting, None) is not None:  # the client was closed while it waited
            raise self._lost()

    def _sent(self) -> Future:
        parcel = Parcel(self.job, torch.get_num_threads())
        (future,) = self.client.scatter([parcel], broadcast=True, hash=False)
        return future

    def _lost(self) -> RunFolderError:
        return RunFolderError(
            "the scheduler is gone, or has dropped the tasks of this command; start it again:"
            f" {self.job.again}."
        )


def groups(windows: list[Window], side: int, threads: int, most: int) -> list[list[Window]]:
    """Put neighbouring windows together to tasks.

    Args:
        windows: Windows of one tile.
        side: Their side.
        threads: Threads of the cluster; there are several tasks for each as long as windows last.
        most: Most windows of a task in each direction.
    """
    wanted = math.isqrt(max(1, len(windows) // (_TASKS_PER_THREAD * threads)))
    step = side * min(most, max(1, wanted))
    found: dict[tuple[int, int], list[Window]] = {}
    for window in windows:
        found.setdefault((window.row // step, window.col // step), []).append(window)
    return list(found.values())


def _first(error: Any) -> str:  # noqa: ANN401
    return " ".join(str(error).split())[:150] or type(error).__name__
