"""Rasters of each format give the same values, and broken ones an error that says why."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import rasterio
import scipy.io

from bdgf.errors import SceneError
from bdgf.scene.formats.opening import open_source
from bdgf.scene.layout import Window


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
    assert whole(open_source(path, nodata=3))[1].ravel().tolist() == [True, True, False]


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
        ("a.mat", b"MATLAB 7.3 MAT-file, Platform" + b" " * 600, "save it in MATLAB with"),
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
