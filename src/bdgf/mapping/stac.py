"""A STAC item beside every map that lies on the ground, so that catalogues find it.

Source: SpatioTemporal Asset Catalog 1.0.0, item specification; extensions projection 1.1.0,
classification 2.0.0 and processing 1.1.0.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.enums import WktVersion
from rasterio.errors import CRSError, RasterioError
from rasterio.warp import transform as warp
from rasterio.warp import transform_geom

from bdgf import __version__
from bdgf.files import JSON_ERRORS, atomic_write_text
from bdgf.mapping.legend import Legend
from bdgf.mapping.writing import Grid
from bdgf.scene import grid as grids

EXTENSIONS = (
    "https://stac-extensions.github.io/projection/v1.1.0/schema.json",
    "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
    "https://stac-extensions.github.io/processing/v1.1.0/schema.json",
)

_COG = "image/tiff; application=geotiff; profile=cloud-optimized"
_DIGITS = 7  # a centimetre
_PARTS = 8


def moment(text: str) -> datetime:
    """Return a date or time of ISO 8601; without an offset it counts as UTC.

    Raises:
        ValueError: The text is no such time.
    """
    found = datetime.fromisoformat(text)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def write_item(
    path: Path,
    identifier: str,
    grid: Grid,
    legend: Legend,
    assets: Mapping[str, Path],
    acquired: str = "",
) -> None:
    """Write the STAC item of a map, whole or not at all.

    A grid without coordinates on the ground gets none, and one that an earlier map has left is
    removed.

    Args:
        path: Where the item goes.
        identifier: Its id.
        grid: Grid of the map.
        legend: Classes of the map.
        assets: Where "map" and "confidence" lie; they are named relative to the item.
        acquired: When the rasters were taken (ISO 8601); empty takes the present time, which is
            also what ``created`` says.

    Raises:
        RunFolderError: The folder cannot be written.
    """
    footprint = _footprint(grid)
    if footprint is None:
        path.unlink(missing_ok=True)
        return
    now = datetime.now(UTC)
    when = moment(acquired) if acquired else now
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": list(EXTENSIONS),
        "id": identifier,
        "geometry": shapely.geometry.mapping(footprint),
        "bbox": _bbox(footprint),
        "properties": {
            "datetime": _written(when),
            "created": _written(now),
            "title": f"Land cover of {identifier}",
            "description": f"Classes and their probabilities, mapped by bdgf {__version__}",
            **_projection(grid),
            "processing:software": {"bdgf": __version__},
        },
        "links": [],
        "assets": _assets(path, legend, assets),
    }
    atomic_write_text(path, json.dumps(item, indent=2, ensure_ascii=False) + "\n")


def is_dated(path: Path, acquired: str) -> bool:
    """Tell whether an item that is there says what ``write_item`` would of the time.

    Args:
        path: The item.
        acquired: When the rasters were taken (ISO 8601); empty for the time of writing.
    """
    if not path.is_file():
        return True
    try:
        said = json.loads(path.read_text(encoding="utf-8"))["properties"]
        wanted = _written(moment(acquired)) if acquired else said["created"]
        return bool(said["datetime"] == wanted)
    except (*JSON_ERRORS, KeyError, TypeError):
        return False


def _assets(path: Path, legend: Legend, assets: Mapping[str, Path]) -> dict[str, Any]:
    def href(target: Path) -> str:
        relative = Path(os.path.relpath(target, path.parent)).as_posix()
        return quote(relative if relative.startswith("..") else f"./{relative}")

    table = assets["map"].with_name(f"{assets['map'].name}.aux.xml")
    return {
        "map": {
            "href": href(assets["map"]),
            "type": _COG,
            "title": "Class of every pixel",
            "roles": ["data"],
            "classification:classes": legend.stac_classes(),
        },
        "confidence": {
            "href": href(assets["confidence"]),
            "type": _COG,
            "title": "Probability of the class, NaN for no data",
            "roles": ["confidence"],
        },
        "attributes": {
            "href": href(table),
            "type": "application/xml",
            "title": "Raster attribute table of the map, as GDAL reads it",
            "roles": ["metadata"],
        },
        "style": {
            "href": href(assets["map"].with_suffix(".qml")),
            "type": "application/xml",
            "title": "Style of the map for QGIS",
            "roles": ["metadata"],
        },
    }


def _projection(grid: Grid) -> dict[str, Any]:
    transform, crs = grid.transform, grid.crs
    if transform is None or crs is None:
        return {}
    whole = grids.Grid(grid.height, grid.width, transform, crs)
    found: dict[str, Any] = {
        "proj:epsg": crs.to_epsg(),
        "proj:shape": [grid.height, grid.width],
        "proj:transform": [float(value) for value in tuple(transform)[:6]],
        "proj:bbox": list(whole.bounds or ()),
    }
    if found["proj:epsg"] is None:
        found["proj:wkt2"] = crs.to_wkt(version=WktVersion.WKT2_2019)
    return found


def has_item(grid: Grid) -> bool:
    """Tell whether a map on a grid gets an item: it needs coordinates on the ground."""
    return _footprint(grid) is not None


def _footprint(grid: Grid) -> Any | None:  # noqa: ANN401
    """The outline in longitude and latitude, cut at the antimeridian; None where it has none."""
    transform, crs = grid.transform, grid.crs
    if transform is None or transform.is_identity or crs is None:
        return None
    # points along the edges: straight lines on the grid are none in degrees
    shares = [part / _PARTS for part in range(_PARTS)]
    ring = [
        *((0.0, share) for share in shares),
        *((share, 1.0) for share in shares),
        *((1.0, 1.0 - share) for share in shares),
        *((1.0 - share, 0.0) for share in shares),
    ]
    points = [grids.apply(transform, col * grid.width, row * grid.height) for col, row in ring]
    try:
        lon, lat = np.array(warp(crs, "EPSG:4326", *zip(*points, strict=True))[:2])
        polygon = _unwrapped(lon, lat)
        if polygon is None:  # around a pole, or beyond the projection's edge
            outline = {"type": "Polygon", "coordinates": [[*points, points[0]]]}
            found = transform_geom(crs, "EPSG:4326", outline, antimeridian_cutting=True)
            polygon = shapely.geometry.shape(found)
    except (CPLE_BaseError, RasterioError, CRSError):
        return None
    polygon = shapely.set_precision(polygon, 10.0**-_DIGITS)
    # the outline counts counter-clockwise in GeoJSON
    return None if polygon.is_empty else shapely.orient_polygons(polygon)


def _unwrapped(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> Any | None:  # noqa: ANN401
    """A ring of degrees, of any turn of the earth, as what it covers from -180 to 180.

    Returns:
        A polygon, or several where the antimeridian cuts it; None where the ring goes around the
        earth, or is not finite.
    """
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        return None
    # neighbours on the ring lie less than half a turn apart
    steps = np.diff(lon, append=lon[:1])
    steps -= 360.0 * np.round(steps / 360.0)
    if abs(steps.sum()) > 1.0:
        return None
    lon = lon[0] + np.concatenate([[0.0], np.cumsum(steps[:-1])])
    ring = shapely.Polygon(np.column_stack([lon, lat]))
    earth = shapely.box(-180.0, -90.0, 180.0, 90.0)
    first, last = int((lon.min() + 180.0) // 360.0), int((lon.max() + 180.0) // 360.0)
    turns = [
        shapely.transform(ring, lambda at, turn=turn: at - [360.0 * turn, 0.0])
        for turn in range(first, last + 1)
    ]
    covered = shapely.union_all(shapely.intersection(turns, earth))
    parts = [part for part in shapely.get_parts(covered) if part.geom_type == "Polygon"]
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)


def _bbox(footprint: Any) -> list[float]:  # noqa: ANN401
    """West, south, east, north; west is larger than east across the antimeridian (RFC 7946)."""
    west, south, east, north = footprint.bounds
    parts = [part.bounds for part in shapely.get_parts(footprint)]
    # what the antimeridian ends on one side and goes on with on the other
    before = [part[0] for part in parts if part[2] == 180.0 and part[0] > -180.0]
    after = [part[2] for part in parts if part[0] == -180.0 and part[2] < 180.0]
    if before and after:
        west, east = min(before), max(after)
    return [round(value, _DIGITS) for value in (west, south, east, north)]


def _written(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")
