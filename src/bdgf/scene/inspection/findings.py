"""What an inspection has found: rasters with their statistics, vectors, lists, scene files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bdgf.scene.alignment import finest
from bdgf.scene.formats.arrays import ArrayInfo
from bdgf.scene.formats.base import RasterSource
from bdgf.scene.formats.location import Location
from bdgf.scene.formats.opening import open_source
from bdgf.scene.grid import Grid
from bdgf.scene.inspection.roles import Kind, band_of, kind_of
from bdgf.scene.inspection.statistics import Statistics
from bdgf.scene.inspection.tiles import TileSet
from bdgf.scene.labels.roi import Roi
from bdgf.scene.labels.vector_files import LayerInfo

_FEW_CODES = 64


@dataclass(frozen=True)
class Raster:
    """A raster that was opened and measured.

    Args:
        source: The raster; of tiles that of the first.
        statistics: What its values are like; of tiles of all of them, or of some for images.
        tiles: The tiles that it is there for, None for a single raster.
        template: Its path in the folder of the tiles, with ``{tile}``.
        sizes: Rows and columns of every tile.
        odd: Names of tiles whose number of bands differs from the first one's.
        medians: Median of the values of the tiles that were measured, with their names.
        axes: What each axis of an array is, where that is not what its format's custom says.
        called: Its name in texts, where that is not the file's.
    """

    source: RasterSource
    statistics: Statistics
    tiles: TileSet | None = None
    template: str = ""
    sizes: tuple[tuple[int, int], ...] = ()
    odd: tuple[str, ...] = ()
    medians: tuple[tuple[str, float], ...] = ()
    axes: str | None = None
    called: str = ""

    @property
    def texts(self) -> tuple[str, ...]:
        """Names that may say what it is: of the array, its inmost part first, and of the file."""
        parts = re.split(r"[./]", self.source.key or "")[::-1]
        own = [self.called, *parts, self.source.path.stem]
        if self.tiles is not None:
            folder, _, name = self.template.rpartition("/")
            own = [name.rpartition(".")[0].replace("{tile}", ""), folder.replace("{tile}", "")]
            own = [*parts, *(own if any(own) else [self.tiles.folder.name])]
        return tuple(text for text in own if text)

    @property
    def name(self) -> str:
        """Name in texts: the file's, with the array where the file has several."""
        if self.called or self.template:
            return self.called or self.template
        name = self.source.path.name
        return f"{self.source.key} of {name}" if self.source.key else name

    @property
    def kind(self) -> Kind:
        """What it is, judged by its names, its bands and its values."""
        source, codes = self.source, self.statistics.codes
        able = codes is not None and min(codes, default=0) >= -9999
        named = kind_of(self.texts, able)
        if named == "labels" or (able and named is None and _looks_like_labels(self)):
            return "labels"
        if named in ("radar", "height"):
            return named
        if source.bands == 3 or (source.bands == 4 and named == "colour"):
            return "colour"
        return "spectral" if source.bands >= 4 or named == "spectral" else "image"


@dataclass(frozen=True)
class Group:
    """Rasters that are one modality: a single one, or one per band of a satellite's image.

    Args:
        rasters: The rasters, in the order of their bands.
        name: Short name for a scene file.
    """

    rasters: tuple[Raster, ...]
    name: str

    @property
    def first(self) -> Raster:
        """The first raster."""
        return self.rasters[0]

    @property
    def finest(self) -> Raster:
        """The first raster with the smallest pixels, whose grid the modality has."""
        grid = finest([raster.source for raster in self.rasters])
        return next(raster for raster in self.rasters if Grid.of(raster.source) == grid)

    @property
    def kind(self) -> Kind:
        """What it is; several bands of a satellite are spectral."""
        return "spectral" if len(self.rasters) > 1 else self.first.kind

    @property
    def bands(self) -> int:
        """Number of bands of all its rasters."""
        return sum(raster.source.bands for raster in self.rasters)


@dataclass(frozen=True)
class Vector:
    """A vector file with its layers."""

    path: Path
    layers: tuple[LayerInfo, ...]


@dataclass(frozen=True)
class PixelList:
    """An array that lists positions of pixels.

    Args:
        path: Its file.
        key: Its name in the file, None where the file is one array.
        shape: Its shape.
    """

    path: Path
    key: str | None
    shape: tuple[int, ...]

    @property
    def name(self) -> str:
        """Name in texts."""
        return f"{self.key} of {self.path.name}" if self.key else self.path.name

    @property
    def pixels(self) -> int:
        """Number of pixels that it lists."""
        return self.shape[0] if len(self.shape) == 1 or self.shape[1] <= 3 else max(self.shape)


@dataclass
class Found:
    """What paths hold.

    Args:
        groups: The rasters, those of one modality together, in the order of their files.
        arrays: What every file of named arrays holds.
        vectors: Vector files.
        rois: ENVI regions of interest by their files.
        lists: Arrays that list positions of pixels.
        scenes: Scene files.
        tiles: Folders of tiles.
        unreadable: Files of folders that cannot be read, and why.
        left_out: Number of files of folders that were not opened because they are too many.
        folders: Folders that were named.
    """

    groups: list[Group] = field(default_factory=list)
    arrays: dict[Location, dict[str, ArrayInfo]] = field(default_factory=dict)
    vectors: list[Vector] = field(default_factory=list)
    rois: list[tuple[Path, list[Roi]]] = field(default_factory=list)
    lists: list[PixelList] = field(default_factory=list)
    scenes: list[Path] = field(default_factory=list)
    tiles: list[TileSet] = field(default_factory=list)
    unreadable: list[tuple[Location, str]] = field(default_factory=list)
    left_out: int = 0
    folders: list[Path] = field(default_factory=list)

    @property
    def rasters(self) -> list[Raster]:
        """All rasters."""
        return [raster for group in self.groups for raster in group.rasters]

    @property
    def images(self) -> list[Group]:
        """The groups that can be modalities."""
        return [group for group in self.groups if group.kind != "labels"]

    @property
    def labels(self) -> list[Raster]:
        """The rasters that look like labels."""
        return [group.first for group in self.groups if group.kind == "labels"]

    @property
    def reference(self) -> Group | None:
        """The image whose grid a scene has: the spectral one with most bands, or the first."""
        spectral = [group for group in self.images if group.kind == "spectral"]
        if spectral:
            return spectral[0]
        colour = [group for group in self.images if group.kind == "colour"]
        return next(iter(colour or self.images), None)


def each_tile(raster: Raster) -> Iterator[tuple[str, RasterSource]]:
    """Open a raster of every tile, with the tile's name; the raster itself where it has none."""
    if raster.tiles is None:
        yield "", raster.source
        return
    for name in raster.tiles.names:
        yield name, open_source(raster.tiles.file(raster.template, name), raster.source.key)


def _looks_like_labels(raster: Raster) -> bool:
    """Whether values that no name explains look like class codes: few whole numbers from 0 on."""
    codes = raster.statistics.codes or {}
    if raster.source.dtype.kind not in "iub" or any(band_of(text) for text in raster.texts):
        return False
    several = len([code for code in codes if code > 0]) > 1
    return several and min(codes) >= -1 and max(codes) < 256 and len(codes) <= _FEW_CODES
