"""Arrays of compressed files, which can only be unpacked whole: the last ones stay unpacked."""

from __future__ import annotations

import shutil
import tempfile
import threading
from typing import Any
from weakref import WeakValueDictionary

from numpy.typing import NDArray

IN_MEMORY = 4 << 20
"""Most bytes of an unpacked array that is kept in memory, not in a file."""
_KEPT = 64
"""Unpacked arrays that are kept at a time: each in a file holds it open."""


class Unpacked:
    """What a reader's array is unpacked to at its first read.

    Of many readers the last ones keep theirs. Nothing of it is carried along to another process.
    """

    def __init__(self) -> None:
        self.array: NDArray[Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"array": None}

    def keep(self, array: NDArray[Any]) -> None:
        """Keep the array, and forget that which was used longest ago where they are too many."""
        with _LOCK:
            self.array = array
            _UNPACKED.pop(id(self), None)
            _UNPACKED[id(self)] = self
            if len(_UNPACKED) > _KEPT:
                number, oldest = next(iter(_UNPACKED.items()))
                oldest.array = None
                del _UNPACKED[number]


def belongs_in_a_file(size: int) -> bool:
    """Whether so many bytes are better unpacked to a temporary file, which has room for them.

    Raises:
        OSError: There is no folder of temporary files.
    """
    return size > IN_MEMORY and size < shutil.disk_usage(tempfile.gettempdir()).free // 2


_UNPACKED: WeakValueDictionary[int, Unpacked] = WeakValueDictionary()
"""What is unpacked, used longest ago first."""
_LOCK = threading.Lock()
