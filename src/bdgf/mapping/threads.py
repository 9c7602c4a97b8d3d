"""Reading ahead and writing behind, each in a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")

AHEAD = 3
"""Items that are read before they are asked for; what they need has to stay in memory."""

BEHIND = 4
"""Items that wait to be written at most."""


def ahead(
    work: Callable[[Item], Made], items: Iterable[Item], count: int = AHEAD
) -> Iterator[Made]:
    """Yield ``work(item)`` for every item in order, a few of them computed in advance.

    One thread does the work, item by item. What it raises is raised where the item would come; it
    ends when the iterator is closed.

    Args:
        work: What is done in the thread.
        items: The items; they are taken from the caller's thread.
        count: Items in advance.
    """
    waiting: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(1, "bdgf-read") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


class WriteBehind(Generic[Item]):
    """Hands items to a function in a thread of its own, in their order.

    A context manager, which ends when all items are written. ``put`` waits while too many items do.
    What the function raises is raised by the next ``put``, or at the end.

    Args:
        write: The function.
        count: Items that may wait.
    """

    def __init__(self, write: Callable[[Item], None], count: int = BEHIND) -> None:
        self._write = write
        self._items: queue.Queue[Item | None] = queue.Queue(count)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="bdgf-write", daemon=True)

    def __enter__(self) -> WriteBehind[Item]:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._items.put(None)
        self._thread.join()
        if kind is None and self._failure is not None:
            raise self._failure

    def put(self, item: Item) -> None:
        """Hand over an item."""
        if self._failure is not None:
            raise self._failure
        self._items.put(item)

    def _run(self) -> None:
        while (item := self._items.get()) is not None:
            # after a failure the rest is taken and dropped, so that nobody waits for ever
            if self._failure is None:
                try:
                    self._write(item)
                except BaseException as error:
                    self._failure = error
