"""Arrays inside MATLAB, NumPy and HDF5 files as rasters, with their axes put right."""

from __future__ import annotations

from itertools import permutations
from typing import Any, Protocol

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from bdgf.errors import SceneError
from bdgf.scene.formats.base import check_inside, clean
from bdgf.scene.formats.location import Location
from bdgf.scene.layout import Window

NUMERIC = "iufb"
"""Kinds of NumPy types that a raster can hold."""


class ArrayReader(Protocol):
    """An array in a file, read by parts.

    Attributes:
        shape: Its shape, in the order of axes that the format's own library shows.
        dtype: Its type.
        block: Of every axis how much the file stores, and so reads, at once.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    block: tuple[int, ...]

    def read(self, part: tuple[slice, ...]) -> NDArray[Any]:
        """Read a part, one slice per axis.

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
            axes: What each axis is; None takes rows, columns, bands.
            notes: What was put right on opening.

        Raises:
            SceneError: The array is no raster, or the axes do not fit it.
        """
        shape = reader.shape
        named = f"{key} of {path.name}" if key else path.name
        if reader.dtype.kind not in NUMERIC or len(shape) not in (2, 3) or 0 in shape:
            raise SceneError(
                f"{named} is an array of {reader.dtype} with shape {by(shape)}; a raster is numeric"
                " with (rows, columns) or (rows, columns, bands): name another array with key,"
                " and convert complex SAR to intensity."
            )
        self.axes = axes or "HWC"[: len(shape)]
        if sorted(self.axes) != sorted("HWC"[: len(shape)]):
            raise SceneError(
                f"{named} has {len(shape)} axes, and its axes are given as {self.axes!r}; name each"
                f" one of {'HWC'[: len(shape)]} once, such as"
                f" {'CHW' if len(shape) == 3 else 'WH'}."
            )
        self.path = path
        self.key = key
        self.reader = reader
        self.height = shape[self.axes.index("H")]
        self.width = shape[self.axes.index("W")]
        self.bands = shape[self.axes.index("C")] if len(shape) == 3 else 1
        self.dtype = reader.dtype
        self.crs = None
        self.transform: Affine | None = None
        self.nodata = nodata
        self.band_names = ("",) * self.bands
        self.wavelengths: tuple[float | None, ...] = (None,) * self.bands
        self.block = (
            reader.block[self.axes.index("H")],
            reader.block[self.axes.index("W")],
        )
        self.notes = notes

    def read(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Read a window that lies inside the array; see `RasterSource.read`."""
        check_inside(self, window)
        rows, cols = window.slices
        part = {"H": rows, "W": cols, "C": slice(0, self.bands)}
        data = self.reader.read(tuple(part[axis] for axis in self.axes))
        if data.ndim == 2:
            data = data if self.axes == "HW" else data.T
            data = data[None]
        else:
            data = data.transpose([self.axes.index(axis) for axis in "CHW"])
        return clean(data, (self.nodata,) * self.bands)

    def arranged(self, axes: str, note: str) -> ArraySource:
        """Return the same array with its axes read in another order, and why."""
        return ArraySource(self.path, self.key, self.reader, self.nodata, axes, (*self.notes, note))

    def arrangements(self, height: int, width: int) -> list[str]:
        """Return the orders of axes by which the array has this many rows and columns."""
        shape = self.reader.shape
        orders = ("".join(order) for order in permutations("HWC"[: len(shape)]))
        return [
            order
            for order in orders
            if (shape[order.index("H")], shape[order.index("W")]) == (height, width)
        ]


def by(shape: tuple[int, ...]) -> str:
    """Write a shape as messages show it."""
    return " × ".join(map(str, shape)) or "()"
