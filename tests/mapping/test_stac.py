"""The STAC item, read back by pystac and checked against the schemas that it carries."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
import rasterio
from affine import Affine
from shapely.geometry import box, shape

from bdgf.mapping.legend import Legend
from bdgf.mapping.stac import moment, write_item

LEGEND = Legend.of((1, 4), ('<script>&"', "Water"), ("#1f6b2c", "#3b7dd8"))


PLACE = Affine(10.0, 0.0, 6e5, 0.0, -10.0, 5.3e6)


def _grid(epsg=32632, transform=PLACE, crs=True):
    found = rasterio.CRS.from_epsg(epsg) if crs is True else crs
    return SimpleNamespace(height=100, width=200, crs=found, transform=transform)


def _write(folder, grid, **more):
    assets = {"map": folder / "maps" / "a b.tif", "confidence": folder / "confidence" / "a b.tif"}
    path = folder / "maps" / "a b.json"
    write_item(path, "my scene-a b", grid, LEGEND, assets, **more)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def test_pystac_validates_it_and_reads_its_extensions(tmp_path):
    pystac = pytest.importorskip("pystac", reason="pystac is in the test extra")
    pytest.importorskip("jsonschema", reason="jsonschema is in the test extra")
    from pystac.extensions.classification import ClassificationExtension
    from pystac.extensions.projection import ProjectionExtension
    from pystac.validation import validate_dict

    written = _write(tmp_path, _grid(), acquired="2018-08-27T12:36:00+02:00")
    item = pystac.Item.from_dict(json.loads(json.dumps(written)))
    # the schemas of the core come with pystac; those of the extensions lie on the network
    core = {**item.to_dict(), "stac_extensions": []}
    validate_dict(core)
    with pytest.raises(pystac.errors.STACValidationError):
        validate_dict({**core, "properties": {}})
    assert item.datetime == datetime(2018, 8, 27, 10, 36, tzinfo=UTC)
    projection = ProjectionExtension.ext(item)
    assert projection.epsg == 32632
    assert projection.shape == [100, 200]
    assert projection.transform == [10.0, 0.0, 6e5, 0.0, -10.0, 5.3e6]
    assert projection.bbox == [6e5, 5.299e6, 6.02e5, 5.3e6]
    classes = ClassificationExtension.ext(item.assets["map"]).classes
    assert [c.value for c in classes] == [0, 1, 4]
    assert classes[1].color_hint == "1F6B2C"
    assert written["assets"]["map"]["classification:classes"][1]["title"] == '<script>&"'


PREFIXES = {"proj": "projection", "classification": "classification", "processing": "processing"}


def test_it_declares_the_extensions_whose_fields_it_has(tmp_path):
    item = _write(tmp_path, _grid())
    fields = [*item["properties"], *(key for one in item["assets"].values() for key in one)]
    used = {PREFIXES[field.partition(":")[0]] for field in fields if ":" in field}
    declared = {address.split("/")[3] for address in item["stac_extensions"]}
    assert used == declared == set(PREFIXES.values())


def test_fields_have_the_form_that_the_extensions_ask_for(tmp_path):
    item = _write(tmp_path, _grid())
    properties = item["properties"]
    assert type(properties["proj:epsg"]) is int
    assert [type(side) for side in properties["proj:shape"]] == [int, int]
    assert len(properties["proj:transform"]) == 6
    assert all(isinstance(version, str) for version in properties["processing:software"].values())
    classes = item["assets"]["map"]["classification:classes"]
    for one in classes:
        assert one.keys() <= {"value", "name", "title", "color_hint", "nodata"}
        assert type(one["value"]) is int
        assert re.fullmatch(r"[0-9A-Za-z_-]+", one["name"])
        assert re.fullmatch(r"[0-9A-Fa-f]{6}", one.get("color_hint", "000000"))
    assert len({one["name"] for one in classes}) == len(classes)


def test_geometry_is_the_grid_in_degrees(tmp_path):
    item = _write(tmp_path, _grid())
    west, south, east, north = item["bbox"]
    left, bottom, right, top = rasterio.warp.transform_bounds(
        "EPSG:32632", "EPSG:4326", 6e5, 5.299e6, 6.02e5, 5.3e6, densify_pts=21
    )
    assert (west, south, east, north) == pytest.approx((left, bottom, right, top), abs=2e-6)
    outline = shape(item["geometry"])
    assert outline.exterior.is_ccw
    assert outline.within(box(west, south, east, north).buffer(1e-6))
    assert item["stac_version"] == "1.0.0"


def test_links_to_its_files(tmp_path):
    item = _write(tmp_path, _grid())
    hrefs = {name: asset["href"] for name, asset in item["assets"].items()}
    assert hrefs == {
        "map": "./a%20b.tif",
        "confidence": "../confidence/a%20b.tif",
        "attributes": "./a%20b.tif.aux.xml",
        "style": "./a%20b.qml",
    }
    assert "cloud-optimized" in item["assets"]["map"]["type"]


def test_without_a_time_of_the_rasters_it_has_the_time_of_mapping(tmp_path):
    before = datetime.now(UTC).replace(microsecond=0)
    item = _write(tmp_path, _grid())
    assert moment(item["properties"]["datetime"]) >= before
    assert item["properties"]["datetime"] == item["properties"]["created"]
    assert moment("2018-08-27") == datetime(2018, 8, 27, tzinfo=UTC)


def test_a_scene_across_the_antimeridian(tmp_path):
    item = _write(tmp_path, _grid(32660, Affine(1000.0, 0, 7e5, 0, -1000.0, 1e6)))
    west, _, east, _ = item["bbox"]
    assert 178 < west < 180
    assert -180 < east < -178
    assert item["geometry"]["type"] == "MultiPolygon"
    assert all(-180 <= x <= 180 for part in shape(item["geometry"]).geoms for x in part.bounds[::2])


@pytest.mark.parametrize(
    ("crs", "transform", "size", "west", "east", "parts"),
    [
        (4326, (1, 0, 170, 0, -1, 10), 20, 170, -170, 2),
        (4326, (1, 0, 190, 0, -1, 10), 10, -170, -160, 1),
        (4326, (1, 0, -190, 0, -1, 10), 20, 170, -170, 2),
        (4326, (1, 0, 0, 0, -1, 10), 360, -180, 180, 1),
        (4326, (1, 0, -180, 0, -1, 10), 360, -180, 180, 1),
        (4326, (1, 0, 100, 0, -1, 10), 200, 100, -60, 2),
        (4326, (1, 0, 170, 0, -1, 10), 10, 170, 180, 1),
        (3857, (1e4, 0, 20037508.34 - 5e4, 0, -1e4, 0), 10, 179.5508, -179.5508, 2),
        (3857, (1e5, 0, -20037508.34, 0, -1e5, 1e6), 401, -180, 180, 1),
    ],
)
def test_degrees_beyond_half_a_turn_come_back(tmp_path, crs, transform, size, west, east, parts):
    grid = _grid(crs, Affine(*transform))
    grid.height, grid.width = 10, size
    item = _write(tmp_path, grid)
    outline = shape(item["geometry"])
    assert (item["bbox"][0], item["bbox"][2]) == pytest.approx((west, east), abs=1e-4)
    assert len(getattr(outline, "geoms", [outline])) == parts
    assert outline.is_valid
    assert -180 <= outline.bounds[0] < outline.bounds[2] <= 180


def test_a_system_without_a_code_is_written_out(tmp_path):
    crs = rasterio.CRS.from_proj4("+proj=laea +lat_0=47 +lon_0=9 +ellps=GRS80 +units=m")
    item = _write(tmp_path, _grid(crs=crs, transform=Affine(10.0, 0, 0, 0, -10.0, 0)))
    assert item["properties"]["proj:epsg"] is None
    assert rasterio.CRS.from_wkt(item["properties"]["proj:wkt2"]) == crs
    assert item["bbox"][0] == pytest.approx(9.0, abs=1e-3)


@pytest.mark.parametrize(
    "grid",
    [_grid(crs=None), _grid(transform=None), _grid(transform=Affine.identity())],
    ids=["no system", "no transform", "identity"],
)
def test_without_a_place_on_the_ground_there_is_none(tmp_path: Path, grid):
    _write(tmp_path, _grid())
    assert _write(tmp_path, grid) is None
