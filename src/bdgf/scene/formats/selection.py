"""Some bands of a raster, in an order of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from bdgf.errors import SceneError
from bdgf.scene.formats.base import RasterSource, check_inside, known_empty
from bdgf.scene.formats.location import named
from bdgf.scene.windows import Window


@runtime_checkable
class BandReader(Protocol):
    """A raster that can read some of its bands alone."""

    def read_bands(
        self, window: Window, bands: Sequence[int]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Read some bands (numbers from 1) of a window that lies inside the raster.

        Returns:
            Values (C, h, w), 0 where they are not valid, and valid (C, h, w).

        Raises:
            SceneError: The file cannot be read.
        """
        ...


def read_bands(
    source: RasterSource, window: Window, bands: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Read some bands (numbers from 1) of any raster, alone where it can do so.

    Returns:
        Values (C, h, w), 0 where they are not valid, and valid (C, h, w).

    Raises:
        SceneError: The file cannot be read.
    """
    if isinstance(source, BandReader):
        return source.read_bands(window, bands)
    values, valid = source.read(window)
    places = [band - 1 for band in bands]
    return values[places], valid[places]


class BandSelection:
    """Some bands of a raster as a raster of their own; see `RasterSource`."""

    def __init__(self, source: RasterSource, bands: tuple[int, ...]) -> None:
        """Choose bands.

        Args:
            source: The raster.
            bands: Numbers of the bands from 1, in the order they are to have.

        Raises:
            SceneError: No band is chosen, or one that the raster does not have.
        """
        if not bands:
            raise SceneError(
                f"no band of {named(source.path)} is chosen; name one of 1 to {source.bands} or"
                " more."
            )
        for band in bands:
            if not 1 <= band <= source.bands:
                raise SceneError(
                    f"band {band} of {named(source.path)} is chosen, and the file has"
                    f" {source.bands}; bands are numbered from 1 to {source.bands}."
                )
        self.source = source
        self.numbers = tuple(bands)
        self.path = source.path
        self.key = source.key
        self.bands = len(bands)
        self.height = source.height
        self.width = source.width
        self.dtype = source.dtype
        self.crs = source.crs
        self.transform = source.transform
        self.nodata = source.nodata
        self.masked = source.masked
        self.band_names = tuple(source.band_names[band - 1] for band in bands)
        self.wavelengths = tuple(source.wavelengths[band - 1] for band in bands)
        self.block = source.block
        self.notes = source.notes

    def read(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Read a window that lies inside the raster; see `RasterSource.read`."""
        return self.read_bands(window, range(1, self.bands + 1))

    def without_data(self, window: Window) -> bool:
        """Return whether the file is known to store nothing in a window."""
        return known_empty(self.source, window)

    def read_bands(
        self, window: Window, bands: Sequence[int]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Read some of the chosen bands (numbers from 1 in the chosen order) of a window.

        Returns:
            Values (C, h, w), 0 where they are not valid, and valid (C, h, w).

        Raises:
            SceneError: The file cannot be read.
        """
        check_inside(self, window)
        return read_bands(self.source, window, [self.numbers[band - 1] for band in bands])


def ranges(bands: Sequence[int], between: str = "-") -> list[str]:
    """Return sorted numbers of bands as texts, runs of them by their ends, as in a scene file."""
    runs: list[list[int]] = []
    for band in bands:
        if runs and band == runs[-1][1] + 1:
            runs[-1][1] = band
        else:
            runs.append([band, band])
    return [str(a) if a == b else f"{a}{between}{b}" for a, b in runs]
