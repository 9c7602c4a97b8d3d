"""A comparison: the same pixels for all, resumable, each cell in a process of its own."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import bdgf
from bdgf import presets
from bdgf.bench import cells, runner
from bdgf.bench.cells import Cell, fingerprint, read_result, write_result
from bdgf.bench.methods import GROUPS, expand
from bdgf.bench.published import Published, published_for
from bdgf.bench.rows import blocks
from bdgf.bench.runner import Bench, Plan
from bdgf.bench.tables import latex, markdown, per_class, to_csv
from bdgf.bench.variants import ALL_ABLATIONS, EQUAL_TIME, variant
from bdgf.errors import SceneError, SettingsError, TrainingError
from bdgf.files import code_digest
from bdgf.pipeline import Pipeline
from bdgf.progress import Silent
from bdgf.scene.scene import Scene

METHODS = ("BDGF", "BDGF, no guidance", "RF raw", "GB components", "probe diffusion")


@pytest.fixture(scope="module")
def plan(tiny_scene, tiny_settings):
    settings = presets.replace(tiny_settings, {"compute.threads": 1})
    return Plan((tiny_scene,), METHODS, (0, 1), (None, 5), settings, jobs=0)


@pytest.fixture(scope="module")
def finished(plan, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    return folder, Bench(plan, folder, Silent()).run()


def test_all_cells_are_measured_on_the_same_test_pixels(finished, tiny_scene):
    _, results = finished
    assert len(results) == len(METHODS) * 4
    reference = Scene.open(tiny_scene).labels_at("test")
    for result in results:
        assert result.predicted.shape == reference.shape
        right = 100 * (result.predicted == reference).mean()
        assert result.accuracy["all"]["oa"] == pytest.approx(right)
        assert result.seconds > 0
        assert result.memory_mb > 50
    forests = [r for r in results if r.cell.method == "RF raw" and r.cell.budget is None]
    assert (forests[0].predicted != forests[1].predicted).any(), "seeds differ"


def test_fewer_labels_are_thinned_ones(plan):
    cell = Cell(str(plan.scenes[0]), "x", "RF raw", seed=1, budget=5)
    thinned = cell.open()
    assert np.bincount(thinned.labels_at("train")).tolist() == [5] * 4
    whole = Scene.open(plan.scenes[0])
    assert set(map(tuple, thinned.positions("train"))) <= set(map(tuple, whole.positions("train")))
    assert (thinned.positions("test") == whole.positions("test")).all()


def test_finished_cells_are_kept_and_changed_ones_done_again(plan, finished, monkeypatch):
    folder, results = finished
    monkeypatch.setattr(runner, "work", None)
    again = Bench(plan, folder, Silent()).run()
    assert [r.cell for r in again] == [r.cell for r in results]
    changed = presets.replace(plan.settings, {"evaluation.trees": 11})
    other = Plan(plan.scenes, ("RF raw",), (0,), (None,), changed, jobs=0)
    with pytest.raises(TypeError):
        Bench(other, folder, Silent()).run()


@pytest.mark.parametrize(
    ("method", "name", "value", "again"),
    [
        ("BDGF", "network.width", 24, True),
        ("BDGF, no guidance", "training.steps", 7, True),
        ("module:function", "training.steps", 7, True),
        ("RF raw", "training.steps", 7, False),
        ("SVM diffusion", "network.width", 24, False),
        ("SVM diffusion", "diffusion.steps", 7, True),
        ("RF raw", "network.window", 13, True),
    ],
)
def test_settings_of_our_network_touch_no_simple_method(plan, method, name, value, again):
    cell = Cell("scene", "scene", method, seed=0)
    before = fingerprint(cell, plan.settings, "images", "labels")
    after = fingerprint(cell, presets.replace(plan.settings, {name: value}), "images", "labels")
    assert (before != after) == again


def test_a_cell_alone_gives_what_it_gave_among_others(plan, finished, tmp_path):
    folder, _ = finished
    # in a process of its own this time
    alone = Plan(plan.scenes, ("BDGF",), (1,), (5,), plan.settings, jobs=1)
    (result,) = Bench(alone, tmp_path, Silent()).run()
    among = read_result(folder, result.cell, None)
    np.testing.assert_array_equal(result.predicted, among.predicted)


def test_tables_say_what_was_measured(finished, tiny_scene):
    _, results = finished
    scene = Scene.open(tiny_scene)
    beside = Published(scene.name, 0, 0, "Other", 50.0, None, None, "a survey")
    found = blocks(results, [scene], lambda _: (beside,))
    assert [block.labels for block in found] == ["all", "5 per class"]
    text = markdown(found)
    ours = [r for r in results if r.cell.method == "BDGF" and r.cell.budget is None]
    values = [r.accuracy["all"]["oa"] for r in ours]
    expected = f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}"
    (line,) = [t for t in text.splitlines() if t.startswith("| BDGF |")][:1]
    assert expected in line
    assert "| Other (published) | 50.00 | – | – |" in text
    assert text.count("(published)") == 1, "only beside the protocol with all labels"
    assert "BDGF against the best other" in text
    assert text.count("before → after the temperature") == 2
    assert "of different code" not in text
    assert text.count("BDGF against the control 'no guidance': OA ") == 2, "once per block"
    assert latex(found).count(r"\toprule") == 2
    assert latex(found).count("Other (published) & 50.00 & -- & --") == 1
    rows = list(csv.reader(io.StringIO(to_csv(found))))
    assert len(rows) == 2 + len(results) * len(scene.class_codes)
    assert {len(row) for row in rows} == {len(rows[0])}
    for name in scene.class_names:
        assert name in per_class(found)


def test_published_figures_need_the_same_name_and_counts(tiny_scene):
    assert published_for(Scene.open(tiny_scene)) == ()


SLOW = """
import time
def method(case):
    for beat in range(3000):
        (case.folder / "beat.txt").write_text(str(beat))
        time.sleep(0.05)
"""


@contextlib.contextmanager
def slow_bench(scene, folder, seeds):
    """Start a comparison, and give its process and what its first cell writes to."""
    (folder / "slow_method.py").write_text(SLOW)
    out = folder / "bench"
    command = [sys.executable, "-m", "bdgf", "bench", str(scene), "--out", str(out)]
    command += ["--methods", "slow_method:method", "--seeds", str(seeds), "--jobs", "1"]
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": path},
        # in the background of a shell signals of the keyboard are ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as bench:
        try:
            yield bench, wait_for(lambda: list(out.glob("work/*/0/beat.txt")), 60)[0]
        finally:
            bench.kill()


def test_a_comparison_that_is_killed_leaves_no_worker(tiny_scene, tmp_path):
    with slow_bench(tiny_scene, tmp_path, 1) as (_, beats):
        before = beats.read_text()
        assert wait_for(lambda: beats.read_text() not in ("", before), 20), "it is at work"
    assert wait_for(lambda: is_still(beats), 20)


def test_an_interrupted_comparison_begins_nothing_more(tiny_scene, tmp_path):
    with slow_bench(tiny_scene, tmp_path, 3) as (bench, beats):
        bench.send_signal(signal.SIGINT)
        assert bench.wait(20) != 0
    assert wait_for(lambda: is_still(beats), 20)
    assert not list(tmp_path.glob("bench/work/*/[12]/beat.txt"))


def test_a_file_that_the_settings_name_belongs_to_the_result(plan, tmp_path):
    scene = Scene.open(plan.scenes[0])
    named = presets.replace(plan.settings, {"features.source": str(tmp_path / "other.npy")})
    changed = dataclasses.replace(plan, settings=named, methods=("BDGF",))
    marks = set()
    for value in (0.0, 0.0, 1.0):
        array = np.full((3, scene.tiles[0].height, scene.tiles[0].width), value, np.float32)
        np.save(tmp_path / "other.npy", array)
        os.utime(tmp_path / "other.npy", ns=(0, int(1e9 * value)))
        bench = Bench(changed, tmp_path / "bench", Silent())
        marks |= {bench._marks()[bench.cells[0]]}
    assert len(marks) == 2


@pytest.mark.parametrize("method", ["RF raw", "BDGF"])
def test_results_are_found_again_where_the_settings_name_a_file(plan, tmp_path, method):
    scene = Scene.open(plan.scenes[0])
    rng = np.random.default_rng(0)
    shape = (3, scene.tiles[0].height, scene.tiles[0].width)
    np.save(tmp_path / "other.npy", rng.normal(size=shape).astype(np.float32))
    named = presets.replace(plan.settings, {"features.source": str(tmp_path / "other.npy")})
    changed = Plan(plan.scenes, (method,), (0,), (None,), named)
    (result,) = Bench(changed, tmp_path / "bench", Silent()).run()
    assert result.accuracy["all"]["oa"] > 0
    (mark,) = Bench(changed, tmp_path / "bench", Silent())._marks().values()
    assert read_result(tmp_path / "bench", result.cell, mark) is not None


def is_still(path):
    seen = path.read_text()
    time.sleep(1)
    return path.read_text() == seen


def wait_for(ready, seconds):
    """Return what a function returns, once that is something."""
    end = time.monotonic() + seconds
    while not (found := ready()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def test_a_method_that_fails_leaves_the_others(plan, tmp_path):
    broken = "json:loads"  # takes text, not a case
    bad = Plan(plan.scenes, (broken, "RF raw"), (0,), (None,), plan.settings)
    with pytest.raises(TrainingError, match="1 of 2 cells failed") as caught:
        Bench(bad, tmp_path, Silent()).run()
    (log,) = tmp_path.glob("tasks/*.log")
    assert f"all that it said: {log})." in str(caught.value)
    assert "Traceback" in log.read_text()
    assert "without that method in --methods" in str(caught.value)
    forest = Cell(str(plan.scenes[0].resolve()), "x", "RF raw", 0)
    assert list(tmp_path.glob("cells/*/RF-raw.all.0.json")), forest


def test_equal_time_is_measured_on_the_same_pixels(plan, tmp_path):
    without_folds = {"training.fusion": "mean", "training.fold_pixels": 0, "training.steps": 12}
    settings = presets.replace(plan.settings, without_folds)
    methods = expand([EQUAL_TIME])
    timed = Plan(plan.scenes, methods, (0,), (None,), settings, jobs=0)
    results = Bench(timed, tmp_path, Silent()).run()
    default, patch, equal = results
    assert [r.cost["train_steps"] for r in (default, patch)] == [12, 12]
    steps = max(1, round(12 * default.cost["train_seconds"] / patch.cost["train_seconds"]))
    assert equal.cost["train_steps"] == steps
    assert f"training.steps {steps} in place of 12" in equal.note
    assert f"{patch.cost['train_seconds']:.1f} s" in equal.note
    assert equal.note in markdown(blocks(results, [Scene.open(plan.scenes[0])], lambda _: ()))
    # kept as any other cell
    kept = Plan(plan.scenes, methods[2:], (0,), (None,), settings, jobs=0)
    (again,) = Bench(kept, tmp_path, Silent()).run()
    assert again.note == equal.note
    # other labels: their times are not there
    alone = Plan(plan.scenes, methods[2:], (0,), (3,), settings, jobs=0)
    with pytest.raises(TrainingError, match="run these first"):
        Bench(alone, tmp_path, Silent()).run()


def test_memory_of_shared_features_counts_for_all_that_use_them(plan, finished):
    folder, results = finished
    (note, *others) = folder.glob("work/*/0/*/memory.json")
    assert others, "with features and without"
    assert json.loads(note.read_text())["features_mb"] > 50
    for result in results:
        assert ("train_seconds" in result.cost) == result.cell.method.startswith("BDGF")


def test_variants_that_read_one_denoiser_share_it(plan, tmp_path, monkeypatch):
    trained = []
    whole = Pipeline._pretrain
    monkeypatch.setattr(Pipeline, "_pretrain", lambda run: (trained.append(run), whole(run)))
    names = ("BDGF", "BDGF, t = 10", "BDGF, coarse features only")
    several = Plan(plan.scenes, names, (0,), (None,), plan.settings, jobs=0)
    results = Bench(several, tmp_path, Silent()).run()
    assert len(trained) == 1
    folders = sorted(p.parent for p in tmp_path.glob("work/*/0/*/stages.json"))
    seconds = [json.loads((p / "stages.json").read_text())["pretrain"]["seconds"] for p in folders]
    assert len(folders) == 3, "features of each lie by themselves"
    assert len(set(seconds)) == 1, "and each has the seconds of the pre-training"
    assert min(result.seconds for result in results) >= seconds[0]
    weights = {(p / "diffusion.safetensors").read_bytes() for p in folders}
    assert len(weights) == 1
    # alone it pre-trains, and gives the same
    alone = Plan(plan.scenes, names[1:2], (0,), (None,), plan.settings, jobs=0)
    (again,) = Bench(alone, tmp_path / "alone", Silent()).run()
    assert len(trained) == 2
    np.testing.assert_array_equal(again.predicted, results[1].predicted)
    assert (results[0].predicted != results[1].predicted).any()


@pytest.mark.parametrize(
    ("jobs", "threads", "expected"), [(1, 0, 0), (2, 0, 4), (3, 0, 2), (20, 0, 1), (2, 3, 3)]
)
def test_cells_at_a_time_share_the_cores(plan, tmp_path, monkeypatch, jobs, threads, expected):
    monkeypatch.setattr(runner.os, "cpu_count", lambda: 8)
    settings = presets.replace(plan.settings, {"compute.threads": threads})
    bench = Bench(Plan(plan.scenes, ("RF raw",), (0,), (None,), settings, jobs), tmp_path, Silent())
    assert bench._settings().compute.threads == expected


@pytest.mark.parametrize(
    ("lanes", "cores", "memory", "cuda", "expected"),
    [
        (10, 4, 64, False, 4),
        (2, 4, 64, False, 2),
        (10, 16, 12, False, 3),
        (10, 4, 2, False, 1),
        (10, 4, 64, True, 1),
    ],
)
def test_without_jobs_every_core_has_a_cell_where_memory_lasts(
    monkeypatch, lanes, cores, memory, cuda, expected
):
    pages = {"SC_PHYS_PAGES": memory << 18, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(runner.os, "cpu_count", lambda: cores)
    monkeypatch.setattr(runner.os, "sysconf", pages.__getitem__)
    assert runner.jobs_for(lanes, cuda) == expected
    monkeypatch.setattr(runner.os, "sysconf_names", {})
    assert runner.jobs_for(lanes, cuda) == 1


def test_own_function_joins(plan, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "import numpy as np\nfrom bdgf.bench.case import Outcome\n"
        "def majority(case):\n"
        "    most = np.bincount(case.scene.labels_at('train')).argmax()\n"
        "    return Outcome(np.full(len(case.scene.positions('test')), most), note='constant')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    own = Plan(plan.scenes, ("mine:majority",), (0,), (None,), plan.settings, jobs=0)
    (result,) = Bench(own, tmp_path / "out", Silent()).run()
    assert result.note == "constant"
    assert len(set(result.predicted)) == 1
    # what it does is part of what was measured
    bench = Bench(own, tmp_path / "out", Silent())
    before = bench._marks()
    (tmp_path / "mine.py").write_text((tmp_path / "mine.py").read_text() + "# changed\n")
    assert bench._marks() != before


def test_what_is_named_twice_counts_once(plan, tmp_path):
    folder = plan.scenes[0].parent
    doubled = Plan(
        (plan.scenes[0], folder / ".." / folder.name / plan.scenes[0].name),
        ("RF raw", "RF raw"), (0, 0), (5, 5), plan.settings, jobs=0,
    )  # fmt: skip
    assert len(Bench(doubled, tmp_path, Silent()).cells) == 1


def test_without_methods_nothing_is_written(plan, tmp_path):
    with pytest.raises(SettingsError, match="nothing to compare"):
        Bench(Plan(plan.scenes, (), (0,), (None,), plan.settings), tmp_path / "new", Silent())
    assert not (tmp_path / "new").exists()


def test_what_is_relative_to_a_scene_file_is_beside_it_as_it_is_named(plan, tiny_scene, tmp_path):
    beside, elsewhere = tmp_path / "beside", tmp_path / "elsewhere"
    shutil.copytree(tiny_scene.parent, beside)
    (beside / tiny_scene.name).unlink()
    elsewhere.mkdir()
    shutil.copy(tiny_scene, elsewhere / "real.yaml")
    link = beside / tiny_scene.name
    link.symlink_to(elsewhere / "real.yaml")
    linked = dataclasses.replace(plan, scenes=(link,), methods=("RF raw",))
    bench = Bench(linked, tmp_path / "bench", Silent())
    assert bench.cells[0].scene == str(link)
    pipeline = Pipeline(link, tmp_path / "run", plan.settings, Silent())
    assert pipeline.scene_path == link


def test_no_two_methods_share_a_file(tmp_path):
    names = ["own:f", "own:f_", "own:_f", "features of S2-v1", "features of S2_v1"]
    names += ["features of \u03b1", "features of \u03b2", *GROUPS["core"], *GROUPS["cross"]]
    names = [*dict.fromkeys([*names, *map(variant, ALL_ABLATIONS)])]
    files = {Cell("scene.yaml", "x", name, 0).file(tmp_path) for name in names}
    assert len(files) == len(names)
    for name in ("..", "."):
        inside = Cell("scene.yaml", name, "RF raw", 0).file(tmp_path).resolve()
        assert (tmp_path / "cells").resolve() in inside.parent.parents


def test_a_result_that_is_written_half_is_none(plan, finished, tmp_path, monkeypatch):
    _, results = finished
    write_result(tmp_path, results[0], "old")
    monkeypatch.setattr(
        cells, "atomic_write_text", lambda *_: (_ for _ in ()).throw(OSError("full"))
    )
    with pytest.raises(OSError, match="full"):
        write_result(tmp_path, dataclasses.replace(results[0], note="new"), "new")
    assert read_result(tmp_path, results[0].cell, "old") is None


def test_what_cannot_be_compared_is_refused(plan, tmp_path, write_unlabelled):
    with pytest.raises(SettingsError, match="is no method"):
        Bench(Plan(plan.scenes, ("RF rau?",), (0,), (None,), plan.settings), tmp_path, Silent())
    twice = (plan.scenes[0], plan.scenes[0].parent / "." / "copy.yaml")
    twice[1].write_text(plan.scenes[0].read_text())
    with pytest.raises(SceneError, match="same name"):
        Bench(Plan(twice, METHODS, (0,), (None,), plan.settings), tmp_path, Silent())
    named = Scene.open(plan.scenes[0]).name
    alike = tuple(plan.scenes[0].with_name(f"{name}.yaml") for name in ("slash", "blank"))
    for path, name in zip(alike, ("a/b", "a b"), strict=True):
        path.write_text(plan.scenes[0].read_text().replace(f"name: {named}", f"name: {name}"))
    with pytest.raises(SceneError, match="signs that no file may have"):
        Bench(Plan(alike, METHODS, (0,), (None,), plan.settings), tmp_path, Silent())
    one = Plan(alike[:1], ("RF raw",), (0,), (None,), plan.settings)
    (result,) = Bench(one, tmp_path / "slash", Silent()).run()
    assert result.cell.name == "a/b"
    for path in alike:
        path.unlink()
    twice[1].unlink()
    unlabelled = Plan((write_unlabelled,), METHODS, (0,), (None,), plan.settings)
    with pytest.raises(SceneError, match="no test pixel"):
        Bench(unlabelled, tmp_path, Silent())


@pytest.fixture
def write_unlabelled(tiny_scene, tmp_path):
    import yaml

    values = yaml.safe_load(tiny_scene.read_text())
    values["labels"].pop("test")
    for modality in values["modalities"].values():
        modality["path"] = str(tiny_scene.parent / modality["path"])
    values["labels"]["train"] = str(tiny_scene.parent / values["labels"]["train"])
    path = tmp_path / "untested.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_results_are_plain_json(finished):
    folder, _ = finished
    for path in folder.glob("cells/*/*.json"):
        values = json.loads(path.read_text())
        known = {"cell", "fingerprint", "accuracy", "seconds", "memory_mb", "note", "cost"}
        assert set(values) == known | {"confidence", "code"}
        assert values["code"] == code_digest(Path(bdgf.__file__).parent)
        ours = values["cell"]["method"].startswith("BDGF")
        assert bool(values["confidence"]) == ours, "simple methods have none"
