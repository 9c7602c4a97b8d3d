"""Rasters that GDAL reads: GeoTIFF and COG, ENVI, VRT, netCDF and many more, by windows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, Interleaving, MaskFlags
from rasterio.io import DatasetReader

from bdgf.errors import SceneError
from bdgf.scene.formats.arrays import ArrayInfo
from bdgf.scene.formats.base import check_inside, clean
from bdgf.scene.formats.companions import check_complete, data_file
from bdgf.scene.formats.containers import rasters_in, target_of
from bdgf.scene.formats.gdal import opened
from bdgf.scene.formats.guard import check_hdf5
from bdgf.scene.formats.location import Location, RemotePath, named
from bdgf.scene.formats.netcdf import check_classic
from bdgf.scene.formats.wavelengths import bad_bands, band_names, band_wavelengths
from bdgf.scene.windows import Window

Pixels = tuple[NDArray[np.float32], NDArray[np.bool_]]
"""Values (C, h, w), 0 where they are not valid, and valid (C, h, w)."""

_CHEAP_BYTES = 100_000_000
_CHEAP_REMOTE_BYTES = 4_000_000
_ALPHA_NAMES = ("", "alpha", "mask")
_MOST_TRANSPARENT = 0.05
_PROBES, _PROBE_SIDE = 3, 64


class GdalSource:
    """A raster that GDAL reads, by windows; see `RasterSource`.

    The file is opened for every read: an open dataset can neither cross into another process nor be
    shared between threads, and a scene may have more tiles than a process may have open files.

    Stored numbers with a scale and an offset become the quantities they stand for; values that mean
    "no data" are compared with the stored numbers. Masks of any kind, alpha bands among them, make
    pixels not valid. Sidecar files (``.msk``, ``.ovr``) of remote GeoTIFFs are not looked for.
    """

    def __init__(self, path: Location, nodata: float | None = None, key: str | None = None) -> None:
        """Open a raster.

        Args:
            path: The file; of an ENVI raster the data file or its header.
            nodata: Stored value that means "no data"; None takes the file's own.
            key: Name of the raster in a file of several, such as a netCDF variable or the page of
                a TIFF; None takes the only one.

        Raises:
            SceneError: The file cannot be opened as a raster of integers or floats, lacks parts,
                has no raster of this key, or several and no key is given.
        """
        self.path = data_file(path)
        self._stored: NDArray[np.bool_] | None = None
        if isinstance(self.path, Path):
            check_classic(self.path)
            check_hdf5(self.path)
        with opened(self.path) as dataset:
            check_complete(dataset, self.path)
            self._target = target_of(dataset, self.path, key)
            whole = self._target.is_whole(self.path)
            if whole:
                self._describe(dataset, nodata)
        if not whole:
            with self._open() as dataset:
                self._describe(dataset, nodata)

    def read(self, window: Window) -> Pixels:
        """Read a window that lies inside the raster; see `RasterSource.read`."""
        return self.read_bands(window, range(1, self.bands + 1))

    def read_bands(self, window: Window, bands: Sequence[int]) -> Pixels:
        """Read some bands (numbers from 1) of a window that lies inside the raster.

        Returns:
            Values (C, h, w), 0 where they are not valid, and valid (C, h, w).

        Raises:
            SceneError: The file cannot be read.
        """
        check_inside(self, window)
        with self._open() as dataset:
            return self._read(dataset, window, bands)

    def without_data(self, window: Window) -> bool:
        """Return whether a GeoTIFF stores no block in a window, and so has no valid value there.

        Raises:
            SceneError: The file cannot be opened.
        """
        if not self._sparse_bands:
            return False
        if self._stored is None:
            self._stored = self._stored_blocks()
        rows, cols = self.block
        here = self._stored[
            window.row // rows : -(-(window.row + window.height) // rows),
            window.col // cols : -(-(window.col + window.width) // cols),
        ]
        return not here.any()

    def _stored_blocks(self) -> NDArray[np.bool_]:
        """Whether the file stores a block, for all of them at once: opening it takes long."""
        rows, cols = -(-self.height // self.block[0]), -(-self.width // self.block[1])
        stored = np.zeros((rows, cols), dtype=bool)
        with self._open() as dataset:
            for row, col in np.ndindex(rows, cols):
                name = f"BLOCK_OFFSET_{col}_{row}"
                stored[row, col] = any(
                    dataset.get_tag_item(name, "TIFF", bidx=band) is not None
                    for band in self._sparse_bands
                )
        return stored

    @contextmanager
    def reading(self) -> Iterator[Callable[[Window], Pixels]]:
        """Hold the file open for many windows in the ``with`` block; gives a function like `read`.

        Raises:
            SceneError: The file cannot be opened, or read inside the block.
        """
        with self._open() as dataset:
            yield lambda window: self._read(dataset, window, range(1, self.bands + 1))

    def decimated(self, height: int, width: int) -> Pixels | None:
        """Read the whole raster in so many rows and columns (nearest pixels).

        Returns:
            Values and valid (C, height, width); None where this would read much more than is shown,
            for lack of overviews.

        Raises:
            SceneError: The file cannot be read.
        """
        if self._target.axes != "CHW" or self._target.flipped:
            return None
        most = _CHEAP_REMOTE_BYTES if isinstance(self.path, RemotePath) else _CHEAP_BYTES
        ratio = min(self.height / height, self.width / width)
        size = self.height * self.width * len(self._indexes) * self._itemsize
        with self._open() as dataset:
            factor = max((f for f in dataset.overviews(self._indexes[0]) if f <= ratio), default=1)
            if size / factor**2 > most:
                return None
            whole = Window(0, 0, self.height, self.width)
            return self._read(dataset, whole, range(1, self.bands + 1), (height, width))

    def _open(self) -> AbstractContextManager[Any]:
        target = self._target
        return opened(self.path, target.name, target.config, target.options)

    def _describe(self, dataset: DatasetReader, nodata: float | None) -> None:
        target = self._target
        self.key: str | None = target.key
        self.notes: tuple[str, ...] = target.notes
        alpha = _alpha(dataset)
        self._alpha = alpha if alpha is not None and _is_mask(dataset, alpha) else None
        if alpha != self._alpha:
            self.notes += (f"band {alpha} is marked as alpha but holds values: read as a band",)
        self._indexes = tuple(i for i in range(1, dataset.count + 1) if i != self._alpha)
        stored = self._stored_type(dataset)
        self._itemsize = stored.itemsize
        self._sizes = dict(
            zip(target.axes, (dataset.count, dataset.height, dataset.width), strict=True)
        )
        blocks = {"H": 1, "W": 1} | dict(zip(target.axes[1:], dataset.block_shapes[0], strict=True))
        self.block: tuple[int, int] = (blocks["H"], blocks["W"])
        self.height, self.width = self._sizes["H"], self._sizes["W"]
        self.bands = len(self._indexes) if target.axes == "CHW" else self._sizes["C"]
        self.crs: Any | None = dataset.crs
        self.transform: Affine | None = target.transform
        if self.transform is None and target.placed:
            bare = dataset.crs is None and dataset.transform.is_identity
            self.transform = None if bare else dataset.transform
        if self.transform is None and (dataset.gcps[0] or dataset.rpcs):
            kind = "ground control points" if dataset.gcps[0] else "rational polynomials (RPC)"
            self.notes += (
                f"the place of {named(self.path)} is given by {kind}, which are not used: it is"
                " laid on pixel by pixel; warp it with gdalwarp where that is wrong",
            )
        self._describe_gaps(dataset, nodata, stored)
        self._sparse_bands = self._bands_that_may_be_absent(dataset)
        scales = np.array(self._of_bands(dataset.scales))
        offsets = np.array(self._of_bands(dataset.offsets))
        self._scaling = (scales, offsets) if (scales != 1).any() or offsets.any() else None
        self.dtype: np.dtype[Any] = stored if self._scaling is None else np.dtype(np.float32)
        self.bad_bands: tuple[int, ...] = ()
        self.band_names = ("",) * self.bands
        self.wavelengths: tuple[float | None, ...] = target.wavelengths or (None,) * self.bands
        if target.axes == "CHW":
            self.bad_bands = bad_bands(dataset)
            self.band_names = band_names(dataset, self._indexes)
            own = band_wavelengths(dataset, self._indexes)
            self.wavelengths = own if any(own) else self.wavelengths

    def _stored_type(self, dataset: DatasetReader) -> np.dtype[Any]:
        names = [dataset.dtypes[index - 1] for index in self._indexes]
        types = [_numpy_type(name) for name in names]
        known = [t for t in types if t is not None and t.kind in "iuf"]
        if not types or len(known) < len(types):
            raise SceneError(
                f"{named(self.path)} holds {names[0] if names else 'no'} values; bands are integers"
                " or floats: convert it, complex SAR to intensity."
            )
        return np.result_type(*known)

    def _describe_gaps(
        self, dataset: DatasetReader, nodata: float | None, stored: np.dtype[Any]
    ) -> None:
        own = self._of_bands(dataset.nodatavals)
        self._nodata: tuple[float | None, ...] = own if nodata is None else (nodata,) * self.bands
        self.nodata = self._nodata[0]
        if nodata is not None:
            self.notes += about_nodata(self.path, own, nodata, stored)
        self._more_nodata = _missing_values(dataset) if nodata is None else ()
        self._range = _valid_range(dataset)
        flags = [set(flag) for flag in self._of_bands(dataset.mask_flag_enums)]
        # GDAL's mask by nodata alone is left out: the comparison here is exact, and may be by
        # another value. Its mask by an alpha band is left out where that is no mask.
        self._masked = tuple(
            not flag & {MaskFlags.all_valid, MaskFlags.alpha}
            and flag != {MaskFlags.nodata}
            and not (MaskFlags.nodata in flag and nodata is not None)
            for flag in flags
        )
        self._one_mask = all(MaskFlags.per_dataset in flag for flag in flags)
        replaced = nodata is not None and any(MaskFlags.nodata in flag for flag in flags)
        meanings = self._of_bands(dataset.colorinterp)
        self.masked = not replaced and ColorInterp.alpha not in meanings

    def _bands_that_may_be_absent(self, dataset: DatasetReader) -> tuple[int, ...]:
        """Bands whose stored blocks tell where there is data, none where they do not.

        What a GeoTIFF does not store reads as its nodata value, or as 0: only where that value
        means "no data" does a missing block say something.
        """
        if dataset.driver not in ("GTiff", "COG") or self._target.axes != "CHW":
            return ()
        if self._target.flipped:
            return ()
        for own, value in zip(self._of_bands(dataset.nodatavals), self._nodata, strict=True):
            fill = 0.0 if own is None else own
            if value is None or not (fill == value or (np.isnan(fill) and np.isnan(value))):
                return ()
        return self._indexes[:1] if dataset.interleaving is Interleaving.pixel else self._indexes

    def _of_bands(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """What GDAL says of its bands, for the bands of this raster."""
        if self._target.axes == "CHW":
            return tuple(values[index - 1] for index in self._indexes)
        # GDAL's bands are rows or columns here; of one variable, it says the same of all.
        return tuple(values[:1]) * self.bands

    def _read(
        self,
        dataset: DatasetReader,
        window: Window,
        bands: Sequence[int],
        shape: tuple[int, int] | None = None,
    ) -> Pixels:
        places = [band - 1 for band in bands]
        if self._target.axes == "CHW" and not self._target.flipped:
            area = rasterio.windows.Window(window.col, window.row, window.width, window.height)
            indexes = [self._indexes[place] for place in places]
            height, width = shape or (window.height, window.width)
            data = dataset.read(indexes, window=area, out_shape=(len(indexes), height, width))
        else:
            data = self._read_turned(dataset, window)[places]
        values, valid = clean(data, tuple(self._nodata[place] for place in places))
        for missing in self._more_nodata:
            valid &= data != missing
        lowest, highest = self._range
        if lowest is not None:
            valid &= data >= lowest
        if highest is not None:
            valid &= data <= highest
        if self._scaling is not None:
            scales, offsets = (part[places][:, None, None] for part in self._scaling)
            with np.errstate(over="ignore", invalid="ignore"):
                values = (data * scales + offsets).astype(np.float32)
            valid &= np.isfinite(values)
        if self._alpha is not None:
            valid &= dataset.read(self._alpha, window=area, out_shape=(height, width)) != 0
        masked = [place for place in places if self._masked[place]]
        if masked:
            first = masked[:1] if self._one_mask else masked
            masks = dataset.read_masks(
                [self._indexes[place] for place in first],
                window=area,
                out_shape=(len(first), height, width),
            )
            valid[np.isin(places, masked)] &= masks != 0
        values[~valid] = 0.0
        return values, valid

    def _read_turned(self, dataset: DatasetReader, window: Window) -> NDArray[Any]:
        """Read a window (C, h, w) of a raster whose axes GDAL shows in another order."""
        row = self.height - window.row - window.height if self._target.flipped else window.row
        spans = {
            "C": (0, self._sizes["C"]),
            "H": (row, window.height),
            "W": (window.col, window.width),
        }
        layer, line, pixel = (spans[axis] for axis in self._target.axes)
        data: NDArray[Any] = dataset.read(
            list(range(layer[0] + 1, layer[0] + layer[1] + 1)),
            window=rasterio.windows.Window(pixel[0], line[0], pixel[1], line[1]),
        ).transpose([self._target.axes.index(axis) for axis in "CHW"])
        return data[:, ::-1] if self._target.flipped else data


def about_nodata(
    path: Location, own: Iterable[float | None], nodata: float, dtype: np.dtype[Any]
) -> tuple[str, ...]:
    """Say which values of a file's own "no data" another value takes the place of, if any.

    Values are the same where they are so in the type that the file stores.
    """

    def differs(value: float) -> bool:
        if dtype.kind != "f":
            return value != nodata
        with np.errstate(over="ignore"):
            return bool(np.asarray(value, dtype) != np.asarray(nodata, dtype))

    lost = sorted({v for v in own if v is not None and not np.isnan(v) and differs(v)})
    said = ", ".join(f"{value:g}" for value in lost)
    sentence = (
        f"{named(path)} declares {said} as no data; the scene file says {nodata:g} in its place, so"
        f" that {said} counts as data"
    )
    return (sentence,) if lost else ()


def gdal_arrays(path: Location) -> dict[str, ArrayInfo] | None:
    """Return the rasters that a file holds by their keys; None for a file that is one raster.

    Shapes are (bands, rows, columns), or (rows, columns) of one band.

    Raises:
        SceneError: The file cannot be opened.
    """
    found = {}
    for key in gdal_keys(path):
        try:
            source = GdalSource(path, key=key)
        except SceneError:
            # Listed all the same: the reader's question may be why it cannot be used.
            found[key] = ArrayInfo((), "unreadable", None)
            continue
        shape = (source.height, source.width)
        whole = shape if source.bands == 1 else (source.bands, *shape)
        note = "; ".join(source.notes)
        found[key] = ArrayInfo(whole, source.dtype.name, source.dtype, note)
    return found or None


def gdal_keys(path: Location) -> list[str]:
    """Return the keys of the rasters that a file holds; none for a file that is one raster.

    Raises:
        SceneError: The file cannot be opened.
    """
    path = data_file(path)
    if isinstance(path, Path):
        check_classic(path)
        check_hdf5(path)
    with opened(path) as dataset:
        inside = list(rasters_in(dataset, path))
        one = bool(dataset.count) and dataset.driver != "netCDF"
    return [] if one else inside


def _alpha(dataset: DatasetReader) -> int | None:
    """Number of the one band that is marked as alpha, beside others that are not."""
    marked = [
        index
        for index, meaning in enumerate(dataset.colorinterp, start=1)
        if meaning is ColorInterp.alpha
    ]
    return marked[0] if len(marked) == 1 and dataset.count > 1 else None


def _is_mask(dataset: DatasetReader, band: int) -> bool:
    """Whether a band marked as alpha is one.

    GDAL marks the fourth band of every four-band 8-bit GeoTIFF so by default, near infrared or not.
    An alpha band is nearly everywhere either 0 or at its maximum; a few windows are looked at.
    """
    if (dataset.descriptions[band - 1] or "").lower() not in _ALPHA_NAMES:
        return False
    dtype = np.dtype(dataset.dtypes[band - 1])
    full = np.iinfo(dtype).max if dtype.kind in "iu" else 1.0
    between, total = 0, 0
    height, width = min(_PROBE_SIDE, dataset.height), min(_PROBE_SIDE, dataset.width)
    for row in np.linspace(0, dataset.height - height, _PROBES).astype(int):
        for col in np.linspace(0, dataset.width - width, _PROBES).astype(int):
            area = rasterio.windows.Window(int(col), int(row), width, height)
            values = dataset.read(band, window=area)
            between += int(np.count_nonzero((values != 0) & (values != full)))
            total += values.size
    return between <= _MOST_TRANSPARENT * total


def _missing_values(dataset: DatasetReader) -> tuple[int | float, ...]:
    """Further values of a netCDF variable that mean "no data": ``missing_value`` may be a list."""
    return (*_numbers(dataset, "_FillValue"), *_numbers(dataset, "missing_value"))


def _valid_range(dataset: DatasetReader) -> tuple[int | float | None, int | float | None]:
    """Lowest and highest valid value of a netCDF variable, None where it has none."""
    both = _numbers(dataset, "valid_range")
    low = both[:1] if len(both) == 2 else _numbers(dataset, "valid_min")
    high = both[1:] if len(both) == 2 else _numbers(dataset, "valid_max")
    lowest, highest = (low[0] if low else None), (high[0] if high else None)
    if lowest is not None and highest is not None and lowest > highest:
        # Written as signed numbers for a variable that is read as unsigned.
        return None, None
    return lowest, highest


def _numbers(dataset: DatasetReader, attribute: str) -> list[int | float]:
    """Numbers of a netCDF variable's attribute, in the kind of its values."""
    if dataset.driver != "netCDF":
        return []
    number = int if np.dtype(dataset.dtypes[0]).kind in "iu" else float
    found = []
    for text in dataset.tags(1).get(attribute, "").strip("{}").split(","):
        try:
            found.append(number(text))
        except ValueError:
            continue
    return found


def _numpy_type(name: str) -> np.dtype[Any] | None:
    try:
        return np.dtype(name)
    except TypeError:
        return None
