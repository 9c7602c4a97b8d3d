from __future__ import annotations

import hashlib

import pytest

from bdgf.errors import SceneError
from bdgf.progress import Silent
from bdgf.scene.benchmarks.part import Part, check_address, only_one


@pytest.mark.parametrize(
    ("url", "before", "hosts"),
    [
        ("https://a.org/x", "https://a.org/x", None),
        ("https://b.org/x", "http://a.org/x", None),
        ("http://b.org/x", "http://a.org/x", ("b.org",)),
        ("https://A.org:8443/x", "https://a.org/x", ("a.org",)),
    ],
)
def test_addresses_that_are_followed(url, before, hosts):
    check_address(url, before, hosts)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://a.org/x", "from a safe connection to an open one"),
        ("file:///etc/passwd", "only fetched over http and https"),
        ("ftp://a.org/x", "only fetched over http and https"),
        ("scene.mat", "only fetched over http and https"),
        ("https:///x", "only fetched over http and https"),
        ("https://[::1", "no address"),
        ("https://b.org/x", "only come from a.org"),
        ("https://a.org@b.org/x", "only come from a.org"),
        ("https://a.org.b.org/x", "only come from a.org"),
    ],
)
def test_addresses_that_are_not(url, reason):
    with pytest.raises(SceneError, match=reason):
        check_address(url, "https://a.org/x", ("a.org",))


def test_a_part_belongs_to_one_process_until_it_is_closed(tmp_path):
    target = tmp_path / "scene.mat"
    with Part(target, "http://a.org/x", 10, Silent()) as part:
        part.write(b"some")
        with pytest.raises(SceneError, match=r"another process works on .*scene\.mat\.part"):
            Part(target, "http://a.org/x", 10, Silent())
    with Part(target, "http://a.org/x", 10, Silent()):
        pass


def test_only_one_frees_the_file_when_it_is_closed(tmp_path):
    path = tmp_path / "file"
    path.touch()
    for _ in range(2):
        with path.open("rb") as file, path.open("rb") as again:
            only_one(file, path)
            with pytest.raises(SceneError, match="only one may"):
                only_one(again, path)


def test_a_part_without_a_byte_does_not_stay(tmp_path):
    with Part(tmp_path / "scene.mat", "http://a.org/x", 10, Silent()) as part:
        assert part.missing(checked=True) == {}
    assert list(tmp_path.iterdir()) == []


def test_a_part_takes_no_more_than_it_may(tmp_path):
    with Part(tmp_path / "scene.mat", "http://a.org/x", 10, Silent()) as part:
        part.write(b"12345")
        part.write(b"67890")
        with pytest.raises(SceneError, match="at most 10 bytes; nothing of it was kept"):
            part.write(b"1")
    assert list(tmp_path.iterdir()) == []


def test_finishing_replaces_the_name_in_one_step(tmp_path):
    with Part(tmp_path / "scene.mat", "http://a.org/x", 10, Silent()) as part:
        part.write(b"content")
        part.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["scene.mat"]
    assert (tmp_path / "scene.mat").read_bytes() == b"content"


def test_the_checksum_is_of_all_bytes_written(tmp_path):
    with Part(tmp_path / "scene.mat", "http://a.org/x", 10, Silent()) as part:
        part.write(b"content")
        assert part.sha256() == hashlib.sha256(b"content").hexdigest()
