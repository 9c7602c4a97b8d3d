"""Rasters that GDAL reads: GeoTIFF and COG, ENVI, VRT, netCDF and many more, by windows."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError, RasterioIOError

from bdgf.errors import SceneError
from bdgf.scene.formats.base import check_inside, clean, reason
from bdgf.scene.formats.location import Location, RemotePath
from bdgf.scene.layout import Window


class GdalSource:
    """A raster that GDAL reads, by windows.

    The file is opened for every read: an open dataset can neither cross into another process nor be
    shared between threads, and a scene may have more tiles than a process may have open files.
    """

    def __init__(self, path: Location, nodata: float | None = None) -> None:
        self.path = path
        self.key: str | None = None
        self.notes: tuple[str, ...] = ()
        with self._open() as dataset:
            self.bands: int = dataset.count
            self.height: int = dataset.height
            self.width: int = dataset.width
            types = [np.dtype(name) if _is_numpy(name) else None for name in dataset.dtypes]
            if not types or any(t is None or t.kind not in "iuf" for t in types):
                raise SceneError(
                    f"{path.name} holds {dataset.dtypes[0] if types else 'no'} values; bands are"
                    " integers or floats: convert it, complex SAR to intensity."
                )
            self.dtype: np.dtype[Any] = np.result_type(*[t for t in types if t is not None])
            placed = dataset.crs is not None or not dataset.transform.is_identity
            self.crs = dataset.crs
            self.transform: Affine | None = dataset.transform if placed else None
            own = dataset.nodatavals
            self._nodata = own if nodata is None else (nodata,) * self.bands
            self.nodata: float | None = self._nodata[0]
            self.band_names = tuple(text or "" for text in dataset.descriptions)
            self.wavelengths: tuple[float | None, ...] = (None,) * self.bands
            self.block: tuple[int, int] = tuple(dataset.block_shapes[0])
            flags = dataset.mask_flag_enums
            self._masked = any(
                MaskFlags.per_dataset in f and MaskFlags.nodata not in f for f in flags
            )

    @property
    def _name(self) -> str:
        return self.path.gdal if isinstance(self.path, RemotePath) else str(self.path)

    @contextmanager
    def _open(self) -> Iterator[Any]:
        try:
            with warnings.catch_warnings():
                # Rasters without coordinates are ordinary input here.
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                dataset = rasterio.open(self._name)
        except RasterioError as error:
            raise SceneError(
                f"{self.path.name} cannot be opened as a raster ({reason(error)}); it must be a"
                " GeoTIFF or another GDAL raster, or a .mat file."
            ) from error
        with dataset:
            yield dataset

    def read(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Read a window that lies inside the raster; see `RasterSource.read`."""
        check_inside(self, window)
        area = rasterio.windows.Window(window.col, window.row, window.width, window.height)
        with self._open() as dataset:
            try:
                data = dataset.read(window=area)
                mask = dataset.dataset_mask(window=area) if self._masked else None
            except RasterioIOError as error:
                raise SceneError(
                    f"{self.path.name} cannot be read ({reason(error)}): the file is damaged or"
                    " cut short, get it again."
                ) from error
        values, valid = clean(data, self._nodata)
        if mask is not None:
            valid &= mask != 0
            values[~valid] = 0.0
        return values, valid


def _is_numpy(name: str) -> bool:
    try:
        np.dtype(name)
    except TypeError:
        return False
    return True
