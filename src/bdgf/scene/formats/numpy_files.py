"""NumPy files: one array read by windows (.npy), or several, each unpacked whole (.npz)."""

from __future__ import annotations

import io
import math
import tempfile
import tokenize
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from bdgf.errors import SceneError
from bdgf.scene.formats.arrays import NUMERIC, ArrayInfo, shown_name
from bdgf.scene.formats.base import reason
from bdgf.scene.formats.unpacked import Unpacked, belongs_in_a_file

# What NumPy and zipfile raise on damaged files, wrong passwords and unknown compressions.
_ERRORS = (
    OSError,
    EOFError,
    RuntimeError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    SyntaxError,
    OverflowError,
    MemoryError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
_CHUNK = 1 << 20
_SUFFIX = ".npy"


class NpyReader:
    """The array of a .npy file, read by parts; see `ArrayReader`."""

    def __init__(self, path: Path) -> None:
        """Read the header.

        Args:
            path: The file.

        Raises:
            SceneError: The file is no .npy file, damaged, or shorter than its header says.
        """
        self.path = path
        try:
            with path.open("rb") as file:
                self.info, self._fortran = _header(file)
                self._start = file.tell()
                size = file.seek(0, 2)
        except _ERRORS as error:
            raise SceneError(_unreadable(path, error)) from error
        if self.info.dtype is not None and self._start + _bytes(self.info) > size:
            raise SceneError(
                f"{path.name} is cut short: its header says {_bytes(self.info):,} bytes of values,"
                f" and {size - self._start:,} are there; get it again."
            )
        self.block = (1,) * len(self.info.shape)

    def read(self, part: tuple[slice, ...]) -> NDArray[Any]:
        """Read a part, one slice per axis."""
        info = self.info
        try:
            order: Literal["F", "C"] = "F" if self._fortran else "C"
            dtype = np.dtype(info.dtype)
            whole = np.memmap(self.path, dtype, "r", self._start, info.shape, order)
            return np.array(whole[part])
        except _ERRORS as error:
            raise SceneError(_unreadable(self.path, error)) from error


class NpzReader:
    """An array of a .npz file; see `ArrayReader`.

    It is unpacked at the first read and then kept: one of more than 4 MiB in a temporary file
    without a name. Of many files the last ones stay unpacked; nothing of it is carried along to
    another process.
    """

    def __init__(self, path: Path, key: str, info: ArrayInfo, member: str) -> None:
        self.path = path
        self.key = key
        self.member = member
        self.info = info
        self.block = (1,) * len(info.shape)
        self._unpacked = Unpacked()

    def read(self, part: tuple[slice, ...]) -> NDArray[Any]:
        """Read a part, one slice per axis."""
        array = self._unpacked.array
        if array is None:
            try:
                array = self._in_a_file()
                if array is None:  # without room for the file, memory has to do
                    array = self._in_memory()
            except _ERRORS as error:
                raise SceneError(_unreadable(self.path, error, self.key)) from error
        self._unpacked.keep(array)
        return np.array(array[part])

    def _in_a_file(self) -> NDArray[Any] | None:
        """Return a large array from a temporary file, None where there is no room for one."""
        try:
            if belongs_in_a_file(_bytes(self.info)):
                with tempfile.TemporaryFile() as file:
                    order = self._copy(file)
                    file.flush()
                    dtype = np.dtype(self.info.dtype)
                    return np.memmap(file, dtype, "r", shape=self.info.shape, order=order)
        except OSError:  # no folder, other processes took the room, or too many files are open
            pass
        return None

    def _in_memory(self) -> NDArray[Any]:
        data = io.BytesIO()
        order = self._copy(data)
        array = np.frombuffer(data.getbuffer(), self.info.dtype)
        return array.reshape(self.info.shape, order=order)

    def _copy(self, target: IO[bytes]) -> Literal["F", "C"]:
        """Copy the values, of which there must be as many as the header says."""
        with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as file:
            info, fortran = _header(file)
            if info != self.info:
                raise ValueError("it has changed since it was opened")
            # Grows with what is really there, so that a wrong header asks for no memory.
            count = 0
            while (chunk := file.read(_CHUNK)) and count <= _bytes(info):
                count += target.write(chunk)
        if count != _bytes(info):
            raise ValueError(f"its header says {_bytes(info):,} bytes of values, not what is there")
        return "F" if fortran else "C"


def npz_readers(path: Path) -> dict[str, NpzReader]:
    """Return readers of all arrays of a .npz file by their keys, from the headers alone.

    Raises:
        SceneError: The file is no .npz file, or damaged.
    """
    found = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith(_SUFFIX):
                    key = shown_name(name.removesuffix(_SUFFIX))
                    with archive.open(name) as file:
                        found[key] = NpzReader(path, key, _header(file)[0], name)
    except _ERRORS as error:
        raise SceneError(_unreadable(path, error)) from error
    return found


def _header(file: IO[bytes]) -> tuple[ArrayInfo, bool]:
    """Read the header of an array: what it is, and whether its first axis varies fastest."""
    version = npy.read_magic(file)
    with warnings.catch_warnings():
        # Files of Python 2 are as good as others.
        warnings.simplefilter("ignore", UserWarning)
        if version == (1, 0):
            shape, fortran, dtype = npy.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, fortran, dtype = npy.read_array_header_2_0(file)
        else:
            raise ValueError(f"version {version[0]}.{version[1]} is for tables, not for rasters")
    shape = tuple(int(size) for size in shape)
    if min(shape, default=0) < 0:
        raise ValueError("its shape is negative")
    numeric = dtype.kind in NUMERIC + "c"
    kind = "object" if dtype.hasobject else dtype.name
    return ArrayInfo(shape, kind, dtype if numeric else None), bool(fortran)


def _bytes(info: ArrayInfo) -> int:
    return math.prod(info.shape) * (info.dtype.itemsize if info.dtype is not None else 0)


def _unreadable(path: Path, error: BaseException, key: str | None = None) -> str:
    called = f"{key} of {path.name}" if key else path.name
    return (
        f"{called} cannot be read as a NumPy file ({reason(error)}): the file is damaged, cut short"
        " or of another format."
    )
