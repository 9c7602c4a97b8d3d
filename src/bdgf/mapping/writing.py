"""Writing of maps: class codes with palette, names and style, and the confidence beside them."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import WktVersion
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError
from rasterio.io import MemoryFile

from bdgf.errors import TrainingError
from bdgf.files import atomic_path, remove
from bdgf.mapping.legend import NODATA, Legend, system_sidecar
from bdgf.scene.formats.gdal import CACHE_BYTES
from bdgf.scene.windows import Window

BLOCK = 256
"""Side of the blocks inside the files; overviews are made until one block holds all."""


class Grid(Protocol):
    """The grid that a map lies on; every tile of a scene is one."""

    @property
    def height(self) -> int:
        """H, rows."""

    @property
    def width(self) -> int:
        """W, columns."""

    @property
    def crs(self) -> Any | None:  # noqa: ANN401
        """Coordinate reference system, None where the scene has none."""

    @property
    def transform(self) -> Affine | None:
        """From (column, row) to map coordinates, None where the scene has none."""


class WindowWriter:
    """What writers of rasters by windows have in common; all or nothing.

    A context manager: ``__enter__`` of a subclass leaves in ``_stack`` what gives the files their
    names when the block ends without an error.

    Args:
        grid: Grid of the rasters, for example a tile of the scene.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self._stack: contextlib.ExitStack | None = None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        stack, self._stack = self._stack, None
        if stack is not None:
            stack.__exit__(kind, error, trace)

    def _place(self, window: Window) -> rasterio.windows.Window:
        """Return a window as rasterio takes it.

        Raises:
            ValueError: The writer is not open, or the window is not on the grid.
        """
        if self._stack is None:
            name = type(self).__name__
            raise ValueError(f"the raster is not open; write inside of 'with {name}(...)'.")
        if window != window.inside(self.grid.height, self.grid.width):
            raise ValueError(
                f"{window} is not inside of the raster of {self.grid.height} x {self.grid.width}"
                " pixels; cut it with Window.inside."
            )
        return rasterio.windows.Window(window.col, window.row, window.width, window.height)


class MapWriter(WindowWriter):
    """Writes a map and its confidence by windows, all or nothing.

    A context manager. Everything goes to temporary names in the same folder, which become the
    final ones when the block ends without an error, the map last. Both are cloud-optimised
    GeoTIFFs: tiled, compressed, with overviews by the most frequent class and by the mean of the
    confidence. The map is uint8 with a palette (uint16 where a code exceeds 255, which no palette
    reaches), 0 for no data. Class names and colours also stand in ``MAP.tif.aux.xml`` (raster
    attribute table, read by GDAL) and ``MAP.qml`` (style, read by QGIS) beside it, and in the tags
    ``CLASS_<code>``. The confidence is float32, the probability of the class, NaN for no data.
    Pixels that are never written have no data.

    Args:
        map_path: Where the map goes.
        confidence_path: Where the confidence goes.
        grid: Grid of both, for example a tile of the scene.
        class_codes: (K,) code of every class in the file, 1 to 65535.
        class_names: (K,) name of every class.
        class_colors: (K,) colour of every class, ``#rrggbb``.

    Raises:
        RunFolderError: The folder cannot be written, or the disk is full.
        ValueError: A code that the file cannot hold, or lists that differ in length.
    """

    def __init__(
        self,
        map_path: Path,
        confidence_path: Path,
        grid: Grid,
        class_codes: Sequence[int],
        class_names: Sequence[str],
        class_colors: Sequence[str],
    ) -> None:
        super().__init__(grid)
        self.legend = Legend.of(class_codes, class_names, class_colors)
        self.map_path = Path(map_path)
        self.confidence_path = Path(confidence_path)
        self._code_of = np.array([NODATA, *self.legend.codes], dtype=self.legend.dtype)
        self._files: tuple[Any, Any]

    def __enter__(self) -> MapWriter:
        system = system_beside(self.grid.crs)
        table, style = self.legend.attribute_table(system), self.legend.qgis_style()
        with contextlib.ExitStack() as stack:
            # They are renamed in reverse order: the map comes last, after all that belongs to it.
            map_part = stack.enter_context(atomic_path(self.map_path))
            for sidecar, content in (
                (self.map_path.with_name(f"{self.map_path.name}.aux.xml"), table),
                (self.map_path.with_suffix(".qml"), style),
            ):
                stack.enter_context(atomic_path(sidecar)).write_bytes(content)
            write_system(stack, self.confidence_path, system)
            confidence_part = stack.enter_context(atomic_path(self.confidence_path))
            nan = float("nan")
            codes = stack.enter_context(
                cloud_optimised(map_part, self.grid, self.legend.dtype, NODATA)
            )
            confidence = stack.enter_context(
                cloud_optimised(confidence_part, self.grid, "float32", nan)
            )
            self._describe(codes)
            confidence.set_band_description(1, "probability of the class")
            self._files = (codes, confidence)
            self._stack = stack.pop_all()
        return self

    def write(
        self, window: Window, classes: NDArray[np.integer], confidence: NDArray[np.floating]
    ) -> None:
        """Write a window that lies on the grid.

        Args:
            window: Where the values belong.
            classes: (h, w) class index, -1 for no data.
            confidence: (h, w) probability of the class; it becomes NaN where there is no class.

        Raises:
            TrainingError: A class has a confidence that is not finite.
            ValueError: The writer is not open, the window is not on the grid, or the values do
                not fit the window or the classes.
        """
        place = self._place(window)
        shape = (window.height, window.width)
        if classes.shape != shape or confidence.shape != shape:
            raise ValueError(
                f"classes {classes.shape} and confidence {confidence.shape} must have the shape"
                f" {shape} of the window."
            )
        if classes.size == 0:
            return
        if classes.min() < -1 or classes.max() >= len(self.legend.codes):
            raise ValueError(
                f"class indices go from {classes.min()} to {classes.max()}; they must lie between"
                f" -1 and {len(self.legend.codes) - 1}."
            )
        if not np.isfinite(confidence[classes >= 0]).all():
            raise TrainingError(
                f"{self.map_path.name} would get values that are not finite, in the window of"
                f" {window.height} × {window.width} pixels at row {window.row}, column"
                f" {window.col}; nothing was written: train again, with a lower learning rate, or"
                " check the scene there for extreme values."
            )
        code_file, confidence_file = self._files
        code_file.write(self._code_of[classes.astype(np.int64) + 1], 1, window=place)
        known = np.where(classes >= 0, confidence, np.nan).astype(np.float32)
        confidence_file.write(known, 1, window=place)

    def _describe(self, codes: Any) -> None:  # noqa: ANN401
        codes.set_band_description(1, "class")
        named = zip(self.legend.codes, self.legend.names, strict=True)
        codes.update_tags(**{f"CLASS_{code}": name for code, name in named})
        if self.legend.dtype == "uint8":
            codes.write_colormap(1, self.legend.palette)


def system_beside(crs: Any | None) -> str | None:  # noqa: ANN401
    """Return a coordinate reference system as WKT where a GeoTIFF by itself would lose it.

    GeoTIFF has no words for systems such as a turned pole. GDAL puts them into a file beside it.
    """
    if crs is None:
        return None
    with warnings.catch_warnings(), MemoryFile() as written:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with written.open(driver="GTiff", height=1, width=1, count=1, dtype="uint8", crs=crs):
            pass
        with MemoryFile(bytes(written.getbuffer())) as alone, alone.open() as raster:
            kept = raster.crs is not None
    return None if kept else str(crs.to_wkt(version=WktVersion.WKT2_2019))


def write_system(stack: contextlib.ExitStack, path: Path, system: str | None) -> None:
    """Write the system of a raster beside it, where it has one to be kept there.

    Args:
        stack: Gives the file its name when it is closed.
        path: The raster.
        system: What `system_beside` returned.
    """
    beside = path.with_name(f"{path.name}.aux.xml")
    if system is None:
        remove(beside)  # of an earlier raster of this name: GDAL would believe it
    else:
        stack.enter_context(atomic_path(beside)).write_bytes(system_sidecar(system))


def _check_whole(path: Path) -> None:
    """Refuse a file that is shorter than it says.

    GDAL writes the last kilobytes of a copy as it closes it, and what a full disk says then is
    heard by nobody.

    Raises:
        RasterioIOError: A block lies beyond the end of the file.
    """
    end = 0
    with rasterio.open(path) as raster:
        levels = [None, *range(len(raster.overviews(1)))]
        for level in levels:
            size = {} if level is None else {"overview_level": level}
            with rasterio.open(path, **size) as one:
                rows, cols = (-(-side // BLOCK) for side in one.shape)
            for band in range(1, raster.count + 1):
                for row in range(rows):
                    for col in range(cols):
                        place = [
                            raster.get_tag_item(f"BLOCK_{name}_{col}_{row}", "TIFF", band, level)
                            for name in ("OFFSET", "SIZE")
                        ]
                        if None not in place:  # else a block that was never written
                            end = max(end, sum(map(int, place)))
    if end > path.stat().st_size:
        raise RasterioIOError(f"only {path.stat().st_size} of {end} bytes were written")


@contextlib.contextmanager
def cloud_optimised(
    path: Path, grid: Grid, dtype: str, nodata: float, bands: int = 1
) -> Iterator[Any]:
    """Open a GeoTIFF for writing, which becomes a cloud-optimised one at the end.

    Its bytes depend on what it holds and not on the order in which that was written. Blocks that
    are never written take no room.

    Its parts lie in another order than they are written in, overviews first, so the windows go to
    a plain file that GDAL copies block by block; memory does not grow with the raster.
    """
    placed = {} if grid.transform is None else {"transform": grid.transform}
    plain = path.with_name(f"{path.stem}.plain.tif")
    overviews = path.with_name(f"{path.name}.ovr.tmp")  # GDAL's own name, left by a failed copy
    measured = dtype == "float32"
    # Without a grid on the ground the map has none either: that is known, and nothing to warn of.
    with warnings.catch_warnings(), rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            with rasterio.open(
                plain,
                "w",
                driver="GTiff",
                height=grid.height,
                width=grid.width,
                count=bands,
                dtype=dtype,
                nodata=nodata,
                crs=grid.crs,
                compress="deflate",
                tiled=True,
                blockxsize=BLOCK,
                blockysize=BLOCK,
                interleave="band",
                bigtiff="IF_SAFER",
                sparse_ok=True,
                **placed,
            ) as raster:
                yield raster
            rasterio.shutil.copy(
                plain,
                path,
                driver="COG",
                COMPRESS="DEFLATE",
                PREDICTOR="FLOATING_POINT" if measured else "NO",
                BLOCKSIZE=BLOCK,
                OVERVIEW_RESAMPLING="AVERAGE" if measured else "MODE",
                BIGTIFF="IF_SAFER",
                SPARSE_OK="YES",
            )
            _check_whole(path)
        finally:
            for leftover in (plain, plain.with_name(f"{plain.name}.aux.xml"), overviews):
                leftover.unlink(missing_ok=True)
