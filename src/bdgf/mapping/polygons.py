"""Polygons of a map in a GeoPackage, small ones joined to their neighbours."""

from __future__ import annotations

import contextlib
import sqlite3
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pyogrio.raw
import rasterio
import rasterio.features
import rasterio.warp
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window

from bdgf.errors import RunFolderError
from bdgf.files import atomic_path, scratch_path
from bdgf.mapping.folder import check_finished
from bdgf.mapping.reading import open_raster, reading
from bdgf.mapping.regions import Regions, find_regions, strips
from bdgf.mapping.writing import BLOCK
from bdgf.progress import Progress
from bdgf.runfolder import RunFolder, is_run_folder
from bdgf.scene.grid import Grid, apply

_BATCH = 20_000
_DISTORTED = 0.01
_TAG = "CLASS_"
_EQUATOR, _POLE = 6_378_137.0, 6_356_752.314245  # semi-axes of WGS 84 in metres


@dataclass(frozen=True)
class TileMap:
    """The files of a tile that was mapped.

    Args:
        name: Name of the tile.
        map_path: Its map, written by ``MapWriter``.
        confidence_path: Its confidence.
    """

    name: str
    map_path: Path
    confidence_path: Path


@dataclass(frozen=True)
class Summary:
    """What was written.

    Args:
        before: Number of regions of the maps.
        after: Number of polygons.
        unit: Unit of the areas: m2, or pixels where the ground is not known.
    """

    before: int
    after: int
    unit: str


def find_maps(folder: Path) -> list[TileMap]:
    """Return the maps in a folder that ``bdgf map`` or ``bdgf run`` wrote to.

    Raises:
        RunFolderError: There is none, or they are not finished.
    """
    check_finished(folder)
    if is_run_folder(folder) and not RunFolder(folder, read=True).was_finished("map"):
        raise RunFolderError(
            f"{folder}: the map is not finished, or older than what was trained since; run 'bdgf"
            f" map {folder}' first."
        )
    single = folder / "map.tif"
    if single.is_file():
        return [TileMap("map", single, folder / "confidence.tif")]
    found = sorted((folder / "maps").glob("*.tif"))
    found = [path for path in found if not path.name.startswith(".")]
    if not found:
        raise RunFolderError(
            f"{folder} holds neither map.tif nor maps/*.tif; name a folder that 'bdgf map' or"
            " 'bdgf run' has written a map to."
        )
    return [TileMap(path.stem, path, folder / "confidence" / path.name) for path in found]


def write_polygons(
    maps: Sequence[TileMap], target: Path, minimum: float, progress: Progress
) -> Summary:
    """Write the regions of equal class as polygons, whole or not at all.

    Every polygon has the fields ``code``, ``class``, ``area_m2`` (``area_px`` where the ground is
    not known), ``confidence`` (mean of the pixels that the map itself gives the class) and, of
    several tiles, ``tile``. Tiles in one coordinate reference system share the layer ``map``;
    those in others get layers of their own.

    Args:
        maps: The maps.
        target: The GeoPackage; one that is there is replaced.
        minimum: Regions with a smaller area, in m² (pixels where the ground is not known), are
            joined to the neighbour with the longest shared border.
        progress: Receives the tiles.

    Raises:
        RunFolderError: A map cannot be read, or the folder cannot be written.
    """
    state = [_state(one) for one in maps]
    opened = [_describe(one) for one in maps]
    systems = list(dict.fromkeys(one.system for one in opened))
    unit = "m2" if all(one.on_ground for one in opened) else "pixels"
    before = after = 0
    with atomic_path(target) as temporary:
        temporary.unlink()  # a GeoPackage is not made in an empty file
        started: set[str | None] = set()
        for index, one in enumerate(opened):
            number = systems.index(one.system)
            layer = "map" if not number else f"map_{number + 1}"
            regions = _regions_of(one, unit)
            before += regions.count
            regions.merge_small(minimum)
            confidence = regions.confidence
            for batch in _batches(_polygons(one, regions, temporary.parent)):
                fields = _fields(one, regions, confidence, batch, unit, len(maps) > 1)
                _append(temporary, layer, one.system, fields, batch, one.system in started)
                started.add(one.system)
                after += len(batch)
            progress.track("polygons", index + 1, len(opened))
        if [_state(one) for one in maps] != state:
            raise RunFolderError(
                f"{maps[0].map_path} was written anew while its polygons were made, so nothing was"
                " written: run 'bdgf polygons' again once the map is finished."
            )
        _check_index(temporary, target, len(started))
        if not started:
            raise RunFolderError(
                f"{maps[0].map_path} has no pixel with a class, so there are no polygons; map a"
                " scene with valid pixels."
            )
    return Summary(before, after, unit)


@dataclass(frozen=True)
class _Opened:
    tile: TileMap
    grid: Grid
    classes: dict[int, str]

    @property
    def system(self) -> str | None:
        # a system without coordinates would give numbers of pixels a place on Earth
        crs = self.grid.crs if self.grid.placed else None
        return None if crs is None else str(crs.to_wkt())

    @property
    def on_ground(self) -> bool:
        return self.grid.placed and self.grid.pixel_metres is not None

    @property
    def transform(self) -> Affine:
        """To map coordinates; without any, rows count downwards as viewers show them."""
        return self.grid.transform if self.grid.placed and self.grid.transform else _DOWNWARDS


_DOWNWARDS = Affine(1.0, 0.0, 0.0, 0.0, -1.0, 0.0)

_Polygon = tuple[Any, int]


def _state(tile: TileMap) -> list[tuple[int, int, int] | None]:
    """Return what changes when the files of a map do."""
    found: list[tuple[int, int, int] | None] = []
    for path in (tile.map_path, tile.confidence_path):
        try:
            about = path.stat()
        except OSError:
            found.append(None)
        else:
            found.append((about.st_ino, about.st_size, about.st_mtime_ns))
    return found


def _describe(tile: TileMap) -> _Opened:
    with open_raster(tile.map_path) as codes, open_raster(tile.confidence_path) as confidence:
        sizes = [f"{one.height} × {one.width}" for one in (codes, confidence)]
        if sizes[0] != sizes[1]:
            raise RunFolderError(
                f"{tile.confidence_path} has {sizes[1]} pixels, {tile.map_path} has {sizes[0]}; run"
                " 'bdgf map' again."
            )
        tags = codes.tags()
        names = {
            int(key[len(_TAG) :]): text
            for key, text in tags.items()
            if key.startswith(_TAG) and key[len(_TAG) :].isdigit()
        }
        grid = Grid(codes.height, codes.width, codes.transform, codes.crs)
        return _Opened(tile, grid, names)


def _regions_of(one: _Opened, unit: str) -> Regions:
    height, width = one.grid.height, one.grid.width
    metres = one.grid.pixel_metres if unit == "m2" else None
    areas = np.ones(height) if metres is None else row_areas(one.grid)
    tile = one.tile
    with open_raster(tile.map_path) as codes, open_raster(tile.confidence_path) as confidence:

        def read(row: int, count: int) -> tuple[NDArray[np.integer], NDArray[np.float32]]:
            return (
                _rows(codes, tile.map_path, row, count),
                _rows(confidence, tile.confidence_path, row, count),
            )

        return find_regions(read, height, width, areas, metres or (1.0, 1.0))


def _rows(source: Any, path: Path, row: int, count: int) -> NDArray[Any]:  # noqa: ANN401
    with reading(path):
        found: NDArray[Any] = source.read(1, window=Window(0, row, source.width, count))
    return found


def row_areas(grid: Grid) -> NDArray[np.float64]:
    """Return the area (H,) of a pixel of every row in m²; of degrees, on the ellipsoid of WGS 84.

    A projection that makes areas larger or smaller by more than a hundredth, as the one of web
    maps does away from the equator, does not count: the pixels of the middle column are measured
    on the ellipsoid then.

    Source: Snyder 1987, Map Projections: A Working Manual, eq. 3-12 (area of a zone), 4-18 and 4-20
    (radii of curvature).

    Args:
        grid: With a transform and a coordinate reference system.

    Raises:
        ValueError: The grid does not lie on the ground.
    """
    t, crs = grid.transform, grid.crs
    if t is None or crs is None:
        raise ValueError("a grid without transform and CRS has no area on the ground")
    if not crs.is_geographic:
        unit = float(crs.linear_units_factor[1])
        plane = np.full(grid.height, abs(t.a * t.e - t.b * t.d) * unit**2)
        if not crs.is_projected:
            return plane
        ground = _on_ellipsoid(t, crs, grid)
        distorted = np.isfinite(ground).all() and np.abs(plane / ground - 1).max() > _DISTORTED
        return ground if distorted else plane
    if t.b != 0.0 or t.d != 0.0:
        return _on_ellipsoid(t, crs, grid)
    rows = np.arange(grid.height + 1, dtype=np.float64)
    latitude = apply(t, np.full_like(rows, grid.width / 2), rows)[1]
    sine = np.sin(np.radians(np.clip(latitude, -90.0, 90.0)))
    e = np.sqrt(1.0 - (_POLE / _EQUATOR) ** 2)
    zone = _POLE**2 / 2 * (sine / (1 - (e * sine) ** 2) + np.arctanh(e * sine) / e)
    return np.asarray(np.abs(np.diff(zone)) * np.radians(abs(t.a)))


def _on_ellipsoid(t: Affine, crs: Any, grid: Grid) -> NDArray[np.float64]:  # noqa: ANN401
    """Return the area (H,) in m² of the pixels of the middle column, as flat quadrangles."""
    middle, rows = grid.width / 2, np.arange(grid.height, dtype=np.float64)
    ring = ((-0.5, 0), (0.5, 0), (0.5, 1), (-0.5, 1))
    corners = [apply(t, np.full_like(rows, middle + right), rows + down) for right, down in ring]
    longitudes, latitudes = (np.concatenate(axis) for axis in zip(*corners, strict=True))
    if not crs.is_geographic:
        found = rasterio.warp.transform(crs, "EPSG:4326", longitudes, latitudes)
        longitudes, latitudes = (np.asarray(axis) for axis in found)
    longitude, latitude = (np.radians(a).reshape(4, -1) for a in (longitudes, latitudes))
    centre = latitude.mean(0)
    flat = 1.0 - (_POLE / _EQUATOR) ** 2
    bend = 1.0 - flat * np.sin(centre) ** 2
    turned = (longitude - longitude[0] + np.pi) % (2 * np.pi) - np.pi
    x = turned * np.cos(centre) * _EQUATOR / np.sqrt(bend)
    y = (latitude - centre) * _EQUATOR * (1.0 - flat) / bend**1.5
    after = [1, 2, 3, 0]
    return np.asarray(np.abs((x * y[after] - x[after] * y).sum(0)) / 2)


def _polygons(one: _Opened, regions: Regions, folder: Path) -> Iterator[_Polygon]:
    """Yield the outline of every region and its number.

    The numbers go through a file, which GDAL reads row by row and with its coordinates.
    """
    height, width = one.grid.height, one.grid.width
    path = one.tile.map_path
    with scratch_path(folder / "regions.tif") as numbers:
        with (
            open_raster(path) as codes,
            rasterio.open(
                numbers, "w", driver="GTiff", height=height, width=width, count=1, dtype="int32",
                nodata=-1, compress="deflate", tiled=True, blockxsize=BLOCK, blockysize=BLOCK,
                bigtiff="IF_SAFER", transform=one.transform,
            ) as target,
        ):  # fmt: skip
            runs = 0
            for row, count in strips(height, width):
                part, runs = regions.numbers(_rows(codes, path, row, count), runs)
                window = Window(0, row, width, count)
                target.write(part.astype(np.int32), 1, window=window)
        with rasterio.open(numbers) as source:
            for outline, number in rasterio.features.shapes(rasterio.band(source, 1)):
                if number >= 0:
                    yield shapely.geometry.shape(outline), int(number)


def _batches(polygons: Iterator[_Polygon]) -> Iterator[list[_Polygon]]:
    batch: list[_Polygon] = []
    for polygon in polygons:
        batch.append(polygon)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _fields(
    one: _Opened,
    regions: Regions,
    confidence: NDArray[np.float64],
    batch: list[_Polygon],
    unit: str,
    several: bool,
) -> dict[str, NDArray[Any]]:
    numbers = np.array([number for _, number in batch])
    codes = regions.code[numbers]
    found: dict[str, NDArray[Any]] = {"tile": np.array([one.tile.name] * len(batch), dtype=object)}
    if not several:
        found = {}
    return found | {
        "code": codes.astype(np.int32),
        "class": np.array([one.classes.get(int(c), str(c)) for c in codes], dtype=object),
        "area_m2" if unit == "m2" else "area_px": regions.area[numbers],
        "confidence": confidence[numbers],
    }


def _check_index(written: Path, target: Path, layers: int) -> None:
    """Refuse a file without its spatial index, which GDAL leaves out silently on a full disk."""
    if not layers:
        return
    with contextlib.closing(sqlite3.connect(written)) as file:
        query = (
            "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name GLOB 'rtree_*_geom'"
        )
        (found,) = file.execute(query).fetchone()
    if found < layers:
        raise RunFolderError(
            f"{target} cannot be written (there was no room for its spatial index); free its disk,"
            " or name a file elsewhere with --to."
        )


def _append(
    target: Path,
    layer: str,
    system: str | None,
    fields: dict[str, NDArray[Any]],
    batch: list[_Polygon],
    started: bool,
) -> None:
    if started and not target.is_file():
        raise RunFolderError(
            f"{target} was removed while it was written; run 'bdgf polygons' again."
        )
    with warnings.catch_warnings():
        # a scene without coordinates has polygons without them
        warnings.filterwarnings("ignore", message=".*crs.*", category=UserWarning)
        pyogrio.raw.write(
            target,
            shapely.to_wkb([polygon for polygon, _ in batch]),
            list(fields.values()),
            list(fields),
            layer=layer,
            driver="GPKG",
            geometry_type="Polygon",
            crs=system,
            append=started,
        )
