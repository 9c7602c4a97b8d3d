"""Places of files: local ones, and addresses whose secrets stay out of texts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdgf.errors import SceneError
from bdgf.scene.formats.location import (
    RemotePath,
    fingerprint,
    is_remote,
    locate,
    named,
    without_secrets,
)


def test_texts_name_local_files_or_addresses():
    assert locate("a/b.tif") == Path("a/b.tif")
    assert locate("b.tif", Path("/data")) == Path("/data/b.tif")
    assert locate("/x/b.tif", Path("/data")) == Path("/x/b.tif")
    assert locate(Path("b.tif"), Path("/data")) == Path("/data/b.tif")
    address = "https://host.org/a/b.tif"
    assert locate(address, Path("/data")) == RemotePath(address)
    for text in ("s3://bucket/a.tif", "HTTP://host/a.tif", "https://host/a.tif"):
        assert is_remote(text)
    for text in ("a.tif", "/s3/a.tif", "ftp://host/a.tif", "C:/a.tif", "gs://b/a.tif"):
        assert not is_remote(text)


def test_parts_of_an_address():
    path = RemotePath("https://u:p@host.org:8080/deep/B04.cog.tif?sig=x/y.z#f")
    assert (path.name, path.stem, path.suffix) == ("B04.cog.tif", "B04.cog", ".tif")
    assert path.shown == str(path) == named(path) == "https://host.org:8080/deep/B04.cog.tif?…"
    assert path.gdal == "/vsicurl/https://u:p@host.org:8080/deep/B04.cog.tif?sig=x/y.z#f"
    assert RemotePath("S3://bucket/key/a.tif").gdal == "/vsis3/bucket/key/a.tif"
    assert RemotePath("HTTP://host/a.tif").gdal == "/vsicurl/http://host/a.tif"
    assert RemotePath("https://host.org").name == "host.org"
    assert named(Path("/data/a.tif")) == "a.tif"


SECRET = st.text(st.characters(categories=["L", "N"]), min_size=1).map("s3cret{}".format)


@given(user=SECRET, password=SECRET, token=SECRET, scheme=st.sampled_from(["http", "https"]))
def test_no_text_of_an_address_has_its_secrets(user, password, token, scheme):
    address = f"{scheme}://{user}:{password}@host.org/data/a.tif?X-Amz-Signature={token}&b={token}"
    path = RemotePath(address)
    error = f"/vsicurl/{address}: failed, a.tif?X-Amz-Signature={token}&b={token}, band 1"
    texts = [str(path), repr(path), path.name, path.stem, path.suffix, path.shown, f"{path}"]
    texts += [path.hide(error), without_secrets(f"at '{address}' (again {address})")]
    for text in texts:
        assert not any(secret in text for secret in (user, password, token))
    assert "failed" in path.hide(error)
    assert address in path.gdal


@pytest.mark.parametrize("address", ["https://[broken/a.tif?sig=1", "https://", "https://u:p@"])
def test_an_address_that_makes_no_sense_still_has_a_text(address):
    path = RemotePath(address)
    assert "sig" not in path.shown
    assert "u:p" not in path.shown
    assert path.name
    with pytest.raises(SceneError, match=r"cannot be reached"):
        fingerprint(path)


def test_fingerprint_of_a_local_file(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(b"12345")
    first = fingerprint(path)
    assert first == f"5 {path.stat().st_mtime_ns}"
    assert fingerprint(path) == first
    os.utime(path, ns=(0, 1))
    assert fingerprint(path) == "5 1"
    path.unlink()
    with pytest.raises(SceneError, match=r"a\.tif is gone.*put it back"):
        fingerprint(path)


def test_fingerprint_of_a_bucket_is_its_address():
    assert fingerprint(RemotePath("s3://bucket/a.tif")) == "s3://bucket/a.tif"
