"""Files are written whole or not at all."""

from __future__ import annotations

import os
import stat

import numpy as np
import pytest

from bdgf import processes
from bdgf.errors import RunFolderError
from bdgf.files import (
    atomic_path,
    atomic_write_bytes,
    atomic_write_text,
    code_digest,
    file_name,
    is_temporary,
    remove_leftovers,
    reserve,
    scratch_path,
)


def test_writes_and_replaces(tmp_path):
    path = tmp_path / "new" / "a.txt"
    atomic_write_text(path, "größe\n")
    atomic_write_bytes(path, b"second")
    assert path.read_bytes() == b"second"
    assert os.listdir(path.parent) == ["a.txt"]


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")

    def stopped():
        with atomic_path(path) as part:
            part.write_text("half")
            assert part.suffix == ".json"
            assert path.read_text() == "old"
            raise KeyError("stopped")

    with pytest.raises(KeyError, match="stopped"):
        stopped()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.json"]


def test_file_has_the_usual_rights(tmp_path):
    plain = tmp_path / "plain"
    plain.touch()
    atomic_write_bytes(tmp_path / "ours", b"")
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_folder_that_is_a_file_is_one_sentence(tmp_path):
    (tmp_path / "run").touch()
    with pytest.raises(RunFolderError, match=r"run/map\.tif cannot be written .*choose another"):
        atomic_write_text(tmp_path / "run" / "map.tif", "")


def test_target_that_is_a_folder_is_kept(tmp_path):
    (tmp_path / "map.tif").mkdir()
    with pytest.raises(RunFolderError, match="cannot be written"):
        atomic_write_text(tmp_path / "map.tif", "")
    assert os.listdir(tmp_path) == ["map.tif"]


def test_full_disk_is_a_run_folder_error(tmp_path):
    with (
        pytest.raises(RunFolderError, match="No space"),
        atomic_path(tmp_path / "a.bin"),
    ):
        raise OSError(28, "No space left on device")
    assert os.listdir(tmp_path) == []


def test_other_os_errors_keep_their_type(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.bin"):
        (tmp_path / "missing").read_bytes()


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path, monkeypatch):
    (tmp_path / "features").mkdir()
    left = [tmp_path / ".map.bdgf-0a1b2c3d.tif", tmp_path / "features" / ".a.b.bdgf-00000000.npy"]
    own = [tmp_path / name for name in (".hidden", "map.tif", ".map.bdgf-0a1b2c3.tif")]
    own += [tmp_path / ".notes.20240101.txt", tmp_path / ".backup.20240101"]
    for path in (*left, *own):
        path.touch()
    with atomic_path(tmp_path / "network.safetensors") as part:
        assert is_temporary(part)
    with scratch_path(tmp_path / "regions.tif") as part:
        assert is_temporary(part)
        part.touch()
    assert not part.exists()
    assert not is_temporary(tmp_path / "network.safetensors")
    (tmp_path / "other").mkdir()  # another command maps a scene into it
    own += [tmp_path / "other" / name for name in (".lock", ".map.plain.bdgf-0a1b2c3d.tif")]
    for path in own:
        path.touch()
    monkeypatch.setattr(processes, "rank", lambda: 1)
    remove_leftovers(tmp_path)
    assert all(path.exists() for path in (*left, *own)), "the first process's alone"
    monkeypatch.setattr(processes, "rank", lambda: 0)
    remove_leftovers(tmp_path)
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in own)


def test_space_is_taken_before_it_is_written(tmp_path):
    path = tmp_path / "sparse.bin"
    with path.open("wb") as file:
        file.write(b"header")
        file.truncate(3 << 20)
    assert path.stat().st_blocks * 512 < 1 << 20
    reserve(path)
    assert path.stat().st_size == 3 << 20
    assert path.stat().st_blocks * 512 >= 3 << 20
    assert path.read_bytes()[:8] == b"header\0\0"


def test_space_is_taken_where_the_system_has_no_call_for_it(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate")
    path = tmp_path / "sparse.bin"
    with path.open("wb") as file:
        file.write(b"header")
        file.truncate((3 << 20) + 5)
    reserve(path)
    assert path.stat().st_blocks * 512 >= 3 << 20
    assert path.stat().st_size == (3 << 20) + 5
    assert path.read_bytes() == b"header" + bytes((3 << 20) - 1)


@pytest.mark.parametrize("free", [8_192, 100_000, 300_000, 700_000])
def test_a_disk_that_fills_while_a_raster_is_written_is_one_sentence(tmp_path, free):
    """GDAL's errors have no number of the system's."""
    import resource
    import signal

    import rasterio

    values = np.random.default_rng(0).integers(0, 255, (1, 1000, 1000)).astype(np.uint8)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free, before[1]))
    profile = {"driver": "GTiff", "height": 1000, "width": 1000, "count": 1, "dtype": "uint8"}
    try:
        with (
            pytest.raises(RunFolderError, match=r"a\.tif cannot be written"),
            atomic_path(tmp_path / "a.tif") as part,
            rasterio.open(part, "w", **profile) as raster,
        ):
            raster.write(values)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert not list(tmp_path.iterdir())


def test_names_of_all_scripts_have_files_of_their_own(tmp_path):
    names = ["武汉", "上海", "Zürich", "Z rich", "西" * 200, "西" * 199, "a" * 300, "..", "a b"]
    folders = {file_name(name) for name in names}
    assert len(folders) == len(names)
    for folder in folders:
        (tmp_path / folder).mkdir()
    assert file_name("augsburg_like") == "augsburg_like"


def test_a_digest_of_code_follows_names_and_contents(tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    (package / "a.py").write_text("x = 1\n")
    first = code_digest(package)
    (package / "notes.txt").write_text("no module")
    assert code_digest(package) == first
    (package / "a.py").rename(package / "b.py")
    renamed = code_digest(package)
    (package / "b.py").write_text("x = 2\n")
    assert len({first, renamed, code_digest(package)}) == 3
