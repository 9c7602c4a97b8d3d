"""Unpacking archives, among them hostile ones."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import struct
import tarfile
import tempfile
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bdgf.errors import SceneError
from bdgf.scene.benchmarks.archive import SMALL, sized, unpack

FILES = {"a.mat": b"first", "sub/deep/b.tif": bytes(range(256)) * 90, "empty.txt": b""}
LIMITS = (10**6, 10**6, 100)
PACKERS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "tar": bytes}


def zipped(members, **options):
    """Pack (name or ZipInfo, content) pairs."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **{"compression": zipfile.ZIP_DEFLATED, **options}) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


def tarred(members, kind=tarfile.PAX_FORMAT):
    """Pack (name or TarInfo, content) pairs."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=kind) as archive:
        for name, content in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            if info.isreg():
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def info(name, kind, target=""):
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


def unix(name, mode):
    made = zipfile.ZipInfo(name)
    made.create_system, made.external_attr = 3, mode << 16
    return made


@pytest.fixture
def attempt(tmp_path):
    """Unpack bytes into a folder; nothing may ever appear outside it."""

    def call(content, limits=LIMITS, name="tiny.archive", **options):
        archive = tmp_path / "downloads" / name
        archive.parent.mkdir(exist_ok=True)
        archive.write_bytes(content)
        try:
            return unpack(archive, tmp_path / "data", *limits, **options)
        finally:
            assert set(os.listdir(tmp_path)) <= {"downloads", "data"}
            assert os.listdir(tmp_path / "downloads") == [name]

    return call


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in Path(folder).rglob("*")
        if not path.is_dir()
    }


def packed(kind):
    if kind == "zip":
        return zipped(FILES.items())
    return PACKERS[kind](tarred(FILES.items()))


@pytest.mark.parametrize("kind", ["zip", *PACKERS])
def test_an_archive_comes_out_as_it_went_in(attempt, tmp_path, kind):
    paths = attempt(packed(kind))
    assert paths == [tmp_path / "data" / name for name in FILES]
    assert tree(tmp_path / "data") == FILES
    assert not (tmp_path / "data" / "a.mat").stat().st_mode & 0o111


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_folders_in_every_dialect_of_tar(attempt, tmp_path, kind):
    long = "/".join(["folder"] * 20) + "/ä.mat"
    members = [(info("folder", tarfile.DIRTYPE), b""), (long, b"x"), ("./b//c.mat", b"y")]
    attempt(tarred(members, kind))
    assert tree(tmp_path / "data") == {long: b"x", "b/c.mat": b"y"}


def test_an_archive_inside_an_archive_is_a_file(attempt, tmp_path):
    inner = packed("zip")
    attempt(zipped([("inner.zip", inner)]))
    assert tree(tmp_path / "data") == {"inner.zip": inner}


def test_identical_files_stay_and_others_are_never_overwritten(attempt, tmp_path):
    attempt(packed("zip"))
    before = (tmp_path / "data" / "a.mat").stat()
    (tmp_path / "data" / "sub" / "deep" / "b.tif").unlink()
    attempt(packed("gz"))
    assert tree(tmp_path / "data") == FILES
    after = (tmp_path / "data" / "a.mat").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    (tmp_path / "data" / "empty.txt").write_bytes(b"mine")
    (tmp_path / "data" / "a.mat").unlink()
    with pytest.raises(SceneError, match=r"empty\.txt is there already.*rename or remove it"):
        attempt(packed("zip"))
    expected = {"empty.txt": b"mine", "sub/deep/b.tif": FILES["sub/deep/b.tif"]}
    assert tree(tmp_path / "data") == expected


def test_a_move_that_fails_is_undone(attempt, tmp_path, monkeypatch):
    rename, moved = os.rename, []

    def fail(source, target):
        if len(moved) == 2:
            raise PermissionError(13, "Permission denied")
        moved.append(target)
        rename(source, target)

    monkeypatch.setattr("bdgf.scene.benchmarks.archive.os.rename", fail)
    with pytest.raises(SceneError, match="could not be unpacked"):
        attempt(packed("zip"))
    assert list((tmp_path / "data").iterdir()) == []


def test_what_a_killed_process_left_is_cleared(attempt, tmp_path):
    stale = tmp_path / "data" / ".tiny.archive.unpacking"
    (stale / "sub").mkdir(parents=True)
    (stale / "a.mat").write_bytes(b"half")
    attempt(packed("zip"))
    assert tree(tmp_path / "data") == FILES
    assert not stale.exists()


OUTSIDE = [
    "../evil", "a/../../evil", "/tmp/evil", "//evil", "C:/evil", "c:evil", "a/D:evil", "..",
    "a/..", "a/.. /evil", "a/.../evil", ".tiny.archive.unpacking/evil", "..\\evil",
    "a\\b", "\\\\host\\evil", "line\nbreak", "bell\a",
]  # fmt: skip


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("pack", [zipped, tarred])
def test_names_that_leave_the_folder(attempt, tmp_path, pack, name):
    with pytest.raises(SceneError, match="was not unpacked: its member"):
        attempt(pack([("good.mat", b"x"), (name, b"y")]))
    assert tree(tmp_path / "data") == {}


def test_a_zero_byte_does_not_hide_the_end_of_a_name(attempt):
    content = zipped([("good.mat/evil", b"x")]).replace(b"good.mat/evil", b"good.mat\0evil")
    with pytest.raises(SceneError, match="no readable text"):
        attempt(content)


def test_a_name_that_is_no_text(attempt):
    with pytest.raises(SceneError, match="no readable text"):
        attempt(tarred([("b\udcff.mat", b"x")], tarfile.GNU_FORMAT))


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE],
)
def test_links_and_devices_in_tar(attempt, tmp_path, kind):
    members = [("a", b"x"), (info("evil", kind, "a"), b""), ("evil/b", b"y")]
    with pytest.raises(SceneError, match="'evil' is a link or a device"):
        attempt(tarred(members))
    assert tree(tmp_path / "data") == {}


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices_in_zip(attempt, tmp_path, mode):
    with pytest.raises(SceneError, match="'evil' is a link or a device"):
        attempt(zipped([(unix("evil", mode | 0o777), b"/etc"), ("evil/passwd", b"y")]))
    assert tree(tmp_path / "data") == {}


def test_set_user_id_is_not_taken_over(attempt, tmp_path):
    attempt(zipped([(unix("a", stat.S_IFREG | 0o6777), b"x")]))
    assert not (tmp_path / "data" / "a").stat().st_mode & 0o7111


def test_a_link_in_the_folder_is_not_followed_out_of_it(attempt, tmp_path):
    outside = tmp_path / "downloads" / "outside"
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "sub").symlink_to(outside.parent)
    with pytest.raises(SceneError, match="would follow a link"):
        attempt(zipped([("sub/evil", b"x")]))


def test_an_encrypted_zip(attempt):
    content = bytearray(zipped([("a", b"x")]))
    content[content.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(SceneError, match=r"'a' is encrypted.*by hand"):
        attempt(bytes(content))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_methods_of_compression(attempt, method):
    with pytest.raises(SceneError, match=f"compressed by method {method}"):
        attempt(zipped([("a", b"x")], compression=method))


NFC, NFD = (unicodedata.normalize(form, "ü.mat") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    "names",
    [
        ("a.mat", "A.mat"), ("a.mat", "a.mat"), ("sub/a", "Sub/A"), ("a", "A/b"), ("A/b", "a"),
        (NFC, NFD), ("ß", "SS"), ("./a", "a"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_some_disks_take_for_one(attempt, tmp_path, pack, names):
    with pytest.raises(SceneError, match="has the place of another one"):
        attempt(pack([(name, name.encode()) for name in names]))
    assert tree(tmp_path / "data") == {}


def test_folders_that_differ_by_case_hold_different_files(attempt, tmp_path):
    attempt(zipped([("Data/", b""), ("Data/a", b"x"), ("data/b", b"y")]))
    assert len(tree(tmp_path / "data")) == 2


@pytest.mark.parametrize("kind", ["zip", *PACKERS])
@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ((20_000, 10**6, 100), r"unpacks .* or more, and the limit is 20\.0 kB"),
        ((10**6, 20_000, 100), r"holds 'sub/deep/b\.tif' of 23\.0 kB, and the limit is 20\.0 kB"),
        ((10**6, 10**6, 2), "holds more members, and the limit is 2 members"),
    ],
)
def test_limits(attempt, tmp_path, kind, limits, reason):
    with pytest.raises(SceneError, match=reason):
        attempt(packed(kind), limits)
    assert tree(tmp_path / "data") == {}


@pytest.mark.parametrize("kind", ["zip", *PACKERS])
def test_limits_are_met_exactly(attempt, kind):
    sizes = [len(content) for content in FILES.values()]
    assert len(attempt(packed(kind), (sum(sizes), max(sizes), len(FILES)))) == len(FILES)


def test_folders_count_as_members(attempt):
    with pytest.raises(SceneError, match="more members"):
        attempt(zipped([(f"{number}/", b"") for number in range(101)]))


def test_too_deep(attempt):
    with pytest.raises(SceneError, match="more than 32 folders deep"):
        attempt(zipped([("a/" * 32 + "b", b"x")]))


@pytest.mark.parametrize("kind", ["zip", "gz", "bz2", "xz"])
def test_a_bomb_is_told_by_its_ratio(attempt, tmp_path, kind):
    members = [("bomb", bytes(SMALL + 1))]
    content = zipped(members) if kind == "zip" else PACKERS[kind](tarred(members))
    limits = (10**9, 10**9, 100)
    with pytest.raises(SceneError, match=r"unpacks .* and the limit is 16\.8 MB"):
        attempt(content, limits)
    assert tree(tmp_path / "data") == {}
    attempt(content, limits, largest_ratio=10**6)


def test_a_bomb_of_overlapping_members(attempt, tmp_path):
    content = bytearray(zipped([("a", bytes(200_000)), ("b", b"x")]))
    first, second = content.index(b"PK\x01\x02"), content.rindex(b"PK\x01\x02")
    content[second + 16 : second + 28] = content[first + 16 : first + 28]
    content[second + 42 : second + 46] = content[first + 42 : first + 46]
    with pytest.raises(SceneError):
        attempt(bytes(content))
    assert tree(tmp_path / "data") == {}


@pytest.mark.parametrize("declared", [0, 5, 199_999, 200_001, 2**32 - 2])
def test_a_size_that_lies(attempt, tmp_path, declared):
    content = bytearray(zipped([("a", bytes(200_000))]))
    for mark, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = content.index(mark) + place
        content[start : start + 4] = struct.pack("<I", declared)
    with pytest.raises(SceneError):
        attempt(bytes(content))
    assert tree(tmp_path / "data") == {}


def test_a_huge_header_is_not_read_into_memory(attempt):
    header = info("header", tarfile.XHDTYPE)
    header.size = 10**6
    content = header.tobuf() + bytes(10**6) + bytes(1024)
    with pytest.raises(SceneError, match=r"header of 1\.0 MB"):
        attempt(gzip.compress(content), (10**9, 10**9, 100))


def test_headers_without_end_are_not_read(attempt):
    header = info("header", tarfile.GNUTYPE_LONGNAME)
    header.size = 512
    with pytest.raises(SceneError):
        attempt(gzip.compress((header.tobuf() + bytes(512)) * 3000))


def test_bytes_without_end_after_the_last_member_are_not_read(attempt):
    with pytest.raises(SceneError, match="unpacks to"):
        attempt(gzip.compress(tarred([("a", b"x")]) + bytes(5 * 10**6)))


def test_a_negative_size_in_tar(attempt):
    block = bytearray(info("a", tarfile.REGTYPE).tobuf())
    block[124:136] = b"\xff" * 11 + b"\x00"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    with pytest.raises(SceneError, match="declares a size of -256 bytes"):
        attempt(bytes(block) + bytes(1024))


@pytest.mark.parametrize("kind", ["zip", *PACKERS])
def test_every_truncated_archive_is_refused_whole(attempt, tmp_path, kind):
    content = packed(kind)
    # A plain tar is padded with zeros, which may be missing.
    end = content.rstrip(b"\0").__len__() + 512 if kind == "tar" else len(content)
    for size in [*range(0, end, max(1, end // 60)), end - 1]:
        with pytest.raises(SceneError):
            attempt(content[:size])
        assert tree(tmp_path / "data") == {} if (tmp_path / "data").exists() else True


@pytest.mark.parametrize("kind", ["zip", "gz", "bz2", "xz"])
def test_damage_inside_the_packed_bytes(attempt, tmp_path, kind):
    noise = np.random.default_rng(0).bytes(50_000)
    members = [("a", b"x"), ("noise", noise)]
    content = bytearray(zipped(members) if kind == "zip" else PACKERS[kind](tarred(members)))
    for place in (len(content) // 3, len(content) // 2, 2 * len(content) // 3):
        content[place : place + 40] = bytes(40)
    with pytest.raises(SceneError, match="is damaged"):
        attempt(bytes(content))
    assert tree(tmp_path / "data") == {}


def test_packed_bytes_that_are_no_deflate_stream(attempt):
    content = zipped([("a", FILES["sub/deep/b.tif"])])
    with pytest.raises(SceneError, match="is damaged"):
        attempt(content[:31] + b"\xff" * 20 + content[51:])


def test_a_zip_of_a_kind_that_is_not_read(attempt):
    content = bytearray(zipped([("a", b"x")]))
    content[content.index(b"PK\x03\x04") + 6] |= 0x20
    content[content.index(b"PK\x01\x02") + 8] |= 0x20
    with pytest.raises(SceneError, match=r"is damaged.*patched"):
        attempt(bytes(content))


def test_a_place_beyond_every_file(attempt):
    content = bytearray(zipped([("a", b"x")]))
    start = content.index(b"PK\x01\x02")
    far = struct.pack("<HHQ", 1, 8, 2**64 - 2)
    content[start + 30 : start + 32] = struct.pack("<H", len(far))
    content[start + 42 : start + 46] = b"\xff" * 4
    content[start + 47 : start + 47] = far
    end = content.index(b"PK\x05\x06")
    content[end + 12 : end + 16] = struct.pack("<I", end - start)
    with pytest.raises(SceneError, match="is damaged"):
        attempt(bytes(content))


def test_a_tar_that_breaks_between_two_members_is_not_taken_for_whole(attempt, tmp_path):
    content = tarred([("a", b"x"), ("b", b"y")])
    with pytest.raises(SceneError, match="ends too early"):
        attempt(content[:1024])
    with pytest.raises(SceneError, match="ends too early"):
        attempt(content[:1024] + b"!" * 512 + content[1024:])
    assert tree(tmp_path / "data") == {}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"7z\xbc\xaf\x27\x1c" + bytes(50), "is a 7z or rar archive.*unpack it by hand into"),
        (b"Rar!\x1a\x07\x01" + bytes(50), "is a 7z or rar archive.*unpack it by hand into"),
        (b"", "damaged, or no zip or tar archive"),
        (b"<html>", "damaged, or no zip or tar archive"),
        (gzip.compress(b"no tar"), "damaged, or no zip or tar archive"),
        (zipped([]), "holds no file"),
        (zipped([("a/", b"")]), "holds no file"),
        (tarred([]), "holds no file"),
    ],
)
def test_what_is_no_archive_of_files(attempt, content, reason):
    with pytest.raises(SceneError, match=reason):
        attempt(content)


def test_a_folder_or_archive_that_is_not_there(attempt, tmp_path):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(SceneError, match="could not be unpacked"):
        attempt(packed("zip"))
    with pytest.raises(SceneError, match="could not be unpacked"):
        unpack(tmp_path / "nowhere.zip", tmp_path / "new", *LIMITS)


def test_a_full_disk(attempt, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 100})
    monkeypatch.setattr("bdgf.scene.benchmarks.archive.shutil.disk_usage", lambda _: usage)
    with pytest.raises(SceneError, match=r"takes 23\.0 kB, and the disk of .* has 100 bytes left"):
        attempt(packed("zip"))
    assert tree(tmp_path / "data") == {}


def test_expected_members(attempt, tmp_path):
    first = "a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e"
    attempt(packed("zip"), expected={"a.mat": first.upper(), "empty.txt": None})
    for expected in ({"a.mat": "0" * 64}, {"missing": None}, {"sub": None}):
        with pytest.raises(SceneError, match="is damaged"):
            attempt(zipped([("new", b""), *FILES.items()]), expected=expected)
    assert tree(tmp_path / "data") == FILES


def test_sizes_as_people_read_them():
    sizes = (0, 999, 1500, 2.5e6, 7e9, 3e12)
    texts = ["0 bytes", "999 bytes", "1.5 kB", "2.5 MB", "7.0 GB", "3000.0 GB"]
    assert [sized(size) for size in sizes] == texts


ANY_NAME = st.one_of(
    st.text(max_size=12),
    st.lists(
        st.sampled_from(["..", ".", "", "a", "A", "b", "C:", "..\\", "~", ".. ", "x" * 300, "con"]),
        min_size=1,
        max_size=5,
    ).map("/".join),
)
KINDS = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE])


def check_any(content):
    """Unpack into an inner folder: all or nothing appears in it, and nothing anywhere else."""
    with tempfile.TemporaryDirectory() as place:
        outer = Path(place)
        (outer / "in" / "data").mkdir(parents=True)
        (outer / "in" / "tiny").write_bytes(content)
        try:
            paths = unpack(outer / "in" / "tiny", outer / "in" / "data", *LIMITS)
        except SceneError:
            paths = []
        found = [path for path in outer.rglob("*") if not path.is_dir() or path.is_symlink()]
        assert sorted(found) == sorted([outer / "in" / "tiny", *paths])
        assert all(path.is_file() and not path.is_symlink() for path in paths)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(members=st.lists(st.tuples(ANY_NAME, KINDS, ANY_NAME), min_size=1, max_size=4))
def test_nothing_is_ever_written_outside_by_tar(members):
    try:
        content = tarred([(info(name, kind, target), b"x") for name, kind, target in members])
    except (ValueError, UnicodeError):
        return
    check_any(content)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(members=st.lists(ANY_NAME, min_size=1, max_size=4, unique=True), link=st.booleans())
def test_nothing_is_ever_written_outside_by_zip(members, link):
    kind = stat.S_IFLNK if link else stat.S_IFREG
    infos = [
        unix(name, (kind if number == 0 else 0) | 0o644) for number, name in enumerate(members)
    ]
    try:
        content = zipped([(each, b"x") for each in infos])
    except UnicodeError:
        return
    check_any(content)


@pytest.mark.parametrize("kind", ["zip", *PACKERS])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6))
def test_damage_anywhere_is_an_error_of_ours_or_none(kind, changes):
    content = bytearray(packed(kind))
    for place, value in changes:
        content[place % len(content)] = value
    check_any(bytes(content))
