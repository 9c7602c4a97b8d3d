"""Damaged input, a hundred cases; ten thousand are one command, which CI runs as well."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(sys.platform != "linux", reason="its limits are Linux's own")
@pytest.mark.timeout(900)
def test_damaged_input_ends_in_a_result_or_in_one_sentence() -> None:
    command = ["-m", "benchmarks.reliability", "fuzz", "--cases", "120", "--seed", "7"]
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", *command],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    assert " cases, 0 failed" in ended.stdout
