"""Faults planted in small runs, by a few of each kind; the full number is one command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(sys.platform != "linux", reason="faults are planted by Linux's own means")
@pytest.mark.timeout(900)
def test_nothing_is_lost_and_the_result_is_the_same() -> None:
    kinds = (
        "kills,kills_at_renames,failing_writes,failing_calls,full_disks,lost_files,cut_files,"
        "clocks,two_at_once"
    )
    command = ["-m", "benchmarks.reliability", "faults", "--moments", "2", "--others", "1"]
    ended = subprocess.run(
        [sys.executable, *command, "--kinds", kinds],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    assert "survived with the same bytes" in ended.stdout
