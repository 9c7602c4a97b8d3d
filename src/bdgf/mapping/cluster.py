"""Maps by several machines: groups of windows as tasks of ``dask.distributed``.

Workers get the trained weights from the client and read the scene, halo included, from its source;
they hand back classes and confidences, which the client alone writes. What a lost worker was at is
done again by another one.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from bdgf import __version__
from bdgf.diffusion.store import FeatureStore
from bdgf.errors import RunFolderError, SettingsError
from bdgf.mapping.inference import MappedWindow, classify
from bdgf.mapping.journal import decode, encode
from bdgf.mapping.pretrained import PretrainedMapper
from bdgf.mapping.scene_maps import Mapper
from bdgf.scene.description import SceneSpec
from bdgf.scene.layout import Window
from bdgf.scene.prepared import PreparedScene
from bdgf.scene.scene import Scene

if TYPE_CHECKING:
    from distributed import Client

CONNECT_SECONDS = 30
"""How long the scheduler and a first worker are waited for."""

GROUP = 8
"""Most windows of a task in each direction: neighbours share the features at their borders."""

_TASKS_PER_THREAD = 8  # at least, so that a scene of few windows is divided all the same
_IN_ADVANCE = 3  # tasks that are handed out per thread of the cluster
_ATTEMPTS = 10  # of a task that took its workers with it


@dataclass(frozen=True, eq=False)
class Job:
    """What a worker needs to classify windows of a scene.

    Args:
        mapper: The trained networks.
        scene: The scene; its files lie under the same names on every machine.
        threads: CPU threads of torch, so that sums have the same order everywhere.
        version: Version of the package.
    """

    mapper: PretrainedMapper
    scene: SceneSpec
    threads: int
    version: str = __version__


class _Opened:
    """A job as one process of a worker holds it."""

    def __init__(self, job: Job) -> None:
        if job.version != __version__:
            raise RunFolderError(
                f"a worker has bdgf {__version__} and the client {job.version}; a map is made by"
                " one version: install the same on all machines."
            )
        torch.set_num_threads(job.threads)
        self.job = job
        on: tuple[PreparedScene, FeatureStore] = job.mapper.on(Scene.open(job.scene))
        self.prepared, self.store = on
        self.network, self.weights = job.mapper.network, job.mapper.weights

    def classify(self, tile: int, window: Window) -> bytes:
        present = self.prepared.valid_in(tile, window)
        part = classify(
            self.network, self.weights, self.prepared, self.store, tile, window, present
        )
        return encode(part)


_LOCK = threading.Lock()
_OPENED: list[_Opened] = []


def classify_group(job: Job, tile: int, windows: list[Window]) -> list[bytes]:
    """Classify windows in a worker, and return them as records of the journal.

    One thread of a process works at a time: the features that windows share are kept for the next.

    Raises:
        BdgfError: The scene cannot be read, or is not what the job was made for.
    """
    with _LOCK:
        if not _OPENED or _OPENED[0].job is not job:
            _OPENED[:] = [_Opened(job)]
        return [_OPENED[0].classify(tile, window) for window in windows]


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
    except ImportError:
        raise SettingsError(
            "--scheduler needs dask.distributed, which is not installed: pip install 'bdgf[dask]'."
        ) from None
    try:
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


def cluster_mapper(client: Client, mapper: PretrainedMapper, scene: Scene, side: int) -> Mapper:
    """Return what classifies windows of a scene on a cluster.

    Args:
        client: Connected to the scheduler.
        mapper: The trained networks.
        scene: The scene; one of files.
        side: Side of the windows.
    """
    job = Job(mapper, scene.spec, torch.get_num_threads())
    return lambda tile, windows: map_on_cluster(client, job, tile, windows, side)


def map_on_cluster(
    client: Client, job: Job, tile: int, windows: Iterable[Window], side: int
) -> Iterator[MappedWindow]:
    """Yield classified windows of a tile as the workers finish them.

    Args:
        client: Connected to the scheduler.
        job: What the workers need.
        tile: Index of the tile.
        windows: Windows inside the tile.
        side: Side of the windows.

    Raises:
        RunFolderError: A group of windows has taken down its worker again and again, or the
            scheduler is gone.
        BdgfError: What a worker found wrong with the scene.
    """
    from distributed import CancelledError, KilledWorker, as_completed
    from distributed.comm import CommClosedError

    threads = max(1, sum(client.nthreads().values()))
    waiting = iter(groups(list(windows), side, threads))
    (shared,) = client.scatter([job], broadcast=True, hash=False)
    at: dict[str, tuple[list[Window], int]] = {}
    tasks = as_completed(loop=client.loop)

    def submit(group: list[Window], attempt: int = 1) -> None:
        future = client.submit(classify_group, shared, tile, group, pure=False)
        at[future.key] = (group, attempt)
        tasks.add(future)

    for group in itertools.islice(waiting, _IN_ADVANCE * threads):
        submit(group)
    for future in tasks:
        group, attempt = at.pop(future.key)
        try:
            records: list[bytes] = future.result()
        except KilledWorker:
            if attempt == _ATTEMPTS:
                raise RunFolderError(
                    f"the windows from row {group[0].row}, column {group[0].col} on were lost with"
                    f" their workers {attempt} times; look at the workers' logs, and give each"
                    " process more memory. What is finished is kept: the same command goes on."
                ) from None
            submit(group, attempt + 1)
            continue
        except (CancelledError, CommClosedError):
            raise _lost() from None
        future.release()
        following = next(waiting, None)
        if following is not None:
            submit(following)
        for record in records:
            yield decode(record)
    if at or next(waiting, None) is not None:  # the client was closed while it waited
        raise _lost()


def groups(windows: list[Window], side: int, threads: int) -> list[list[Window]]:
    """Put neighbouring windows together to tasks.

    Args:
        windows: Windows of one tile.
        side: Their side.
        threads: Threads of the cluster; there are several tasks for each as long as windows last.
    """
    wanted = math.isqrt(max(1, len(windows) // (_TASKS_PER_THREAD * threads)))
    step = side * min(GROUP, max(1, wanted))
    found: dict[tuple[int, int], list[Window]] = {}
    for window in windows:
        found.setdefault((window.row // step, window.col // step), []).append(window)
    return list(found.values())


def _lost() -> RunFolderError:
    return RunFolderError(
        "the scheduler is gone, or has dropped the tasks of this map; what is finished is kept:"
        " start it again, and the same command goes on."
    )


def _first(error: Any) -> str:  # noqa: ANN401
    return " ".join(str(error).split())[:150] or type(error).__name__
