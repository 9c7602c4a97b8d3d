"""Drawing vector labels: against a loop over pixel centres, and every way a file can be odd."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
import rasterio.warp
import shapely
import yaml
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyogrio import raw
from rasterio.crs import CRS

from bdgf.errors import SceneError
from bdgf.scene.grid import Grid
from bdgf.scene.labels.vector import VectorLabels
from bdgf.scene.labels.vector_files import VECTOR_SUFFIXES

UTM = CRS.from_epsg(32617)
CLASSES = {1: "water", 2: "forest", 7: "Bare Soil"}
DRIVERS = {
    ".gpkg": "GPKG",
    ".shp": "ESRI Shapefile",
    ".fgb": "FlatGeobuf",
    ".geojson": "GeoJSON",
}
SLOW = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
NORTH_UP = Affine(1, 0, 0, 0, -1, 10)


def grid_of(height=10, width=12, transform=NORTH_UP, crs=UTM):
    return Grid(height, width, transform, crs)


def write(path, geometries, columns, crs="EPSG:32617", kind=None, **options):
    """Write features; ``columns`` are lists of values by their names."""
    geometries = np.asarray([*geometries, None], dtype=object)[:-1]
    kinds = {geometry.geom_type for geometry in geometries if geometry is not None}
    raw.write(
        path,
        shapely.to_wkb(geometries),
        [
            np.asarray(values, dtype=object if isinstance(values[0], str) else None)
            for values in columns.values()
        ],
        list(columns),
        geometry_type=kind or (kinds.pop() if len(kinds) == 1 else "Unknown"),
        crs=crs,
        driver=DRIVERS[path.suffix],
        **options,
    )
    return path


def opened(path, column=None, layer=None, classes=CLASSES):
    return VectorLabels(path, column, layer, classes)


def centres(grid):
    """Map coordinates of all pixel centres, two arrays (H, W)."""
    cols, rows = np.meshgrid(np.arange(grid.width) + 0.5, np.arange(grid.height) + 0.5)
    t = grid.transform
    return t.a * cols + t.b * rows + t.c, t.d * cols + t.e * rows + t.f


def by_hand(grid, geometries, codes, x=None, y=None):
    """Codes (H, W) by a loop over polygons, large ones first, and pixels too near an edge."""
    if x is None:
        x, y = centres(grid)
    expected = np.zeros((grid.height, grid.width), dtype=np.int32)
    unsure = np.zeros(expected.shape, dtype=bool)
    for place in sorted(range(len(geometries)), key=lambda i: -np.float32(geometries[i].area)):
        polygon = geometries[place]
        expected[shapely.contains_xy(polygon, x, y)] = codes[place]
        unsure |= shapely.distance(polygon.boundary, shapely.points(x, y)) < 1e-6
    return expected, unsure


@st.composite
def polygons(draw):
    """A polygon whose corners lie around a centre, so that it never crosses itself."""
    centre = draw(st.tuples(st.floats(-2, 14), st.floats(-2, 12)))
    radii = draw(st.lists(st.floats(0.3, 6), min_size=3, max_size=7))
    angles = np.linspace(0, 2 * np.pi, len(radii), endpoint=False) + 0.123
    return shapely.Polygon(
        [
            (centre[0] + r * np.cos(a), centre[1] + r * np.sin(a))
            for r, a in zip(radii, angles, strict=True)
        ]
    )


transforms = st.sampled_from(
    [
        NORTH_UP,
        Affine(1, 0, 0, 0, 1, 0),
        Affine(-0.7, 0, 9, 0, -1.3, 11),
        Affine(0.67, 0.6, 1, 0.44, -0.92, 5),
    ]
)


@SLOW
@given(
    st.lists(st.tuples(polygons(), st.sampled_from(list(CLASSES))), min_size=1, max_size=6),
    transforms,
    st.sampled_from(["gpkg", "shp", "fgb"]),
)
def test_polygons_own_the_pixels_whose_centre_they_hold(tmp_path_factory, drawn, transform, ending):
    geometries, codes = [g for g, _ in drawn], [code for _, code in drawn]
    # An index would sort the features of a FlatGeobuf, and the later of two equal ones decides.
    options = {"SPATIAL_INDEX": "NO"} if ending == "fgb" else {}
    path = tmp_path_factory.mktemp("v") / f"a.{ending}"
    write(path, geometries, {"c": codes}, **options)
    grid = grid_of(transform=transform)
    labels = opened(path)
    found = labels.codes(grid)
    expected, unsure = by_hand(grid, geometries, codes)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(np.where(unsure, 0, found), np.where(unsure, 0, expected))
    footprint = shapely.convex_hull(shapely.MultiPoint(corners(grid)))
    away = sum(not geometry.intersects(footprint) for geometry in geometries)
    assert labels.outside == away


def corners(grid):
    t = grid.transform
    places = [(0, 0), (grid.width, 0), (grid.width, grid.height), (0, grid.height)]
    return [(t.a * c + t.b * r + t.c, t.d * c + t.e * r + t.f) for c, r in places]


@SLOW
@given(
    st.lists(
        st.tuples(st.floats(-3, 15), st.floats(-3, 13), st.sampled_from(list(CLASSES))),
        min_size=1,
        max_size=12,
    ),
    transforms,
    st.booleans(),
)
def test_points_own_the_pixel_they_lie_in(tmp_path_factory, drawn, transform, multi):
    codes = [code for _, _, code in drawn]
    geometries = [shapely.Point(x, y) for x, y, _ in drawn]
    if multi:  # two points each
        geometries = [shapely.MultiPoint([(g.x, g.y), (g.x + 1.5, g.y)]) for g in geometries]
    path = write(tmp_path_factory.mktemp("v") / "a.gpkg", geometries, {"c": codes})
    grid = grid_of(transform=transform)
    expected = np.zeros((grid.height, grid.width), dtype=np.int32)
    unsure = expected == 1
    inverse = ~transform
    for geometry, code in zip(geometries, codes, strict=True):
        for x, y in shapely.get_coordinates(geometry):
            col = inverse.a * x + inverse.b * y + inverse.c
            row = inverse.d * x + inverse.e * y + inverse.f
            if 0 <= row < grid.height and 0 <= col < grid.width:
                expected[int(row), int(col)] = code
            near = abs(np.array([row - round(row), col - round(col)])).min() < 1e-6
            for r in (int(np.floor(row - 1e-5)), int(np.floor(row + 1e-5))):
                for c in (int(np.floor(col - 1e-5)), int(np.floor(col + 1e-5))):
                    if near and 0 <= r < grid.height and 0 <= c < grid.width:
                        unsure[r, c] = True
    found = opened(path).codes(grid)
    np.testing.assert_array_equal(np.where(unsure, 0, found), np.where(unsure, 0, expected))


@pytest.mark.parametrize("suffix", sorted(VECTOR_SUFFIXES))
def test_every_format_gives_the_same(tmp_path, suffix):
    geometries = [
        shapely.box(1, 1, 4, 4).difference(shapely.box(2, 2, 3, 3)),
        shapely.MultiPolygon([shapely.box(5, 5, 7, 7), shapely.box(8, 1, 9, 3)]),
    ]
    path = write(tmp_path / f"a{suffix}", geometries, {"name": ["water", "forest"]})
    labels = opened(path)
    codes = labels.codes(grid_of())
    expected = np.zeros((10, 12), dtype=np.int32)
    expected[6:9, 1:4] = 1
    expected[7, 2] = 0
    expected[3:5, 5:7] = 2
    expected[7:9, 8] = 2
    np.testing.assert_array_equal(codes, expected)
    assert labels.column == "name"
    assert labels.notes == ()


@pytest.mark.parametrize("suffix", sorted(VECTOR_SUFFIXES))
def test_edges_are_followed_into_another_crs(tmp_path, suffix):
    # An edge of some degrees is a curve in UTM: its ends lie half a pixel above its middle.
    grid = grid_of(30, 50, Affine(10_000, 0, 300_000, 0, -10_000, 4_300_000))
    x, y = centres(grid)
    lon, lat = rasterio.warp.transform(UTM, "EPSG:4326", x.ravel().tolist(), y.ravel().tolist())
    lon, lat = np.array(lon).reshape(x.shape), np.array(lat).reshape(x.shape)
    geometries = [
        shapely.box(-90, 30, -70, lat[15, 20] - 0.005),
        shapely.box(*np.add((lon[15, 10], lat[25, 10], lon[15, 30], lat[5, 10]), 0.02)),
    ]
    path = write(tmp_path / f"a{suffix}", geometries, {"c": [1, 2]}, crs="EPSG:4326")
    expected, unsure = by_hand(grid, geometries, [1, 2], lon, lat)
    assert not unsure.any()
    assert set(np.unique(expected)) == {0, 1, 2}
    np.testing.assert_array_equal(opened(path).codes(grid), expected)


def test_points_are_moved_into_the_crs_of_the_grid(tmp_path):
    grid = grid_of(transform=Affine(10, 0, 540_000, 0, -10, 4_140_000))
    lon, lat = rasterio.warp.transform(UTM, "EPSG:4326", [540_035.0, 0.0], [4_139_925.0, 1e6])
    points = [shapely.Point(*place) for place in zip(lon, lat, strict=True)]
    path = write(tmp_path / "a.geojson", points, {"c": [2, 1]}, crs="EPSG:4326")
    labels = opened(path)
    found = labels.codes(grid)
    assert np.argwhere(found).tolist() == [[7, 3]]
    assert found[7, 3] == 2
    assert labels.outside == 1


def test_smaller_on_top_and_points_above_all(tmp_path):
    geometries = [
        shapely.Point(2.5, 9.5),
        shapely.box(1, 8, 3, 10),
        shapely.box(0, 5, 5, 10),
        shapely.box(0, 0, 12, 10),
    ]
    path = write(tmp_path / "a.gpkg", geometries, {"c": [2, 1, 7, 1]})
    labels = opened(path)
    found = labels.codes(grid_of())
    assert found[0].tolist() == [7, 1, 2, 7, 7, 1, 1, 1, 1, 1, 1, 1]
    assert found[2].tolist() == [7] * 5 + [1] * 7
    assert found[9].tolist() == [1] * 12
    # All 25 pixels below the middle square lie in class 1 too; the smallest square is class 1.
    assert labels.notes == (
        "a.gpkg: 25 pixels lie in features of different classes; the smallest decided.",
    )


def test_one_file_serves_many_grids(tmp_path):
    geometries = [shapely.box(x, 0, x + 2, 2) for x in range(0, 40, 4)]
    path = write(tmp_path / "a.gpkg", geometries, {"c": [1, 2] * 5})
    labels = opened(path)
    assert labels.features == labels.outside == 10
    for left in (0, 8, 16):
        found = labels.codes(grid_of(4, 8, Affine(1, 0, left, 0, -1, 4)))
        assert found[2].tolist() == [1, 1, 0, 0, 2, 2, 0, 0]
        assert found[:2].max() == 0
    assert labels.outside == 3  # the seventh starts where the third grid ends
    assert labels.codes(grid_of(4, 4, Affine(1, 0, 500, 0, -1, 4))).max() == 0


def test_real_crowns_give_the_real_rasters(shared_data):
    folder = shared_data / "idtrees"
    scene = yaml.safe_load((folder / "scene.yaml").read_text())
    differ = labelled = 0
    for which in ("train", "test"):
        path = folder / f"crowns_{which}.gpkg"
        labels = VectorLabels(path, "taxonID", None, scene["labels"]["classes"])
        for tile in scene["tiles"]:
            with rasterio.open(folder / tile / f"{which}.tif") as dataset:
                truth = dataset.read(1)
                grid = Grid(dataset.height, dataset.width, dataset.transform, dataset.crs)
            found = labels.codes(grid)
            # All labelled pixels agree. 237 more pixels of crowns are 0 in the rasters, in
            # rectangles, as of small crowns of other taxa that the files leave out.
            np.testing.assert_array_equal(found[truth > 0], truth[truth > 0])
            differ += np.count_nonzero(found != truth)
            labelled += np.count_nonzero(truth)
        assert labels.outside == 0
    assert (labelled, differ) == (19_990, 237)


# --- columns


@pytest.mark.parametrize(
    "values",
    [
        [1, 7],
        [1.0, 7.0],
        ["1", "7"],
        ["1.0", " 7 "],
        ["water", "Bare Soil"],
        ["WATER ", "bare_soil"],
    ],
)
def test_columns_hold_codes_or_names(tmp_path, values):
    boxes = [shapely.box(0, 9, 1, 10), shapely.box(2, 9, 3, 10)]
    path = write(tmp_path / "a.gpkg", boxes, {"note": ["x", "y"], "kind": values})
    labels = opened(path)
    assert labels.column == "kind"
    assert labels.codes(grid_of())[0, :3].tolist() == [1, 0, 7]
    assert opened(path, "kind").codes(grid_of())[0, :3].tolist() == [1, 0, 7]


def test_a_name_that_is_a_number_is_a_name(tmp_path):
    path = write(tmp_path / "a.gpkg", [shapely.box(0, 9, 1, 10)], {"c": ["1"]})
    assert opened(path, classes={1: "2", 5: "1"}).codes(grid_of())[0, 0] == 5


def test_unknown_values_are_listed_with_their_counts(tmp_path):
    boxes = [shapely.box(0, 9, 1, 10)] * 3
    path = write(tmp_path / "a.gpkg", boxes, {"c": ["pine", "water", "pine"]})
    with pytest.raises(SceneError, match=r"column c of a.gpkg .*pine \(2 features\).*1 water, 2"):
        opened(path)
    path = write(tmp_path / "b.gpkg", boxes, {"c": [1.5, 3.0, 2.0]})
    with pytest.raises(SceneError, match=r"2 values.*1\.5 \(1 features\), 3\.0"):
        opened(path)


def test_a_column_that_is_not_clear(tmp_path):
    boxes = [shapely.box(0, 9, 1, 10), shapely.box(2, 9, 3, 10)]
    both = {"number": [1, 2], "kind": ["forest", "water"], "note": ["x", "y"]}
    path = write(tmp_path / "a.gpkg", boxes, both)
    with pytest.raises(SceneError, match=r"2 columns.*number \(1, 2\), kind \(forest, water\)"):
        opened(path)
    with pytest.raises(SceneError, match=r"no column 'Kind'; it has number, kind, note"):
        opened(path, "Kind")
    path = write(tmp_path / "b.gpkg", boxes, {"x": ["a", "b"], "y": ["c", "d"]})
    with pytest.raises(SceneError, match=r"0 columns.*x \(a, b\), y \(c, d\)"):
        opened(path)
    # codes beside their names say the same twice
    path = write(tmp_path / "c.gpkg", boxes, {"number": [2, 1], "kind": ["forest", "water"]})
    assert opened(path).codes(grid_of())[0, :3].tolist() == [2, 0, 1]


# --- odd features


def test_what_has_no_class_or_no_geometry_is_left_out_and_counted(tmp_path):
    features = [
        ([[[0, 9], [1, 9], [1, 10], [0, 10], [0, 9]]], "water"),
        (None, "water"),
        ([], "forest"),
        ([[[2, 9], [3, 9], [3, 10], [2, 10], [2, 9]]], None),
        ([[[4, 9], [5, 9], [5, 10], [4, 10], [4, 9]]], "  "),
        ([[[6, 9], [7, 9], [7, 10], [6, 10], [6, 9]]], 0),
        ([[[6, 9], ["x", 9]]], "forest"),
    ]
    path = tmp_path / "a.geojson"
    path.write_text(geojson(features))
    labels = opened(path)
    assert labels.codes(grid_of()).sum() == 1
    assert labels.features == 1
    assert labels.notes == (
        "a.geojson: 3 features have no class and were left out.",
        "a.geojson: 3 features have no geometry and were left out.",
    )
    empty = [shapely.box(0, 9, 1, 10), None, shapely.Polygon()]
    path = write(tmp_path / "b.gpkg", empty, {"c": [1.0, 2.0, np.nan]}, kind="Polygon")
    labels = opened(path)
    assert labels.codes(grid_of()).sum() == 1
    assert [note.split()[1] for note in labels.notes] == ["1", "1"]


@pytest.mark.parametrize("transform", [NORTH_UP, Affine(0.67, 0.6, 1, 0.44, -0.92, 5)])
def test_polygons_between_the_middles_of_pixels_are_counted(tmp_path, transform):
    def on_pixels(left, top, right, bottom):
        corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
        return shapely.Polygon([transform @ corner for corner in corners])

    shapes = [
        on_pixels(2.6, 2.6, 3.4, 3.4),  # between four middles
        on_pixels(4.2, 1.6, 6.8, 2.4),  # wide, between two rows
        on_pixels(5.4, 5.4, 5.6, 5.6),  # round the middle of one
        on_pixels(0.2, 6.2, 6.8, 9.8),
    ]
    path = write(tmp_path / "a.gpkg", shapes, {"c": [1, 1, 2, 2]})
    grid = grid_of(transform=transform)
    labels = opened(path)
    drawn = labels.codes(grid)
    assert set(np.unique(drawn)) == {0, 2}
    assert labels.notes == (
        "a.gpkg: 2 features cover no pixel's middle and label nothing; points, or polygons widened"
        " by a buffer, would.",
    )
    by_strips = opened(path)
    for row in range(grid.height):
        by_strips.codes(grid.rows(row, 1))
    assert by_strips.notes[0] == labels.notes[0]


def geojson(features, crs="urn:ogc:def:crs:EPSG::32617", **more):
    """Text of polygons (coordinates, class)."""
    content = {
        "type": "FeatureCollection",
        "crs": {"type": "name", "properties": {"name": crs}},
        "features": [
            {
                "type": "Feature",
                "properties": {"c": value},
                "geometry": None if at is None else {"type": "Polygon", "coordinates": at},
            }
            for at, value in features
        ],
        **more,
    }
    return json.dumps({key: value for key, value in content.items() if value != "leave out"})


def test_invalid_polygons_are_repaired(tmp_path):
    bow_tie = shapely.Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])
    # smaller than the bow tie, whose halves have areas of opposite sign before the repair
    path = write(tmp_path / "a.gpkg", [shapely.box(0, 4, 1, 6), bow_tie], {"c": [1, 2]})
    labels = opened(path)
    found = labels.codes(grid_of())
    x, y = centres(grid_of())
    expected = np.where((np.abs(x - 5) > np.abs(y - 5)) & (x < 10), 2, 0)
    expected[(x < 1) & (np.abs(y - 5) < 1)] = 1
    on_edge = np.abs(x - 5) == np.abs(y - 5)
    np.testing.assert_array_equal(found[~on_edge], expected[~on_edge])
    assert labels.notes[0] == "a.gpkg: 1 invalid polygons were repaired."


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson"])
def test_lines_are_refused(tmp_path, suffix):
    shapes = [shapely.box(0, 0, 1, 1), shapely.LineString([(0, 0), (5, 5)])]
    path = write(tmp_path / f"a{suffix}", shapes, {"c": [1, 2]})
    with pytest.raises(SceneError, match="1 features that are lines"):
        opened(path).codes(grid_of())


def test_collections_give_their_polygons(tmp_path):
    inner = shapely.GeometryCollection([shapely.box(4, 9, 5, 10), shapely.Point(7.5, 9.5)])
    shape = shapely.GeometryCollection([shapely.box(0, 9, 1, 10), inner])
    path = write(tmp_path / "a.gpkg", [shape], {"c": [1]})
    assert np.flatnonzero(opened(path).codes(grid_of())[0]).tolist() == [0, 4, 7]


# --- places


def test_a_grid_without_coordinates_is_refused(tmp_path):
    path = write(tmp_path / "a.gpkg", [shapely.box(0, 0, 1, 1)], {"c": [1]})
    with pytest.raises(SceneError, match="no raster of the scene has any"):
        opened(path).codes(Grid(5, 5))


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
def test_a_missing_crs_is_taken_as_the_same_and_noted(tmp_path):
    box = [shapely.box(0, 9, 1, 10)]
    path = write(tmp_path / "a.shp", box, {"c": [1]}, crs=None)
    labels = opened(path)
    assert labels.codes(grid_of())[0, 0] == 1
    assert labels.notes == (
        "a.shp names no CRS; a.shp was laid onto the images as if both were in EPSG:32617.",
    )
    labels = opened(write(tmp_path / "b.gpkg", box, {"c": [1]}))
    assert labels.codes(grid_of(crs=None))[0, 0] == 1
    assert "the scene names no CRS" in labels.notes[0]
    labels = opened(path)
    assert labels.codes(grid_of(crs=None))[0, 0] == 1
    assert labels.notes == ()


def test_metres_that_pretend_to_be_degrees_are_refused(tmp_path):
    path = tmp_path / "a.geojson"
    ring = [[[540_000, 4e6], [540_010, 4e6], [540_010, 4_000_010], [540_000, 4e6]]]
    path.write_text(geojson([(ring, 1)], crs="EPSG:4326"))
    with pytest.raises(SceneError, match="coordinates such as 4000010 and is in degrees"):
        opened(path)


def test_layers_are_chosen(tmp_path):
    path = tmp_path / "a.gpkg"
    write(path, [shapely.box(0, 9, 1, 10)], {"c": [1]}, layer="one")
    write(path, [shapely.box(0, 9, 1, 10)], {"c": [2]}, layer="two", append=True)
    raw.write(
        path, None, [np.array([1])], ["z"], layer="table", driver="GPKG", append=True, crs=None,
        geometry_type=None,
    )  # fmt: skip
    with pytest.raises(SceneError, match=r"2 layers with geometries \(one, two\)"):
        opened(path)
    with pytest.raises(SceneError, match=r"no layer 'table'.*one, two"):
        opened(path, layer="table")
    assert opened(path, layer="two").codes(grid_of())[0, 0] == 2
