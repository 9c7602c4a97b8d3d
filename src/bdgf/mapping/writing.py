"""Writing of maps: class codes with palette and names, and the confidence beside them."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol
from xml.etree import ElementTree

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning

from bdgf.files import atomic_path
from bdgf.scene.layout import Window

NODATA = 0
"""Code of pixels without a class; scene files keep it free."""

BLOCK = 256
"""Side of the blocks inside the files."""

_OVERVIEWS_FROM = 2048
"""Maps with a side of at least this many pixels get overviews, so that viewers open them fast."""

# Columns of GDAL's raster attribute table: name, type (0 integer, 2 text), and usage, by which
# viewers find the value (5), the class name (2), and red, green, blue, opacity (6 to 9).
_COLUMNS = (
    ("Value", 0, 5),
    ("Class", 2, 2),
    ("Red", 0, 6),
    ("Green", 0, 7),
    ("Blue", 0, 8),
    ("Alpha", 0, 9),
)


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


class MapWriter:
    """Writes a map and its confidence by windows, both whole or not at all.

    A context manager. Everything goes to temporary names in the same folder, which become the
    final ones when the block ends without an error, the map last. The map is uint8 with a palette
    (uint16 where a code exceeds 255, which no palette reaches), 0 for no data. Class names and
    colours also stand in ``MAP.aux.xml`` beside it, where GDAL and QGIS look for them, and in the
    tags ``CLASS_<code>``. The confidence is float32, the probability of the class, NaN for no
    data. Pixels that are never written have no data.

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
        if not len(class_codes) == len(class_names) == len(class_colors) > 0:
            raise ValueError(
                f"{len(class_codes)} codes, {len(class_names)} names and {len(class_colors)}"
                " colours were given; every class needs one of each."
            )
        if min(class_codes) <= NODATA or max(class_codes) > 65_535:
            raise ValueError(
                f"class codes go from {min(class_codes)} to {max(class_codes)}; a map holds 1 to"
                " 65535, and 0 means no data."
            )
        self.map_path = Path(map_path)
        self.confidence_path = Path(confidence_path)
        self.grid = grid
        self._codes = [int(code) for code in class_codes]
        self._names = list(class_names)
        self._rgb = [tuple(bytes.fromhex(color.lstrip("#"))) for color in class_colors]
        self._dtype = "uint16" if max(self._codes) > 255 else "uint8"
        self._code_of = np.array([NODATA, *self._codes], dtype=self._dtype)
        self._stack = contextlib.ExitStack()
        self._files: tuple[Any, Any] | None = None

    def __enter__(self) -> MapWriter:
        with contextlib.ExitStack() as stack:
            # They are renamed in reverse order: the map comes last, after all that belongs to it.
            map_part = stack.enter_context(atomic_path(self.map_path))
            sidecar = self.map_path.with_name(f"{self.map_path.name}.aux.xml")
            sidecar_part = stack.enter_context(atomic_path(sidecar))
            sidecar_part.write_bytes(self._sidecar())
            confidence_part = stack.enter_context(atomic_path(self.confidence_path))
            nan = float("nan")
            codes = stack.enter_context(_raster(map_part, self.grid, self._dtype, NODATA))
            confidence = stack.enter_context(_raster(confidence_part, self.grid, "float32", nan))
            self._describe(codes)
            confidence.set_band_description(1, "probability of the class")
            self._files = (codes, confidence)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._files = None
        self._stack.__exit__(kind, error, trace)

    def write(
        self, window: Window, classes: NDArray[np.integer], confidence: NDArray[np.floating]
    ) -> None:
        """Write a window that lies on the grid.

        Args:
            window: Where the values belong.
            classes: (h, w) class index, -1 for no data.
            confidence: (h, w) probability of the class; it becomes NaN where there is no class.

        Raises:
            ValueError: The writer is not open, the window is not on the grid, or the values do
                not fit the window or the classes.
        """
        if self._files is None:
            raise ValueError("the map is not open; write inside of 'with MapWriter(...) as map:'.")
        if window != window.inside(self.grid.height, self.grid.width):
            raise ValueError(
                f"{window} is not inside of the map of {self.grid.height} x {self.grid.width}"
                " pixels; cut it with Window.inside."
            )
        shape = (window.height, window.width)
        if classes.shape != shape or confidence.shape != shape:
            raise ValueError(
                f"classes {classes.shape} and confidence {confidence.shape} must have the shape"
                f" {shape} of the window."
            )
        if classes.size == 0:
            return
        if classes.min() < -1 or classes.max() >= len(self._codes):
            raise ValueError(
                f"class indices go from {classes.min()} to {classes.max()}; they must lie between"
                f" -1 and {len(self._codes) - 1}."
            )
        place = rasterio.windows.Window(window.col, window.row, window.width, window.height)
        code_file, confidence_file = self._files
        code_file.write(self._code_of[classes.astype(np.int64) + 1], 1, window=place)
        known = np.where(classes >= 0, confidence, np.nan).astype(np.float32)
        confidence_file.write(known, 1, window=place)

    def _describe(self, codes: Any) -> None:  # noqa: ANN401
        codes.set_band_description(1, "class")
        named = zip(self._codes, self._names, strict=True)
        codes.update_tags(**{f"CLASS_{code}": name for code, name in named})
        if self._dtype == "uint8":
            colors = {c: (*rgb, 255) for c, rgb in zip(self._codes, self._rgb, strict=True)}
            codes.write_colormap(1, {NODATA: (0, 0, 0, 0)} | colors)

    def _sidecar(self) -> bytes:
        """Return the XML in which GDAL keeps what a TIFF has no place for."""
        root = ElementTree.Element("PAMDataset")
        band = ElementTree.SubElement(root, "PAMRasterBand", band="1")
        rows = list(zip(self._codes, self._names, self._rgb, strict=True))
        if self._dtype == "uint8":
            # A plain list by code; with codes in the thousands the table below does better.
            categories = ElementTree.SubElement(band, "CategoryNames")
            names = {code: name for code, name, _ in rows}
            for code in range(max(self._codes) + 1):
                ElementTree.SubElement(categories, "Category").text = names.get(code, "")
        table = ElementTree.SubElement(band, "GDALRasterAttributeTable", tableType="thematic")
        for index, (name, kind, usage) in enumerate(_COLUMNS):
            column = ElementTree.SubElement(table, "FieldDefn", index=str(index))
            for tag, text in (("Name", name), ("Type", str(kind)), ("Usage", str(usage))):
                ElementTree.SubElement(column, tag).text = text
        for index, (code, name, rgb) in enumerate(rows):
            row = ElementTree.SubElement(table, "Row", index=str(index))
            for value in (code, name, *rgb, 255):
                ElementTree.SubElement(row, "F").text = str(value)
        ElementTree.indent(root)
        # GDAL passes over a sidecar that starts with an XML declaration.
        xml: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=False)
        return xml


@contextlib.contextmanager
def _raster(path: Path, grid: Grid, dtype: str, nodata: float) -> Iterator[Any]:
    """Open a GeoTIFF of one band for writing; add overviews to a large one that went well."""
    placed = {} if grid.transform is None else {"transform": grid.transform}
    # Without a grid on the ground the map has none either: that is known, and nothing to warn of.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            height=grid.height,
            width=grid.width,
            count=1,
            dtype=dtype,
            nodata=nodata,
            crs=grid.crs,
            compress="deflate",
            predictor=3 if dtype == "float32" else 1,
            tiled=True,
            blockxsize=BLOCK,
            blockysize=BLOCK,
            bigtiff="IF_SAFER",
            **placed,
        ) as raster:
            yield raster
        if max(grid.height, grid.width) >= _OVERVIEWS_FROM:
            kind = Resampling.average if dtype == "float32" else Resampling.nearest
            with rasterio.open(path, "r+") as raster:
                raster.build_overviews([2, 4, 8, 16], kind)
