"""Files of several rasters: a key says which, and a missing key gets a list."""

from __future__ import annotations

import netCDF4
import numpy as np
import pytest
import rasterio

from bdgf.errors import SceneError
from bdgf.scene.formats.raster import GdalSource, gdal_arrays
from bdgf.scene.windows import Window


def whole(source):
    return source.read(Window(0, 0, source.height, source.width))


def cube(*shape):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def write(path, variables):
    """Write a netCDF file of variables {name: (dimensions, values, attributes)}."""
    with netCDF4.Dataset(path, "w") as file:
        for name, (dimensions, values, attributes) in variables.items():
            for dimension, size in zip(dimensions, values.shape, strict=True):
                if dimension not in file.dimensions:
                    file.createDimension(dimension, size)
            # A name with slashes makes its groups.
            variable = file.createVariable(name, values.dtype, dimensions)
            variable.setncatts(attributes)
            variable[:] = values
    return path


def write_pages(path, values):
    for number, page in enumerate(values):
        with rasterio.open(
            path, "w", driver="GTiff", count=1, height=page.shape[0], width=page.shape[1],
            dtype=page.dtype, **({"append_subdataset": True} if number else {}),
        ) as dataset:  # fmt: skip
            dataset.write(page[None])


def test_several_variables_need_a_key_and_are_listed(tmp_path):
    path = write(
        tmp_path / "a.nc",
        {
            "refl": (("band", "y", "x"), cube(2, 3, 4), {}),
            "dsm": (("y", "x"), cube(3, 4), {}),
            "location/elev": (("y", "x"), cube(3, 4) + 7, {}),
        },
    )
    with pytest.raises(SceneError, match=r"3 rasters, and no key.*refl, dsm, location/elev"):
        GdalSource(path)
    with pytest.raises(SceneError, match=r"no raster 'DSM'.*refl, dsm, location/elev"):
        GdalSource(path, key="DSM")
    assert GdalSource(path, key="refl").bands == 2
    for key in ("location/elev", "/location/elev"):
        source = GdalSource(path, key=key)
        assert source.key == "location/elev"
        np.testing.assert_array_equal(whole(source)[0][0], cube(3, 4) + 7)
    infos = gdal_arrays(path)
    assert {key: info.shape for key, info in infos.items()} == {
        "refl": (2, 3, 4), "dsm": (3, 4), "location/elev": (3, 4),
    }  # fmt: skip
    assert all(info.dtype == np.float32 and info.kind == "float32" for info in infos.values())


def test_bounds_and_coordinate_arrays_are_not_taken_for_the_raster(tmp_path):
    path = write(
        tmp_path / "a.nc",
        {
            "dem": (("y", "x"), cube(3, 4), {"coordinates": "lat lon"}),
            "lat": (("y", "x"), cube(3, 4) + 40, {"units": "degrees_north"}),
            "lon": (("y", "x"), cube(3, 4) + 5, {"units": "degrees_east"}),
        },
    )
    source = GdalSource(path)
    assert source.key == "dem"
    np.testing.assert_array_equal(whole(source)[0][0], cube(3, 4))
    assert set(gdal_arrays(path)) == {"dem", "lat", "lon"}


def test_one_variable_beside_vectors_and_texts_is_taken(tmp_path):
    path = write(tmp_path / "a.nc", {"dsm": (("y", "x"), cube(3, 4), {})})
    with netCDF4.Dataset(path, "a") as file:
        file.createVariable("note", str, ("y",))[:] = np.array(["a", "b", "c"], dtype=object)
        file.createVariable("row", "f4", ("y",))[:] = [1, 2, 3]
    assert GdalSource(path).key == "dsm"
    assert GdalSource(path, key="dsm").bands == 1
    assert set(gdal_arrays(path)) == {"dsm"}


def test_names_with_spaces_and_colons(tmp_path):
    folder = tmp_path / "my data: 2024"
    folder.mkdir()
    variables = {"a": (("y", "x"), cube(3, 4), {}), "b": (("y", "x"), cube(3, 4) + 1, {})}
    source = GdalSource(write(folder / "two layers.nc", variables), key="b")
    np.testing.assert_array_equal(whole(source)[0][0], cube(3, 4) + 1)


def test_pages_of_a_tiff_are_read_by_their_number(tmp_path):
    path = tmp_path / "a.tif"
    values = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    write_pages(path, values)
    source = GdalSource(path)
    np.testing.assert_array_equal(whole(source)[0], values[:1])
    assert "2 pages" in source.notes[0]
    np.testing.assert_array_equal(whole(GdalSource(path, key="2"))[0], values[1:])
    with pytest.raises(SceneError, match=r"no raster '3'.*1, 2"):
        GdalSource(path, key="3")


def test_rasters_without_keys_hold_no_arrays(tmp_path, write_tif):
    assert gdal_arrays(write_tif("a.tif", np.ones((2, 2)))) is None
    with pytest.raises(SceneError, match="remove 'key: x'"):
        GdalSource(tmp_path / "a.tif", key="x")
