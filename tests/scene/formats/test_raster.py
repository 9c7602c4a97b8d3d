"""Rasters of each format give the same values, and broken ones an error that says why."""

from __future__ import annotations

import contextlib
import pickle

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.control import GroundControlPoint

from bdgf.errors import SceneError
from bdgf.scene.formats.opening import open_source
from bdgf.scene.formats.raster import GdalSource
from bdgf.scene.windows import Window


def whole(source):
    return source.read(Window(0, 0, source.height, source.width))


def test_geotiff_and_mat_hold_the_same_raster(tmp_path, write_tif):
    values = np.random.default_rng(0).normal(size=(3, 5, 7)).astype(np.float32)
    tif = open_source(write_tif("a.tif", values))
    scipy.io.savemat(tmp_path / "a.mat", {"cube": values.transpose(1, 2, 0)})
    mat = open_source(tmp_path / "a.mat", "cube")
    for source in (tif, mat):
        assert (source.bands, source.height, source.width) == (3, 5, 7)
        read, valid = source.read(Window(1, 2, 3, 4))
        np.testing.assert_array_equal(read, values[:, 1:4, 2:6])
        assert valid.all()


def test_mat_array_of_two_dimensions_is_one_band(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"dsm": np.arange(12.0).reshape(3, 4)})
    values, _ = whole(open_source(tmp_path / "a.mat"))
    np.testing.assert_array_equal(values, np.arange(12.0).reshape(1, 3, 4))


def test_georeference_is_kept_and_absence_is_none(write_tif):
    transform = rasterio.Affine(10, 0, 500_000, 0, -10, 5_000_000)
    placed = open_source(write_tif("a.tif", np.ones((2, 2)), crs="EPSG:32632", transform=transform))
    assert placed.transform == transform
    assert placed.crs.to_epsg() == 32632
    bare = open_source(write_tif("b.tif", np.ones((2, 2))))
    assert bare.transform is None
    assert bare.crs is None


def test_control_points_are_not_used_and_that_is_said(tmp_path):
    points = [GroundControlPoint(r, c, 5e5 + c, 5e6 - r) for r, c in ((0, 0), (0, 4), (3, 0))]
    path = tmp_path / "a.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=4, height=3, count=1, dtype="uint8",
        gcps=points, crs="EPSG:32632",
    ) as dataset:  # fmt: skip
        dataset.write(np.ones((1, 3, 4), dtype=np.uint8))
    source = open_source(path)
    assert source.transform is None
    assert "ground control points, which are not used" in " ".join(source.notes)


def test_opening_a_raster_without_coordinates_does_not_warn(write_tif, recwarn):
    path = write_tif("b.tif", np.ones((2, 2)))
    recwarn.clear()
    whole(open_source(path))
    assert not recwarn.list


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [("float32", -3.4028234663852886e38), ("float64", -9999.5), ("int16", -9999), ("uint8", 255)],
)
def test_nodata_of_the_file_is_not_valid_and_zero(write_tif, dtype, nodata):
    values = np.full((2, 3, 3), 7, dtype=dtype)
    values[0, 1, 1] = nodata
    read, valid = whole(open_source(write_tif("a.tif", values, nodata=nodata)))
    assert np.argwhere(~valid).tolist() == [[0, 1, 1]]
    assert read[0, 1, 1] == 0
    assert read[0, 0, 0] == 7


def test_nodata_of_the_scene_file_replaces_the_files_own(write_tif):
    path = write_tif("a.tif", np.array([[1, 2, 3]], dtype=np.int16), nodata=1)
    source = open_source(path, nodata=3)
    assert whole(source)[1].ravel().tolist() == [True, True, False]
    (note,) = source.notes
    assert "declares 1 as no data" in note
    assert not open_source(path, nodata=1).notes


def test_nodata_that_the_type_cannot_hold_matches_nothing(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"a": np.ones((2, 2), dtype=np.uint8)})
    for nodata in (-9999.0, 0.5, 1e30):
        assert whole(open_source(tmp_path / "a.mat", nodata=nodata))[1].all()


def test_nan_and_infinity_are_not_valid(write_tif):
    values = np.array([[np.nan, np.inf, -np.inf, 1e300, 1.0]])
    read, valid = whole(open_source(write_tif("a.tif", values)))
    assert valid.ravel().tolist() == [False] * 4 + [True]
    assert np.isfinite(read).all()


def test_internal_mask_is_not_valid(tmp_path):
    path = tmp_path / "a.tif"
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path, "w", driver="GTiff", count=2, height=2, width=2, dtype="uint8"
        ) as dataset,
    ):
        dataset.write(np.ones((2, 2, 2), dtype=np.uint8))
        dataset.write_mask(np.array([[True, False], [True, True]]))
    assert np.argwhere(~whole(open_source(path))[1]).tolist() == [[0, 0, 1], [1, 0, 1]]


def test_source_travels_to_another_process(write_tif):
    source = open_source(write_tif("a.tif", np.arange(6.0).reshape(2, 3)))
    np.testing.assert_array_equal(whole(pickle.loads(pickle.dumps(source)))[0], whole(source)[0])


def test_window_beyond_the_raster_is_refused(write_tif):
    with pytest.raises(ValueError, match="inside"):
        open_source(write_tif("a.tif", np.ones((4, 4)))).read(Window(2, 2, 3, 3))


def test_wrong_key_lists_the_keys_with_their_shapes(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"hsi": np.ones((3, 4, 5)), "lidar": np.ones((3, 4))})
    with pytest.raises(
        SceneError, match=r"no array 'HSI'.*hsi \(3 × 4 × 5 double\), lidar \(3 × 4"
    ):
        open_source(tmp_path / "a.mat", "HSI")
    with pytest.raises(SceneError, match="2 arrays that can be rasters"):
        open_source(tmp_path / "a.mat")


def test_only_raster_is_found_beside_vectors_and_texts(tmp_path):
    content = {"data": np.ones((3, 4, 2)), "bands": np.arange(9.0), "note": "made by"}
    scipy.io.savemat(tmp_path / "a.mat", content)
    assert open_source(tmp_path / "a.mat").bands == 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tif", b"not a raster", "cannot be opened as a raster"),
        ("a.mat", b"not a matlab file" * 50, "cannot be read as a MATLAB file"),
        ("a.mat", b"", "cannot be read as a MATLAB file"),
    ],
)
def test_file_of_another_kind(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SceneError, match=message):
        open_source(tmp_path / name)


def test_file_cut_short(tmp_path, write_tif):
    values = np.random.default_rng(0).normal(size=(4, 64, 64)).astype(np.float32)
    tif = write_tif("a.tif", values, compress="deflate")
    scipy.io.savemat(tmp_path / "a.mat", {"a": values[0]}, do_compression=True)
    for path in (tif, tmp_path / "a.mat"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(SceneError, match=r"damaged|cannot be opened"):
            whole(open_source(path))


def test_missing_file_key_on_a_tif_and_complex_values(tmp_path, write_tif):
    with pytest.raises(SceneError, match="does not exist"):
        open_source(tmp_path / "none.tif")
    with pytest.raises(SceneError, match="remove 'key: x'"):
        open_source(write_tif("a.tif", np.ones((2, 2))), "x")
    with pytest.raises(SceneError, match="complex SAR to intensity"):
        open_source(write_tif("b.tif", np.ones((2, 2), dtype=np.complex64)))


def write_raster(path, values, driver, **profile):
    with rasterio.open(
        path, "w", driver=driver, count=values.shape[0], height=values.shape[1],
        width=values.shape[2], dtype=values.dtype, **profile,
    ) as dataset:  # fmt: skip
        dataset.write(values)
    return path


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_every_format_gives_back_what_was_written(tmp_path_factory, data):
    driver = data.draw(st.sampled_from(["GTiff", "COG", "ENVI", "VRT"]))
    dtype = data.draw(
        st.sampled_from(["uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"])
    )
    shape = tuple(data.draw(st.integers(1, top)) for top in (6, 40, 40))
    nodata = data.draw(st.sampled_from([None, 0, 7, 200]))
    own = data.draw(st.booleans())
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    values = rng.integers(0, 210, shape).astype(dtype)
    folder = tmp_path_factory.mktemp("any")
    tagged = nodata if own else None
    if driver == "COG":
        path = write_raster(folder / "a.tif", values, driver, nodata=tagged, overviews="none")
    elif driver == "ENVI":
        path = write_raster(folder / "a.dat", values, driver, nodata=tagged)
    else:
        tiled = {"tiled": True, "blockxsize": 16, "blockysize": 16}
        profile = tiled if data.draw(st.booleans()) else {}
        # Of four 8-bit bands GDAL calls the fourth alpha; that has tests of its own.
        profile["photometric"] = "minisblack"
        path = write_raster(folder / "a.tif", values, "GTiff", nodata=tagged, **profile)
        if driver == "VRT":
            rasterio.shutil.copy(path, folder / "a.vrt", driver="VRT")
            path = folder / "a.vrt"
    source = GdalSource(path, None if own else nodata)
    assert (source.bands, source.height, source.width) == shape
    assert source.dtype == np.dtype(dtype)
    assert source.nodata == nodata
    row, col = (data.draw(st.integers(0, size - 1)) for size in shape[1:])
    window = Window(
        row, col, data.draw(st.integers(1, shape[1] - row)),
        data.draw(st.integers(1, shape[2] - col)),
    )  # fmt: skip
    read, valid = source.read(window)
    part = values[:, *window.slices]
    expected = np.ones(part.shape, dtype=bool) if nodata is None else part != nodata
    np.testing.assert_array_equal(valid, expected)
    np.testing.assert_array_equal(read, np.where(expected, part, 0).astype(np.float32))
    bands = data.draw(st.lists(st.integers(1, shape[0]), min_size=1, max_size=4))
    some, good = source.read_bands(window, bands)
    np.testing.assert_array_equal(some, read[[band - 1 for band in bands]])
    np.testing.assert_array_equal(good, valid[[band - 1 for band in bands]])
    with source.reading() as reading:
        np.testing.assert_array_equal(reading(window)[0], read)


# rasterio cannot decode some texts of GDAL for its own log, and says so to nobody.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@settings(max_examples=80, deadline=None, derandomize=True)
@given(data=st.data(), driver=st.sampled_from(["GTiff", "COG", "ENVI", "PNG", "VRT"]))
def test_damaged_raster_is_refused_or_read_without_another_error(tmp_path_factory, data, driver):
    folder = tmp_path_factory.mktemp("broken")
    values = np.random.default_rng(0).integers(0, 255, (3, 20, 30)).astype(np.uint8)
    if driver == "VRT":
        write_raster(folder / "b.tif", values, "GTiff")
        path = folder / "a.vrt"
        rasterio.shutil.copy(folder / "b.tif", path, driver="VRT")
    else:
        name = {"ENVI": "a.dat", "PNG": "a.png"}.get(driver, "a.tif")
        extra = {"compress": "deflate"} if driver in ("GTiff", "COG") else {}
        path = write_raster(folder / name, values, driver, **extra)
    target = path.with_suffix(".hdr") if driver == "ENVI" and data.draw(st.booleans()) else path
    content = bytearray(target.read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    for _ in range(data.draw(st.integers(0, 6))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    target.write_bytes(content)
    with contextlib.suppress(SceneError):
        source = GdalSource(path)
        source.read(Window(0, 0, min(source.height, 20), min(source.width, 30)))


@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
@pytest.mark.parametrize(
    ("units", "factor"), [("Micrometers", 1e-3), ("Nanometers", 1), ("nm", 1), ("Unknown", 1e-3)]
)
def test_envi_wavelengths_names_and_ignored_value(tmp_path, interleave, units, factor):
    values = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    path = write_raster(tmp_path / "a.dat", values, "ENVI", interleave=interleave)
    header = path.with_suffix(".hdr")
    text = header.read_text().split("band names")[0]
    listed = f"{442.7 * factor:.5f}, {2190 * factor:.5f}"
    header.write_text(
        f"{text}\nwavelength units = {units}\nwavelength = {{{listed}}}\n"
        "band names = {coastal (B1), swir}\ndata ignore value = 5\n"
    )
    source = GdalSource(header)
    assert source.wavelengths == (442.7, 2190.0)
    assert source.band_names == ("coastal (B1)", "swir")
    assert source.nodata == 5
    read, valid = whole(source)
    np.testing.assert_array_equal(valid, values != 5)
    np.testing.assert_array_equal(read[valid], values[valid])


def test_gaps_by_the_value_of_each_band(tmp_path):
    path = tmp_path / "a.vrt"
    write_raster(tmp_path / "a.tif", np.array([[[1, 2]], [[1, 2]]], dtype=np.uint8), "GTiff")
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}"><NoDataValue>{band}</NoDataValue>'
        f'<SimpleSource><SourceFilename relativeToVRT="1">a.tif</SourceFilename>'
        f"<SourceBand>{band}</SourceBand></SimpleSource></VRTRasterBand>"
        for band in (1, 2)
    )
    path.write_text(f'<VRTDataset rasterXSize="2" rasterYSize="1">{bands}</VRTDataset>')
    source = GdalSource(path)
    assert whole(source)[1][:, 0].tolist() == [[False, True], [True, False]]
    assert source.read_bands(Window(0, 0, 1, 2), [2])[1][0, 0].tolist() == [True, False]


@pytest.mark.parametrize("internal", [True, False])
@pytest.mark.parametrize("nodata", [None, 9])
def test_mask_inside_or_beside_the_file(tmp_path, internal, nodata):
    path = tmp_path / "a.tif"
    values = np.ones((2, 4, 4), dtype=np.uint8)
    values[1, 0, 0] = 9
    mask = np.ones((4, 4), dtype=bool)
    mask[2:, 1] = False
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal),
        rasterio.open(
            path, "w", driver="GTiff", count=2, height=4, width=4, dtype="uint8", nodata=nodata
        ) as dataset,
    ):
        dataset.write(values)
        dataset.write_mask(mask)
    assert (tmp_path / "a.tif.msk").exists() is not internal
    expected = np.broadcast_to(mask, (2, 4, 4)).copy()
    expected[1, 0, 0] = nodata is None
    source = GdalSource(path)
    np.testing.assert_array_equal(whole(source)[1], expected)
    np.testing.assert_array_equal(source.read_bands(Window(0, 0, 4, 4), [2])[1][0], expected[1])
    assert not whole(source)[0][:, 2, 1].any()


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("colours", [1, 3])
def test_alpha_band_is_a_mask(tmp_path, name, colours):
    rng = np.random.default_rng(0)
    values = rng.integers(1, 200, (colours + 1, 30, 30)).astype(np.uint8)
    values[-1] = np.where(rng.random((30, 30)) < 0.3, 0, 255)
    profile = {"photometric": "rgb" if colours == 3 else "minisblack"}
    driver = "PNG" if name == "a.png" else "GTiff"
    path = write_raster(
        tmp_path / name, values, driver, **({"alpha": "yes"} | profile if driver == "GTiff" else {})
    )
    source = GdalSource(path)
    assert source.bands == colours
    assert len(source.band_names) == len(source.wavelengths) == colours
    read, valid = source.read(Window(3, 5, 20, 10))
    np.testing.assert_array_equal(valid, np.broadcast_to(values[-1, 3:23, 5:15] != 0, read.shape))
    np.testing.assert_array_equal(read, np.where(valid, values[:-1, 3:23, 5:15], 0))


def test_near_infrared_that_gdal_marks_as_alpha_is_a_band(tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (4, 30, 30)).astype(np.uint8)
    path = write_raster(tmp_path / "a.tif", values, "GTiff")
    with rasterio.open(path) as dataset:
        assert dataset.colorinterp[3].name == "alpha"
    source = GdalSource(path)
    assert source.bands == 4
    read, valid = whole(source)
    np.testing.assert_array_equal(read, values)
    assert valid.all()
    assert "band 4 is marked as alpha" in source.notes[0]


def test_palette_stays_codes(tmp_path):
    path = tmp_path / "a.tif"
    codes = np.arange(9, dtype=np.uint8).reshape(1, 3, 3)
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=3, width=3, dtype="uint8"
    ) as dataset:
        dataset.write(codes)
        dataset.write_colormap(1, {code: (code * 20, 0, 0, 255) for code in range(9)})
    source = GdalSource(path)
    assert source.bands == 1
    np.testing.assert_array_equal(whole(source)[0], codes)


def test_scale_and_offset_of_a_geotiff(tmp_path):
    path = tmp_path / "a.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=2, height=1, width=3, dtype="uint16", nodata=0
    ) as dataset:
        dataset.write(np.array([[[0, 1000, 5000]], [[0, 1000, 5000]]], dtype=np.uint16))
        dataset.scales, dataset.offsets = (1e-4, 1.0), (-0.1, 0.0)
    source = GdalSource(path)
    read, valid = whole(source)
    assert source.dtype == np.float32
    assert valid.tolist() == [[[False, True, True]]] * 2
    np.testing.assert_allclose(read, [[[0, 0, 0.4]], [[0, 1000, 5000]]], atol=1e-7)
    # A value of the user's is compared with the stored numbers.
    assert whole(GdalSource(path, 1000))[1].tolist() == [[[True, False, True]]] * 2


def test_overviews_make_a_decimated_picture_cheap(tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (1, 600, 700)).astype(np.uint8)
    path = write_raster(tmp_path / "a.tif", values, "COG", blocksize=128, resampling="nearest")
    picture, valid = GdalSource(path).decimated(60, 70)
    assert picture.shape == valid.shape == (1, 60, 70)
    assert np.isin(picture, values).all()


def test_vrt_runs_no_code(tmp_path):
    write_raster(tmp_path / "a.tif", np.ones((1, 2, 2), dtype=np.uint8), "GTiff")
    mark = tmp_path / "ran"
    code = f"def f(i,out,*a,**k):\n  open({str(mark)!r},'w').close()\n  out[:] = 1"
    (tmp_path / "a.vrt").write_text(
        '<VRTDataset rasterXSize="2" rasterYSize="2"><VRTRasterBand dataType="Byte" band="1"'
        ' subClass="VRTDerivedRasterBand"><PixelFunctionType>f</PixelFunctionType>'
        f"<PixelFunctionLanguage>Python</PixelFunctionLanguage><PixelFunctionCode>{code}"
        '</PixelFunctionCode><SimpleSource><SourceFilename relativeToVRT="1">a.tif'
        "</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(SceneError):
        whole(GdalSource(tmp_path / "a.vrt"))
    assert not mark.exists()


@pytest.mark.parametrize("interleave", ["pixel", "band"])
@pytest.mark.parametrize("stored", ["squares", "strips"])
def test_a_sparse_file_tells_where_it_has_nothing(tmp_path, interleave, stored):
    layout = {"tiled": True, "blockxsize": 32, "blockysize": 32} if stored == "squares" else {}
    path = tmp_path / "a.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=200, width=200, dtype="uint16", nodata=0,
        interleave=interleave, sparse_ok=True, **layout,
    ) as file:  # fmt: skip
        file.write(np.ones((3, 30, 30), np.uint16), window=rasterio.windows.Window(100, 64, 30, 30))
    source = GdalSource(path)
    assert source.without_data(Window(0, 0, 60, 200))
    assert not source.without_data(Window(90, 100, 4, 4))
    assert source.without_data(Window(160, 0, 40, 200))
    for row in range(0, 200, 40):  # what it says is never wrong
        for col in range(0, 200, 40):
            window = Window(row, col, 40, 40)
            assert not (source.without_data(window) and source.read(window)[1].any())
    # another value means "no data", and what is not stored reads as 0: that is a value
    assert not GdalSource(path, nodata=7).without_data(Window(0, 0, 60, 200))
    assert GdalSource(path, nodata=7).read(Window(0, 0, 60, 200))[1].all()
