"""Arrays inside MATLAB, NumPy and HDF5 files as rasters, with their axes put right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any, Protocol

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from bdgf.errors import SceneError
from bdgf.scene.formats.base import check_inside, clean
from bdgf.scene.formats.location import Location, named
from bdgf.scene.windows import Window

NUMERIC = "iufb"
"""Kinds of NumPy types that a raster can hold."""

MOST_BANDS = 65_536
"""Bands that a raster can have; an array with more has its axes named wrongly."""

ELSEWHERE = "in another file"
"""End of the kind of an array whose values are not in the file that names it."""

_WORDS = {"H": "rows", "W": "columns", "C": "bands"}


@dataclass(frozen=True)
class ArrayInfo:
    """An array that a file holds, without its values.

    Args:
        shape: Its shape, in the order of axes that the format's own library shows.
        kind: Its type as the format names it, such as double.
        dtype: Its NumPy type, None where it is no array of numbers.
        note: What was put right, such as an order of axes; empty where nothing was.
        axes: What each axis of a raster is by the format's custom, as HWC is in MATLAB; empty
            where only the shape can tell.
        nodata: Value that means "no data", where the file says it, as it is stored.
        scaling: Factor and offset that make values of what is stored, where the file says them.
    """

    shape: tuple[int, ...]
    kind: str
    dtype: np.dtype[Any] | None
    note: str = ""
    axes: str = ""
    nodata: float | None = None
    scaling: tuple[float, float] = (1.0, 0.0)

    @property
    def numeric(self) -> bool:
        """Whether it holds integers, floats or truth values."""
        return self.dtype is not None and self.dtype.kind in NUMERIC


class ArrayReader(Protocol):
    """An array in a file, read by parts.

    Attributes:
        info: What it is.
        block: Of every axis how much the file stores, and so reads, at once.
    """

    info: ArrayInfo
    block: tuple[int, ...]

    def read(self, part: tuple[slice, ...]) -> NDArray[Any]:
        """Read a part, one slice per axis, in the order of `ArrayInfo.shape`.

        Raises:
            SceneError: The file cannot be read.
        """
        ...


class ArraySource:
    """An array with two or three axes as a raster; see `RasterSource`.

    Attributes:
        axes: What each axis of the array is: H rows, W columns, C bands.
    """

    def __init__(
        self,
        path: Location,
        key: str | None,
        reader: ArrayReader,
        nodata: float | None = None,
        axes: str | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        """Arrange an array.

        Args:
            path: The file.
            key: Name of the array inside the file, None where the file is one array.
            reader: The array.
            nodata: Value that means "no data".
            axes: What each axis is, such as CHW, in capitals or not; None takes the format's
                custom, or what `guess_axes` says.
            notes: What else was put right on opening.

        Raises:
            SceneError: The array is no raster, or the axes do not fit it.
        """
        info = reader.info
        called = f"{key} of {named(path)}" if key else named(path)
        dtype = info.dtype
        if dtype is None or not info.numeric or len(info.shape) not in (2, 3) or 0 in info.shape:
            raise SceneError(
                f"{called} ({described(info)}) is no raster, which is an array of numbers with"
                f" (rows, columns) or (rows, columns, bands): {_way_out(info, key)}."
            )
        self._own_notes = notes
        taken = (info.axes or guess_axes(info.shape)) if axes is None else axes.strip().upper()
        self.axes = taken
        self._check_axes(info.shape, called, axes)
        self.path = path
        self.key = key
        self.reader = reader
        size = dict(zip(self.axes, info.shape, strict=True))
        self.height = size["H"]
        self.width = size["W"]
        self.bands = size.get("C", 1)
        if self.bands > MOST_BANDS:
            raise SceneError(
                f"{called} has shape {by(info.shape)}, which is {self.bands:,} bands by its axes"
                f" {self.axes}; a raster has {MOST_BANDS:,} at most: say with axes which axis is"
                " the bands, such as 'axes: CHW'."
            )
        self.dtype: np.dtype[Any] = dtype
        self.crs = None
        self.transform: Affine | None = None
        self.nodata = nodata
        self.masked = True
        self.band_names = ("",) * self.bands
        self.wavelengths: tuple[float | None, ...] = (None,) * self.bands
        block = dict(zip(self.axes, reader.block, strict=True))
        self.block = (block["H"], block["W"])
        self.notes = tuple(filter(None, (info.note, *notes)))
        if axes is None and not info.axes and self.axes == "CHW":
            self.notes += (
                f"{called} has shape {by(info.shape)}: read as bands × rows × columns; 'axes: HWC'"
                " decides otherwise",
            )

    def read(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Read a window that lies inside the array; see `RasterSource.read`."""
        return self.read_bands(window, range(1, self.bands + 1))

    def read_bands(
        self, window: Window, bands: Sequence[int]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Read some bands (numbers from 1) of a window that lies inside the array.

        Returns:
            Values (C, h, w), 0 where they are not valid, and valid (C, h, w).

        Raises:
            SceneError: The file cannot be read.
        """
        check_inside(self, window)
        rows, cols = window.slices
        first = min(bands) - 1
        part = {"H": rows, "W": cols, "C": slice(first, max(bands))}
        data = self.reader.read(tuple(part[axis] for axis in self.axes))
        if data.ndim == 2:
            data = (data if self.axes == "HW" else data.T)[None]
        else:
            data = data.transpose([self.axes.index(axis) for axis in "CHW"])
        places = [band - 1 - first for band in bands]
        if places != list(range(len(data))):
            data = data[places]
        values, valid = clean(data, (self.nodata,) * len(data))
        factor, offset = self.reader.info.scaling
        if (factor, offset) != (1.0, 0.0):
            with np.errstate(over="ignore", invalid="ignore"):
                values = (data * factor + offset).astype(np.float32)
            valid &= np.isfinite(values)
            values[~valid] = 0.0
        return values, valid

    def arranged(self, axes: str, note: str) -> ArraySource:
        """Return the same array with its axes read in another order, and why."""
        notes = (*self._own_notes, note)
        return ArraySource(self.path, self.key, self.reader, self.nodata, axes, notes)

    def arrangements(self, height: int, width: int) -> list[str]:
        """Return the orders of axes by which the array has this many rows and columns."""
        shape = self.reader.info.shape
        orders = ("".join(order) for order in permutations("HWC"[: len(shape)]))
        return [
            order
            for order in orders
            if (shape[order.index("H")], shape[order.index("W")]) == (height, width)
        ]

    def _check_axes(self, shape: tuple[int, ...], called: str, given: str | None) -> None:
        letters = "HWC"[: len(shape)]
        if sorted(self.axes) != sorted(letters):
            such = ("HWC or CHW", "HW or WH")[len(shape) == 2]
            listed = ", ".join(f"{letter} {_WORDS[letter]}" for letter in letters)
            raise SceneError(
                f"{called} has {len(shape)} axes ({by(shape)}), and its axes are given as"
                f" {given!r}; name each of {listed} once, such as {such}."
            )


def guess_axes(shape: tuple[int, ...]) -> str:
    """Return the likely order of the axes of a NumPy or HDF5 array, by its shape alone.

    An array of PyTorch's order has its bands first, and they are fewer than rows and columns.
    """
    if len(shape) == 3 and shape[0] < min(shape[1:]):
        return "CHW"
    return "HWC"[: len(shape)]


def by(shape: tuple[int, ...]) -> str:
    """Write a shape as messages show it."""
    return " × ".join(map(str, shape)) or "()"


def shown_name(name: str) -> str:
    """Return a name from a file as messages and lists can show it, without control characters."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in name
    )


def described(info: ArrayInfo) -> str:
    """Write the shape and kind of an array as messages show it."""
    return f"{by(info.shape)} {info.kind}" if info.shape else info.kind


def _way_out(info: ArrayInfo, key: str | None) -> str:
    if info.dtype is not None and info.dtype.kind == "c":
        return "convert complex SAR to intensity"
    if info.kind.endswith(ELSEWHERE):
        return "other files are not followed, copy the array into this one"
    return "save such an array instead" if key is None else "name another array with key"
