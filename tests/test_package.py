"""What ``import bdgf`` offers."""

from __future__ import annotations

import subprocess
import sys


def test_names_are_there_without_a_second_import() -> None:
    code = "import bdgf; bdgf.presets.preset('quick'); print(*map(bdgf.__getattr__, bdgf._HOMES))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
