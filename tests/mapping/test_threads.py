from __future__ import annotations

import threading
import time

import pytest

from bdgf.mapping.threads import WriteBehind, ahead


def test_ahead_keeps_the_order_and_reads_few_in_advance() -> None:
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        return item * item

    found = []
    for value in ahead(work, range(20), 3):
        found.append(value)
        assert len(begun) <= len(found) + 4
    assert found == [n * n for n in range(20)]


def test_ahead_works_while_the_caller_does() -> None:
    started = threading.Event()

    def work(item: int) -> int:
        if item == 1:
            started.set()
        return item

    before = set(threading.enumerate())  # another test may have left an iterator open
    items = ahead(work, range(5))
    next(items)
    assert started.wait(5), "the next item is begun before it is asked for"
    (own,) = set(threading.enumerate()) - before
    assert own.name.startswith("bdgf-read")
    items.close()
    assert not own.is_alive()


def test_ahead_raises_where_the_item_would_come() -> None:
    def work(item: int) -> int:
        if item == 2:
            raise OSError("gone")
        return item

    items = ahead(work, range(5))
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(OSError, match="gone"):
        next(items)


def test_writing_behind_keeps_the_order_and_ends_when_all_is_written() -> None:
    written: list[int] = []

    def write(item: int) -> None:
        time.sleep(0.001)
        written.append(item)

    with WriteBehind(write, 2) as behind:
        for item in range(30):
            behind.put(item)
    assert written == list(range(30))


@pytest.mark.parametrize("failing", [0, 9])
def test_failures_of_the_writer_reach_the_caller(failing: int) -> None:
    def write(item: int) -> None:
        if item == failing:
            raise OSError("disk full")

    def write_all() -> None:
        with WriteBehind(write, 1) as behind:
            for item in range(10):
                behind.put(item)

    with pytest.raises(OSError, match="disk full"):
        write_all()
