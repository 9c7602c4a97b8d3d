"""Generated files laid out as the declared benchmarks, small enough for tests."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from bdgf.scene.benchmarks.catalogue import BENCHMARKS

SHRINK = 16


@pytest.fixture(scope="session")
def lookalike():
    """The module that makes look-alikes."""
    path = Path(__file__).parent / "lookalike.py"
    spec = importlib.util.spec_from_file_location("lookalike", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def make(lookalike, tmp_path):
    """Write the small files of a container, named 'benchmark/container', below tmp_path."""

    def write(name, folder="data", **options):
        first, second = name.split("/")
        benchmark = BENCHMARKS[first]
        container = next(c for c in benchmark.containers if c.name == second)
        return lookalike.make_lookalike(benchmark, container, tmp_path / folder, SHRINK, **options)

    return write


def pytest_generate_tests(metafunc):
    """Run a test with every container of every benchmark where it asks for one."""
    if "container_name" in metafunc.fixturenames:
        names = [f"{b.name}/{c.name}" for b in BENCHMARKS.values() for c in b.containers]
        metafunc.parametrize("container_name", names)
