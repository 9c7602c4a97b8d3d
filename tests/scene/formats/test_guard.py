from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from bdgf.errors import SceneError
from bdgf.scene.formats import guard
from bdgf.scene.formats.guard import check_hdf5
from bdgf.scene.formats.opening import contents


@pytest.fixture
def file(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "a.mat", "w", userblock_size=512) as out:
        out["x"] = np.arange(12.0).reshape(3, 4)
    return tmp_path / "a.mat"


@pytest.fixture
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Another process, and no memory of files that were seen before."""
    monkeypatch.setattr(guard, "_STARTED", [])
    monkeypatch.setattr(guard, "_PASSED", set())
    yield
    for probe in guard._STARTED:
        probe.end()


SAYS_READY = "import sys; print('ready', flush=True); line = sys.stdin.readline(); "


@pytest.mark.usefixtures("_alone")
def test_a_file_that_is_never_read_through_is_refused(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "SECONDS", 0.5)
    monkeypatch.setattr(guard, "_MAIN", SAYS_READY + "import time; time.sleep(100)")
    for _ in range(2):
        with pytest.raises(SceneError, match=r"a\.mat keeps the HDF5 library busy .* get it again"):
            contents(file)
    monkeypatch.setattr(guard, "_MAIN", SAYS_READY + "import os; os.abort()")
    with pytest.raises(SceneError, match=r"a\.mat makes the HDF5 library crash"):
        contents(file)


@pytest.mark.usefixtures("_alone")
def test_a_good_file_is_looked_at_once_until_it_changes(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    ask = guard._Probe.ask
    monkeypatch.setattr(
        guard._Probe, "ask", lambda self, path: asked.append(path) or ask(self, path)
    )
    for _ in range(2):
        assert set(contents(file) or {}) == {"x"}
    assert asked == [str(file)]
    os.utime(file, (1, 1))
    contents(file)
    assert len(asked) == 2
    (file.parent / "b.mat").write_bytes(b"MATLAB 5.0 " + bytes(600))
    check_hdf5(file.parent / "b.mat")
    check_hdf5(file.parent / "absent.mat")
    assert len(asked) == 2, "only HDF5 files are asked about"


@pytest.mark.usefixtures("_alone")
def test_a_damaged_file_gets_the_words_of_its_own_reader(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[600:] = b"\xff" * (len(data) - 600)
    file.write_bytes(data)
    with pytest.raises(SceneError, match="cannot be read as an HDF5 file"):
        contents(file)


@pytest.mark.usefixtures("_alone")
def test_without_another_process_files_are_read_all_the_same(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard.sys, "executable", "/nowhere/python")
    assert set(contents(file) or {}) == {"x"}
