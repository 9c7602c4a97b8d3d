"""The script beside an export, run as a user runs it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import rasterio

FILES = ("hsi.tif", "sar.tif", "dsm.tif")


def carry_out(script: Path, out: Path, *rasters: Path) -> None:
    words = [sys.executable, "-I", str(script), str(out), *map(str, rasters)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("side", [256, 16])
def test_it_writes_the_run_s_own_map(exported, tiny_scene: Path, tmp_path: Path, side: int) -> None:
    folder = shutil.copytree(exported.folder, tmp_path / "copy")
    script = folder / "map_tile.py"
    text = script.read_text()
    assert len(text.splitlines()) == 30
    assert 'side = pairs[0][0], about["halo"], 256' in text
    script.write_text(text.replace('about["halo"], 256', f'about["halo"], {side}'))
    carry_out(script, tmp_path / "out.tif", *(tiny_scene.parent / name for name in FILES))
    with (
        rasterio.open(tmp_path / "out.tif") as found,
        rasterio.open(exported.path / "map.tif") as expected,
    ):
        np.testing.assert_array_equal(found.read(1), expected.read(1))
        assert (found.transform, found.crs) == (expected.transform, expected.crs)
        assert found.nodata == 0


def test_bands_scale_offset_and_nodata_are_read(exported, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    values = np.array([[[1, 2], [3, 9]], [[11, 10], [0, 5]]], np.int16)
    with rasterio.open(
        path, "w", driver="GTiff", height=2, width=2, count=2, dtype="int16", nodata=9,
        crs="EPSG:32632",
    ) as raster:  # fmt: skip
        raster.write(values)
        raster.scales, raster.offsets = (0.5, 1.0), (10.0, 0.0)
    shutil.copy(exported.folder / "map_tile.py", tmp_path)
    modality = {"read": [2, 1], "used_bands": [1, 2], "nodata": 0.0}
    about = {"modalities": [modality], "classes": [{"code": 7}, {"code": 300}], "halo": 4}
    (tmp_path / "mapper.json").write_text(json.dumps(about))
    onnx.save(_bands_as_scores(), tmp_path / "mapper.onnx")
    carry_out(tmp_path / "map_tile.py", tmp_path / "out.tif", path)
    with rasterio.open(tmp_path / "out.tif") as found:
        # band 2 as it is against half of band 1 and 10; 0 and 9 are no data
        np.testing.assert_array_equal(found.read(1), [[7, 300], [0, 0]])


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
