"""The work of several machines: groups of windows as tasks of ``dask.distributed``.

Workers get from the client what they need beside the scene, which they read, halo included, from
its source; what they hand back the client alone writes. What a lost worker was at is done again by
another one.
"""

from __future__ import annotations

import dataclasses
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
from bdgf.config import ComputeSettings
from bdgf.errors import RunFolderError, SettingsError
from bdgf.scene.windows import Window

if TYPE_CHECKING:
    from distributed import Client, Future

CONNECT_SECONDS = 30
"""How long the scheduler and a first worker are waited for."""

Result = TypeVar("Result")
"""What a worker hands back for a window."""

Work: TypeAlias = Callable[[int, list[Window]], Iterable[Result]]
"""What is done with windows of a tile, one result for each in their order."""

Group: TypeAlias = tuple[int, list[Window]]
"""The windows of a task, with the index of their tile."""

_TASKS_PER_THREAD = 8  # as long as there are windows, so that threads end at about the same time
_LEAST = 4  # windows of a task in each direction, as long as every thread has one
_IN_ADVANCE = 3  # tasks that are handed out per thread of the cluster
_ATTEMPTS = 10  # of a task that took its workers with it


class Job(ABC, Generic[Result]):
    """What workers do with windows of a scene, and what they need for it.

    It pickles; the scene's files lie under the same names on every machine.
    """

    again: ClassVar[str]
    """What the same command does after an error, as the error says it."""

    @abstractmethod
    def open(self) -> Work[Result]:
        """Open the scene and build the networks, in a worker.

        Raises:
            BdgfError: The scene cannot be read, or is not what the job was made for.
        """


@dataclass(frozen=True, eq=False)
class Parcel(Generic[Result]):
    """A job on its way to the workers.

    Args:
        job: The job.
        threads: CPU threads of a task, so that sums have the same order everywhere.
        version: Version of the package.
    """

    job: Job[Result]
    threads: int
    version: str = __version__

    def open(self) -> Work[Result]:
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
        return self.job.open()


_LOCK = threading.Lock()
_OPENED: list[tuple[Parcel[Any], Work[Any]]] = []


def carry_out(parcel: Parcel[Result], tile: int, windows: list[Window]) -> list[Result]:
    """Do a job on windows of a tile, in a worker.

    One thread of a process works at a time: what windows share is kept for the next.

    Raises:
        BdgfError: The scene cannot be read, or is not what the job was made for.
    """
    with _LOCK:
        torch.set_num_threads(parcel.threads)  # torch keeps it for each thread of the process
        return list(_opened(parcel)(tile, windows))


def _opened(parcel: Parcel[Result]) -> Work[Result]:
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
            "--scheduler needs dask.distributed, which is not installed: pip install '.[dask]'"
            " in the checkout of bdgf."
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
        compute: Names the threads of a task.
    """

    def __init__(self, client: Client, job: Job[Result], compute: ComputeSettings) -> None:
        self.client, self.job, self.compute = client, job, task_compute(compute)
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
        parcel = Parcel(self.job, self.compute.threads)
        (future,) = self.client.scatter([parcel], broadcast=True, hash=False)
        return future

    def _lost(self) -> RunFolderError:
        return RunFolderError(
            "the scheduler is gone, or has dropped the tasks of this command; start it again:"
            f" {self.job.again}."
        )


def task_compute(settings: ComputeSettings) -> ComputeSettings:
    """Return the settings of a task: one thread, unless they name another number."""
    return dataclasses.replace(settings, threads=settings.threads or 1)


def groups(
    places: Iterable[tuple[int, Window]], side: int, total: int, threads: int, most: int
) -> Iterator[Group]:
    """Put neighbouring windows together to tasks, tile by tile.

    Args:
        places: Windows with the index of their tile, one tile after another.
        side: Side of the windows.
        total: Number of windows of the scene.
        threads: Threads of the cluster.
        most: Most windows of a task in each direction.
    """
    wanted = math.isqrt(total // (_TASKS_PER_THREAD * threads))
    least = min(_LEAST, math.isqrt(total // threads))
    step = side * min(most, max(1, least, wanted))
    for tile, windows in itertools.groupby(places, key=lambda place: place[0]):
        found: dict[tuple[int, int], list[Window]] = {}
        for _, window in windows:
            found.setdefault((window.row // step, window.col // step), []).append(window)
        yield from ((tile, group) for group in found.values())


def _first(error: Any) -> str:  # noqa: ANN401
    return " ".join(str(error).split())[:150] or type(error).__name__
