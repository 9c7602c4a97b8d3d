"""Polygons as GDAL reads them back, against the map they were made of."""

from __future__ import annotations

import contextlib
import sqlite3
from types import SimpleNamespace

import numpy as np
import pyogrio
import pyogrio.raw
import pytest
import rasterio
import rasterio.features
import shapely
from affine import Affine
from rasterio.errors import RasterioIOError

from bdgf.errors import RunFolderError
from bdgf.mapping import polygons as module
from bdgf.mapping.polygons import find_maps, row_areas, write_polygons
from bdgf.mapping.writing import MapWriter
from bdgf.progress import Silent
from bdgf.scene.grid import Grid
from bdgf.scene.windows import Window

NAMES = ('<script>&"', "Wäter", "Soil")
UTM = rasterio.CRS.from_epsg(32632)
PLACE = Affine(5.0, 0.0, 6e5, 0.0, -5.0, 5.3e6)


def _write(folder, classes, confidence, name=None, crs=UTM, transform=PLACE):
    grid = SimpleNamespace(
        height=classes.shape[0], width=classes.shape[1], crs=crs, transform=transform
    )
    paths = [
        folder / (f"{kind}.tif" if name is None else f"{folder_}/{name}.tif")
        for kind, folder_ in (("map", "maps"), ("confidence", "confidence"))
    ]
    with MapWriter(*paths, grid, (2, 5, 9), NAMES, ("#111111", "#222222", "#333333")) as writer:
        writer.write(Window(0, 0, *classes.shape), classes, confidence)


def _values(shape=(40, 53), seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(-1, 3, (shape[0] // 4 + 1, shape[1] // 4 + 1))
    classes = np.kron(coarse, np.ones((4, 4), int))[: shape[0], : shape[1]]
    noise = rng.random(shape) < 0.1
    classes[noise] = rng.integers(-1, 3, int(noise.sum()))
    return classes, rng.random(shape).astype(np.float32)


def _read(path, layer="map"):
    meta, _, wkb, columns = pyogrio.raw.read(path, layer=layer)
    return meta, shapely.from_wkb(wkb), dict(zip(meta["fields"], columns, strict=True))


def _painted(polygons, values, shape, transform=PLACE):
    return rasterio.features.rasterize(
        zip(polygons, values, strict=True), shape, fill=0, transform=transform, dtype="float64"
    )


@pytest.mark.parametrize("batch", [20_000, 7])
def test_without_a_minimum_they_are_the_map(tmp_path, monkeypatch, batch):
    monkeypatch.setattr(module, "_BATCH", batch)
    classes, confidence = _values()
    _write(tmp_path, classes, confidence)
    summary = write_polygons(find_maps(tmp_path), tmp_path / "map.gpkg", 0.0, Silent())
    meta, polygons, columns = _read(tmp_path / "map.gpkg")
    assert rasterio.CRS.from_user_input(meta["crs"]) == UTM
    assert list(columns) == ["code", "class", "area_m2", "confidence"]
    assert summary.before == summary.after == len(polygons) > 30
    assert shapely.is_valid(polygons).all()
    codes = _painted(polygons, columns["code"].tolist(), classes.shape)
    np.testing.assert_array_equal(codes, np.array([0, 2, 5, 9])[classes + 1])
    np.testing.assert_allclose(columns["area_m2"], shapely.area(polygons))
    name_of = dict(zip((2, 5, 9), NAMES, strict=True))
    assert columns["class"].tolist() == [name_of[code] for code in columns["code"]]
    # the mean confidence of every polygon, painted and summed, is that of the map
    painted = _painted(polygons, columns["confidence"].tolist(), classes.shape)
    assert painted.sum() == pytest.approx(confidence[classes >= 0].sum(), rel=1e-5)


def test_no_polygon_is_smaller_than_the_minimum(tmp_path):
    classes, confidence = _values()
    classes[classes < 0] = 0
    classes[0:3, 0:9] = -1
    _write(tmp_path, classes, confidence)
    summary = write_polygons(find_maps(tmp_path), tmp_path / "map.gpkg", 250.0, Silent())
    _, polygons, columns = _read(tmp_path / "map.gpkg")
    assert summary.after == len(polygons) < summary.before
    assert columns["area_m2"].min() >= 250.0
    assert columns["area_m2"].sum() == pytest.approx(25.0 * (classes >= 0).sum())
    codes = _painted(polygons, columns["code"].tolist(), classes.shape)
    np.testing.assert_array_equal(codes == 0, classes < 0)
    assert shapely.is_valid(polygons).all()
    tree = shapely.STRtree(polygons)
    for one, other in tree.query(polygons, "intersects").T:
        if one < other and columns["code"][one] == columns["code"][other]:
            shared = shapely.intersection(polygons[one], polygons[other])
            assert shared.length == 0, "neighbours of one class are one polygon"


def test_tiles_share_a_layer_where_their_system_is_one(tmp_path):
    for name, place in (("a", PLACE), ("b", Affine(5.0, 0.0, 600500.0, 0.0, -5.0, 5.3e6))):
        _write(tmp_path, np.zeros((6, 7), int), np.full((6, 7), 0.5), name, transform=place)
    west = rasterio.CRS.from_epsg(32631)
    _write(tmp_path, np.ones((6, 7), int), np.full((6, 7), 0.5), "c", crs=west)
    write_polygons(find_maps(tmp_path), tmp_path / "map.gpkg", 0.0, Silent())
    assert pyogrio.list_layers(tmp_path / "map.gpkg")[:, 0].tolist() == ["map", "map_2"]
    _, polygons, columns = _read(tmp_path / "map.gpkg")
    assert columns["tile"].tolist() == ["a", "b"]
    assert not polygons[0].intersects(polygons[1])
    meta, _, columns = _read(tmp_path / "map.gpkg", "map_2")
    assert rasterio.CRS.from_user_input(meta["crs"]) == west
    assert columns["class"].tolist() == ["Wäter"]


@pytest.mark.parametrize("crs", [None, "EPSG:32632"])
@pytest.mark.parametrize("transform", [None, Affine.identity()])
def test_without_coordinates_areas_are_pixels(tmp_path, transform, crs):
    classes = np.zeros((6, 7), int)
    classes[2, 3] = 1
    _write(tmp_path, classes, np.full((6, 7), 0.5), crs=crs, transform=transform)
    summary = write_polygons(find_maps(tmp_path), tmp_path / "map.gpkg", 0.0, Silent())
    assert (summary.unit, summary.after) == ("pixels", 2)
    _, polygons, columns = _read(tmp_path / "map.gpkg")
    assert sorted(columns["area_px"]) == [1.0, 41.0]
    system = str(pyogrio.read_info(tmp_path / "map.gpkg")["crs"])
    assert system == "None" or "Undefined" in system  # what GDAL makes of none
    small = polygons[np.argmin(columns["area_px"])]
    assert small.bounds == (3.0, -3.0, 4.0, -2.0), "rows count downwards, as viewers show them"


def test_geopackage_is_one(tmp_path):
    _write(tmp_path, *_values())
    write_polygons(find_maps(tmp_path), tmp_path / "map.gpkg", 0.0, Silent())
    with sqlite3.connect(tmp_path / "map.gpkg") as file:
        assert file.execute("PRAGMA application_id").fetchone() == (0x47504B47,)
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"map.gpkg", "map.tif", "map.qml", "map.tif.aux.xml", "confidence.tif"}


def test_areas_in_degrees_are_those_of_the_ellipsoid():
    size = 1 / 60
    grid = Grid(5400, 10, Affine(size, 0, 5, 0, -size, 90), rasterio.CRS.from_epsg(4326))
    whole = row_areas(grid).sum() * 2 * 360 / size
    assert whole == pytest.approx(510_065_621.724e6, rel=1e-9), "surface of the WGS 84 ellipsoid"
    # a kilometre around 48 degrees north, against an equal-area projection
    part = Grid(6, 8, Affine(size, 0, 11, 0, -size, 48), rasterio.CRS.from_epsg(4326))
    box = {"type": "Polygon", "coordinates": [[(11, 48), (11, 47.9), (11.13333333, 47.9),
                                               (11.13333333, 48), (11, 48)]]}  # fmt: skip
    flat = rasterio.warp.transform_geom("EPSG:4326", "EPSG:6933", box)
    assert row_areas(part).sum() * 8 == pytest.approx(shapely.geometry.shape(flat).area, rel=1e-6)


@pytest.mark.parametrize(
    ("code", "place"),
    [
        (3857, Affine(30.0, 0, 1_200_000, 0, -30.0, 6_800_000)),  # web maps, 52 degrees north
        (4326, Affine(0, 1e-3, 11, 1e-3, 0, 48)),  # turned by 90 degrees
        (4326, Affine(1e-3, 2e-4, 11, -2e-4, -1e-3, 48)),
        (32632, PLACE),
        (3035, Affine(10.0, 0, 4_300_000, 0, -10.0, 3_000_000)),
    ],
)
def test_areas_are_those_on_the_ground(code, place):
    grid = Grid(40, 50, place, rasterio.CRS.from_epsg(code))
    corners = [place @ xy for xy in ((0, 0), (50, 0), (50, 40), (0, 40), (0, 0))]
    box = {"type": "Polygon", "coordinates": [corners]}
    flat = rasterio.warp.transform_geom(f"EPSG:{code}", "EPSG:6933", box)
    expected = shapely.geometry.shape(flat).area
    off = 1e-3 if code == 32632 else 1e-4  # the plane of UTM is left as it is
    assert row_areas(grid).sum() * 50 == pytest.approx(expected, rel=off)


def test_what_is_not_there_gets_one_sentence(tmp_path):
    with pytest.raises(RunFolderError, match=r"neither map\.tif nor"):
        find_maps(tmp_path)
    _write(tmp_path, np.full((4, 5), -1), np.zeros((4, 5)))
    with pytest.raises(RunFolderError, match="no pixel with a class"):
        write_polygons(find_maps(tmp_path), tmp_path / "map.gpkg", 0.0, Silent())
    (tmp_path / "confidence.tif").write_bytes(b"II*\0")
    with pytest.raises(RunFolderError, match=r"confidence\.tif cannot be read"):
        write_polygons(find_maps(tmp_path), tmp_path / "map.gpkg", 0.0, Silent())
    assert not list(tmp_path.glob("*.gpkg*"))


@pytest.mark.parametrize("event", ["the file goes", "the map is new"])
def test_what_happens_meanwhile_gives_no_half_file(tmp_path, monkeypatch, event):
    _write(tmp_path, *_values())
    monkeypatch.setattr(module, "_BATCH", 20)
    append, times = module._append, []

    def disturbed(target, *rest):
        append(target, *rest)
        times.append(target)
        if len(times) == 1 and event == "the file goes":
            target.unlink()
        elif len(times) == 1:
            _write(tmp_path, *_values(seed=1))

    monkeypatch.setattr(module, "_append", disturbed)
    with pytest.raises(RunFolderError, match=r"removed while|written anew while"):
        write_polygons(find_maps(tmp_path), tmp_path / "map.gpkg", 0.0, Silent())
    assert not list(tmp_path.glob("*.gpkg"))


def test_a_geopackage_without_its_spatial_index_is_refused(tmp_path, monkeypatch):
    """As GDAL leaves it on a disk that is nearly full, without a word."""
    _write(tmp_path, *_values())
    append = module._append

    def full(target, *rest):
        append(target, *rest)
        with contextlib.closing(sqlite3.connect(target)) as file:
            file.execute("DELETE FROM gpkg_extensions WHERE extension_name = 'gpkg_rtree_index'")
            file.execute("DROP TABLE rtree_map_geom")
            file.commit()

    monkeypatch.setattr(module, "_append", full)
    with pytest.raises(RunFolderError, match="spatial index"):
        write_polygons(find_maps(tmp_path), tmp_path / "map.gpkg", 0.0, Silent())
    assert not list(tmp_path.glob("*.gpkg"))


def test_a_disk_that_fills_up_is_not_taken_for_a_damaged_map(tmp_path, monkeypatch):
    _write(tmp_path, *_values())

    opened = rasterio.open

    def full(path, mode="r", **about):
        if mode == "w":
            raise RasterioIOError("No space left on device")
        return opened(path, mode, **about)

    monkeypatch.setattr(rasterio, "open", full)
    with pytest.raises(RunFolderError, match=r"map\.gpkg cannot be written .* free its space"):
        write_polygons(find_maps(tmp_path), tmp_path / "map.gpkg", 0.0, Silent())
    assert not list(tmp_path.glob("*.gpkg"))
