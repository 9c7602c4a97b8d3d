"""Bands of several files on one grid as one raster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from bdgf.errors import SceneError
from bdgf.scene.formats.base import RasterSource, check_inside, known_empty
from bdgf.scene.formats.location import named
from bdgf.scene.formats.selection import read_bands
from bdgf.scene.grid import apply
from bdgf.scene.windows import Window

_PIXEL_SHARE = 0.01


class StackSource:
    """Several rasters on one grid, their bands one after another; see `RasterSource`.

    Its path and key are the first raster's. A window is read from every file that has bands in it.
    """

    def __init__(self, sources: Sequence[RasterSource]) -> None:
        """Stack rasters.

        Args:
            sources: The rasters, in the order of their bands.

        Raises:
            SceneError: There are none, or their sizes, transforms or coordinate systems differ.
        """
        if not sources:
            raise SceneError("a stack of bands has no file; name one file or more.")
        self.sources = tuple(sources)
        first = self.sources[0]
        for other in self.sources[1:]:
            _check_size(first, other)
        placed = [source for source in self.sources if source.transform is not None]
        in_system = [source for source in self.sources if source.crs is not None]
        for other in placed[1:]:
            _check_transform(placed[0], other)
        for other in in_system[1:]:
            if other.crs != in_system[0].crs:
                raise SceneError(
                    f"{named(other.path)} is in {other.crs}, {named(in_system[0].path)} in"
                    f" {in_system[0].crs}. Files of one stack share one grid: reproject one."
                )
        self.path = first.path
        self.key = first.key
        self.height = first.height
        self.width = first.width
        self.bands = sum(source.bands for source in self.sources)
        self.dtype: np.dtype[Any] = np.result_type(*[source.dtype for source in self.sources])
        self.crs: Any | None = in_system[0].crs if in_system else None
        self.transform: Affine | None = placed[0].transform if placed else None
        same = all(source.nodata == first.nodata for source in self.sources)
        self.nodata = first.nodata if same else None
        self.masked = all(source.masked for source in self.sources)
        self.band_names = tuple(name for source in self.sources for name in _names(source))
        self.wavelengths = tuple(w for source in self.sources for w in source.wavelengths)
        self.block = (
            max(source.block[0] for source in self.sources),
            max(source.block[1] for source in self.sources),
        )
        self.notes = tuple(
            dict.fromkeys(
                f"{named(source.path)}: {note}" for source in self.sources for note in source.notes
            )
        )

    def read(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Read a window that lies inside the raster; see `RasterSource.read`."""
        return self.read_bands(window, range(1, self.bands + 1))

    def without_data(self, window: Window) -> bool:
        """Return whether all files are known to store nothing in a window."""
        return all(known_empty(source, window) for source in self.sources)

    def read_bands(
        self, window: Window, bands: Sequence[int]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Read some bands (numbers from 1) of a window; files without any of them are left alone.

        Returns:
            Values (C, h, w), 0 where they are not valid, and valid (C, h, w).

        Raises:
            SceneError: A file cannot be read.
        """
        check_inside(self, window)
        values = np.empty((len(bands), window.height, window.width), dtype=np.float32)
        valid = np.empty(values.shape, dtype=np.bool_)
        wanted, start = np.asarray(bands), 0
        for source in self.sources:
            here = (wanted > start) & (wanted <= start + source.bands)
            if here.any():
                numbers = [int(band) - start for band in wanted[here]]
                values[here], valid[here] = read_bands(source, window, numbers)
            start += source.bands
        return values, valid


def _names(source: RasterSource) -> list[str]:
    if source.bands == 1:
        return [source.band_names[0] or source.path.stem]
    return [
        name or f"{source.path.stem}_{number}"
        for number, name in enumerate(source.band_names, start=1)
    ]


def _check_size(first: RasterSource, other: RasterSource) -> None:
    if (first.height, first.width) != (other.height, other.width):
        raise SceneError(
            f"{named(other.path)} is {other.height} × {other.width} (rows × columns),"
            f" {named(first.path)} is {first.height} × {first.width}. Files of one stack share one"
            " grid: resample one of them."
        )


def _check_transform(first: RasterSource, other: RasterSource) -> None:
    if first.transform is None or other.transform is None:
        return
    # Corners are compared, in pixels: a tiny difference per pixel adds up over a raster.
    if first.transform == other.transform:
        return
    back = None if first.transform.is_degenerate else ~first.transform
    for corner in ((0, 0), (first.width, 0), (0, first.height), (first.width, first.height)):
        off = np.inf
        if back is not None:
            x, y = apply(back, *apply(other.transform, *corner))
            off = max(abs(x - corner[0]), abs(y - corner[1]))
        if not off <= _PIXEL_SHARE:
            raise SceneError(
                f"{named(other.path)} lies {off:.3g} pixels away from {named(first.path)}. Files of"
                " one stack share one grid: resample one of them to the other's."
            )
