"""Codes of label rasters become indices of classes."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.io

from bdgf.errors import SceneError
from bdgf.scene.formats.opening import open_source
from bdgf.scene.labels.codes import read_codes, to_indices
from bdgf.scene.windows import Window


def test_codes_from_tif_and_mat(tmp_path, write_tif):
    codes = np.array([[0, 3], [7, 3]])
    scipy.io.savemat(tmp_path / "a.mat", {"gt": codes.astype(np.float64)})
    for path in (write_tif("a.tif", codes.astype(np.uint8)), tmp_path / "a.mat"):
        np.testing.assert_array_equal(read_codes(open_source(path)), codes)


def test_nodata_and_nan_are_unlabelled(write_tif):
    values = np.array([[1.0, 255.0, np.nan]], dtype=np.float32)
    codes = read_codes(open_source(write_tif("a.tif", values, nodata=255)))
    assert codes.tolist() == [[1, 0, 0]]


@pytest.mark.parametrize(
    ("dtype", "code"), [("int32", -(2**31)), ("uint32", 2**32 - 1), ("uint8", 255)]
)
def test_codes_that_are_ignored_are_unlabelled(write_tif, dtype, code):
    source = open_source(write_tif("a.tif", np.array([[1, code, 2]], dtype=dtype)))
    assert read_codes(source, ignore=(code,)).tolist() == [[1, 0, 2]]
    kept = source.read(Window(0, 0, 1, 3))[0].max()
    assert kept == np.float32(max(code, 2)), "the raster is as it was"


def test_indices_follow_the_sorted_codes():
    codes = np.array([[0, 3, 7, 9]], dtype=np.int32)
    indices = to_indices(codes, (3, 7, 9), "a.tif")
    assert indices.tolist() == [[-1, 0, 1, 2]]
    assert indices.dtype == np.int16


def test_code_without_a_class_names_file_code_and_count():
    codes = np.array([[0, 1, 5, 5]], dtype=np.int32)
    with pytest.raises(SceneError, match=r"a\.tif has code 5 on 2 pixels"):
        to_indices(codes, (1, 2), "a.tif")


def test_fractions_and_several_bands_are_no_labels(write_tif):
    with pytest.raises(SceneError, match=r"value 1\.5"):
        read_codes(open_source(write_tif("a.tif", np.array([[1.5, 2.0]]))))
    with pytest.raises(SceneError, match="3 bands"):
        read_codes(open_source(write_tif("b.tif", np.ones((3, 2, 2)))))
