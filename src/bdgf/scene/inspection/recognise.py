"""Declared benchmarks among the folders that are inspected."""

from __future__ import annotations

from bdgf.errors import SceneError
from bdgf.scene.benchmarks.catalogue import BENCHMARKS
from bdgf.scene.benchmarks.checking import check_files
from bdgf.scene.benchmarks.locating import locate
from bdgf.scene.inspection.findings import Found


def recognised(found: Found) -> list[str]:
    """Say which declared benchmarks a folder holds, and how they run without a scene file."""
    sentences = []
    for folder in found.folders:
        for name, benchmark in BENCHMARKS.items():
            try:
                check_files(locate(benchmark, folder))
            except SceneError:
                continue  # this one is not there
            sentences.append(
                f"This looks like {benchmark.title}: 'bdgf run {name} --root {folder}' needs no"
                " scene file."
            )
    return sentences
