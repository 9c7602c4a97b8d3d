"""What GDAL says is passed on in words, without an address's secrets."""

from __future__ import annotations

import pytest
import rasterio
from rasterio.errors import RasterioIOError

from bdgf.errors import SceneError
from bdgf.scene.formats.gdal import gdal_name, opened
from bdgf.scene.formats.location import RemotePath

REMOTE = RemotePath("https://ann:s3cret@host.org/a.tif?sig=abc123")


def test_errors_that_name_a_file_without_its_host_have_no_query(monkeypatch, write_tif):
    message = "a.tif?sig=abc123, band 1: IReadBlock failed for ann:s3cret"

    def fail(name, **_):
        raise RasterioIOError(message)

    local = write_tif("a.tif", [[1.0]])
    with pytest.raises(SceneError) as reading, opened(REMOTE, str(local)):
        fail("a.tif")
    monkeypatch.setattr(rasterio, "open", fail)
    with pytest.raises(SceneError) as opening, opened(REMOTE):
        pass
    for error in (reading, opening):
        text = str(error.value)
        assert "IReadBlock failed" in text
        assert "https://host.org/a.tif" in text
        assert "abc123" not in text
        assert "s3cret" not in text


def test_the_deepest_cause_is_told(write_tif):
    failed = RasterioIOError("Read failed. See previous exception.")
    failed.__cause__ = RasterioIOError("tile 3 is bad.")
    path = write_tif("a.tif", [[1.0]])
    with pytest.raises(SceneError, match=r"a\.tif cannot be read \(tile 3 is bad\)"), opened(path):
        raise failed


def test_the_programs_own_errors_pass(write_tif):
    with pytest.raises(KeyError), opened(write_tif("a.tif", [[1.0]])):
        raise KeyError("mine")


def test_names_for_gdal(tmp_path):
    assert gdal_name(tmp_path / "a.tif") == str(tmp_path / "a.tif")
    assert gdal_name(REMOTE) == f"/vsicurl/{REMOTE.address}"
