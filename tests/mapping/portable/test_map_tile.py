"""The script beside an export, run as a user runs it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import rasterio
from numpy.typing import NDArray

from bdgf.mapping.portable import exporting
from bdgf.scene.formats.base import RasterSource
from bdgf.scene.formats.opening import open_source
from bdgf.scene.windows import Window

FILES = ("hsi.tif", "sar.tif", "dsm.tif")


SCRIPT = Path(exporting.__file__).with_name("map_tile.py")


def carry_out(script: Path, out: Path, *rasters: Path) -> None:
    words = [sys.executable, "-I", str(script), str(out), *map(str, rasters)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("side", [256, 16])
def test_it_writes_the_run_s_own_map(exported, tiny_scene: Path, tmp_path: Path, side: int) -> None:
    folder = shutil.copytree(exported.folder, tmp_path / "copy")
    script = folder / "map_tile.py"
    text = script.read_text()
    assert "SIDE = 256" in text
    script.write_text(text.replace("SIDE = 256", f"SIDE = {side}"))
    carry_out(script, tmp_path / "out.tif", *(tiny_scene.parent / name for name in FILES))
    with (
        rasterio.open(tmp_path / "out.tif") as found,
        rasterio.open(exported.path / "map.tif") as expected,
    ):
        np.testing.assert_array_equal(found.read(1), expected.read(1))
        assert (found.transform, found.crs) == (expected.transform, expected.crs)
        assert found.nodata == 0


@pytest.mark.parametrize(
    ("own", "given", "expected"),
    [
        (9, None, [[7, 300], [0, 300]]),
        (9, 0, [[7, 300], [300, 0]]),  # the scene file's stands in place of the file's own
        (None, 0, [[7, 300], [300, 0]]),
        (None, None, [[7, 300], [300, 300]]),
    ],
)
def test_bands_scale_offset_and_nodata_are_read_as_by_the_run(
    tmp_path: Path, own: int | None, given: int | None, expected: list[list[int]]
) -> None:
    path = tmp_path / "a.tif"
    values = np.array([[[1, 2], [3, 1]], [[11, 10], [9, 0]]], np.int16)
    with rasterio.open(
        path, "w", driver="GTiff", height=2, width=2, count=2, dtype="int16", nodata=own,
        crs="EPSG:32632",
    ) as raster:  # fmt: skip
        raster.write(values)
        raster.scales, raster.offsets = (0.5, 1.0), (10.0, 0.0)
    source = open_source(path, nodata=given)
    # band 2 as it is against half of band 1 and 10
    found = largest_band(source, [2, 1], [7, 300], tmp_path)
    np.testing.assert_array_equal(found, expected)
    _, valid = source.read(Window(0, 0, 2, 2))
    np.testing.assert_array_equal(found != 0, valid.all(axis=0))


def test_an_infrared_band_that_is_marked_as_alpha_is_no_mask(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    values = np.random.default_rng(0).integers(0, 255, (4, 30, 31)).astype(np.uint8)
    values[3, 0, :3] = 0
    with rasterio.open(
        path, "w", driver="GTiff", height=30, width=31, count=4, dtype="uint8", crs="EPSG:32632"
    ) as raster:
        raster.write(values)
    with rasterio.open(path) as raster:
        assert raster.colorinterp[3].name == "alpha"
    source = open_source(path)
    found = largest_band(source, [1, 2, 3, 4], [1, 2, 3, 4], tmp_path)
    np.testing.assert_array_equal(found, np.argmax(values, axis=0) + 1)


def largest_band(
    source: RasterSource, read: list[int], codes: list[int], to: Path
) -> NDArray[np.uint16]:
    """Let the script map a raster by a program that takes the largest of its bands."""
    modality = {"read": read, "nodata": source.nodata, "masked": source.masked}
    carry_out(largest(to, [modality], codes), to / "out.tif", Path(str(source.path)))
    with rasterio.open(to / "out.tif") as found:
        return found.read(1)


def largest(folder: Path, modalities: list[dict[str, Any]], codes: list[int]) -> Path:
    """Return the script beside a program that takes the largest of all bands."""
    folder.mkdir(exist_ok=True)
    about = {"modalities": modalities, "classes": [{"code": c} for c in codes], "halo": 4}
    (folder / "mapper.json").write_text(json.dumps(about))
    onnx.save(_bands_as_scores(), folder / "mapper.onnx")
    return Path(shutil.copy(SCRIPT, folder))


def _bands_as_scores() -> onnx.ModelProto:
    """A program whose scores are the bands it is given, NaN where one is."""
    helper, real = onnx.helper, onnx.TensorProto.FLOAT
    shape = ["c", "h", "w"]
    graph = helper.make_graph(
        [
            helper.make_node("ReduceSum", ["values", "axis"], ["sum"], keepdims=1),
            helper.make_node("Sub", ["sum", "sum"], ["nothing"]),
            helper.make_node("Add", ["values", "nothing"], ["log_probabilities"]),
        ],
        "bands",
        [helper.make_tensor_value_info("values", real, shape)],
        [helper.make_tensor_value_info("log_probabilities", real, shape)],
        [helper.make_tensor("axis", onnx.TensorProto.INT64, [1], [0])],
    )
    opset = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opset, ir_version=10)


@pytest.fixture
def three(tiny_scene: Path, tmp_path: Path) -> list[Path]:
    """Copies of the rasters of the tiny scene."""
    return [Path(shutil.copy(tiny_scene.parent / name, tmp_path)) for name in FILES]


def refused(out: str, rasters: list[Path], folder: Path) -> str:
    """Return what the script says of rasters that it maps by one band of each."""
    modalities = [{"read": [1], "nodata": None, "masked": False}] * len(FILES)
    script = largest(folder / "exported", modalities, [1, 2, 3])
    words = [sys.executable, "-I", str(script), out, *map(str, rasters)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 1
    return done.stderr


def test_a_raster_on_another_grid_is_refused(three: list[Path], tmp_path: Path) -> None:
    with rasterio.open(three[1], "r+") as raster:
        raster.transform = raster.transform @ raster.transform.translation(1, 0)
    assert "sar.tif lies on another grid than" in refused("out.tif", three, tmp_path)
    assert "3 rasters are needed" in refused("out.tif", three[:2], tmp_path)
    told = refused("out.tif", [three[0], tmp_path / "none.tif", three[2]], tmp_path)
    assert "none.tif: No such file" in told
    assert "Traceback" not in told
    assert not (tmp_path / "out.tif").exists()


def test_a_raster_that_is_read_is_not_written_over(three: list[Path], tmp_path: Path) -> None:
    before = three[1].read_bytes()
    out = f"../{tmp_path.name}/sar.tif"
    assert "is one of the rasters that are read" in refused(out, three, tmp_path)
    assert three[1].read_bytes() == before


def test_a_map_that_fails_leaves_the_earlier_one(three: list[Path], tmp_path: Path) -> None:
    data = three[2].read_bytes()
    three[2].write_bytes(data[: len(data) // 2])
    (tmp_path / "out.tif").write_bytes(b"earlier")
    assert "dsm.tif" in refused("out.tif", three, tmp_path)
    assert (tmp_path / "out.tif").read_bytes() == b"earlier"
    assert {path.name for path in tmp_path.iterdir()} == {"out.tif", "exported", *FILES}
