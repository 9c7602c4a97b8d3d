"""Which code was measured."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

import bdgf
from bdgf.files import code_digest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (Path(bdgf.__file__).resolve().parent, Path(__file__).resolve().parent)


@functools.cache
def code() -> str:
    """Return a digest of the modules that measure and are measured, committed or not."""
    return code_digest(*PACKAGES)


def commit() -> str:
    """Return the commit of this checkout and whether its code was changed, unknown without git."""
    try:
        top = Path(_git("rev-parse", "--show-toplevel"))
        if top.resolve() != ROOT or PACKAGES[0].parents[1] != ROOT:
            return "unknown"  # of another checkout, or of none
        changed = _git("status", "--porcelain", "--", *map(str, PACKAGES))
        return _git("rev-parse", "--short=7", "HEAD") + (" with changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
