"""Statistics equal NumPy's on small rasters, and cost little on large ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from bdgf.scene.formats.opening import open_source
from bdgf.scene.inspection.statistics import measure, merge
from bdgf.scene.windows import Window


def test_small_rasters_are_exact(write_tif):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 70, 60)).astype(np.float32)
    values[0, :7] = -5
    values[1] = -5
    values[:, -1] = -5
    found = measure(open_source(write_tif("a.tif", values, nodata=-5)))
    valid = values != -5
    assert found.exact
    np.testing.assert_allclose(found.valid, valid.mean(axis=(1, 2)))
    assert found.present == pytest.approx(valid.any(axis=0).mean())
    for band in (0, 2):
        kept = values[band][valid[band]]
        assert found.low[band] == kept.min()
        assert found.high[band] == kept.max()
        np.testing.assert_allclose(found.percentiles(band), np.percentile(kept, (2, 50, 98)))
    assert np.isnan(found.low[1])
    assert np.isnan(found.percentiles(1)).all()
    assert found.codes is None


def test_codes_are_counted(write_tif):
    codes = np.random.default_rng(0).integers(0, 9, size=(50, 40)).astype(np.uint8)
    found = measure(open_source(write_tif("a.tif", codes)))
    assert found.codes == {code: (codes == code).sum() for code in range(9)}
    assert list(found.labels) == list(range(1, 9))
    for values in (codes + np.float32(0.5), np.arange(2000).reshape(50, 40).astype(np.int16)):
        assert measure(open_source(write_tif("b.tif", values))).codes is None


def test_nodata_is_no_code(write_tif):
    codes = np.repeat(np.array([[0, 1, 7]], dtype=np.uint8), 5, axis=0)
    found = measure(open_source(write_tif("a.tif", codes, nodata=7)))
    assert found.codes == {0: 5, 1: 5}


@pytest.mark.parametrize("profile", [{}, {"tiled": True, "blockxsize": 32, "blockysize": 16}])
def test_large_rasters_are_sampled_all_over(write_tif, profile):
    rows, cols = np.mgrid[:400, :500]
    values = (rows + cols).astype(np.float32)
    source = open_source(write_tif("a.tif", np.stack([values, values % 5]), **profile))
    found = measure(source, most=20_000)
    assert found.share < 0.2
    assert found.pixels * 2 <= 40_000
    low, middle, high = found.percentiles(0)
    assert low < 130
    assert middle == pytest.approx(450, abs=60)
    assert high > 740


def test_counts_of_large_label_rasters_are_estimates(write_tif):
    codes = np.zeros((600, 500), dtype=np.uint8)
    codes[:, :125] = 3
    found = measure(open_source(write_tif("a.tif", codes)), most=20_000)
    assert not found.exact
    assert found.labels[3] == pytest.approx(75_000, rel=0.3)


def test_parts_together_equal_the_whole(write_tif):
    values = np.random.default_rng(1).normal(size=(2, 30, 40)).astype(np.float32)
    whole = measure(open_source(write_tif("all.tif", values)))
    parts = [
        measure(open_source(write_tif(f"{i}.tif", values[:, i * 10 : i * 10 + 10])))
        for i in range(3)
    ]
    found = merge(parts)
    np.testing.assert_array_equal(found.low, whole.low)
    np.testing.assert_array_equal(found.high, whole.high)
    assert found.pixels == whole.pixels
    assert found.percentiles(1) == pytest.approx(whole.percentiles(1))


def test_parts_of_which_shares_differ_count_by_their_size(write_tif):
    small, large = np.zeros((100, 100), np.uint8), np.zeros((600, 500), np.uint8)
    small[:, :50], large[:, :125] = 3, 3
    parts = [
        measure(open_source(write_tif(f"{i}.tif", codes)), most=20_000)
        for i, codes in enumerate((small, large))
    ]
    assert [part.exact for part in parts] == [True, False]
    found = merge(parts)
    assert not found.exact
    assert found.labels[3] == pytest.approx(parts[0].labels[3] + parts[1].labels[3], rel=0.01)


SPARSE = """
import sys, time
from pathlib import Path
from bdgf.scene.inspection.describe import describe
from bdgf.scene.inspection.gather import gather
start = time.monotonic()
print(describe(gather([sys.argv[1]])))
print("seconds", time.monotonic() - start)
# Not getrusage: its peak begins with that of the process that started this one.
status = Path("/proc/self/status")
lines = status.read_text().splitlines() if status.is_file() else []
print("kilobytes", next((line.split()[1] for line in lines if line.startswith("VmHWM")), 0))
"""


def test_a_huge_sparse_raster_takes_little_memory_and_time(tmp_path):
    path = tmp_path / "huge.tif"
    profile = {
        "driver": "GTiff", "count": 1, "dtype": "float32", "width": 60_000, "height": 60_000,
        "tiled": True, "blockxsize": 512, "blockysize": 512, "nodata": -9999, "SPARSE_OK": "TRUE",
        "crs": "EPSG:32632", "transform": Affine(1, 0, 5e5, 0, -1, 5e6), "BIGTIFF": "YES",
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as dataset:
        block = np.random.default_rng(0).normal(50, 5, size=(512, 512)).astype(np.float32)
        for place in range(20, 100, 3):
            window = rasterio.windows.Window(512 * 60, 512 * place, 512, 512)
            dataset.write(block, 1, window=window)
    run = [sys.executable, "-c", SPARSE, str(path)]
    text = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    assert "60,000 × 60,000 pixels" in text
    words = text.split()
    assert float(words[words.index("seconds") + 1]) < 60  # ten on a quiet machine
    assert float(words[words.index("kilobytes") + 1]) < 500_000


@pytest.mark.parametrize(("bands", "block"), [(1, 8192), (1, 512), (4, 8192), (1, 10**6)])
def test_an_empty_raster_of_huge_blocks_is_not_unpacked_for_ever(bands: int, block: int) -> None:
    class Empty:
        path, height, width = Path("empty.tif"), 10**6, 10**6
        bands: int
        block: tuple[int, int]
        unpacked = read_pixels = 0

        def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
            rows = (window.row + window.height - 1) // self.block[0] - window.row // self.block[0]
            cols = (window.col + window.width - 1) // self.block[1] - window.col // self.block[1]
            self.unpacked += (rows + 1) * (cols + 1) * self.bands * self.block[0] * self.block[1]
            self.read_pixels += window.height * window.width
            shape = (self.bands, window.height, window.width)
            return np.zeros(shape, np.float32), np.zeros(shape, bool)

    source = Empty()
    source.bands, source.block = bands, (block, block)
    found = measure(source, most=1_000_000)  # type: ignore[arg-type]
    assert found.present == 0
    assert found.pixels > 200_000 / bands
    # two samples, or one block where no less can be read
    assert source.unpacked <= max(8_000_000_000, bands * block * block)
