"""Arrays of several libraries are read as the same raster."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from rasterio.crs import CRS

from bdgf.errors import SceneError
from bdgf.scene.formats.memory import MemorySource
from bdgf.scene.windows import Window

VALUES = np.random.default_rng(0).normal(size=(4, 9, 11)).astype(np.float32)
WINDOW = Window(2, 3, 5, 4)


class Counting:
    """Looks like a lazy array, and keeps what was asked of it."""

    def __init__(self, values):
        self.values, self.shape, self.asked = values, values.shape, []

    def __getitem__(self, key):
        part = self.values[key]
        self.asked.append(part.size)
        return part


@pytest.mark.parametrize(
    "array",
    [
        VALUES,
        torch.from_numpy(VALUES),
        torch.from_numpy(VALUES).requires_grad_(),
        VALUES.astype(np.float64),
        Counting(VALUES),
    ],
    ids=["numpy", "torch", "gradient", "float64", "lazy"],
)
def test_arrays_are_bands_rows_columns(array):
    source = MemorySource("hsi", array)
    assert (source.bands, source.height, source.width) == (4, 9, 11)
    values, valid = source.read(WINDOW)
    np.testing.assert_array_equal(values, VALUES[:, 2:7, 3:7])
    assert valid.all()
    assert values.dtype == np.float32


def test_a_tensor_of_sixteen_bits():
    source = MemorySource("hsi", torch.full((2, 3, 4), 1.5, dtype=torch.bfloat16))
    assert (source.read(Window(0, 0, 3, 4))[0] == 1.5).all()


def test_arrays_of_dask_with_and_without_coordinates_are_read_by_parts():
    dask = pytest.importorskip("dask.array", reason="dask is in the test extra")
    xarray = pytest.importorskip("xarray", reason="xarray is in the test extra")
    computed = []

    def part(block, block_info=None):
        computed.append(block_info[0]["chunk-location"])
        return block

    chunks = dask.from_array(VALUES, chunks=(4, 5, 6))
    lazy = chunks.map_blocks(part, dtype=VALUES.dtype, meta=np.empty((0, 0, 0), VALUES.dtype))
    y, x = 100.0 - 10 * np.arange(9), 200.0 + 10 * np.arange(11)
    named = xarray.DataArray(lazy, dims=("band", "y", "x"), coords={"y": y, "x": x})
    for array in (lazy, named, named.transpose("y", "x", "band")):
        source = MemorySource("hsi", array)
        computed.clear()
        values, valid = source.read(Window(6, 1, 2, 4))
        np.testing.assert_array_equal(values, VALUES[:, 6:8, 1:5])
        assert valid.all()
        assert set(computed) == {(0, 1, 0)}, "the part that holds the window, and no other"
    assert source.transform == Affine(10, 0, 195, 0, -10, 105)


def test_a_raster_that_rioxarray_opened_lazily_is_read_as_its_file(tmp_path):
    pytest.importorskip("dask", reason="dask is in the test extra")
    rioxarray = pytest.importorskip("rioxarray", reason="rioxarray is in the test extra")
    place = {"crs": "EPSG:32632", "transform": Affine(10, 0, 5e5, 0, -10, 5e6)}
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", height=9, width=11, count=4, dtype="float32",
        nodata=-9999, **place,
    ) as raster:  # fmt: skip
        raster.write(np.where(VALUES > 2, np.float32(-9999), VALUES))
    with rioxarray.open_rasterio(tmp_path / "a.tif", chunks={"x": 4, "y": 4}) as opened:
        assert opened.chunks is not None
        source = MemorySource("hsi", opened)
        values, valid = source.read(WINDOW)
    expected = VALUES[:, 2:7, 3:7]
    np.testing.assert_array_equal(valid, expected <= 2)
    np.testing.assert_array_equal(values, np.where(valid, expected, 0))
    assert (source.crs.to_epsg(), source.transform) == (32632, place["transform"])


def test_only_the_window_is_asked_of_a_lazy_array():
    lazy = Counting(VALUES)
    source = MemorySource("hsi", lazy)
    source.read(WINDOW)
    assert max(lazy.asked) == 4 * 5 * 4


def test_two_axes_are_one_band():
    source = MemorySource("dsm", VALUES[0])
    values, _ = source.read(WINDOW)
    np.testing.assert_array_equal(values, VALUES[:1, 2:7, 3:7])


def test_what_is_no_data():
    raw = VALUES.copy()
    raw[0, 2, 3], raw[1, 3, 3], raw[2, 4, 4] = np.nan, np.inf, -9999.0
    values, valid = MemorySource("hsi", raw, nodata=-9999.0).read(WINDOW)
    assert np.argwhere(~valid).tolist() == [[0, 0, 0], [1, 1, 0], [2, 2, 1]]
    assert (values[~valid] == 0).all()


def test_strips_cover_all_rows_once(monkeypatch):
    monkeypatch.setattr("bdgf.scene.formats.memory._STRIP", 4 * 11 * 2)
    parts = list(MemorySource("hsi", VALUES).strips())
    assert len(parts) == 5
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), VALUES)


@pytest.mark.parametrize("dims", [("band", "y", "x"), ("y", "x", "band"), ("x", "band", "y")])
def test_named_dimensions_in_any_order_with_their_place(dims):
    xarray = pytest.importorskip("xarray")
    array = xarray.DataArray(
        VALUES,
        dims=("band", "y", "x"),
        coords={"y": 500.0 - 10 * np.arange(9), "x": 305.0 + 10 * np.arange(11)},
        attrs={"_FillValue": -1.0, "long_name": ("a", "b", "c", "d")},
    )
    source = MemorySource("hsi", array.transpose(*dims))
    np.testing.assert_array_equal(source.read(WINDOW)[0], VALUES[:, 2:7, 3:7])
    assert source.transform == Affine(10, 0, 300, 0, -10, 505)
    assert source.nodata == -1.0
    assert source.band_names == ("a", "b", "c", "d")


def test_crs_and_nodata_as_rioxarray_keeps_them(tmp_path):
    pytest.importorskip("rioxarray")
    import rasterio
    import rioxarray

    path = tmp_path / "a.tif"
    transform = Affine(5, 0, 600_000, 0, -5, 5_300_000)
    with rasterio.open(
        path, "w", driver="GTiff", count=4, height=9, width=11, dtype="float32", nodata=-7.0,
        crs="EPSG:32632", transform=transform,
    ) as file:  # fmt: skip
        file.write(VALUES)
    with rioxarray.open_rasterio(path) as array:
        source = MemorySource("hsi", array)
        assert source.crs == CRS.from_epsg(32632)
        assert source.transform == transform
        assert source.nodata == -7.0
        cut = MemorySource("hsi", array.isel(x=slice(2, None), y=slice(3, None)))
        assert cut.transform == Affine(5, 0, 600_010, 0, -5, 5_299_985)


def test_crs_and_rotation_without_rioxarray_in_use():
    xarray = pytest.importorskip("xarray")
    place = {"crs_wkt": CRS.from_epsg(32632).to_wkt(), "GeoTransform": "100 3 1 200 1 -3"}
    array = xarray.DataArray(
        VALUES, dims=("band", "y", "x"), coords={"spatial_ref": ((), 0, place)}
    )
    source = MemorySource("hsi", array)
    assert source.crs == CRS.from_epsg(32632)
    assert source.transform == Affine(3, 1, 100, 1, -3, 200)
    array.spatial_ref.attrs["GeoTransform"] = "100 3 1 200 1 north"
    with pytest.raises(SceneError, match=r"GeoTransform of hsi is .* must be six numbers"):
        MemorySource("hsi", array)


def test_uneven_coordinates_place_nothing():
    xarray = pytest.importorskip("xarray")
    coords = {"lat": np.geomspace(1, 2, 9), "lon": np.arange(11.0)}
    source = MemorySource("hsi", xarray.DataArray(VALUES[0], dims=("lat", "lon"), coords=coords))
    assert source.transform is None


@pytest.mark.parametrize(
    ("array", "changes", "message"),
    [
        (np.zeros(5), {}, "hsi has shape 5; a raster is an array"),
        (np.zeros((2, 0, 3)), {}, "2 × 0 × 3"),
        ([["a", "b"]], {}, "type <U1"),
        (np.zeros((3, 4), complex), {}, "convert complex radar to intensity"),
        (np.full((3, 4), "Wald"), {}, "give every text a number, 0 for unlabelled"),
        (np.zeros((3, 4), "M8[s]"), {}, "convert it to numbers"),
        (np.zeros((3, 4)), {"crs": "EPSG:0"}, "CRS of hsi, 'EPSG:0', is not known"),
    ],
)
def test_what_is_no_raster_is_refused(array, changes, message):
    with pytest.raises(SceneError, match=message):
        MemorySource("hsi", array, **changes)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("axes", ["CHW", "HW"])
def test_masked_values_are_no_data(axes, lazy):
    values = VALUES if axes == "CHW" else VALUES[0]
    mask = np.random.default_rng(1).random(values.shape) < 0.3
    array = np.ma.MaskedArray(values, mask)
    if lazy:
        dask = pytest.importorskip("dask.array", reason="dask is in the test extra")
        array = dask.from_array(array, chunks=5)
    source = MemorySource("hsi", array)
    found, valid = source.read(WINDOW)
    part = mask[..., 2:7, 3:7].reshape(valid.shape)
    np.testing.assert_array_equal(valid, ~part)
    assert not found[part].any()
    other = MemorySource("hsi", np.ma.MaskedArray(values, ~mask))
    same = MemorySource("hsi", np.ma.MaskedArray(values, mask.copy()))

    def digest(one):
        return b"".join(strip.tobytes() for strip in one.strips())

    assert digest(source) == digest(same) != digest(other)
