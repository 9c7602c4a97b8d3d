"""Reading vector files: what they hold, and no file opened as what it is not."""

from __future__ import annotations

import http.server
import json
import threading

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyogrio import raw
from rasterio.crs import CRS

from bdgf.errors import SceneError
from bdgf.scene.grid import Grid
from bdgf.scene.labels.vector import VectorLabels
from bdgf.scene.labels.vector_files import (
    VECTOR_SUFFIXES,
    describe_vector,
    layer_names,
    load_layer,
)

DRIVERS = {
    ".gpkg": "GPKG",
    ".shp": "ESRI Shapefile",
    ".fgb": "FlatGeobuf",
    ".geojson": "GeoJSON",
}
SLOW = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
GRID = Grid(10, 12, Affine(1, 0, 0, 0, -1, 10), CRS.from_epsg(32617))


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


def test_description(tmp_path):
    boxes = [shapely.box(0, 0, 1, 1), shapely.box(2, 2, 5, 4), None]
    columns = {"kind": ["a", "b", "b"], "size": [1.5, 2.5, np.nan], "id": [1, 2, 3]}
    for name in ("a.gpkg", "a.geojson"):
        path = write(tmp_path / name, boxes, columns, kind="Polygon")
        (layer,) = describe_vector(path)
        assert (layer.name, layer.features, layer.crs) == ("a", 3, "EPSG:32617")
        assert (layer.geometry, layer.extent) == ("Polygon", (0, 0, 5, 4))
        assert [(c.name, c.kind, c.distinct) for c in layer.columns] == [
            ("kind", "text", 2),
            ("size", "real", 2),
            ("id", "integer", 3),
        ]
        assert layer.columns[0].values == (("b", 2), ("a", 1))


@pytest.mark.parametrize("suffix", sorted(VECTOR_SUFFIXES))
def test_any_features_can_be_read(tmp_path, suffix):
    boxes = [shapely.box(3 * i, 0, 3 * i + 1, 1) for i in range(7)]
    path = write(tmp_path / f"a{suffix}", boxes, {"c": list(range(7)), "d": list("abcdefg")})
    assert [name for name, _ in layer_names(path)] == ["a"]
    layer = load_layer(path, "a", "d")
    assert layer.columns == ("c", "d")
    order = [boxes.index(shapely.box(*bounds)) for bounds in layer.bounds]
    assert sorted(order) == list(range(7))
    for index in ([], [4], [5, 1], list(range(6, -1, -1))):
        found = layer.read(np.array(index, dtype=np.intp))
        assert [geometry.bounds for geometry in found] == [boxes[order[i]].bounds for i in index]
    assert "".join(layer.fields["d"].tolist()) == "".join("abcdefg"[i] for i in order)


def test_a_table_has_no_places(tmp_path):
    path = tmp_path / "a.gpkg"
    write(path, [shapely.box(0, 9, 1, 10)], {"c": [1]})
    raw.write(
        path, None, [np.array([1])], ["z"], layer="table", driver="GPKG", append=True, crs=None,
        geometry_type=None,
    )  # fmt: skip
    table = describe_vector(path)[1]
    assert (table.name, table.geometry, table.extent, table.features) == ("table", "none", None, 1)


# --- hostile and damaged files


CLASSES = {1: "water", 2: "forest"}


def opened(path):
    return VectorLabels(path, None, None, CLASSES)


@pytest.mark.parametrize("suffix", sorted(VECTOR_SUFFIXES))
@pytest.mark.parametrize("kind", ["vrt", "pipeline"])
def test_no_file_is_opened_as_something_else(tmp_path, suffix, kind):
    real = write(tmp_path / "real.gpkg", [shapely.box(0, 0, 1, 1)], {"c": [1]})
    text = (
        f"<OGRVRTDataSource><OGRVRTLayer name='real'><SrcDataSource>{real}</SrcDataSource>"
        "</OGRVRTLayer></OGRVRTDataSource>"
        if kind == "vrt"
        else json.dumps(
            {
                "type": "gdal_streamed_alg",
                "command_line": f"gdal vector pipeline ! read {real} ! write --of stream x",
            }
        )
    )
    path = tmp_path / f"a{suffix}"
    path.write_text(text)
    for function in (opened, describe_vector):
        with pytest.raises(SceneError, match=r"a\.\w+ is (not what|no valid|JSON and no)"):
            function(path)


@pytest.mark.parametrize("kind", ["link", "name"])
def test_a_linked_crs_is_not_fetched(tmp_path, kind):
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/crs.wkt"
        crs = {"type": kind, "properties": {"href": address, "url": address}}
        if kind == "name":
            crs["properties"]["name"] = address
        path = tmp_path / "a.geojson"
        path.write_text(json.dumps({"type": "FeatureCollection", "features": [], "crs": crs}))
        with pytest.raises(SceneError, match="a CRS that is linked is not fetched"):
            opened(path)
        server.shutdown()
    assert asked == []


def test_paths_that_the_reader_would_take_for_another_file(tmp_path):
    folder = tmp_path / "a!b"
    folder.mkdir()
    path = write(tmp_path / "a.gpkg", [shapely.box(0, 9, 1, 10)], {"c": [1]})
    with pytest.raises(SceneError, match="characters ! ; \\?"):
        opened(path.rename(folder / "a.gpkg"))
    with pytest.raises(SceneError, match="does not exist"):
        opened(path)
    with pytest.raises(SceneError, match="is no vector file"):
        opened(tmp_path / "a.kml")


def test_a_shapefile_without_its_companions(tmp_path):
    path = write(tmp_path / "a.shp", [shapely.box(0, 9, 1, 10)], {"c": [1]})
    path.with_suffix(".shx").unlink()
    with pytest.raises(SceneError, match="with all of its files"):
        opened(path)


def test_texts_in_another_encoding(tmp_path):
    path = write(tmp_path / "a.shp", [shapely.box(0, 9, 1, 10)], {"c": ["water"]})
    table = path.with_suffix(".dbf")
    table.write_bytes(table.read_bytes().replace(b"water", b"w\xe4ter"))
    with pytest.raises(SceneError, match="not in the encoding"):
        opened(path)


def use(path, column=None):
    """Do everything with a file; only a SceneError is allowed."""
    try:
        describe_vector(path)
        labels = VectorLabels(path, column, None, CLASSES)
        labels.codes(GRID)
        return labels.notes
    except SceneError as error:
        return str(error)


@SLOW
@given(st.sampled_from(sorted(VECTOR_SUFFIXES)), st.binary(max_size=300), st.booleans())
def test_random_bytes(tmp_path_factory, suffix, content, begins):
    starts = {
        ".gpkg": b"SQLite format 3\0",
        ".shp": b"\0\0\x27\x0a",
        ".fgb": b"fgb\x03fgb\0",
        ".geojson": b'{"features": [{"geometry": ',
    }
    path = tmp_path_factory.mktemp("v") / f"a{suffix}"
    path.write_bytes((starts[suffix] if begins else b"") + content)
    assert use(path)


@SLOW
@given(
    st.sampled_from(sorted(VECTOR_SUFFIXES)),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=30),
    st.floats(0.2, 1),
    st.sampled_from([None, "name", "c"]),
)
def test_damaged_files(tmp_path_factory, suffix, changes, cut, column):
    boxes = [shapely.box(2 * i, 2 * i, 2 * i + 1, 2 * i + 3) for i in range(4)]
    columns = {"name": ["water", "forest"] * 2, "c": [1, 2] * 2}
    path = write(tmp_path_factory.mktemp("v") / f"a{suffix}", boxes, columns)
    content = bytearray(path.read_bytes())
    for place, value in changes:
        content[int(place * len(content))] = value
    path.write_bytes(content[: int(cut * len(content))])
    use(path, column)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["type", "coordinates", "properties", "name", "geometry", "c"]),
            inner | st.sampled_from(["Polygon", "Point", "Feature", "EPSG:4326"]),
            max_size=4,
        )
    ),
    max_leaves=12,
)


@SLOW
@given(values, values, values, values)
def test_random_geojson(tmp_path_factory, whole, geometry, properties, crs):
    path = tmp_path_factory.mktemp("v") / "a.geojson"
    feature = {"type": "Feature", "geometry": geometry, "properties": properties}
    for content in (whole, {"features": [feature], "crs": crs}, {"features": [feature, whole]}):
        path.write_text(json.dumps(content))
        use(path)
    path.write_text("[" * 100_000)
    use(path)
