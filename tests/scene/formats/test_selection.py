"""Some bands of a raster, in the order that was asked for."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdgf.errors import SceneError
from bdgf.scene.formats.raster import GdalSource
from bdgf.scene.formats.selection import BandSelection, read_bands
from bdgf.scene.windows import Window


class Array:
    """A raster in memory, without a way to read single bands."""

    path, key, nodata, crs, transform, notes, masked = None, None, None, None, None, (), True

    def __init__(self, values):
        self.values = values
        self.bands, self.height, self.width = values.shape
        self.dtype = values.dtype
        self.band_names = tuple(f"b{band}" for band in range(1, self.bands + 1))
        self.wavelengths = tuple(400.0 + band for band in range(1, self.bands + 1))
        self.block = (1, self.width)

    def read(self, window):
        part = self.values[:, *window.slices].astype(np.float32)
        return part, part != 5


VALUES = np.arange(60, dtype=np.float32).reshape(5, 3, 4)


@given(st.data())
def test_bands_are_chosen_and_ordered(data):
    chosen = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=6))
    source = BandSelection(Array(VALUES), tuple(chosen))
    expected = VALUES[[band - 1 for band in chosen]]
    values, valid = source.read(Window(1, 1, 2, 3))
    np.testing.assert_array_equal(values, expected[:, 1:3, 1:4])
    np.testing.assert_array_equal(valid, expected[:, 1:3, 1:4] != 5)
    assert source.bands == len(chosen)
    assert source.band_names == tuple(f"b{band}" for band in chosen)
    assert source.wavelengths == tuple(400.0 + band for band in chosen)
    again = data.draw(st.lists(st.integers(1, len(chosen)), min_size=1, max_size=3))
    twice = BandSelection(source, tuple(again))
    np.testing.assert_array_equal(
        twice.read(Window(0, 0, 3, 4))[0], expected[[band - 1 for band in again]]
    )


def test_only_the_chosen_bands_of_a_file_are_read(write_tif, monkeypatch):
    source = BandSelection(GdalSource(write_tif("a.tif", VALUES, nodata=45)), (4, 2))
    asked = []
    original = GdalSource.read_bands

    def spy(self, window, bands):
        asked.append(list(bands))
        return original(self, window, bands)

    monkeypatch.setattr(GdalSource, "read_bands", spy)
    values, valid = source.read(Window(0, 0, 3, 4))
    assert asked == [[4, 2]]
    np.testing.assert_array_equal(valid, VALUES[[3, 1]] != 45)
    np.testing.assert_array_equal(values[valid], VALUES[[3, 1]][valid])
    copy = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(copy.read(Window(0, 0, 3, 4))[0], values)
    np.testing.assert_array_equal(read_bands(source, Window(0, 0, 3, 4), [2])[0], values[1:])


def test_what_is_not_of_bands_is_the_rasters_own(write_tif):
    source = GdalSource(write_tif("a.tif", VALUES, crs="EPSG:32632"))
    chosen = BandSelection(source, (1,))
    for name in (
        *("path", "key", "height", "width", "dtype", "crs", "transform", "nodata", "block"),
        "notes",
    ):
        assert getattr(chosen, name) == getattr(source, name)


@pytest.mark.parametrize("bands", [(6,), (0,), (1, -1), ()])
def test_a_band_that_is_not_there(write_tif, bands):
    with pytest.raises(SceneError, match=r"a\.tif.*1 to 5"):
        BandSelection(GdalSource(write_tif("a.tif", VALUES)), bands)


def test_a_window_beyond_the_raster(write_tif):
    source = BandSelection(GdalSource(write_tif("a.tif", VALUES)), (1,))
    with pytest.raises(ValueError, match="inside"):
        source.read(Window(2, 2, 3, 3))
