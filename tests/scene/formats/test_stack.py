"""Bands of several files on one grid are one raster."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

from bdgf.errors import SceneError
from bdgf.scene.formats.raster import GdalSource
from bdgf.scene.formats.selection import BandSelection
from bdgf.scene.formats.stack import StackSource
from bdgf.scene.windows import Window

PLACE = {"crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, 500_000, 0, -10, 5_000_000)}


def write(path, values, names=(), nodata=None, **place):
    with rasterio.open(
        path, "w", driver="GTiff", count=values.shape[0], height=values.shape[1],
        width=values.shape[2], dtype=values.dtype, nodata=nodata, photometric="minisblack", **place,
    ) as dataset:  # fmt: skip
        dataset.write(values)
        for band, name in enumerate(names, start=1):
            dataset.set_band_description(band, name)
    return GdalSource(path)


@settings(max_examples=30, deadline=None)
@given(data=st.data(), counts=st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_bands_follow_one_another(tmp_path_factory, data, counts):
    folder = tmp_path_factory.mktemp("stack")
    rng = np.random.default_rng(0)
    parts = [rng.integers(1, 9, (count, 5, 6)).astype(np.uint8) for count in counts]
    stack = StackSource(
        [write(folder / f"{i}.tif", part, nodata=i + 1, **PLACE) for i, part in enumerate(parts)]
    )
    expected = np.concatenate(parts)
    good = np.concatenate([part != i + 1 for i, part in enumerate(parts)])
    assert stack.bands == len(stack.band_names) == len(stack.wavelengths) == sum(counts)
    values, valid = stack.read(Window(1, 2, 3, 4))
    np.testing.assert_array_equal(valid, good[:, 1:4, 2:6])
    np.testing.assert_array_equal(values, (expected * good)[:, 1:4, 2:6])
    bands = data.draw(st.lists(st.integers(1, sum(counts)), min_size=1, max_size=5))
    some, _ = stack.read_bands(Window(1, 2, 3, 4), bands)
    np.testing.assert_array_equal(some, values[[band - 1 for band in bands]])
    copy = pickle.loads(pickle.dumps(stack))
    np.testing.assert_array_equal(copy.read(Window(1, 2, 3, 4))[0], values)


def test_names_come_from_the_bands_or_the_files(tmp_path):
    ones = np.ones((2, 3, 3), dtype=np.float32)
    stack = StackSource(
        [
            write(tmp_path / "T32_B02.tif", ones[:1].astype(np.uint16)),
            write(tmp_path / "T32_B03.tif", ones[:1], ["green"]),
            write(tmp_path / "sar.tif", ones, ["VV", ""]),
        ]
    )
    assert stack.band_names == ("T32_B02", "green", "VV", "sar_2")
    assert stack.path.name == "T32_B02.tif"
    assert stack.dtype == np.float32


def test_only_files_with_wanted_bands_are_read(tmp_path):
    ones = np.ones((1, 3, 3), dtype=np.uint8)
    stack = StackSource([write(tmp_path / f"{i}.tif", ones * i) for i in range(3)])
    (tmp_path / "1.tif").unlink()
    chosen = BandSelection(stack, (3, 1))
    assert chosen.read(Window(0, 0, 1, 1))[0].ravel().tolist() == [2, 0]
    with pytest.raises(SceneError, match=r"1\.tif cannot be opened"):
        stack.read(Window(0, 0, 1, 1))


def test_coordinates_of_any_file_are_the_stacks(tmp_path):
    ones = np.ones((1, 3, 3), dtype=np.uint8)
    stack = StackSource([write(tmp_path / "a.tif", ones), write(tmp_path / "b.tif", ones, **PLACE)])
    assert stack.transform == PLACE["transform"]
    assert stack.crs.to_epsg() == 32632
    assert stack.nodata is None


def test_differences_that_rounding_makes_are_no_differences(tmp_path):
    ones = np.ones((1, 30, 30), dtype=np.uint8)
    near = PLACE | {"transform": rasterio.Affine(10 + 1e-9, 0, 500_000 + 1e-6, 0, -10, 5_000_000)}
    assert StackSource(
        [write(tmp_path / "a.tif", ones, **PLACE), write(tmp_path / "b.tif", ones, **near)]
    ).bands == 2  # fmt: skip


@pytest.mark.parametrize(
    ("change", "shape", "message"),
    [
        ({}, (1, 30, 20), r"b\.tif is 30 × 20.*a\.tif is 30 × 30.*resample"),
        ({}, (1, 29, 30), r"b\.tif is 29 × 30"),
        ({"crs": "EPSG:32633"}, (1, 30, 30), r"b\.tif is in EPSG:32633.*reproject"),
        (
            {"transform": rasterio.Affine(10, 0, 500_005, 0, -10, 5_000_000)}, (1, 30, 30),
            r"b\.tif lies 0\.5 pixels away from a\.tif",
        ),
        (
            {"transform": rasterio.Affine(20, 0, 500_000, 0, -20, 5_000_000)}, (1, 30, 30),
            r"b\.tif lies 30 pixels away",
        ),
        (
            {"transform": rasterio.Affine(10, 0.01, 500_000, 0.01, -10, 5_000_000)}, (1, 30, 30),
            r"b\.tif lies 0\.03 pixels away",
        ),
    ],
)  # fmt: skip
def test_files_on_different_grids(tmp_path, change, shape, message):
    first = write(tmp_path / "a.tif", np.ones((1, 30, 30), dtype=np.uint8), **PLACE)
    other = write(tmp_path / "b.tif", np.ones(shape, dtype=np.uint8), **(PLACE | change))
    with pytest.raises(SceneError, match=message):
        StackSource([first, other])


def test_a_stack_of_nothing():
    with pytest.raises(SceneError, match="no file"):
        StackSource([])


def test_a_window_beyond_the_raster(tmp_path):
    stack = StackSource([write(tmp_path / "a.tif", np.ones((1, 3, 3), dtype=np.uint8))])
    with pytest.raises(ValueError, match="inside"):
        stack.read(Window(2, 2, 3, 3))
