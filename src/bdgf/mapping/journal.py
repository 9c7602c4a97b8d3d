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
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from bdgf.files import atomic_write_text, writable
from bdgf.mapping.inference import MappedWindow
from bdgf.scene.windows import Window

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
    """Classified windows of one tile on the disk, taken up when they are first asked for.

    No file stays open, so that there may be as many as there are tiles.

    Args:
        path: Where the journal lies. One that is there is taken up if it is of the same origin, and
            replaced otherwise.
        origin: What decides the map; plain text.

    Raises:
        RunFolderError: The folder cannot be written.
    """

    def __init__(self, path: Path, origin: str) -> None:
        self.path, self.origin = path, origin
        self._done: set[tuple[int, int]] | None = None
        self._before: frozenset[tuple[int, int]] = frozenset()

    @property
    def done(self) -> set[tuple[int, int]]:
        """First rows and columns of the windows that are in it."""
        if self._done is None:
            self._done = self._take_up()
            self._before = frozenset(self._done)
        return self._done

    @property
    def before(self) -> frozenset[tuple[int, int]]:
        """Those that were in it when it was taken up."""
        _ = self.done
        return self._before

    def parts(self) -> Iterator[MappedWindow]:
        """Yield what is in it so far, in the order in which it came."""
        if self.done:
            with self.path.open("rb") as file:
                for record in self._records(file):
                    yield decode(record)

    def add(self, record: bytes) -> None:
        """Append the record of a window; it is safe from the end of this process on.

        Raises:
            RunFolderError: The disk is full, or the folder gone.
        """
        done = self.done
        with writable(self.path), self.path.open("r+b") as file:
            file.seek(0, os.SEEK_END)
            # not forced onto the disk: a record that a power failure tears is noticed
            file.write(record)
        row, col = _PLACE.unpack_from(record)[:2]
        done.add((row, col))

    def close_finished(self) -> None:
        """Leave a note that the tile is finished in place of its windows.

        Raises:
            RunFolderError: The folder cannot be written.
        """
        atomic_write_text(self.path, self._head(finished=True).decode())
        self._done, self._before = None, frozenset()

    @property
    def finished(self) -> bool:
        """Whether the tile was finished from the same origin; asked before it is opened."""
        return self._is_ours(self._head(finished=True))

    def _head(self, finished: bool = False) -> bytes:
        return (json.dumps({"origin": self.origin, "finished": finished}) + "\n").encode()

    def _is_ours(self, head: bytes) -> bool:
        try:
            with self.path.open("rb") as file:
                return file.read(len(head)) == head
        except OSError:
            return False

    def _take_up(self) -> set[tuple[int, int]]:
        """Return the windows of whole records, and cut off what follows them."""
        head, found = self._head(), set()
        if not self._is_ours(head):
            atomic_write_text(self.path, head.decode())
        with writable(self.path), self.path.open("r+b") as file:
            end = len(head)
            for record in self._records(file):
                row, col = _PLACE.unpack_from(record)[:2]
                found.add((row, col))
                end += len(record)
            file.truncate(end)
        return found

    def _records(self, file: BinaryIO) -> Iterator[bytes]:
        """Yield the records of the open journal up to the first that is not whole."""
        file.seek(len(self._head()))
        size = os.fstat(file.fileno()).st_size
        while len(head := file.read(_HEAD)) == _HEAD:
            length = _PLACE.unpack_from(head)[-1]
            record = head + file.read(min(length, size))
            if not _is_whole(record):
                return
            yield record


def _is_whole(record: bytes) -> bool:
    if len(record) < _HEAD or len(record) != _HEAD + _PLACE.unpack_from(record)[-1]:
        return False
    place, packed = record[: _PLACE.size], record[_HEAD:]
    found: int = _CHECK.unpack_from(record, _PLACE.size)[0]
    return found == zlib.crc32(place + packed)
