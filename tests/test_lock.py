from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bdgf.errors import RunFolderError
from bdgf.lock import LOCK, locked

HOLD = """
import sys
from pathlib import Path
from bdgf.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_refused_and_told_who_works_there(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        with (
            pytest.raises(RunFolderError, match=rf"in use .*\(process {process.pid} on "),
            locked(tmp_path),
        ):
            pytest.fail("two processes hold one lock")
        process.communicate("")
    with locked(tmp_path):
        assert (tmp_path / LOCK).is_file()
    assert os.listdir(tmp_path) == []


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        process.kill()
        process.wait()
    assert (tmp_path / LOCK).is_file()
    with locked(tmp_path):
        assert str(os.getpid()) in (tmp_path / LOCK).read_text()
    assert os.listdir(tmp_path) == []


def test_it_is_let_go_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path):
        raise KeyError
    with locked(tmp_path), pytest.raises(RunFolderError, match="in use"), locked(tmp_path):
        pytest.fail("one process holds the lock twice")


def test_later_ranks_share_the_lock_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with locked(tmp_path):
        monkeypatch.setenv("RANK", "1")
        with pytest.raises(RunFolderError), locked(tmp_path):
            pytest.fail("a launcher of another kind, whose processes are no ranks of one job")
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "one")
        with locked(tmp_path):
            assert os.listdir(tmp_path) == [LOCK]
        assert os.listdir(tmp_path) == [LOCK]


def test_a_folder_that_refuses_files_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="cannot be written"), locked(tmp_path / "absent"):
        pytest.fail("there is no folder")
