"""A netCDF variable is the array that was written, in its place, whatever order it is stored in."""

from __future__ import annotations

import contextlib
import pickle
import warnings

import netCDF4
import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

from bdgf.errors import SceneError
from bdgf.scene.formats.netcdf import read_dimensions
from bdgf.scene.formats.raster import GdalSource, gdal_arrays
from bdgf.scene.windows import Window

FORMS = ["NETCDF4", "NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF4_CLASSIC"]
PROJECTED = {"x": "projection_x_coordinate", "y": "projection_y_coordinate"}


def whole(source):
    return source.read(Window(0, 0, source.height, source.width))


def write(path, variables, coordinates=None, form="NETCDF4", crs=None):
    """Write variables {name: (dimensions, values, attributes)} and coordinates {name: (...)}."""
    with netCDF4.Dataset(path, "w", format=form) as file:
        for name, (dimensions, values, attributes) in variables.items():
            group = file
            if "/" in name:
                group = file.createGroup(name.rpartition("/")[0])
            for dimension, size in zip(dimensions, values.shape, strict=True):
                if dimension not in file.dimensions:
                    file.createDimension(dimension, size)
            attributes = dict(attributes)
            variable = group.createVariable(
                name.rpartition("/")[2], values.dtype, dimensions,
                fill_value=attributes.pop("_FillValue", None),
                chunksizes=attributes.pop("chunks", None),
            )  # fmt: skip
            variable.set_auto_maskandscale(False)
            variable.setncatts(attributes)
            if crs is not None:
                variable.grid_mapping = "spatial_ref"
            variable[:] = values
        for name, (values, attributes) in (coordinates or {}).items():
            if name not in file.dimensions:
                file.createDimension(name, len(values))
            variable = file.createVariable(name, np.asarray(values).dtype, (name,))
            variable.setncatts(attributes)
            variable[:] = values
        if crs is not None:
            mapping = file.createVariable("spatial_ref", "i4", ())
            mapping.crs_wkt = rasterio.crs.CRS.from_user_input(crs).to_wkt()
    return path


def cube(*shape):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


@pytest.mark.parametrize("form", FORMS)
def test_variable_without_coordinates_is_in_file_order(tmp_path, form):
    values = cube(2, 3, 4)
    source = GdalSource(
        write(tmp_path / "a.nc", {"refl": (("band", "y", "x"), values, {})}, form=form)
    )
    np.testing.assert_array_equal(whole(source)[0], values)
    assert (source.key, source.transform, source.crs, source.notes) == ("refl", None, None, ())
    read, _ = source.read(Window(1, 2, 2, 1))
    np.testing.assert_array_equal(read, values[:, 1:3, 2:3])


@pytest.mark.parametrize(
    "order", ["band y x", "y x band", "y band x", "x y band", "band x y", "x band y"]
)
@pytest.mark.parametrize("form", FORMS[:2])
@pytest.mark.parametrize("names", [{}, {"band": "wavelength"}, {"y": "downtrack", "x": "sample"}])
def test_every_order_of_axes_is_put_right(tmp_path, order, form, names):
    values = cube(2, 3, 4)
    axes = [("band", "y", "x").index(axis) for axis in order.split()]
    stored = values.transpose(axes)
    dimensions = tuple(names.get(axis, axis) for axis in order.split())
    path = write(tmp_path / "a.nc", {"refl": (dimensions, stored, {})}, form=form)
    source = GdalSource(path)
    assert (source.bands, source.height, source.width) == (2, 3, 4)
    np.testing.assert_array_equal(whole(source)[0], values)
    for row in range(3):
        for col in range(4):
            read, valid = source.read(Window(row, col, 1, 1))
            np.testing.assert_array_equal(read[:, 0, 0], values[:, row, col])
            assert valid.all()
    np.testing.assert_array_equal(
        source.read_bands(Window(0, 1, 2, 2), [2])[0], values[1:, 0:2, 1:3]
    )
    assert gdal_arrays(path)["refl"].shape == (2, 3, 4)


def test_two_dimensions_either_way(tmp_path):
    values = cube(3, 4)
    for name, dimensions, stored in (
        ("a.nc", ("y", "x"), values),
        ("b.nc", ("x", "y"), values.T),
        ("c.nc", ("lon", "lat"), values.T),
    ):
        source = GdalSource(write(tmp_path / name, {"dsm": (dimensions, stored, {})}))
        assert source.bands == 1
        np.testing.assert_array_equal(whole(source)[0][0], values)


Y_UP, Y_DOWN = np.array([105.0, 115, 125]), np.array([125.0, 115, 105])
X_RIGHT = np.array([12.0, 14, 16, 18])


@pytest.mark.parametrize("form", FORMS[:2])
@pytest.mark.parametrize("attributes", [True, False])
@pytest.mark.parametrize("crs", [None, "EPSG:32632"])
@pytest.mark.parametrize("y", [Y_UP, Y_DOWN])
@pytest.mark.parametrize("order", ["band y x", "y x wavelength", "x y band"])
def test_pixels_lie_where_the_coordinates_say(tmp_path, order, y, crs, attributes, form):
    """The value of every pixel names its own coordinates."""
    dimensions = order.split()
    grid = {"y": y, "x": X_RIGHT}
    bands = next(d for d in dimensions if d not in grid)
    axes = [np.asarray(grid.get(d, [0.0, 0.0])) for d in dimensions]
    mesh = dict(zip(dimensions, np.meshgrid(*axes, indexing="ij"), strict=True))
    stored = (mesh["y"] * 100 + mesh["x"]).astype(np.float32)
    coordinates = {
        name: (values, {"standard_name": PROJECTED[name]} if attributes else {})
        for name, values in grid.items()
    }
    source = GdalSource(
        write(tmp_path / "a.nc", {"r": (tuple(dimensions), stored, {})}, coordinates, form, crs)
    )
    assert (source.bands, source.height, source.width) == (2, 3, 4), bands
    read, _ = whole(source)
    for row in range(3):
        for col in range(4):
            at_x, at_y = source.transform @ (col + 0.5, row + 0.5)
            assert read[0, row, col] == at_y * 100 + at_x
    assert source.transform.e < 0
    assert source.crs == (rasterio.crs.CRS.from_user_input(crs) if crs else None)
    window, _ = source.read(Window(1, 1, 2, 2))
    np.testing.assert_array_equal(window, read[:, 1:3, 1:3])


def test_degrees_from_south_to_north(tmp_path):
    values = cube(3, 4)
    path = write(
        tmp_path / "a.nc",
        {"dem": (("lat", "lon"), values, {})},
        {
            "lat": (np.array([40.0, 41, 42]), {"units": "degrees_north"}),
            "lon": (np.array([5.0, 6, 7, 8]), {"units": "degrees_east"}),
        },
    )
    source = GdalSource(path)
    np.testing.assert_array_equal(whole(source)[0][0], values[::-1])
    assert source.transform == rasterio.Affine(1, 0, 4.5, 0, -1, 42.5)


@pytest.mark.parametrize("first", [0.0, 1.0])
@pytest.mark.parametrize("order", ["y x", "x y"])
def test_coordinates_that_count_pixels_are_no_places(tmp_path, first, order):
    values = cube(3, 4)
    stored = values if order == "y x" else values.T
    path = write(
        tmp_path / "a.nc",
        {"dem": (tuple(order.split()), stored, {})},
        {
            "y": (first + np.arange(3.0), {"standard_name": PROJECTED["y"]}),
            "x": (first + np.arange(4.0), {"standard_name": PROJECTED["x"]}),
        },
    )
    source = GdalSource(path)
    np.testing.assert_array_equal(whole(source)[0][0], values)
    assert source.transform is None


@pytest.mark.parametrize("order", ["y x", "x y"])
def test_uneven_coordinates_give_no_transform_and_file_order(tmp_path, order):
    values = cube(3, 4)
    path = write(
        tmp_path / "a.nc",
        {"dem": (tuple(order.split()), values if order == "y x" else values.T, {})},
        {"y": (np.array([1.0, 20, 30]), {}), "x": (X_RIGHT, {})},
        crs="EPSG:32632",
    )
    source = GdalSource(path)
    np.testing.assert_array_equal(whole(source)[0][0], values)
    assert source.transform is None
    assert source.crs.to_epsg() == 32632


@pytest.mark.parametrize("order", ["y x", "band y x", "y x wavelength"])
@pytest.mark.parametrize("form", FORMS[:2])
def test_packed_values_are_unpacked_and_gaps_masked(tmp_path, order, form):
    raw = np.array([[1, 2, -999, 4], [5, -5, 7, -6], [9, 10, 11, 3000]], dtype=np.int16)
    attributes = {
        "_FillValue": np.int16(-999), "missing_value": np.array([-5, -6], dtype=np.int16),
        "scale_factor": 0.5, "add_offset": 100.0, "valid_max": np.int16(2000),
    }  # fmt: skip
    shape = {"y": 3, "x": 4}
    dimensions = tuple(order.split())
    # The same values in every band, wherever the axis of bands is.
    expanded = raw.reshape([shape.get(d, 1) for d in dimensions])
    stored = np.broadcast_to(expanded, [shape.get(d, 2) for d in dimensions])
    source = GdalSource(
        write(tmp_path / "a.nc", {"t": (dimensions, stored, attributes)}, form=form)
    )
    values, valid = whole(source)
    assert source.dtype == np.float32
    assert source.nodata == -999
    expected = ~np.isin(raw, [-999, -5, -6, 3000])
    for band in range(source.bands):
        np.testing.assert_array_equal(valid[band], expected)
        np.testing.assert_allclose(values[band], np.where(expected, raw * 0.5 + 100, 0))
        one, good = source.read_bands(Window(1, 1, 1, 3), [band + 1])
        np.testing.assert_array_equal(one[0], values[band, 1:2, 1:4])
        np.testing.assert_array_equal(good[0], valid[band, 1:2, 1:4])


def test_unsigned_values_of_the_classic_format(tmp_path):
    stored = np.array([[1, -2], [-128, 3]], dtype=np.int8)
    path = write(
        tmp_path / "a.nc", {"t": (("y", "x"), stored, {"_Unsigned": "true"})}, form=FORMS[1]
    )
    source = GdalSource(path)
    np.testing.assert_array_equal(whole(source)[0][0], stored.view(np.uint8))
    assert source.dtype == np.uint8


@pytest.mark.parametrize(
    ("name", "values", "unit", "expected"),
    [
        ("wavelength", [442.7, 665.5], "nm", (442.7, 665.5)),
        ("wavelength", [0.4427, 0.6655], "micrometers", (442.7, 665.5)),
        ("wavelength", [442.7, 665.5], "", (442.7, 665.5)),
        ("band", [442.7, 665.5], "nanometers", (442.7, 665.5)),
        ("band", [1.0, 2.0], "", (None, None)),
        ("band", [1.0, 2.0], "hours", (None, None)),
    ],
)
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("form", FORMS[:2])
def test_wavelengths_along_a_dimension(tmp_path, name, values, unit, expected, first, form):
    dimensions = (name, "y", "x") if first else ("y", "x", name)
    stored = cube(2, 3, 4) if first else cube(3, 4, 2)
    path = write(
        tmp_path / "a.nc", {"r": (dimensions, stored, {})},
        {name: (np.array(values), {"units": unit} if unit else {})}, form,
    )  # fmt: skip
    assert GdalSource(path).wavelengths == expected


def test_wavelengths_in_another_group(tmp_path):
    path = write(
        tmp_path / "a.nc",
        {"reflectance": (("downtrack", "crosstrack", "bands"), cube(3, 4, 2), {})},
    )
    with netCDF4.Dataset(path, "a") as file:
        group = file.createGroup("sensor_band_parameters")
        variable = group.createVariable("wavelengths", "f4", ("bands",))
        variable[:] = [381.0, 388.5]
        variable.units = "nm"
    assert GdalSource(path).wavelengths == (381.0, 388.5)


def test_four_dimensions_are_bands_in_the_natural_order_only(tmp_path):
    values = cube(2, 3, 4, 5)
    source = GdalSource(write(tmp_path / "a.nc", {"r": (("time", "band", "y", "x"), values, {})}))
    np.testing.assert_array_equal(whole(source)[0], values.reshape(6, 4, 5))
    path = write(tmp_path / "b.nc", {"r": (("y", "x", "time", "wavelength"), values, {})})
    with pytest.raises(SceneError, match=r"dimensions y, x, time, wavelength.*this order"):
        GdalSource(path)


@settings(max_examples=25, deadline=None)
@given(
    dtype=st.sampled_from(["i1", "u1", "i2", "u2", "i4", "u4", "i8", "f4", "f8"]),
    shape=st.tuples(*[st.integers(1, 5)] * 3),
    form=st.sampled_from(FORMS),
    nodata=st.sampled_from([None, 0, 7]),
    chunked=st.booleans(),
)
def test_any_array_comes_back(tmp_path_factory, dtype, shape, form, nodata, chunked):
    if form != "NETCDF4" and dtype in ("u1", "u2", "u4", "i8"):
        dtype = "i2"
    values = (np.arange(np.prod(shape)) % 100).astype(dtype).reshape(shape)
    attributes = {} if nodata is None else {"_FillValue": np.dtype(dtype).type(nodata)}
    if chunked and form.startswith("NETCDF4"):
        attributes["chunks"] = tuple(max(1, size // 2) for size in shape)
    path = tmp_path_factory.mktemp("nc") / "a.nc"
    write(path, {"r": (("band", "y", "x"), values, attributes)}, form=form)
    source = GdalSource(path)
    read, valid = whole(source)
    expected = np.ones(shape, dtype=bool) if nodata is None else values != nodata
    np.testing.assert_array_equal(valid, expected)
    np.testing.assert_array_equal(read, np.where(expected, values, 0).astype(np.float32))
    assert source.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(whole(pickle.loads(pickle.dumps(source)))[0], read)


# Always the same damage: on rare others the HDF5 library of GDAL does not come back.
@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data(), form=st.sampled_from(FORMS))
def test_damaged_file_is_refused_or_read_without_another_error(tmp_path_factory, data, form):
    path = tmp_path_factory.mktemp("nc") / "a.nc"
    write(
        path, {"r": (("y", "x", "band"), cube(6, 7, 3), {})},
        {"y": (np.arange(6.0) * 2, {}), "x": (np.arange(7.0) * 2, {})}, form,
    )  # fmt: skip
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    for _ in range(data.draw(st.integers(0, 8))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        for attempt in (lambda: whole(GdalSource(path)), lambda: gdal_arrays(path)):
            with contextlib.suppress(SceneError):
                attempt()


@pytest.mark.parametrize("list_of", ["dimensions", "variables"])
def test_classic_header_on_which_the_library_ends_the_process(tmp_path, list_of):
    path = write(tmp_path / "a.nc", {"r": (("y", "x"), cube(3, 4), {})}, form=FORMS[1])
    content = bytearray(path.read_bytes())
    # The counts of dimensions and of variables become enormous.
    content[content.index(b"\0\0\0\x0a" if list_of == "dimensions" else b"\0\0\0\x0b") + 4] = 0xB7
    path.write_bytes(content)
    for attempt in (GdalSource, gdal_arrays):
        with pytest.raises(SceneError, match=r"a\.nc cannot be read as a netCDF file"):
            attempt(path)


def test_file_without_a_raster(tmp_path):
    path = write(tmp_path / "a.nc", {"row": (("y",), cube(3), {})})
    with pytest.raises(SceneError, match=r"a\.nc cannot be opened.*variable of rows and columns"):
        GdalSource(path)


def test_dimensions_of_what_is_no_netcdf_file(tmp_path):
    (tmp_path / "a.nc").write_bytes(b"CDF\x01 nothing")
    assert read_dimensions(tmp_path / "a.nc", "r") is None
    (tmp_path / "b.nc").write_bytes(b"\x89HDF nothing")
    assert read_dimensions(tmp_path / "b.nc", "r") is None
    assert read_dimensions(tmp_path / "missing.nc", "r") is None
