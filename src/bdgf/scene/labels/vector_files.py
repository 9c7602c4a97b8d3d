"""Layers of vector files: GeoPackage, GeoJSON, shapefile, FlatGeobuf."""

from __future__ import annotations

import contextlib
import json
import re
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyogrio
import rasterio
import shapely
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError
from rasterio.crs import CRS
from rasterio.errors import CRSError

from bdgf.errors import SceneError
from bdgf.scene.formats.base import reason
from bdgf.scene.labels.roi import listed

_GEOJSON = ".geojson"
_DRIVERS = {
    ".gpkg": ("GPKG", b"SQLite format 3\0"),
    ".shp": ("ESRI Shapefile", b"\x00\x00\x27\x0a"),
    ".fgb": ("FlatGeobuf", b"fgb\x03"),
}
VECTOR_SUFFIXES = frozenset({*_DRIVERS, _GEOJSON})
"""Endings of the vector files that can be labels."""

# UnboundLocalError: pyogrio 0.13 stumbles over a CRS that it cannot write as text.
_GDAL_ERRORS = (DataSourceError, DataLayerError, UnboundLocalError)

Box: TypeAlias = tuple[float, float, float, float]
"""Left, bottom, right, top."""

_CRS_NAME = re.compile(r"(urn:ogc:def:crs:)?(EPSG|OGC):[\w.]*:?\w+", re.IGNORECASE)
_DESCRIBED = 100_000  # features whose attributes a description looks at
_KINDS = {"i": "integer", "u": "integer", "f": "real", "b": "boolean", "M": "date"}


@dataclass(frozen=True)
class ColumnInfo:
    """A column of a layer.

    Args:
        name: Its name.
        kind: integer, real, boolean, date or text.
        distinct: Number of different values.
        values: The most frequent values with the number of their features, eight at most, of the
            first 100,000 features.
    """

    name: str
    kind: str
    distinct: int
    values: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class LayerInfo:
    """What a layer holds.

    Args:
        name: Its name.
        geometry: Type of its geometries, such as Polygon; none for a table.
        features: Number of features.
        crs: Its CRS in words, None where it has none.
        extent: Left, bottom, right, top in that CRS, None where nothing has a place.
        columns: Its columns.
    """

    name: str
    geometry: str
    features: int
    crs: str | None
    extent: Box | None
    columns: tuple[ColumnInfo, ...]


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer whose geometries are read when they are asked for.

    Args:
        geometry: Type of its geometries.
        crs: CRS, None where the file has none.
        columns: Names of all columns.
        fields: Values (n,) of the columns that were loaded, None or NaN where empty.
        bounds: Left, bottom, right, top (n, 4) of every feature, NaN where it has no place.
        read: Returns the geometries (m,) of the features with these indices (m,), None where
            there is none or it is damaged.
    """

    geometry: str
    crs: CRS | None
    columns: tuple[str, ...]
    fields: dict[str, NDArray[Any]]
    bounds: NDArray[np.float64]
    read: Callable[[NDArray[np.intp]], NDArray[np.object_]]


def describe_vector(path: Path) -> list[LayerInfo]:
    """Describe every layer of a vector file, for a report on what a folder holds.

    Raises:
        SceneError: The file cannot be read, or is none of `VECTOR_SUFFIXES`.
    """
    found = []
    for name, _ in layer_names(path):
        layer = load_layer(path, name, None, _DESCRIBED)
        placed = layer.bounds[~np.isnan(layer.bounds[:, 0])]
        extent = None
        if len(placed):
            left, bottom = placed[:, :2].min(axis=0).tolist()
            right, top = placed[:, 2:].max(axis=0).tolist()
            extent = (left, bottom, right, top)
        crs = None if layer.crs is None else layer.crs.to_string()
        columns = tuple(_column(column, values) for column, values in layer.fields.items())
        found.append(LayerInfo(name, layer.geometry, len(layer.bounds), crs, extent, columns))
    return found


def layer_names(path: Path) -> list[tuple[str, str | None]]:
    """Return name and type of geometry of every layer, None for a table without geometries.

    Raises:
        SceneError: The file cannot be read, or is none of `VECTOR_SUFFIXES`.
    """
    suffix = path.suffix.lower()
    if suffix not in VECTOR_SUFFIXES:
        raise SceneError(
            f"{path.name} is no vector file that can be read; those end in"
            f" {listed(sorted(VECTOR_SUFFIXES))}: convert it to a GeoPackage."
        )
    if not path.is_file():
        raise SceneError(f"{path} does not exist; correct the path, or put the file there.")
    if suffix == _GEOJSON:
        return [(path.stem, "GeoJSON")]
    _check_driver(path)
    found = _gdal(path, pyogrio.list_layers)
    return [(str(name), None if geometry is None else str(geometry)) for name, geometry in found]


def load_layer(path: Path, name: str, column: str | None, most: int | None = None) -> Layer:
    """Load the attributes and extents of a layer of `layer_names`.

    Args:
        path: The file.
        name: The layer.
        column: The only column that is needed; None loads all.
        most: Number of features whose attributes are enough; None loads all.

    Raises:
        SceneError: The file cannot be read.
    """
    if path.suffix.lower() == _GEOJSON:
        return _load_geojson(path)
    _check_driver(path)
    encoding = "UTF-8" if _is_utf8(path) else None
    info = _gdal(path, pyogrio.read_info, layer=name, encoding=encoding)
    if info["driver"] != _DRIVERS[path.suffix.lower()][0]:
        raise SceneError(
            f"{path.name} is a file of type {info['driver']} by its content; the ending must say"
            " what it is: convert it to a GeoPackage."
        )
    if info["features"] > path.stat().st_size:
        raise SceneError(
            f"{path.name} announces {info['features']:,} features, more than it has bytes; it is"
            " damaged: save it anew."
        )
    columns = tuple(str(field) for field in info["fields"])
    wanted = [field for field in columns if column in (None, field)]
    options: dict[str, Any] = {
        "columns": wanted,
        "read_geometry": False,
        "max_features": most,
        "encoding": encoding,
    }
    values: list[NDArray[Any]] = []
    if wanted:
        about, _, _, read_values = _gdal(path, pyogrio.raw.read, layer=name, **options)
        # not all versions of pyogrio give them in the order of the file
        by_name = dict(zip(map(str, about["fields"]), read_values, strict=True))
        values = [by_name[field] for field in wanted]
    fids, bounds = _gdal(path, pyogrio.read_bounds, layer=name)
    bounds = bounds.T
    short = any(len(column) < min(len(fids), most or len(fids)) for column in values)
    if short or len(np.unique(fids)) != len(fids):
        raise SceneError(
            f"the features of layer {name} of {path.name} have no unique numbers (fid), or the file"
            " is damaged: save the layer anew as a GeoPackage."
        )

    def read(index: NDArray[np.intp]) -> NDArray[np.object_]:
        part: dict[str, Any] = {"fids": fids[index]}
        if not info["capabilities"]["random_read"] or 2 * len(index) > len(fids):
            part = {}
        wkb = _gdal(path, pyogrio.raw.read, layer=name, columns=[], force_2d=True, **part)[2]
        if len(wkb) != len(index if part else fids):
            raise SceneError(f"{path.name} is damaged, geometries are missing: save it anew.")
        geometries = shapely.from_wkb(wkb if part else wkb[index], on_invalid="ignore")
        return np.asarray(geometries, dtype=object)

    fields = dict(zip(wanted, values, strict=True))
    crs = _crs(info["crs"], path)
    return Layer(info["geometry_type"] or "none", crs, columns, fields, bounds, read)


def _check_driver(path: Path) -> None:
    """Refuse a file that is not what its ending says, before GDAL opens it.

    By content GDAL would also open a VRT or a pipeline (GDALG), and these fetch what they name.
    """
    magic = _DRIVERS[path.suffix.lower()][1]
    try:
        with path.open("rb") as file:
            start = file.read(len(magic))
    except OSError as error:
        raise SceneError(f"{path} cannot be read ({error.strerror}); correct the path.") from error
    if start != magic:
        raise SceneError(
            f"{path.name} is not what its ending says, it does not begin as a"
            f" {_DRIVERS[path.suffix.lower()][0]} file: is it damaged, or a file of another type?"
        )
    if set("!;?") & set(str(path.absolute())):
        raise SceneError(
            f"{path} has one of the characters ! ; ? in its path, which the reader of vector files"
            " takes for its own: rename the file or its folder."
        )


def _is_utf8(path: Path) -> bool:
    """Tell whether the texts of a shapefile that names no encoding are UTF-8.

    GDAL takes them for Latin-1. Of Latin-1 texts with umlauts hardly any is valid UTF-8.
    """
    table = _beside(path, ".dbf")
    if path.suffix.lower() != ".shp" or table is None or _beside(path, ".cpg") is not None:
        return False
    with contextlib.suppress(OSError), table.open("rb") as file:
        if file.read(30)[29:] != b"\0":  # the code page that the table names
            return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            options: dict[str, Any] = {"read_geometry": False, "encoding": "UTF-8"}
            pyogrio.raw.read(path.absolute(), **options)
    except (UnicodeError, *_GDAL_ERRORS):
        return False
    return True


def _beside(path: Path, suffix: str) -> Path | None:
    """Return the file of the same name with another suffix, in small or capital letters."""
    found = (path.with_suffix(suffix), path.with_suffix(suffix.upper()))
    return next((one for one in found if one.is_file()), None)


def _gdal(path: Path, function: Callable[..., Any], **options: Any) -> Any:  # noqa: ANN401
    """Call a function of pyogrio on a file.

    Raises:
        SceneError: The file cannot be read.
    """
    try:
        with warnings.catch_warnings():
            # Remarks of GDAL's drivers; what matters (missing CRS, invalid rings) is checked here.
            warnings.simplefilter("ignore")
            return function(path.absolute(), **options)
    except UnicodeError as error:
        raise SceneError(
            f"{path.name} has texts that are not in the encoding it names ({reason(error)}): save"
            " it as a GeoPackage."
        ) from error
    except _GDAL_ERRORS as error:
        raise SceneError(
            f"{path.name} cannot be read ({reason(error)}): is it complete, with all of its files?"
        ) from error


def _load_geojson(path: Path) -> Layer:
    """Load a GeoJSON without GDAL, whose driver fetches a CRS that the file links to."""
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
        features = data.get("features") if isinstance(data, dict) else None
        if isinstance(data, dict) and data.get("type") == "Feature":
            features = [data]
        if not isinstance(features, list) or not all(isinstance(item, dict) for item in features):
            raise SceneError(
                f"{path.name} is JSON and no GeoJSON with features; labels are a"
                " FeatureCollection: save it as GeoJSON from a GIS."
            )
        properties = [item.get("properties") for item in features]
        rows = [row if isinstance(row, dict) else {} for row in properties]
        columns = tuple(dict.fromkeys(key for row in rows for key in row))
        fields = {key: _values([row.get(key) for row in rows]) for key in columns}
        texts = [json.dumps(item.get("geometry")) for item in features]
    except OSError as error:
        raise SceneError(f"{path} cannot be read ({error.strerror}); correct the path.") from error
    except (ValueError, RecursionError) as error:
        raise SceneError(
            f"{path.name} is no valid JSON ({reason(error)}): is it complete?"
        ) from error
    geometries = np.asarray(shapely.from_geojson(texts, on_invalid="ignore"), dtype=object)
    kinds = sorted({geometry.geom_type for geometry in geometries if geometry is not None})
    crs = _geojson_crs(data, path)
    return Layer(
        " and ".join(kinds) or "none",
        crs,
        columns,
        fields,
        np.asarray(shapely.bounds(geometries)).reshape(-1, 4),
        lambda index: geometries[index],
    )


def _values(values: list[Any]) -> NDArray[Any]:
    found = np.empty(len(values), dtype=object)
    found[:] = [json.dumps(v) if isinstance(v, dict | list) else v for v in values]
    return found


def _geojson_crs(data: dict[str, Any], path: Path) -> CRS | None:
    crs = data.get("crs", {"type": "name", "properties": {"name": "EPSG:4326"}})
    if crs is None:
        return None
    properties = crs.get("properties") if isinstance(crs, dict) else None
    name = properties.get("name") if isinstance(properties, dict) else None
    if not isinstance(name, str) or not _CRS_NAME.fullmatch(name):
        raise SceneError(
            f"{path.name} has a 'crs' that is no name such as urn:ogc:def:crs:EPSG::32617; a CRS"
            " that is linked is not fetched: save the file as a GeoPackage."
        )
    return _crs("EPSG:4326" if name.upper().endswith("CRS84") else name, path)


def _crs(text: str | None, path: Path) -> CRS | None:
    if text is None:
        return None
    try:
        with rasterio.Env():  # which logs PROJ's complaint instead of printing it
            return CRS.from_user_input(text)
    except CRSError as error:
        raise SceneError(
            f"{path.name} has a CRS that is not known ({text[:60]}): save it in a CRS with an EPSG"
            " code."
        ) from error


def _column(name: str, values: NDArray[Any]) -> ColumnInfo:
    found = [value for value in values.tolist() if value is not None and value == value]
    counts = Counter(str(value)[:60] for value in found)
    kind = _KINDS.get(values.dtype.kind, "text")
    types = {type(value) for value in found}
    if values.dtype.kind == "O" and types:  # of GeoJSON, whose columns have no type of their own
        if types <= {int, float}:
            kind = "real" if float in types else "integer"
        elif types == {bool}:
            kind = "boolean"
    return ColumnInfo(name, kind, len(counts), tuple(counts.most_common(8)))
