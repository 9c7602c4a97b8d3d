"""The script beside an export, run as a user runs it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import rasterio

from bdgf.mapping.portable import map_tile

FILES = ("hsi.tif", "sar.tif", "dsm.tif")


def test_it_writes_the_run_s_own_map(exported, tiny_scene: Path, tmp_path: Path) -> None:
    script = exported.folder / "map_tile.py"
    rasters = [str(tiny_scene.parent / name) for name in FILES]
    done = subprocess.run(
        [sys.executable, "-I", str(script), str(tmp_path / "out.tif"), *rasters],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with (
        rasterio.open(tmp_path / "out.tif") as found,
        rasterio.open(exported.run.folder.path / "map.tif") as expected,
    ):
        np.testing.assert_array_equal(found.read(1), expected.read(1))
        assert (found.transform, found.crs) == (expected.transform, expected.crs)
        assert found.nodata == 0


def test_windows_give_the_same_map(exported, tiny_scene: Path, tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("map_tile_copy", exported.folder / "map_tile.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.SIDE = 16
    rasters = [str(tiny_scene.parent / name) for name in FILES]
    module.main(str(tmp_path / "out.tif"), *rasters)
    with (
        rasterio.open(tmp_path / "out.tif") as found,
        rasterio.open(exported.run.folder.path / "map.tif") as expected,
    ):
        np.testing.assert_array_equal(found.read(1), expected.read(1))


def test_scale_offset_and_nodata_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    values = np.array([[[1, 2], [3, 9]], [[5, 5], [0, 5]]], np.int16)
    with rasterio.open(
        path, "w", driver="GTiff", height=2, width=2, count=2, dtype="int16", nodata=9,
        crs="EPSG:32632",
    ) as raster:  # fmt: skip
        raster.write(values)
        raster.scales, raster.offsets = (0.5, 1.0), (10.0, 0.0)
    modality = {"read": [2, 1], "used_bands": [1, 2], "nodata": 0.0}
    with rasterio.open(path) as raster:
        found, valid = map_tile.read(raster, modality, rasterio.windows.Window(0, 0, 2, 2))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[[5, 5], [0, 5]], [[10.5, 11], [11.5, 0]]])
    np.testing.assert_array_equal(valid, [[True, True], [False, False]])
