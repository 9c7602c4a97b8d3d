"""MATLAB files of every version: which arrays they hold, and reading them by parts."""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from bdgf.errors import SceneError
from bdgf.scene.formats.arrays import ArrayInfo, ArrayReader
from bdgf.scene.formats.base import reason
from bdgf.scene.formats.hdf5 import hdf5_readers, is_hdf5
from bdgf.scene.formats.matlab5 import (
    MATLAB_TYPES,
    DamagedError,
    Place,
    list_mat5,
    name_of,
    read_packed,
    unpack,
)
from bdgf.scene.formats.unpacked import Unpacked, belongs_in_a_file

_ERRORS = (DamagedError, OSError, zlib.error, MemoryError, ValueError, OverflowError)
_VERSION5 = (b"\x00\x01IM", b"\x01\x00MI")
_VERSION4 = ("double", "single", "int32", "int16", "uint16", "uint8")
"""The types of numbers of version 4, by their codes."""


def mat_readers(path: Path) -> dict[str, ArrayReader]:
    """Return readers of all arrays of a MATLAB file by their keys, without reading values.

    Fields of structs follow a dot, elements of cells and struct arrays are numbered as in MATLAB:
    ``hsi.Lidar{2}.z``. A struct or cell of one element needs no number.

    Raises:
        SceneError: The file is no MATLAB file, or damaged.
    """
    try:
        with path.open("rb") as file:
            head = file.read(128)
        if head.startswith(b"MATLAB 7.3") or is_hdf5(path):
            return dict(hdf5_readers(path))
        if head[124:] in _VERSION5:
            places = list_mat5(path)
        elif 0 in head[:4]:
            places = _list_mat4(path)
        else:
            raise SceneError(
                f"{path.name} cannot be read as a MATLAB file: its first bytes are not those of"
                " one; give it the ending of its own format, or save it anew."
            )
    except _ERRORS as error:
        raise SceneError(
            f"{path.name} cannot be read as a MATLAB file ({reason(error)}): the file is damaged,"
            " cut short or of another format."
        ) from error
    return {key: MatReader(path, key, *found) for key, found in places.items()}


class MatReader:
    """An array of a MATLAB file of version 4 or 5; see `ArrayReader`.

    A variable that is not compressed is read by parts. A compressed one can only be unpacked from
    its beginning, so its array is unpacked at the first read and then kept, in the type it is
    stored in: one of more than 4 MiB in a temporary file without a name, of which the system holds
    in memory what it has room for. Of many files the last ones stay unpacked. Nothing of it is
    carried along to another process.
    """

    def __init__(self, path: Path, key: str, info: ArrayInfo, place: Place | None) -> None:
        self.path = path
        self.key = key
        self.info = info
        self.block = (1,) * len(info.shape)
        self._place = place
        self._unpacked = Unpacked()

    def read(self, part: tuple[slice, ...]) -> NDArray[Any]:
        """Read a part, one slice per axis."""
        try:
            if self._place is None:
                raise DamagedError(f"it holds {self.info.kind} values")
            # As stored, whole numbers of a double array may be bytes.
            with np.errstate(invalid="ignore", over="ignore"):
                return np.array(self._values(self._place)[part], dtype=self.info.dtype)
        except _ERRORS as error:
            raise SceneError(
                f"{self.key} of {self.path.name} cannot be read ({reason(error)}): the file is"
                " damaged, cut short or changed since it was opened; get it again."
            ) from error

    def _values(self, place: Place) -> NDArray[Any]:
        if place.packed is None:
            return np.memmap(self.path, place.dtype, "r", place.start, self.info.shape, order="F")
        array = self._unpacked.array
        if array is None:
            array = self._in_a_file(place)
            if array is None:  # without room for the file, memory has to do
                array = read_packed(self.path, place, self.info.shape)
        self._unpacked.keep(array)
        return array

    def _in_a_file(self, place: Place) -> NDArray[Any] | None:
        """Return a large array from a temporary file, None where there is no room for one."""
        try:
            if belongs_in_a_file(math.prod(self.info.shape) * place.dtype.itemsize):
                return unpack(self.path, place, self.info.shape)
        except OSError:  # no folder, other processes took the room, or too many files are open
            pass
        return None


def _list_mat4(path: Path) -> dict[str, tuple[ArrayInfo, Place | None]]:
    """Return every array of a version 4 file by its name, with its place."""
    found: dict[str, tuple[ArrayInfo, Place | None]] = {}
    with path.open("rb") as file:
        size = file.seek(0, 2)
        position = 0
        while position < size:
            file.seek(position)
            name, info, place, position = _variable4(file, position)
            if position > size:
                raise DamagedError("it ends in the middle of a variable")
            found[name] = (info, place)
    return found


def _variable4(file: BinaryIO, position: int) -> tuple[str, ArrayInfo, Place | None, int]:
    """Read the header of a version 4 variable: its name, itself, and where the next one begins."""
    header = file.read(20)
    if len(header) < 20:
        raise DamagedError("it ends in the middle of a variable")
    # The first number is a code of four digits: machine, 0, type of numbers, kind of array.
    order = "<" if 0 <= struct.unpack("<i", header[:4])[0] < 5000 else ">"
    code, rows, columns, imaginary, length = struct.unpack(order + "5i", header)
    machine, number, kind = code // 1000, code // 10 % 100, code % 10
    if machine != (order == ">") or number >= len(_VERSION4) or min(rows, columns, length - 1) < 0:
        raise DamagedError("the header of a variable is damaged")
    dtype = np.dtype(order + MATLAB_TYPES[_VERSION4[number]])
    start = position + 20 + length
    end = start + rows * columns * dtype.itemsize * (2 if imaginary else 1)
    name = name_of(file.read(min(length, 1024)))
    shape = (rows, columns)
    if kind != 0:
        return name, ArrayInfo(shape, "char" if kind == 1 else "sparse", None), None, end
    if imaginary:
        complex_type = np.dtype(np.complex128)
        return name, ArrayInfo(shape, f"complex {_VERSION4[number]}", complex_type), None, end
    info = ArrayInfo(shape, _VERSION4[number], dtype.newbyteorder("="), axes="HW")
    return name, info, Place(dtype, start), end
