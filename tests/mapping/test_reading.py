from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from bdgf.errors import RunFolderError
from bdgf.mapping.reading import (
    class_indices,
    classes_at,
    confidence_at,
    read_confidence,
    read_map,
    read_strips,
)
from bdgf.mapping.writing import MapWriter
from bdgf.scene.windows import Window


class Grid:
    height, width, crs, transform = 4, 5, None, from_origin(0, 0, 1, 1)


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    paths = tmp_path / "map.tif", tmp_path / "confidence.tif"
    classes = np.arange(20).reshape(4, 5) % 3 - 1
    confidence = np.where(classes < 0, np.nan, 0.5).astype(np.float32)
    codes, names, colors = (3, 7), ("a", "b"), ("#112233", "#445566")
    with MapWriter(*paths, Grid(), codes, names, colors) as writer:
        writer.write(Window(0, 0, 4, 5), classes, confidence)
    np.testing.assert_array_equal(read_map(paths[0], codes), classes)
    np.testing.assert_array_equal(read_confidence(paths[1]), confidence)
    for rows in (1, 3, 9):
        strips = list(read_strips(paths[1], rows))
        assert [strip.shape for strip in strips[:-1]] == [(1, rows, 5)] * (len(strips) - 1)
        np.testing.assert_array_equal(np.concatenate(strips, axis=1)[0], confidence)
    with pytest.raises(RunFolderError, match="holds the code 7"):
        read_map(paths[0], (3, 4))
    paths[0].write_bytes(paths[0].read_bytes()[:100])
    with pytest.raises(RunFolderError, match="run 'bdgf map' again"):
        read_map(paths[0], codes)
    with pytest.raises(RunFolderError, match="cannot be read"):
        read_map(tmp_path / "absent.tif", codes)
    with pytest.raises(RunFolderError, match="cannot be read"):
        list(read_strips(paths[0], 2))


@pytest.mark.parametrize("value", [-0.5, 1.01, 3e38, np.inf])
def test_confidence_that_is_no_probability_is_refused(tmp_path: Path, value: float) -> None:
    path = tmp_path / "confidence.tif"
    values = np.full((1, 4, 5), 0.25, dtype=np.float32)
    values[0, 0, 0], values[0, 2, 3] = np.nan, value
    with rasterio.open(path, "w", "GTiff", 5, 4, 1, dtype="float32") as raster:
        raster.write(values)
    with pytest.raises(RunFolderError, match=r"holds the confidence .* run 'bdgf map' again"):
        read_confidence(path)
    with pytest.raises(RunFolderError, match="probabilities lie between 0 and 1"):
        confidence_at([path], np.array([[0, 1, 1], [0, 2, 3]]))
    np.testing.assert_array_equal(
        confidence_at([path], np.array([[0, 0, 0], [0, 1, 1]])), np.array([np.nan, 0.25], "f4")
    )


@pytest.mark.parametrize("code", [-1, 2**16, 2**40, 0.5, np.nan, np.inf])
def test_codes_of_another_type_are_no_classes(tmp_path: Path, code: float) -> None:
    codes = np.array([[3, 0], [7, code]])
    with pytest.raises(RunFolderError, match="which is no class"):
        class_indices(codes, (3, 7), tmp_path / "map.tif")
    found = class_indices(codes[:, :1], (3, 7), tmp_path / "map.tif")
    assert found.tolist() == [[0], [1]]


def test_a_raster_of_another_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "map.tif"
    with rasterio.open(path, "w", "GTiff", 5, 4, 1, dtype="uint8") as raster:
        raster.write(np.ones((1, 4, 5), dtype=np.uint8))
    assert classes_at([path], (1,), np.array([[0, 3, 4]])).tolist() == [0]
    assert len(list(read_strips(path, 4, (4, 5)))) == 1
    for pixel in ([0, 4, 0], [0, 0, 5]):
        with pytest.raises(RunFolderError, match=r"has 4 × 5 pixels.*run 'bdgf map' again"):
            classes_at([path], (1,), np.array([pixel]))
    for size in ((5, 4), (4, 6), (3, 5)):
        with pytest.raises(RunFolderError, match="has 4 × 5 pixels"):
            list(read_strips(path, 4, size))
