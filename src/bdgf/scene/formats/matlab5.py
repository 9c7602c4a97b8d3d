"""MATLAB files of version 5 (MATLAB 5 to 7.2): the tree of their arrays, and where values lie.

The format's arrays lie one after another, each behind a tag with its type and length, structs and
cells around those they hold. Only tags and headers are read to list them. Every length is checked
against what is there, because a damaged file must end in a message whatever its bytes are.
"""

from __future__ import annotations

import math
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from bdgf.scene.formats.arrays import ArrayInfo, shown_name

_MATRIX, _COMPRESSED = 14, 15
_STORED = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
_CELL, _STRUCT, _OPAQUE = 1, 2, 17
_CLASSES = {
    6: "double", 7: "single", 8: "int8", 9: "uint8", 10: "int16", 11: "uint16", 12: "int32",
    13: "uint32", 14: "int64", 15: "uint64",
}  # fmt: skip
_OTHERS = {
    _CELL: "cell", _STRUCT: "struct", 3: "object", 4: "char", 5: "sparse",
    16: "function handle", _OPAQUE: "object",
}  # fmt: skip
_LOGICAL, _COMPLEX = 0x200, 0x800
_HEADER = 128
_CHUNK = 1 << 20
_MOST_DEPTH = 32
_MOST_AXES = 32
_MOST_ARRAYS = 100_000

MATLAB_TYPES = {
    "double": "f8", "single": "f4", "logical": "u1", "int8": "i1", "uint8": "u1", "int16": "i2",
    "uint16": "u2", "int32": "i4", "uint32": "u4", "int64": "i8", "uint64": "u8",
}  # fmt: skip
"""NumPy's type of every numeric class of MATLAB."""

MOST_ELEMENTS = 1_000
"""Elements of a cell or struct array that are listed; a longer one is listed as a whole."""


class DamagedError(Exception):
    """The bytes of a file do not follow its format."""


@dataclass(frozen=True)
class Place:
    """Where the values of an array lie.

    Args:
        dtype: Type of the stored values, which may be narrower than the array's.
        start: Where they begin: in the file, or in the unpacked variable.
        packed: Start and length of the compressed variable, None where it is not compressed.
    """

    dtype: np.dtype[Any]
    start: int
    packed: tuple[int, int] | None = None


def list_mat5(path: Path) -> dict[str, tuple[ArrayInfo, Place | None]]:
    """Return every array of a file by its key, with its place where it can be read.

    Fields of structs follow a dot, elements of cells and struct arrays are numbered as in MATLAB:
    ``hsi.Lidar{2}.z``, ``hsi.parts(3).z``. A struct or cell of one element needs no number.

    Raises:
        DamagedError: The file does not follow its format.
        OSError: It cannot be read.
        zlib.error: A compressed variable is damaged.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(_HEADER - 2)
        order = "<" if file.read(2) == b"IM" else ">"
        found: dict[str, tuple[ArrayInfo, Place | None]] = {}
        position = _HEADER
        while position < size:
            stream: _Plain | _Packed = _Plain(file, position, size)
            kind, length, _ = _tag(stream, order)
            start = stream.position
            if start + length > size:
                raise DamagedError("it ends in the middle of a variable")
            packed = None
            if kind == _COMPRESSED:
                packed = (start, length)
                stream = _Packed(file, start, length)
                kind, inner, _ = _tag(stream, order)
            else:
                inner = length
            if kind != _MATRIX:
                raise DamagedError("it holds something that is no variable")
            _Tree(stream, order, packed, found).variable(inner)
            position = start + length
        return found


def read_packed(path: Path, place: Place, shape: tuple[int, ...]) -> NDArray[Any]:
    """Unpack the values of an array in a compressed variable, to the check sum at its end.

    Args:
        path: The file.
        place: Where they lie; `Place.packed` is given.
        shape: The array's shape.

    Raises:
        DamagedError: The variable is cut short.
        OSError: The file cannot be read.
        zlib.error: The variable is damaged.
    """
    with path.open("rb") as file:
        stream = _Packed(file, *(place.packed or (0, 0)))
        stream.skip(place.start)
        data = stream.read(math.prod(shape) * place.dtype.itemsize)
        stream.finish()
    return np.frombuffer(data, place.dtype).reshape(shape, order="F")


def unpack(path: Path, place: Place, shape: tuple[int, ...]) -> NDArray[Any]:
    """Unpack such an array to a temporary file, part by part, and map it into memory.

    The file has no name; it goes with the array, or with the process.

    Raises:
        DamagedError: The variable is cut short.
        OSError: The file cannot be read, or the folder of temporary files has no room.
        zlib.error: The variable is damaged.
    """
    left = math.prod(shape) * place.dtype.itemsize
    with path.open("rb") as file, tempfile.TemporaryFile() as unpacked:
        stream = _Packed(file, *(place.packed or (0, 0)))
        stream.skip(place.start)
        while left:
            left -= unpacked.write(stream.read(min(left, _CHUNK)))
        stream.finish()
        unpacked.flush()
        return np.memmap(unpacked, place.dtype, "r", shape=shape, order="F")


def name_of(data: bytes | bytearray) -> str:
    """Return the name that bytes up to the first zero are."""
    return shown_name(data.split(b"\0")[0].decode("latin-1"))


class _Plain:
    """Bytes of a file up to an end."""

    def __init__(self, file: BinaryIO, start: int, end: int) -> None:
        self._file = file
        self._end = end
        self.position = start

    def read(self, count: int) -> bytes | bytearray:
        if self.position + count > self._end:
            raise DamagedError("it is cut short")
        self._file.seek(self.position)
        data = self._file.read(count)
        self.position += len(data)
        if len(data) != count:
            raise DamagedError("it is cut short")
        return data

    def skip(self, count: int) -> None:
        self.position += count


class _Packed:
    """Bytes of a compressed variable; positions count unpacked bytes."""

    def __init__(self, file: BinaryIO, start: int, length: int) -> None:
        self._file = file
        self._next = start
        self._left = length
        self._inflate = zlib.decompressobj()
        self._ready = bytearray()
        self.position = 0

    def read(self, count: int) -> bytes | bytearray:
        # Grows with what is really there, so that a wrong length asks for no memory.
        while len(self._ready) < count:
            if not self._more(count - len(self._ready)):
                raise DamagedError("a compressed variable is cut short")
        self.position += count
        if len(self._ready) == count:
            # Handed over, not copied: this is how a whole array is read.
            data, self._ready = self._ready, bytearray()
        else:
            data = self._ready[:count]
            del self._ready[:count]
        return data

    def skip(self, count: int) -> None:
        while count > 0:
            step = min(count, _CHUNK)
            self.read(step)
            count -= step

    def finish(self) -> None:
        """Unpack the rest, so that the check sum is compared."""
        while self._more(_CHUNK):
            self._ready.clear()
        if not self._inflate.eof:
            raise DamagedError("a compressed variable is cut short")

    def _more(self, wanted: int) -> bool:
        packed = self._inflate.unconsumed_tail
        if not packed and self._left:
            self._file.seek(self._next)
            packed = self._file.read(min(self._left, _CHUNK))
            self._next += len(packed)
            self._left -= len(packed)
        if self._inflate.eof or not packed:
            return False
        self._ready += self._inflate.decompress(packed, max(wanted, 256))
        return True


class _Tree:
    """The arrays of one variable, put into a dictionary by their keys."""

    def __init__(
        self,
        stream: _Plain | _Packed,
        order: str,
        packed: tuple[int, int] | None,
        found: dict[str, tuple[ArrayInfo, Place | None]],
    ) -> None:
        self._stream = stream
        self._order = order
        self._packed = packed
        self._found = found

    def variable(self, length: int) -> None:
        """List a variable; one without a name belongs to MATLAB itself."""
        self._matrix(length, None, 0)

    def _matrix(self, length: int, key: str | None, depth: int) -> None:
        end = self._stream.position + length
        if length == 0:
            self._add(key, (0, 0), "double")
            return
        flags = int.from_bytes(self._element(end, 8)[:4], _endian(self._order))
        kind = flags & 0xFF
        shape: tuple[int, ...] = ()
        if kind != _OPAQUE:
            shape = tuple(self._numbers(end, 4 * _MOST_AXES))
        name = name_of(self._element(end, 1024))
        key = name if key is None else key
        if key:
            self._describe(kind, flags, shape, key, end, depth)
        if self._stream.position > end:
            raise DamagedError("an array is longer than its variable")
        if depth:
            self._stream.skip(end - self._stream.position)

    def _describe(
        self, kind: int, flags: int, shape: tuple[int, ...], key: str, end: int, depth: int
    ) -> None:
        if kind != _OPAQUE and (len(shape) < 2 or min(shape) < 0):
            raise DamagedError(f"{key} has no shape")
        if kind in _CLASSES:
            self._numeric(_CLASSES[kind], flags, shape, key, end)
        elif kind in (_CELL, _STRUCT):
            names = self._fields(end) if kind == _STRUCT else [""]
            count = math.prod(shape)
            full = count > MOST_ELEMENTS or len(self._found) > _MOST_ARRAYS
            if full or count == 0 or not names:
                self._add(key, shape, _OTHERS[kind])
                return
            if depth == _MOST_DEPTH:
                raise DamagedError(f"{key} lies in more than {_MOST_DEPTH} structs and cells")
            brackets = "({})" if kind == _STRUCT else "{{{}}}"
            for number in range(1, count + 1):
                place = brackets.format(number) if count > 1 else ""
                for name in names:
                    inner, length, _ = _tag(self._stream, self._order)
                    if inner != _MATRIX or self._stream.position + length > end:
                        raise DamagedError(f"{key} does not hold what it says")
                    self._matrix(length, key + place + name, depth + 1)
        else:
            self._add(key, shape, _OTHERS.get(kind, "unknown type"))

    def _numeric(self, kind: str, flags: int, shape: tuple[int, ...], key: str, end: int) -> None:
        stored, length, small = _tag(self._stream, self._order)
        start = self._stream.position - (4 if small is not None else 0)
        if stored not in _STORED:
            raise DamagedError(f"{key} has values of an unknown type")
        dtype = np.dtype(self._order + _STORED[stored])
        if length != math.prod(shape) * dtype.itemsize or start + length > end:
            raise DamagedError(f"{key} does not have as many values as its shape says")
        if flags & _COMPLEX:
            info = ArrayInfo(shape, f"complex {kind}", np.dtype(np.complex128))
            self._found[key] = (info, None)
            return
        self._add(
            key, shape, "logical" if flags & _LOGICAL else kind, Place(dtype, start, self._packed)
        )

    def _add(
        self, key: str | None, shape: tuple[int, ...], kind: str, place: Place | None = None
    ) -> None:
        if key:
            dtype = np.dtype(MATLAB_TYPES[kind]) if kind in MATLAB_TYPES else None
            axes = "" if dtype is None else "HWC"[: len(shape)]
            self._found[key] = (ArrayInfo(shape, kind, dtype, axes=axes), place)

    def _fields(self, end: int) -> list[str]:
        width = self._numbers(end, 4)
        names = self._element(end, _CHUNK)
        if len(width) != 1 or width[0] < 1 or len(names) % width[0]:
            raise DamagedError("the names of a struct's fields are damaged")
        cut = range(0, len(names), width[0])
        return ["." + name_of(names[i : i + width[0]]) for i in cut]

    def _numbers(self, end: int, most: int) -> list[int]:
        data = self._element(end, most)
        if len(data) % 4:
            raise DamagedError("a list of numbers is cut short")
        return [int(n) for n in np.frombuffer(data, self._order + "i4")]

    def _element(self, end: int, most: int) -> bytes | bytearray:
        """Read a whole element of no more than so many bytes, and the gap behind it."""
        _, length, small = _tag(self._stream, self._order)
        if small is not None:
            return small
        if length > most or self._stream.position + length > end:
            raise DamagedError("a header is longer than its variable")
        data = self._stream.read(length)
        self._stream.skip(-length % 8)
        return data


def _tag(stream: _Plain | _Packed, order: str) -> tuple[int, int, bytes | None]:
    """Read a tag: type, length, and the values themselves where they are in the tag."""
    data = stream.read(8)
    kind = int.from_bytes(data[:4], _endian(order))
    if kind >> 16:
        length = kind >> 16
        if length > 4:
            raise DamagedError("a tag is damaged")
        return kind & 0xFFFF, length, bytes(data[4 : 4 + length])
    return kind, int.from_bytes(data[4:], _endian(order)), None


def _endian(order: str) -> Literal["little", "big"]:
    return "little" if order == "<" else "big"
