"""Pictures of rasters show their pixels at a bounded cost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

from bdgf.scene.formats.preview import preview
from bdgf.scene.formats.raster import GdalSource
from bdgf.scene.formats.selection import BandSelection
from bdgf.scene.formats.stack import StackSource


class Places:
    """A raster of any size whose value is where it lies; remembers what was asked of it."""

    path, key, nodata, crs, transform, notes = None, None, None, None, None, ()

    def __init__(self, bands, height, width, block):
        self.bands, self.height, self.width, self.block = bands, height, width, block
        self.dtype = np.dtype(np.float32)
        self.windows = []

    def read(self, window):
        assert window.inside(self.height, self.width) == window
        self.windows.append(window)
        rows, cols = np.mgrid[window.slices]
        values = np.stack([rows, cols] * self.bands)[: self.bands].astype(np.float32)
        return values, rows[None] % 7 + np.zeros((self.bands, 1, 1)) != 0


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 90_000), width=st.integers(1, 90_000), side=st.integers(1, 400),
    block=st.tuples(st.sampled_from([1, 3, 256, 512]), st.sampled_from([1, 16, 256, 90_000])),
)  # fmt: skip
def test_pictures_are_faithful_and_bounded(height, width, side, block):
    source = Places(2, height, width, block)
    values, valid = preview(source, side)
    assert values.shape == valid.shape
    assert values.shape[0] == 2
    assert 1 <= max(values.shape[1:]) <= side
    for axis, size in ((1, height), (2, width)):
        found = values[axis - 1].take(0, axis=2 - axis)
        count = values.shape[axis]
        # Every pixel is one of the part of the raster that it stands for.
        assert (found >= np.floor(np.arange(count) * size / count)).all()
        assert (found <= np.ceil((np.arange(count) + 1) * size / count)).all()
    np.testing.assert_array_equal(valid[0], values[0] % 7 != 0)
    assert len(source.windows) <= 1024
    assert sum(w.height * w.width for w in source.windows) * 2 * 4 <= 256e6


def test_a_small_raster_is_shown_whole(write_tif):
    values = np.arange(1, 61, dtype=np.float32).reshape(5, 3, 4)
    source = GdalSource(write_tif("a.tif", values, nodata=7))
    for one in (source, StackSource([source]), BandSelection(source, (1, 2, 3, 4, 5))):
        picture, valid = preview(one, 100)
        np.testing.assert_array_equal(valid, values != 7)
        np.testing.assert_array_equal(picture, np.where(valid, values, 0))


def test_every_way_shows_the_same_pixels(write_tif):
    values = np.random.default_rng(0).integers(1, 255, (3, 200, 300)).astype(np.uint8)
    source = GdalSource(write_tif("a.tif", values, tiled=True, blockxsize=16, blockysize=16))
    picture, _ = preview(source, 30)
    sampled, _ = preview(StackSource([source]), 30)
    assert picture.shape == sampled.shape == (3, 20, 30)
    np.testing.assert_array_equal(picture, sampled)


def test_no_picture_without_pixels(write_tif):
    with pytest.raises(ValueError, match="side is 0"):
        preview(GdalSource(write_tif("a.tif", np.ones((2, 2)))), 0)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("tiled", [True, False])
def test_a_giant_sparse_raster_costs_little(tmp_path, tiled):
    path = tmp_path / "giant.tif"
    profile = {"tiled": True, "blockxsize": 256, "blockysize": 256} if tiled else {}
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=60_000, width=60_000, dtype="uint16", nodata=0,
        compress="deflate", SPARSE_OK=True, BIGTIFF="YES", **profile,
    ) as dataset:  # fmt: skip
        dataset.write(
            np.full((1, 512, 512), 7, dtype=np.uint16),
            window=rasterio.windows.Window(29_952, 29_952, 512, 512),
        )
    # A process of its own, whose memory at its highest is counted from its start.
    code = (
        "import sys, time; from pathlib import Path;"
        "from bdgf.scene.formats.preview import preview;"
        "from bdgf.scene.formats.raster import GdalSource;"
        "start = time.process_time();"
        "values, valid = preview(GdalSource(Path(sys.argv[1])), 512);"
        "used = time.process_time() - start;"
        "status = Path('/proc/self/status').read_text().partition('VmHWM:')[2];"
        "print(used, status.split()[0], *values.shape)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    seconds, kilobytes, bands, height, width = map(float, run.stdout.split())
    assert bands == 1
    assert height == width > 20
    assert seconds < 5
    assert kilobytes < 300_000
