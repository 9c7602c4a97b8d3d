"""Rasters of several files: all of them are found, or the missing one is named."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
import rasterio.shutil

from bdgf.errors import SceneError
from bdgf.scene.formats.companions import companions
from bdgf.scene.formats.raster import GdalSource
from bdgf.scene.windows import Window


def whole(source):
    return source.read(Window(0, 0, source.height, source.width))


def write_raster(path, values, driver):
    with rasterio.open(
        path, "w", driver=driver, count=values.shape[0], height=values.shape[1],
        width=values.shape[2], dtype=values.dtype,
    ) as dataset:  # fmt: skip
        dataset.write(values)
    return path


@pytest.mark.parametrize("ending", ["a.hdr", "a.dat", "a", "a.img", "b.img.hdr", "C.HDR"])
def test_envi_is_opened_by_its_data_or_its_header(tmp_path, ending):
    values = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    data = {"a.hdr": "a.bsq", "b.img.hdr": "b.img", "C.HDR": "C.dat"}.get(ending, ending)
    write_raster(tmp_path / data, values, "ENVI")
    header = (tmp_path / data).with_suffix(".hdr")
    if ending in ("b.img.hdr", "C.HDR"):
        header.rename(tmp_path / ending)
    source = GdalSource(tmp_path / ending)
    np.testing.assert_array_equal(whole(source)[0], values)
    assert source.path.name == data


def test_file_without_its_header_or_its_values(tmp_path):
    values = np.ones((1, 30, 40), dtype=np.int16)
    path = write_raster(tmp_path / "a.dat", values, "ENVI")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(SceneError, match=r"2,399 bytes.*asks for 2,400.*cut short"):
        GdalSource(path)
    path.unlink()
    with pytest.raises(SceneError, match=r"a\.hdr is a header, and no file with its values"):
        GdalSource(tmp_path / "a.hdr")
    (tmp_path / "b.dat").write_bytes(b"\0" * 2400)
    with pytest.raises(SceneError, match=r"needs its header b\.hdr beside it"):
        GdalSource(tmp_path / "b.dat")


def test_vrt_without_its_sources(tmp_path):
    write_raster(tmp_path / "a & b.tif", np.ones((2, 3, 3), dtype=np.uint8), "GTiff")
    rasterio.shutil.copy(tmp_path / "a & b.tif", tmp_path / "a.vrt", driver="VRT")
    assert GdalSource(tmp_path / "a.vrt").bands == 2
    (tmp_path / "a & b.tif").unlink()
    with pytest.raises(SceneError, match=r"a\.vrt points to 1 file\(s\).*\(a & b\.tif\)"):
        GdalSource(tmp_path / "a.vrt")


def test_what_decides_how_a_file_is_read_belongs_to_it(tmp_path):
    for name in ("F.SHP", "F.DBF", "F.shx", "a.tif", "a.TFW", "b.gpkg", "b.gpkg-wal", "other.dbf"):
        (tmp_path / name).write_bytes(b"")
    found = {name: {p.name for p in companions(tmp_path / name)} for name in ("F.SHP", "b.gpkg")}
    assert found["F.SHP"] >= {"F.SHP", "F.DBF", "F.shx"}
    assert "other.dbf" not in found["F.SHP"]
    assert found["b.gpkg"] == {"b.gpkg", "b.gpkg-wal"}
    assert {p.name for p in companions(tmp_path / "a.tif")} >= {"a.tif", "a.TFW"}
