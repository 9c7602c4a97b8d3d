from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from bdgf import cluster as module
from bdgf.cluster import Job, Parcel, Tasks, carry_out, connected, groups
from bdgf.errors import RunFolderError, SceneError, SettingsError
from bdgf.scene.layout import Window, windows_of


class Rows(Job[int]):
    """Hands back the row of a window, after some failures."""

    again: ClassVar[str] = "it goes on"

    def __init__(self, failures: int = 0, error: Exception | None = None) -> None:
        self.failures, self.error = failures, error

    def open(self) -> Callable[[int, Window], int]:
        def row(tile: int, window: Window) -> int:
            if self.error is not None and self.failures:
                self.failures -= 1
                raise self.error
            return window.row

        return row


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


def test_groups_hold_neighbours_and_every_window_once() -> None:
    windows = windows_of(1000, 1500, 100)
    for threads in (1, 3, 100):
        found = groups(windows, 100, threads, 8)
        assert sorted(w for group in found for w in map(repr, group)) == sorted(map(repr, windows))
        assert len(found) >= min(len(windows), 8 * threads)
        for group in found:
            rows, cols = ({w.row for w in group}, {w.col for w in group})
            assert len(group) == len(rows) * len(cols), "a group is a rectangle"
    many = windows_of(10_000, 10_000, 100)
    assert len(groups(many, 100, 1, 8)) == 13**2
    assert len(groups(many, 100, 1, 2)) == 50**2


def test_every_window_comes_back_once_with_its_tile(client: Any) -> None:
    found = list(Tasks(client, Rows()).run(GROUPS))
    assert all(result == window.row for _, window, result in found)
    expected = [(tile, window) for tile, windows in GROUPS for window in windows]
    assert sorted(map(repr, [part[:2] for part in found])) == sorted(map(repr, expected))


def test_tasks_are_asked_for_as_workers_become_free(client: Any) -> None:
    asked = []

    def some() -> Iterator[tuple[int, list[Window]]]:
        for group in GROUPS:
            asked.append(group)
            yield group

    results = Tasks(client, Rows()).run(some())
    next(results)
    assert len(asked) == 4, "three in advance for the one thread, and another for the finished one"
    assert len(list(results)) == 15


@pytest.mark.parametrize("failures", [3, 10])
def test_a_task_that_lost_its_workers_is_handed_out_again_up_to_ten_times(
    client: Any, failures: int
) -> None:
    tasks = Tasks(client, Rows(failures, killed()))
    if failures < 10:
        assert len(list(tasks.run(GROUPS))) == 16
        return
    with pytest.raises(RunFolderError, match=r"row 0, column 0 on were lost .* 10 times.*goes on"):
        list(tasks.run(GROUPS[:1]))


def test_what_a_worker_finds_wrong_is_the_error_of_the_command(client: Any) -> None:
    with pytest.raises(SceneError, match="no such file"):
        list(Tasks(client, Rows(1, SceneError("no such file"))).run(GROUPS))


def test_a_cluster_whose_last_worker_is_lost_goes_on_with_the_next(client: Any) -> None:
    tasks = Tasks(client, Rows())
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
        results = Tasks(client, Rows()).run(GROUPS)
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
