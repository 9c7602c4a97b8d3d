"""HDF5 files, MATLAB 7.3 files among them: which arrays they hold, and reading them by windows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np
from numpy.typing import NDArray

from bdgf.errors import SceneError
from bdgf.scene.formats.arrays import ELSEWHERE, NUMERIC, ArrayInfo, by, shown_name
from bdgf.scene.formats.base import reason
from bdgf.scene.formats.guard import check_hdf5
from bdgf.scene.formats.matlab5 import MATLAB_TYPES, MOST_ELEMENTS

# What h5py raises on damaged files and on types that NumPy does not have.
_ERRORS = (
    OSError,
    RuntimeError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    MemoryError,
)
_OWN = ("#refs#", "#subsystem#")
_NODATA = ("_FillValue", "missing_value", "Data_Ignore_Value", "data_ignore_value", "nodata")
"""Attributes by which files say what means "no data": CF's, and those of NEON's and others."""
_MOST_ITEMS = 100_000
_MOST_REFERENCES = 5_000
_MOST_DEPTH = 32
_MOST_AXES = 32

Steps: TypeAlias = tuple[str | int, ...]
"""The way to an item of a file: names in groups, and numbers in lists of references."""

Item: TypeAlias = h5py.Group | h5py.Dataset | h5py.Datatype
"""Something in a file that has attributes."""


def is_hdf5(path: Path) -> bool:
    """Whether a file is an HDF5 file, by its first bytes."""
    return bool(h5py.is_hdf5(path))


def hdf5_readers(path: Path) -> dict[str, Hdf5Reader]:
    """Return readers of all arrays of an HDF5 file by their keys, without reading values.

    Groups are parted by a slash. Of MATLAB's arrays fields of structs follow a dot, elements of
    cells and struct arrays are numbered (``hsi.Lidar{2}.z``), and axes are in MATLAB's order. Links
    to other files are listed and never followed.

    Raises:
        SceneError: The file is no HDF5 file, or damaged.
    """
    check_hdf5(path)
    try:
        with _opened(path) as file:
            return _Tree(path, file).readers()
    except _ERRORS as error:
        raise SceneError(
            f"{path.name} cannot be read as an HDF5 file ({reason(error)}): the file is damaged,"
            " cut short or of another format."
        ) from error


class Hdf5Reader:
    """An array of an HDF5 file, read by windows; see `ArrayReader`.

    The file is opened for every read: an open one can neither cross into another process nor be
    shared between threads.
    """

    def __init__(
        self,
        path: Path,
        key: str,
        info: ArrayInfo,
        steps: Steps = (),
        block: tuple[int, ...] = (),
        reverse: bool = False,
    ) -> None:
        """Point to an array.

        Args:
            path: The file.
            key: Name of the array in messages.
            info: What it is.
            steps: The way to it: names in groups, and numbers in lists of references.
            block: Of every axis how much is stored at once.
            reverse: Whether the file stores the axes in the reverse of their order.
        """
        self.path = path
        self.key = key
        self.info = info
        self.block = block or (1,) * len(info.shape)
        self._steps = steps
        self._reverse = reverse

    def read(self, part: tuple[slice, ...]) -> NDArray[Any]:
        """Read a part, one slice per axis."""
        try:
            with _opened(self.path) as file:
                array = self._find(file)
                data: NDArray[Any] = array[part[::-1] if self._reverse else part]
        except _ERRORS as error:
            raise SceneError(
                f"{self.key} of {self.path.name} cannot be read ({reason(error)}): the file is"
                " damaged, compressed in a way unknown here, or changed since it was opened; get"
                " it again or save it anew."
            ) from error
        return data.T if self._reverse else data

    def _find(self, file: h5py.File) -> h5py.Dataset:
        item: Any = file
        for step in self._steps:
            if isinstance(step, int):
                item = file[item[np.unravel_index(step, item.shape)]]
            elif isinstance(item.get(step, getlink=True), h5py.HardLink):
                item = item[step]
            else:
                raise ValueError("it has become a link")
        shape = self.info.shape[::-1] if self._reverse else self.info.shape
        if not isinstance(item, h5py.Dataset) or item.shape != shape or _is_elsewhere(item):
            raise ValueError("it is another array now")
        return item


def _number(item: h5py.Dataset, names: tuple[str, ...]) -> float | None:
    """Return the first of an array's attributes that is one number, None where none is."""
    for name in names:
        if name in item.attrs:
            about = item.attrs.get_id(name)
            if int(np.prod(about.shape)) == 1 and about.dtype.kind in "iuf":
                return float(np.ravel(item.attrs[name])[0])
    return None


def _scaling(item: h5py.Dataset) -> tuple[float, float]:
    """Return CF's factor and offset of packed values; 1 and 0 where they are not given."""
    factor, offset = _number(item, ("scale_factor",)), _number(item, ("add_offset",))
    return 1.0 if factor is None else factor, 0.0 if offset is None else offset


class _Tree:
    """The arrays of an open file, put into a dictionary by their keys."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        self._path = path
        self._file = file
        self._seen = 0
        self._references = 0
        self._found: dict[str, Hdf5Reader] = {}

    def readers(self) -> dict[str, Hdf5Reader]:
        """Walk through the whole file."""
        self._group(self._file, "", (), ())
        return self._found

    def _group(self, group: h5py.Group, key: str, steps: Steps, above: tuple[Item, ...]) -> None:
        is_struct = _matlab_class(group) == "struct"
        self._seen += len(group)
        if self._seen > _MOST_ITEMS:
            raise SceneError(
                f"{self._path.name} holds more than {_MOST_ITEMS:,} arrays; save those that the"
                " scene needs in a file of their own."
            )
        for name in group:
            if not key and name in _OWN:
                continue
            # Names that are no UTF-8 text come as bytes.
            is_bytes = isinstance(name, bytes)
            text = shown_name(name.decode("utf-8", "surrogateescape") if is_bytes else name)
            shown = f"{key}{'.' if is_struct else '/'}{text}" if key else text
            way = (*steps, name)
            with self._any_type(shown):
                link = group.get(name, getlink=True)
                if not isinstance(link, h5py.HardLink):
                    outside = isinstance(link, h5py.ExternalLink)
                    self._other(shown, f"link to an array{f' {ELSEWHERE}' if outside else ''}")
                    continue
                item = group[name]
                if is_struct and _is_list(item) and _matlab_class(item) is None:
                    # A struct array: each of its fields is a list of references.
                    self._elements(item, shown, f"{key}(%d).{text.replace('%', '%%')}", way, above)
                else:
                    self._item(item, shown, way, above)

    def _item(self, item: Item, key: str, steps: Steps, above: tuple[Item, ...]) -> None:
        if item in above or len(above) == _MOST_DEPTH:
            self._other(key, "ring of groups")
        elif isinstance(item, h5py.Group):
            kind = _matlab_class(item)
            if kind in (None, "struct"):
                self._group(item, key, steps, (*above, item))
            else:
                self._other(key, "sparse" if "MATLAB_sparse" in item.attrs else str(kind))
        elif isinstance(item, h5py.Dataset):
            if _is_list(item) and _matlab_class(item) == "cell":
                numbered = key.replace("%", "%%") + "{%d}"
                self._elements(item, key, numbered, steps, (*above, item))
            else:
                self._array(item, key, steps)

    def _elements(
        self, item: Item, key: str, numbered: str, steps: Steps, above: tuple[Item, ...]
    ) -> None:
        """List what a list of references refers to."""
        size = item.size
        is_empty = not size or "MATLAB_empty" in item.attrs
        # References can lead to references again, so their number is limited over all lists.
        if is_empty or size > MOST_ELEMENTS or self._references + size > _MOST_REFERENCES:
            self._other(key, "cell", item.shape[::-1])
            return
        self._references += size
        for number, reference in enumerate(item[()].ravel()):
            shown = numbered % (number + 1) if size > 1 else key
            with self._any_type(shown):
                if reference:
                    self._item(self._file[reference], shown, (*steps, number), above)
                else:
                    self._other(shown, "empty")

    def _array(self, item: h5py.Dataset, key: str, steps: Steps) -> None:
        dtype, shape, kind = item.dtype, item.shape, _matlab_class(item)
        if shape is None or _is_elsewhere(item):
            self._other(key, "empty" if shape is None else f"array {ELSEWHERE}", shape or ())
            return
        stored: np.dtype[Any] | None = dtype if dtype.kind in NUMERIC + "c" else None
        if kind is None:
            note = ""
            if self._path.suffix.lower() == ".mat":
                note = (
                    f"{self._path.name} is HDF5 without MATLAB's marks: the axes of {key} are read"
                    f" as stored ({by(shape)})"
                )
            note = note if len(shape) > 1 else ""
            nodata, scaling = _number(item, _NODATA), _scaling(item)
            info = ArrayInfo(shape, _kind(dtype), stored, note, nodata=nodata, scaling=scaling)
            self._found[key] = Hdf5Reader(self._path, key, info, steps, _block(item))
            return
        shape = shape[::-1]
        if "MATLAB_empty" in item.attrs:
            # What is stored is the shape of the empty array.
            shape = tuple(int(n) for n in item[()].ravel()) if item.size < _MOST_AXES else (0, 0)
            self._other(key, f"empty {kind}", shape)
            return
        if kind not in MATLAB_TYPES:
            self._other(key, kind, shape)
            return
        if dtype.names == ("real", "imag"):
            kind, stored = f"complex {kind}", np.dtype(np.complex128)
        note = f"MATLAB 7.3 stores axes in reverse; {key} is {by(shape)} in MATLAB's order"
        info = ArrayInfo(shape, kind, stored, note, "HWC"[: len(shape)])
        block = _block(item)[::-1]
        self._found[key] = Hdf5Reader(self._path, key, info, steps, block, reverse=True)

    @contextmanager
    def _any_type(self, key: str) -> Iterator[None]:
        """List what cannot be understood as such: it must not hide the file's other arrays."""
        try:
            yield
        except _ERRORS:
            self._other(key, "unreadable")

    def _other(self, key: str, kind: str, shape: tuple[int, ...] = ()) -> None:
        self._found[key] = Hdf5Reader(self._path, key, ArrayInfo(shape, kind, None))


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    # Reading needs no lock, and the file systems of clusters often have none.
    with h5py.File(path, "r", locking=False) as file:
        yield file


def _matlab_class(item: Item) -> str | None:
    """Class that MATLAB gives an item, None where MATLAB did not write it."""
    if "MATLAB_class" not in item.attrs:
        return None
    mark = item.attrs.get_id("MATLAB_class")
    if mark.shape != () or (mark.dtype.kind != "S" and not h5py.check_string_dtype(mark.dtype)):
        return None
    value = item.attrs["MATLAB_class"]
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _is_list(item: Item) -> bool:
    """Whether an item is a list of references to other items of its file."""
    return isinstance(item, h5py.Dataset) and h5py.check_ref_dtype(item.dtype) is h5py.Reference


def _is_elsewhere(item: h5py.Dataset) -> bool:
    """Whether the values of an array may lie in other files, which are never opened."""
    return bool(item.is_virtual or item.external)


def _block(item: h5py.Dataset) -> tuple[int, ...]:
    chunks = item.chunks or (1,) * len(item.shape)
    return tuple(max(1, min(pair)) for pair in zip(chunks, item.shape, strict=True))


def _kind(dtype: np.dtype[Any]) -> str:
    if h5py.check_string_dtype(dtype) is not None:
        return "text"
    if h5py.check_ref_dtype(dtype) is not None:
        return "references"
    return "compound" if dtype.names else dtype.name
