"""Labels as polygons or points of vector files, drawn onto the grids of tiles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import rasterio.warp
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError
from rasterio.features import rasterize
from shapely.errors import ShapelyError

from bdgf.errors import SceneError
from bdgf.scene.formats.base import reason
from bdgf.scene.grid import Grid, apply
from bdgf.scene.labels.roi import ClassNames, listed
from bdgf.scene.labels.vector_files import (
    Box,
    Layer,
    layer_names,
    load_layer,
)

_POINT, _POLYGON, _FIRST_MULTI = 0, 3, 4
_SMALL = 3
"""Pixels; of polygons with a larger box it is not asked whether they hold the middle of one."""


class VectorLabels:
    """Polygons or points with a class each, drawn onto any number of grids.

    A pixel belongs to the polygon that its centre lies in, and to the point that lies in it. Where
    polygons overlap the smaller one decides, as a small crown is seen above a large one; a point
    decides before all polygons, and of two points (or polygons of one size) the later one.

    The attributes and extents of all features are read once, geometries only for the grids that
    they reach.

    Attributes:
        path: The file.
        column: The column that holds the classes.
        features: Number of features that have a class and a geometry.
    """

    def __init__(
        self, path: Path, column: str | None, layer: str | None, classes: Mapping[int, str]
    ) -> None:
        """Open a vector file and find the class of every feature.

        Args:
            path: A file of `VECTOR_SUFFIXES`.
            column: Column of codes or names of classes; None takes the only column, or the one
                whose values are all codes or names of the classes (the first, if several agree).
            layer: Layer of the file; None takes the only one with geometries.
            classes: Name of every class by its code.

        Raises:
            SceneError: The file cannot be read, the layer or column is not clear, or values of
                the column are no classes.
        """
        self.path = path
        self._layer = load_layer(path, _choose_layer(path, layer), column)
        self._check_degrees()
        names = ClassNames(classes)
        self.column, self._codes = _choose_column(path, self._layer, column, names)
        placed = ~np.isnan(self._layer.bounds[:, 0])
        self._reached = np.zeros(len(placed), dtype=np.bool_)
        self._covering = self._reached.copy()
        self._repaired, self._unreadable = self._reached.copy(), self._reached.copy()
        self._overlaps = 0
        self._unplaced: str | None = None
        self._classless = int(np.count_nonzero(self._codes == 0))
        self._empty = int(np.count_nonzero((self._codes != 0) & ~placed))
        self._codes[~placed] = 0
        self.features = int(np.count_nonzero(self._codes))

    @property
    def outside(self) -> int:
        """Number of features with a class that none of the grids asked for so far has met."""
        return int(np.count_nonzero((self._codes != 0) & ~self._reached))

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of the file and of all grids asked for so far."""
        unread, repaired = (int(mask.sum()) for mask in (self._unreadable, self._repaired))
        found = (
            (self._classless, "features have no class and were left out"),
            (self._empty, "features have no geometry and were left out"),
            (unread, "features have a damaged geometry and were left out"),
            (repaired, "invalid polygons were repaired"),
            (
                int(np.count_nonzero((self._codes != 0) & self._reached & ~self._covering)),
                "features cover no pixel's middle and label nothing; points, or polygons widened by"
                " a buffer, would",
            ),
            (self._overlaps, "pixels lie in features of different classes; the smallest decided"),
        )
        notes = [f"{self.path.name}: {count:,} {words}." for count, words in found if count]
        return (*notes, self._unplaced) if self._unplaced else tuple(notes)

    def codes(self, grid: Grid) -> NDArray[np.int32]:
        """Draw the features onto a grid.

        Args:
            grid: A grid with coordinates.

        Returns:
            Codes (H, W), 0 where no feature lies.

        Raises:
            SceneError: The grid has no coordinates, features are lines, or their coordinates
                cannot be brought into the grid's CRS.
        """
        name, transform = self.path.name, grid.transform
        if transform is None:
            raise SceneError(
                f"{name} holds coordinates, and no raster of the scene has any; polygons and points"
                " are placed by coordinates: give the rasters their georeference, or save the"
                " labels as a raster."
            )
        cols = np.array([0, grid.width, grid.width, 0])
        rows = np.array([0, 0, grid.height, grid.height])
        footprint = shapely.Polygon(np.column_stack(apply(transform, cols, rows)))
        box: Box | None = footprint.bounds
        source, target = self._layer.crs, grid.crs
        differ = source is not None and target is not None and not _same(source, target)
        if (source is None) != (target is None):
            silent, other = (name, target) if source is None else ("the scene", source)
            self._unplaced = (
                f"{silent} names no CRS; {name} was laid onto the images as if both were in"
                f" {other.to_string()[:60] if other else 'one CRS'}."
            )
        try:
            # Absurd coordinates overflow within; what they make is refused or lies elsewhere.
            with np.errstate(over="ignore", invalid="ignore"):
                if differ:
                    box = _box_in(footprint.bounds, target, source)
                owners = np.flatnonzero(self._near(box))
                parts, owners = self._parts(owners)
                # By the area as drawn, not as clipped at the edge of this grid.
                area = shapely.area(parts)
                if differ:
                    parts, index = _moved(parts, source, target, box)
                    owners, area = owners[index], area[index]
                self._reached[owners[shapely.intersects(parts, footprint)]] = True
                # In single precision equal circles are of one size wherever they lie.
                order = np.argsort(-area.astype(np.float32), kind="stable")
        except (CPLE_BaseError, RasterioError, CRSError) as error:
            raise SceneError(
                f"the coordinates of {name} cannot be brought into the CRS of the images"
                f" ({reason(error)}): save it in that CRS."
            ) from error
        except ShapelyError as error:
            raise SceneError(
                f"{name} has a geometry that cannot be used ({reason(error)}): repair it in a GIS."
            ) from error
        self._covering[owners[_covers(parts, grid, transform)]] = True
        drawn, overlaps = _draw(parts[order], self._codes[owners[order]], grid, transform)
        self._overlaps += overlaps
        return drawn

    def _near(self, box: Box | None) -> NDArray[np.bool_]:
        """Features with a class whose extent meets a box (n,)."""
        near: NDArray[np.bool_] = self._codes != 0
        if box is not None:
            left, bottom, right, top = self._layer.bounds.T
            near &= (left <= box[2]) & (right >= box[0]) & (bottom <= box[3]) & (top >= box[1])
        return near

    def _parts(self, owners: NDArray[np.intp]) -> tuple[NDArray[np.object_], NDArray[np.intp]]:
        """Valid polygons and points of some features, and the feature of each."""
        if not owners.size:
            return np.zeros(0, dtype=object), owners
        geometries = shapely.force_2d(self._layer.read(owners))
        xy, index = shapely.get_coordinates(geometries, return_index=True)
        geometries[index[~np.isfinite(xy).all(axis=1)]] = None
        self._unreadable[owners[shapely.is_missing(geometries)]] = True
        parts, index = _exploded(geometries)
        owners = owners[index]
        lines = ~np.isin(shapely.get_type_id(parts), (_POINT, _POLYGON))
        if lines.any():
            raise SceneError(
                f"{self.path.name} has {np.unique(owners[lines]).size:,} features that are lines"
                " where labels are polygons or points; a line covers no pixel: give the lines a"
                " width with a buffer, or leave them out."
            )
        broken = ~shapely.is_valid(parts)
        self._repaired[owners[broken]] = True
        parts[broken] = shapely.make_valid(parts[broken])
        parts, index = _exploded(parts)
        drawable = np.isin(shapely.get_type_id(parts), (_POINT, _POLYGON))
        return parts[drawable], owners[index[drawable]]

    def _check_degrees(self) -> None:
        crs, bounds = self._layer.crs, self._layer.bounds
        if crs is None or not crs.is_geographic or not (np.abs(bounds) > 720).any():
            return
        raise SceneError(
            f"{self.path.name} has coordinates such as {np.nanmax(np.abs(bounds)):.0f} and is in"
            f" degrees by its CRS ({crs.to_string()[:60]}; GeoJSON without 'crs' is in WGS 84):"
            " save it with its true CRS, best as a GeoPackage."
        )


def _choose_layer(path: Path, layer: str | None) -> str:
    names = [name for name, geometry in layer_names(path) if geometry is not None]
    if layer is not None and layer not in names:
        raise SceneError(
            f"{path.name} has no layer {layer!r} with geometries; it has {listed(names) or 'none'}:"
            " correct 'layer'."
        )
    if layer is None and len(names) != 1:
        raise SceneError(
            f"{path.name} has {len(names)} layers with geometries ({listed(names)}), and labels are"
            " one layer: name it with 'layer'."
        )
    return names[0] if layer is None else layer


def _choose_column(
    path: Path, layer: Layer, column: str | None, names: ClassNames
) -> tuple[str, NDArray[np.int32]]:
    """The column of the classes, and the code of every feature (n,), 0 without class."""
    if column is None and len(layer.columns) == 1:
        column = layer.columns[0]
    if column is not None:
        if column not in layer.columns:
            raise SceneError(
                f"{path.name} has no column {column!r}; it has {listed(layer.columns) or 'none'}:"
                " correct 'column'."
            )
        codes, unknown = _codes_of(layer.fields[column], names)
        if unknown:
            values = (f"{value} ({count:,} features)" for value, count in unknown.most_common())
            raise SceneError(
                f"column {column} of {path.name} holds {len(unknown)} values that are no class:"
                f" {listed(values, 8)}; the classes of the scene are {names.listed()}: add the"
                " values to the classes, correct them, or leave those features out."
            )
        return column, codes
    fitting = {}
    for name, field in layer.fields.items():
        codes, unknown = _codes_of(field, names)
        if not unknown and codes.any():
            fitting[name] = codes
    found = list(fitting.items())
    # A column of codes beside one of their names says the same twice.
    if found and all(np.array_equal(found[0][1], codes) for _, codes in found):
        return found[0]
    examples = (
        f"{name} ({', '.join(_examples(field)) or 'empty'})" for name, field in layer.fields.items()
    )
    raise SceneError(
        f"{path.name} has {len(found)} columns whose values are all classes of the scene"
        f" ({names.listed()}); its columns are {listed(examples) or 'none'}: name the one that"
        " holds the classes with 'column'."
    )


def _codes_of(values: NDArray[Any], names: ClassNames) -> tuple[NDArray[np.int32], Counter[str]]:
    """Code of every value (n,), 0 where it is empty, and the values that are no class.

    In a column that holds texts, numbers are texts too: a name such as ``2`` comes before a code.
    """
    texts = any(isinstance(value, str) for value in values.tolist())
    known: dict[Any, int | None] = {}
    unknown: Counter[str] = Counter()
    codes = np.zeros(len(values), dtype=np.int32)
    for place, value in enumerate(values.tolist()):
        if value is None or value != value:  # NaN, which is how readers show an empty number
            continue
        if value not in known:
            known[value] = _code(str(value) if texts else value, names)
        code = known[value]
        if code is None:
            unknown[str(value)[:40]] += 1
        else:
            codes[place] = code
    return codes, unknown


def _code(value: object, names: ClassNames) -> int | None:
    if isinstance(value, float):
        return names.known(int(value)) if value.is_integer() else None
    if isinstance(value, int) and not isinstance(value, bool):
        return names.known(value)
    text = str(value).strip()
    return names.code(text) if text else 0


def _examples(values: NDArray[Any]) -> list[str]:
    return list(dict.fromkeys(str(value)[:20] for value in values[:1000].tolist()))[:3]


def _exploded(
    geometries: NDArray[np.object_],
) -> tuple[NDArray[np.object_], NDArray[np.intp]]:
    """The single parts of multi-part geometries and collections, and whose part each is."""
    present = ~(shapely.is_missing(geometries) | shapely.is_empty(geometries))
    index = np.flatnonzero(present)
    parts = geometries[index]
    while (shapely.get_type_id(parts) >= _FIRST_MULTI).any():
        parts, own = shapely.get_parts(parts, return_index=True)
        index = index[own]
    full = ~shapely.is_empty(parts)
    return parts[full], index[full]


def _same(one: CRS, other: CRS) -> bool:
    if one == other:
        return True
    code = one.to_epsg()
    return code is not None and code == other.to_epsg()


def _box_in(box: Box, source: CRS, target: CRS) -> Box | None:
    """A box in another CRS with a margin; None where it is not one box there."""
    left, bottom, right, top = rasterio.warp.transform_bounds(source, target, *box)
    # Across the antimeridian left is beyond right.
    if not np.isfinite((left, bottom, right, top)).all() or left >= right or bottom >= top:
        return None
    wide, high = 0.05 * (right - left), 0.05 * (top - bottom)
    return left - wide, bottom - high, right + wide, top + high


def _moved(
    parts: NDArray[np.object_], source: CRS, target: CRS, box: Box | None
) -> tuple[NDArray[np.object_], NDArray[np.intp]]:
    """Parts in another CRS, and which part each was; those beyond the box are left out.

    A straight edge is a curve in another CRS: edges get a vertex at least every 64th of the box's
    diagonal, and what lies far from the box is cut off before, or a country's border would get
    millions of them.
    """
    index = np.arange(len(parts))
    if box is not None:
        parts = shapely.intersection(parts, shapely.box(*box))
        parts, index = _exploded(parts)
        drawable = np.isin(shapely.get_type_id(parts), (_POINT, _POLYGON))
        parts, index = parts[drawable], index[drawable]
    if not len(parts):
        return parts, index
    left, bottom, right, top = box or shapely.total_bounds(parts).tolist()
    step = np.hypot(right - left, top - bottom) / 64
    parts = shapely.segmentize(parts, step) if step > 0 else parts

    def move(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        moved = rasterio.warp.transform(source, target, xy[:, 0].tolist(), xy[:, 1].tolist())
        return np.column_stack(moved)

    return shapely.transform(parts, move), index


def _covers(parts: NDArray[np.object_], grid: Grid, transform: Affine) -> NDArray[np.bool_]:
    """Tell which parts (n,) hold the middle of a pixel of a grid; large ones are taken to do so."""
    found = np.zeros(len(parts), dtype=np.bool_)
    if not len(parts):
        return found
    left, bottom, right, top = shapely.bounds(parts).T
    at = [apply(~transform, x, y) for x in (left, right) for y in (bottom, top)]
    cols, rows = np.array([c for c, _ in at]), np.array([r for _, r in at])  # (4, n)
    # first and number of the columns and rows whose middle its box holds
    (left_col, wide), (top_row, high) = (
        _middles(places, size) for places, size in ((cols, grid.width), (rows, grid.height))
    )
    some = (wide > 0) & (high > 0)
    found |= shapely.get_type_id(parts) == _POINT
    found |= some & ((wide > _SMALL) | (high > _SMALL))
    small = np.flatnonzero(some & ~found)
    for step_col in range(_SMALL):
        for step_row in range(_SMALL):
            here = small[(wide[small] > step_col) & (high[small] > step_row)]
            x, y = apply(transform, left_col[here] + step_col + 0.5, top_row[here] + step_row + 0.5)
            found[here] |= shapely.intersects_xy(parts[here], x, y)
    return found


def _middles(
    places: NDArray[np.float64], size: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """First of the pixels of a line whose middles lie between places (4, n), and their number."""
    first = np.clip(np.ceil(places.min(0) - 0.5), 0, size)
    last = np.clip(np.floor(places.max(0) - 0.5), -1, size - 1)
    return first, last - first + 1


def _draw(
    parts: NDArray[np.object_], codes: NDArray[np.int32], grid: Grid, transform: Affine
) -> tuple[NDArray[np.int32], int]:
    """Draw parts in their order, points last, and count the pixels of several classes."""
    shape = grid.height, grid.width
    drawn = np.zeros(shape, dtype=np.int32)
    areal = shapely.get_type_id(parts) == _POLYGON
    if areal.any():
        polygons = list(zip(parts[areal], codes[areal].tolist(), strict=True))
        rasterize(polygons, out=drawn, transform=transform)
    xy = shapely.get_coordinates(parts[~areal])
    cols, rows = (np.floor(place) for place in apply(~transform, xy[:, 0], xy[:, 1]))
    inside = (rows >= 0) & (rows < grid.height) & (cols >= 0) & (cols < grid.width)
    at = rows[inside].astype(np.int64), cols[inside].astype(np.int64)
    point_codes = codes[~areal][inside]
    drawn[at] = point_codes
    present = np.unique(codes)
    if present.size < 2:
        return drawn, 0
    seen, several = np.zeros(shape, dtype=np.bool_), np.zeros(shape, dtype=np.bool_)
    for code in present:
        covered = np.zeros(shape, dtype=np.uint8)
        own = parts[areal & (codes == code)]
        if len(own):
            rasterize(own.tolist(), out=covered, transform=transform)
        of_code = point_codes == code
        covered[at[0][of_code], at[1][of_code]] = 1
        several |= seen & (covered == 1)
        seen |= covered == 1
    return drawn, int(np.count_nonzero(several))
