from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch

from bdgf import cluster as module
from bdgf.cluster import Job, Parcel, Tasks, Work, carry_out, connected, groups
from bdgf.config import ComputeSettings
from bdgf.errors import RunFolderError, SceneError, SettingsError
from bdgf.scene.windows import Window, windows_of


class Rows(Job[int]):
    """Hands back the row of a window, after some failures."""

    again: ClassVar[str] = "it goes on"

    def __init__(self, failures: int = 0, error: Exception | None = None) -> None:
        self.failures, self.error = failures, error

    def open(self) -> Work[int]:
        def rows(tile: int, windows: list[Window]) -> list[int]:
            if self.error is not None and self.failures:
                self.failures -= 1
                raise self.error
            return [window.row for window in windows]

        return rows


@pytest.fixture(scope="module")
def threads() -> Iterator[Any]:
    """A cluster of one thread inside this process."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0"
    ) as found:
        yield found


@pytest.fixture
def client(threads: Any) -> Iterator[Any]:
    with connected(threads.scheduler_address) as found:
        yield found


def killed() -> Exception:
    from distributed import KilledWorker

    return KilledWorker("task", SimpleNamespace(address="tcp://worker"), 3)


GROUPS = [(tile, windows_of(40, 20, 10)[2 * n : 2 * n + 2]) for tile in (0, 1) for n in range(4)]


def tasks_of(client: Any, job: Rows | None = None) -> Tasks[int]:
    return Tasks(client, job or Rows(), ComputeSettings())


def test_groups_hold_neighbours_and_every_window_once() -> None:
    places = [(tile, window) for tile in (0, 1) for window in windows_of(1000, 1500, 100)]
    for threads in (1, 3, 100):
        found = list(groups(places, 100, len(places), threads, 8))
        held = [(tile, window) for tile, windows in found for window in windows]
        assert sorted(map(repr, held)) == sorted(map(repr, places))
        assert len(found) >= min(len(places), threads)
        for _, windows in found:
            rows, cols = ({w.row for w in windows}, {w.col for w in windows})
            assert len(windows) == len(rows) * len(cols), "a group is a rectangle"


@pytest.mark.parametrize(
    ("tiles", "threads", "most", "side"),
    [
        (1, 1, 8, 8),  # as large as it may be
        (1, 1, 2, 2),
        (1, 16, 8, 4),  # 1600 windows: not smaller while each thread has a task
        (1, 100, 8, 4),
        (1, 400, 8, 2),  # before threads have none
        (1, 5000, 8, 1),
        (100, 100, 8, 8),  # many tiles are divided like a large one
    ],
)
def test_groups_are_as_large_as_all_tiles_allow(
    tiles: int, threads: int, most: int, side: int
) -> None:
    windows = windows_of(10_000, 10_000, 250)
    places = ((tile, window) for tile in range(tiles) for window in windows)
    _, group = next(groups(places, 250, tiles * len(windows), threads, most))
    assert len(group) == side**2


def test_every_window_comes_back_once_with_its_tile(client: Any) -> None:
    found = list(tasks_of(client).run(GROUPS))
    assert all(result == window.row for _, window, result in found)
    expected = [(tile, window) for tile, windows in GROUPS for window in windows]
    assert sorted(map(repr, [part[:2] for part in found])) == sorted(map(repr, expected))


def test_tasks_are_asked_for_as_workers_become_free(client: Any) -> None:
    asked = []

    def some() -> Iterator[tuple[int, list[Window]]]:
        for group in GROUPS:
            asked.append(group)
            yield group

    results = tasks_of(client).run(some())
    next(results)
    assert len(asked) == 4, "three in advance for the one thread, and another for the finished one"
    assert len(list(results)) == 15


@pytest.mark.parametrize("failures", [3, 10])
def test_a_task_that_lost_its_workers_is_handed_out_again_up_to_ten_times(
    client: Any, failures: int
) -> None:
    tasks = tasks_of(client, Rows(failures, killed()))
    if failures < 10:
        assert len(list(tasks.run(GROUPS))) == 16
        return
    with pytest.raises(RunFolderError, match=r"row 0, column 0 on were lost .* 10 times.*goes on"):
        list(tasks.run(GROUPS[:1]))


def test_what_a_worker_finds_wrong_is_the_error_of_the_command(client: Any) -> None:
    with pytest.raises(SceneError, match="no such file"):
        list(tasks_of(client, Rows(1, SceneError("no such file"))).run(GROUPS))


def test_a_cluster_whose_last_worker_is_lost_goes_on_with_the_next(client: Any) -> None:
    tasks = tasks_of(client)
    results = tasks.run(GROUPS)
    found = [next(results)]
    parcel = tasks._parcel
    client.cancel([parcel], force=True)  # as the scheduler does then
    found += results
    assert tasks._parcel is not parcel
    assert len({(tile, window) for tile, window, _ in found}) == len(found) == 16


def test_a_scheduler_that_is_lost_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(module, "CONNECT_SECONDS", 1)
    options = {"n_workers": 1, "threads_per_worker": 1, "processes": False}
    lost = distributed.LocalCluster(**options, dashboard_address=":0")
    with connected(lost.scheduler_address) as client:
        results = tasks_of(client).run(GROUPS)
        next(results)
        lost.close()
        with pytest.raises(RunFolderError, match=r"the scheduler is gone.*it goes on"):
            list(results)


def test_a_cluster_without_workers_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.2)
    with (
        distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as empty,
        pytest.raises(SettingsError, match=r"has no worker after 0\.2 s"),
        connected(empty.scheduler_address),
    ):
        pass


@pytest.mark.parametrize("address", ["", "host", "tcp://host"])
def test_an_address_without_a_port_is_refused_at_once(address: str) -> None:
    pytest.importorskip("distributed")
    start = time.monotonic()
    with pytest.raises(SettingsError, match="name the address"), connected(address):
        pass
    assert time.monotonic() - start < 5, "and no client is left to wait for"


def test_a_worker_of_another_version_is_refused() -> None:
    with pytest.raises(RunFolderError, match="install the same on all machines"):
        carry_out(Parcel(Rows(), 1, version="0.0.0"), 0, [Window(0, 0, 8, 8)])


def test_a_worker_opens_a_job_once(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    usual = Rows.open
    monkeypatch.setattr(Rows, "open", lambda job: opened.append(job) or usual(job))
    parcels = [Parcel(Rows(), 1), Parcel(Rows(), 1)]
    for parcel in (parcels[0], parcels[0], parcels[1]):
        assert carry_out(parcel, 0, [Window(3, 0, 8, 8)]) == [3]
    assert opened == [parcel.job for parcel in parcels]


@pytest.mark.parametrize(("asked", "expected"), [(0, 1), (2, 2)])
def test_a_task_has_one_thread_unless_the_settings_name_another_number(
    client: Any, asked: int, expected: int
) -> None:
    torch.set_num_threads(4)  # the client's own
    parcel = Tasks(client, Rows(), ComputeSettings(threads=asked))._parcel.result()
    assert parcel.threads == expected


def test_every_task_has_its_threads_in_whichever_thread_it_runs() -> None:
    class Threads(Rows):
        def open(self) -> Work[int]:
            return lambda tile, windows: [torch.get_num_threads() for _ in windows]

    parcel, window = Parcel(Threads(), 2), Window(0, 0, 8, 8)
    for own in (1, 4):
        torch.set_num_threads(own)
        assert carry_out(parcel, 0, [window]) == [2]
        with ThreadPoolExecutor(1) as pool:
            pool.submit(torch.set_num_threads, own).result()
            assert pool.submit(carry_out, parcel, 0, [window]).result() == [2]
