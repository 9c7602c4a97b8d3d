"""Names and colours of classes are found where files carry them."""

from __future__ import annotations

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely

from bdgf.scene.inspection.legends import (
    VectorClasses,
    class_columns,
    raster_legend,
    vector_classes,
)
from bdgf.scene.labels.vector_files import describe_vector

AUX = "<PAMDataset><PAMRasterBand band='1'>{}</PAMRasterBand></PAMDataset>"
RAT = (
    "<GDALRasterAttributeTable><FieldDefn><Name>Count</Name><Usage>1</Usage></FieldDefn>"
    "<FieldDefn><Name>VALUE</Name><Usage>5</Usage></FieldDefn>"
    "<FieldDefn><Name>Label</Name><Usage>2</Usage></FieldDefn>"
    "<Row><F>7</F><F>10</F><F>Forest</F></Row><Row><F>9</F><F>20</F><F>Water</F></Row>"
    "</GDALRasterAttributeTable>"
)


def test_attribute_table(write_tif, land, tmp_path):
    path = write_tif("gt.tif", land.classes)
    (tmp_path / "gt.tif.aux.xml").write_text(AUX.format(RAT))
    assert raster_legend(path, [10, 20, 30]) == ({10: "Forest", 20: "Water"}, {})
    assert raster_legend(path, [20]) == ({20: "Water"}, {})


def test_attribute_table_without_usages(write_tif, land, tmp_path):
    table = RAT.replace("<Usage>5</Usage>", "").replace("<Usage>2</Usage>", "")
    path = write_tif("gt.tif", land.classes)
    (tmp_path / "gt.tif.aux.xml").write_text(AUX.format(table))
    assert raster_legend(path, [10, 20])[0] == {10: "Forest", 20: "Water"}


@pytest.mark.parametrize("text", ["", "<PAMDataset>", "<a/>", AUX.format("<x/>")])
def test_other_side_files_are_passed_over(write_tif, land, tmp_path, text):
    path = write_tif("gt.tif", land.classes)
    (tmp_path / "gt.tif.aux.xml").write_text(text)
    assert raster_legend(path, [1, 2, 3]) == ({}, {})


def test_colour_table(write_tif, land):
    path = write_tif("gt.tif", land.classes)
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, {1: (255, 0, 0), 2: (0, 255, 0), 3: (0, 0, 255)})
    assert raster_legend(path, [1, 2])[1] == {1: "#ff0000", 2: "#00ff00"}
    with rasterio.open(path, "r+") as dataset:  # one colour for several classes tells nothing
        dataset.write_colormap(1, {1: (255, 0, 0), 2: (255, 0, 0)})
    assert raster_legend(path, [1, 2])[1] == {}


def test_envi_classification(tmp_path, land):
    path = tmp_path / "gt.dat"
    with rasterio.open(
        path, "w", driver="ENVI", width=45, height=40, count=1, dtype="uint8"
    ) as dataset:
        dataset.write(land.classes, 1)
    header = tmp_path / "gt.hdr"
    text = header.read_text() + "classes = 4\nclass names = {Unclassified, Roof, Lawn, Pond}\n"
    header.write_text(text)
    assert raster_legend(path, [1, 2, 3])[0] == {1: "Roof", 2: "Lawn", 3: "Pond"}


def test_what_is_no_raster(tmp_path):
    (tmp_path / "a.mat").write_bytes(b"x")
    assert raster_legend(tmp_path / "a.mat", [1]) == ({}, {})


@pytest.fixture
def layer(tmp_path):
    """Write points with columns, and describe them."""

    def write(**columns):
        count = len(next(iter(columns.values())))
        path = tmp_path / "points.gpkg"
        pyogrio.raw.write(
            path, shapely.to_wkb(shapely.points(np.arange(count), np.zeros(count))),
            [np.asarray(values) for values in columns.values()], list(columns),
            geometry_type="Point", crs="EPSG:32632",
        )  # fmt: skip
        return path, describe_vector(path)[0]

    return write


@pytest.mark.parametrize(
    ("columns", "chosen"),
    [
        ({"id": [1, 2, 3], "class": [1, 1, 2], "area": [3, 4, 5]}, ["class"]),
        ({"Klasse": ["a", "b", "a"], "count": [7, 8, 9]}, ["Klasse", "count"]),
        ({"species": ["a", "b", "a"], "class_id": [1, 2, 1]}, ["class_id", "species"]),
        ({"anything": ["a", "b", "a"]}, ["anything"]),
        ({"fid_1": [1, 2, 3], "height": [2.5, 3.5, 4.5]}, []),
        ({"area": [1, 2, 3]}, []),
        ({"number": list(range(30)), "other": [1, 2] * 15}, ["other"]),
        ({"class": [1.0, 2.0, 2.0], "share": [1.0, 2.0, 3.0]}, ["class"]),
        ({"class": [1.5, 2.0, 2.0]}, []),
    ],
)
def test_the_columns_of_classes(layer, columns, chosen):
    assert class_columns(layer(**columns)[1]) == chosen


def test_codes_that_no_map_holds_are_no_classes(layer):
    path, info = layer(parcel=[276_000_000_001, 276_000_000_002, 276_000_000_001])
    assert vector_classes(path, info, "parcel") == VectorClasses({}, {})


def test_classes_of_a_layer(layer):
    path, info = layer(code=[3, 1, 3, 0], crop=["maize", "wheat", "maize", "none"])
    assert vector_classes(path, info, "code") == VectorClasses(
        {1: 1, 3: 2}, {1: "wheat", 3: "maize"}
    )
    assert vector_classes(path, info, "crop") == VectorClasses(
        {1: 2, 2: 1, 3: 1}, {1: "maize", 2: "none", 3: "wheat"}, by_name=True
    )


def test_numbers_that_are_stored_as_texts_are_codes(layer):
    path, info = layer(lc=["10", "2", "10", "-1"], crop=["maize", "wheat", "maize", "?"])
    assert vector_classes(path, info, "lc") == VectorClasses(
        {-1: 1, 2: 1, 10: 2}, {-1: "?", 2: "wheat", 10: "maize"}
    )
    path, info = layer(lc=["10", "2", "10", "two"])
    assert vector_classes(path, info, "lc").names == {1: "10", 2: "2", 3: "two"}


def test_texts_that_do_not_go_with_the_codes_are_no_names(layer):
    path, info = layer(code=[1, 1, 2], owner=["A", "B", "C"])
    assert vector_classes(path, info, "code") == VectorClasses({1: 2, 2: 1}, {})


def test_a_file_of_several_rasters_has_no_colour_table(tmp_path):
    netCDF4 = pytest.importorskip("netCDF4")
    with netCDF4.Dataset(tmp_path / "a.nc", "w") as nc:
        nc.createDimension("y", 3)
        nc.createDimension("x", 4)
        for name in ("one", "two"):
            nc.createVariable(name, "u1", ("y", "x"))[:] = 1
    assert raster_legend(tmp_path / "a.nc", [1]) == ({}, {})
