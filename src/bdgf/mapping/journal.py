"""The journal of a map: what was classified so far, so that a stopped map goes on from there.

An append-only file beside the map. A first line of JSON says what the map is made from; every
window follows as a record with its length and checksum. What is not whole at the end, where a
process was stopped in the middle of a record, is cut off when the journal is opened again.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from bdgf.files import atomic_write_text, writable
from bdgf.mapping.inference import MappedWindow
from bdgf.scene.layout import Window

_PLACE = struct.Struct("<qqiiiI")  # row, column, height, width, heads, bytes
_CHECK = struct.Struct("<I")
_HEAD = _PLACE.size + _CHECK.size
_LEVEL = 1  # confidences hardly shrink, classes do at any level


def encode(part: MappedWindow) -> bytes:
    """Return a classified window as a record, a few bytes where it has no class at all."""
    window = part.window
    place = (window.row, window.col, window.height, window.width)
    packed = b""
    if not part.empty:
        arrays = (
            part.classes.astype("<i4"),
            part.confidence.astype("<f4"),
            part.votes.astype("<i4"),
        )
        packed = zlib.compress(b"".join(array.tobytes() for array in arrays), _LEVEL)
    head = _PLACE.pack(*place, len(part.votes), len(packed))
    # a disk that lost power may show zeros, whose checksum is not 0
    return head + _CHECK.pack(zlib.crc32(head + packed)) + packed


def decode(record: bytes) -> MappedWindow:
    """Return the classified window of a record.

    Raises:
        ValueError: The record is damaged.
    """
    if not _is_whole(record):
        raise ValueError("the record is damaged or cut short")
    row, col, height, width, heads, size = _PLACE.unpack_from(record)
    window, packed = Window(row, col, height, width), record[_HEAD:]
    if not size:
        return MappedWindow.without_data(window, heads)
    shape, count = (height, width), height * width
    data = zlib.decompress(packed)
    classes = np.frombuffer(data, "<i4", count).reshape(shape).astype(np.int64)
    confidence = np.frombuffer(data, "<f4", count, 4 * count).reshape(shape).astype(np.float32)
    votes: NDArray[np.int64] = np.frombuffer(data, "<i4", heads * count, 8 * count).astype(np.int64)
    return MappedWindow(window, classes, confidence, votes.reshape(heads, *shape))


class Journal:
    """Classified windows of one tile on the disk.

    A context manager.

    Args:
        path: Where the journal lies. One that is there is taken up if it is of the same origin, and
            replaced otherwise.
        origin: What decides the map; plain text.

    Raises:
        RunFolderError: The folder cannot be written.
    """

    def __init__(self, path: Path, origin: str) -> None:
        self.path, self.origin = path, origin
        self.done: set[tuple[int, int]] = set()
        self._file: BinaryIO | None = None

    def __enter__(self) -> Journal:
        head = self._head()
        if not self._is_ours(head):
            atomic_write_text(self.path, head.decode())
        with writable(self.path):
            self._file = self.path.open("r+b")
            self._file.seek(len(head))
            end = len(head)
            while (record := self._next()) is not None:
                row, col = _PLACE.unpack_from(record)[:2]
                self.done.add((row, col))
                end = self._file.tell()
            self._file.truncate(end)
            self._file.seek(end)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def parts(self) -> Iterator[MappedWindow]:
        """Yield what is in it so far, in the order in which it came."""
        self._opened.seek(len(self._head()))
        while (record := self._next()) is not None:
            yield decode(record)

    def add(self, part: MappedWindow) -> None:
        """Append a window; it is safe from the end of this process on.

        Raises:
            RunFolderError: The disk is full, or the folder gone.
        """
        file = self._opened
        with writable(self.path):
            file.write(encode(part))
            # not forced onto the disk: a record that a power failure tears is noticed
            file.flush()
        self.done.add((part.window.row, part.window.col))

    def close_finished(self) -> None:
        """Leave a note that the tile is finished in place of its windows.

        Raises:
            RunFolderError: The folder cannot be written.
        """
        self.__exit__(None, None, None)
        atomic_write_text(self.path, self._head(finished=True).decode())

    @property
    def finished(self) -> bool:
        """Whether the tile was finished from the same origin; asked before it is opened."""
        return self._is_ours(self._head(finished=True))

    @property
    def _opened(self) -> BinaryIO:
        if self._file is None:
            raise ValueError("the journal is not open")
        return self._file

    def _head(self, finished: bool = False) -> bytes:
        return (json.dumps({"origin": self.origin, "finished": finished}) + "\n").encode()

    def _is_ours(self, head: bytes) -> bool:
        try:
            with self.path.open("rb") as file:
                return file.read(len(head)) == head
        except OSError:
            return False

    def _next(self) -> bytes | None:
        """Read the record at the present place, None where there is no whole one."""
        file = self._opened
        head = file.read(_HEAD)
        if len(head) < _HEAD:
            return None
        size = _PLACE.unpack_from(head)[-1]
        if size > os.fstat(file.fileno()).st_size:
            return None
        record = head + file.read(size)
        return record if _is_whole(record) else None


def _is_whole(record: bytes) -> bool:
    if len(record) < _HEAD or len(record) != _HEAD + _PLACE.unpack_from(record)[-1]:
        return False
    place, packed = record[: _PLACE.size], record[_HEAD:]
    found: int = _CHECK.unpack_from(record, _PLACE.size)[0]
    return found == zlib.crc32(place + packed)
