"""MATLAB files: which arrays they hold, and reading one of them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from numpy.typing import NDArray
from scipy.io.matlab import MatReadError

from bdgf.errors import SceneError
from bdgf.scene.formats.base import reason

_MAT_TYPES = {
    "double": "f8",
    "single": "f4",
    "logical": "u1",
    "int8": "i1",
    "uint8": "u1",
    "int16": "i2",
    "uint16": "u2",
    "int32": "i4",
    "uint32": "u4",
    "int64": "i8",
    "uint64": "u8",
}
_MAT_ERRORS = (MatReadError, ValueError, TypeError, KeyError, OSError, zlib.error)
_HDF5 = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class ArrayInfo:
    """An array that a file holds, without its values.

    Args:
        shape: Its shape, in the order of axes that the format's own library shows.
        kind: Its type as the format names it, such as double.
        dtype: Its NumPy type, None where it is no array of numbers.
        note: What was put right, such as an order of axes; empty where nothing was.
    """

    shape: tuple[int, ...]
    kind: str
    dtype: np.dtype[Any] | None
    note: str = ""


class MatReader:
    """An array of a MATLAB v5 file; see `ArrayReader`.

    The format is compressed as a whole, so the array is loaded at the first read and then kept in
    its own type.
    """

    def __init__(self, path: Path, key: str, info: ArrayInfo) -> None:
        self.path = path
        self.key = key
        self.shape = info.shape
        self.dtype: np.dtype[Any] = info.dtype or np.dtype(object)
        self.block = (1,) * len(self.shape)
        self._array: NDArray[Any] | None = None

    def read(self, part: tuple[slice, ...]) -> NDArray[Any]:
        """Read a part, one slice per axis."""
        if self._array is None:
            try:
                self._array = scipy.io.loadmat(self.path, variable_names=[self.key])[self.key]
            except _MAT_ERRORS as error:
                raise SceneError(
                    f"{self.path.name} cannot be read ({reason(error)}): the file is damaged or cut"
                    " short, get it again."
                ) from error
            if self._array.dtype.kind not in "iufb":
                raise SceneError(
                    f"{self.key} of {self.path.name} holds {self._array.dtype} values; bands are"
                    " integers or floats: convert it, complex SAR to intensity."
                )
        return self._array[part]


def mat_arrays(path: Path) -> dict[str, ArrayInfo]:
    """Return every variable of a MATLAB file by name, without loading them.

    Raises:
        SceneError: The file is no MATLAB file.
    """
    try:
        with path.open("rb") as file:
            head = file.read(520)
        if head.startswith(b"MATLAB 7.3") or _HDF5 in (head[:8], head[512:520]):
            raise SceneError(
                f"{path.name} is a MATLAB 7.3 file, which is not supported: save it in MATLAB with"
                f" save('{path.name}', '-v7')."
            )
        return {
            name: ArrayInfo(
                tuple(shape), kind, np.dtype(_MAT_TYPES[kind]) if kind in _MAT_TYPES else None
            )
            for name, shape, kind in scipy.io.whosmat(path)
        }
    except _MAT_ERRORS as error:
        raise SceneError(
            f"{path.name} cannot be read as a MATLAB file ({reason(error)}): the file is damaged,"
            " cut short or of another format."
        ) from error
