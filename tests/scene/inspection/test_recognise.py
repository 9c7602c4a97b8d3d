"""Folders of declared benchmarks are recognised, and need no scene file nor a name of anything."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from bdgf.scene.benchmarks.catalogue import BENCHMARKS
from bdgf.scene.inspection.describe import describe
from bdgf.scene.inspection.gather import gather
from bdgf.scene.inspection.recognise import recognised
from bdgf.scene.inspection.suggest import suggest_scene_file
from bdgf.scene.scene import Scene

CONTAINERS = [(b.name, c.name) for b in BENCHMARKS.values() for c in b.containers]
SHRINK = 16


@pytest.fixture(scope="session")
def lookalike():
    """The tool that writes small files laid out as a benchmark."""
    path = Path(__file__).parents[1] / "benchmarks" / "lookalike.py"
    spec = importlib.util.spec_from_file_location("lookalike", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def make(lookalike, tmp_path):
    """Write the files of a container below tmp_path."""

    def write(name, container):
        benchmark = BENCHMARKS[name]
        chosen = next(c for c in benchmark.containers if c.name == container)
        return lookalike.make_lookalike(benchmark, chosen, tmp_path / "data", SHRINK)

    return write


def test_a_benchmark_is_recognised(make, tmp_path, monkeypatch):
    found = make("augsburg", "original")
    monkeypatch.setitem(BENCHMARKS, "augsburg", found.benchmark)
    gathered = gather([tmp_path / "data"])
    (sentence,) = recognised(gathered)
    assert found.benchmark.title in sentence
    assert f"bdgf run augsburg --root {tmp_path / 'data'}" in sentence
    assert sentence in describe(gathered)
    text = suggest_scene_file(gathered, tmp_path / "scene.yaml")
    assert "bdgf run augsburg" in " ".join(text.split())


def test_other_files_are_not(write_tif, land, tmp_path):
    write_tif("hsi.tif", land.hsi)
    assert recognised(gather([tmp_path])) == []
    assert recognised(gather([tmp_path / "hsi.tif"])) == []


@pytest.mark.parametrize(("name", "container"), CONTAINERS)
def test_every_layout_that_goes_round_gets_a_scene_file_that_opens(make, tmp_path, name, container):
    found = make(name, container)
    target = tmp_path / "scene.yaml"
    target.write_text(suggest_scene_file(gather([tmp_path / "data"]), target))
    scene = Scene.open(target)
    spectral = [m for m in found.container.modalities if m.role == "spectral"]
    assert {m.role for m in scene.modalities} == {m.role for m in found.container.modalities}
    assert scene.tiles[0].sources[0].bands in [m.stored.bands for m in spectral]
    assert len(scene.modalities) >= len(found.container.modalities)  # more in the same file
    if found.container.train is not None:
        assert scene.spec.split.kind == "given"
        counts = found.container.counts_train.values()
        assert len(scene.positions("train")) == sum(counts)
