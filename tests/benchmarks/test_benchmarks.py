"""The program that measures: what it prints belongs to what it ran."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import __main__ as program
from benchmarks import cases, jobs, kernels, origin, profiles, report, timing
from benchmarks.large import sparse_scene
from benchmarks.maps import CROP, OwnPatches
from benchmarks.opponents import opponents
from benchmarks.results import Results, figure, table
from benchmarks.steps import Trainings
from benchmarks.timing import Setup, bdgf, interleaved

from bdgf.fusion.scan import selective_scan_reference
from bdgf.scene.scene import Scene


def test_alternatives_take_turns_and_the_first_round_does_not_count(monkeypatch):
    order, seconds = [], iter([9.0, 9.0, 1.0, 30.0, 2.0, 10.0, 3.0, 20.0])
    now = [0.0]
    monkeypatch.setattr(timing.time, "process_time", lambda: now[0])

    def work(name):
        def run():
            order.append(name)
            now[0] += next(seconds)

        return run

    found = interleaved(Setup(rounds=3), {"a": work("a"), "b": work("b")})
    assert order == ["a", "b"] * 4
    assert found == {"a": 2.0, "b": 20.0}


def test_the_threads_are_set_and_put_back():
    before = torch.get_num_threads()
    seen = []
    interleaved(Setup(threads=2, rounds=1), {"a": lambda: seen.append(torch.get_num_threads())})
    assert seen == [2, 2]
    assert torch.get_num_threads() == before


def test_alternatives_run_in_the_precision_of_the_product():
    flags, seen = torch.backends.cudnn, []

    def work():
        seen.append((flags.deterministic, flags.conv.fp32_precision))

    interleaved(Setup(rounds=1), {"a": work})
    assert set(seen) == {(True, "ieee")}
    assert flags.conv.fp32_precision == "tf32"


OPTIONS = {"code": "c", "rounds": 7, "preset": "quick", "small": False}


def results_of(tmp_path, commit="abc1234", machine="1", **options):
    path = tmp_path / "results.json"
    return Results(path, {"torch": machine}, commit, {**OPTIONS, **options})


def test_results_are_kept_and_not_mixed_with_those_of_another_machine(tmp_path):
    results_of(tmp_path).put("scan", "1 thread", {"ms": 3.0})
    again = results_of(tmp_path)
    assert again.get("scan", "1 thread") == {"ms": 3.0}
    assert again.get("scan", "2 threads") is None
    with pytest.raises(SystemExit, match="another machine"):
        results_of(tmp_path, machine="2")


@pytest.mark.parametrize(
    "other", [{"code": "d"}, {"rounds": 3}, {"preset": "full"}, {"small": True}]
)
def test_what_other_code_or_other_options_measured_counts_as_not_measured(tmp_path, other):
    results_of(tmp_path, **other).put("scan", "1 thread", {"ms": 3.0})
    now = results_of(tmp_path, "def5678")
    assert now.get("scan", "1 thread") is None
    assert now.commits(["1 thread"]) == []
    now.put("scan", "1 thread", {"ms": 4.0})
    assert now.get("scan", "1 thread") == {"ms": 4.0}


def test_the_head_names_the_commits_that_were_measured(tmp_path):
    results_of(tmp_path).put("steps", "1 thread", {})
    now = results_of(tmp_path, "def5678 with changes")
    now.put("scan", "2 threads", {})
    head = report.markdown(now, [], ["1 thread", "2 threads"])
    assert head.startswith("Commit: abc1234, def5678 with changes; medians of 7 rounds;")
    assert "mean nothing" not in head
    assert report.markdown(now, [], ["1 thread"]).startswith("Commit: abc1234; ")
    tiny = report.markdown(results_of(tmp_path, small=True), [], ["1 thread"])
    assert "tiny sizes, whose numbers mean nothing" in tiny


def test_a_file_that_an_older_program_wrote_is_measured_again(tmp_path):
    kept = {"machine": {"torch": "1"}, "values": {"scan, 1 thread": {"ms": 3.0}}}
    (tmp_path / "results.json").write_text(json.dumps(kept), encoding="utf-8")
    assert results_of(tmp_path).get("scan", "1 thread") is None
    assert results_of(tmp_path).commits(["1 thread"]) == []


def test_the_commit_is_that_of_the_code_and_its_changes_are_told(tmp_path, monkeypatch):
    package = tmp_path / "src" / "bdgf"
    package.mkdir(parents=True)
    (package / "a.py").write_text("a = 1\n", encoding="utf-8")
    monkeypatch.setattr(origin, "ROOT", tmp_path.resolve())
    monkeypatch.setattr(origin, "PACKAGES", (package.resolve(),))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert origin.commit() == "unknown", "there is no repository"
    for words in (
        ["init", "--quiet"],
        ["add", "."],
        [*["-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", "a"]],
    ):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    first, digest = origin.commit(), origin.code.__wrapped__()
    assert len(first) == 7
    (tmp_path / "notes.txt").write_text("no code", encoding="utf-8")
    assert (origin.commit(), origin.code.__wrapped__()) == (first, digest)
    (package / "a.py").write_text("a = 2\n", encoding="utf-8")
    assert origin.commit() == f"{first} with changes"
    assert origin.code.__wrapped__() != digest
    monkeypatch.setattr(origin, "PACKAGES", (tmp_path / "other" / "src" / "bdgf",))
    assert origin.commit() == "unknown", "another bdgf than that of the checkout is installed"


def test_a_scene_and_its_features_of_other_code_are_made_again(tmp_path, monkeypatch):
    path = cases.scene_file(tmp_path, cases.SMALL)
    left = path.parent / "features-cpu"
    left.mkdir()
    assert cases.scene_file(tmp_path, cases.SMALL) == path
    assert left.is_dir()
    monkeypatch.setattr(cases, "code", lambda: "other")
    assert cases.scene_file(tmp_path, cases.SMALL) == path
    assert path.is_file()
    assert not left.exists()


def test_numbers_and_tables_are_markdown():
    assert [figure(v) for v in (0, 0.12345, 1.5, 123.4, 12345, 2e-7)] == [
        *("0", "0.123", "1.5", "123", "12,345", "2.0e-07")
    ]
    assert table(["a", "b"], [[1, 2]]).splitlines() == ["| a | b |", "| --- | --- |", "| 1 | 2 |"]


def test_opponents_are_of_the_published_size_and_classify_each_pixel():
    torch.manual_seed(0)
    sizes = {}
    with torch.inference_mode():
        for one in opponents(144, 30, 1, 15):
            channels = 30 if one.components else 144
            inputs = [torch.randn(3, c, one.patch, one.patch) for c in (channels, 1)]
            logits = one.network(*inputs)
            assert logits.shape == (3, 15)
            assert logits.isfinite().all()
            # a pixel's class depends on its own patch alone, and on both sensors
            alone = one.network(*(x[:1] for x in inputs))
            torch.testing.assert_close(alone, logits[:1], atol=1e-4, rtol=1e-4)
            for changed in range(2):
                other = [x + (i == changed) for i, x in enumerate(inputs)]
                assert (one.network(*other) - logits).abs().max() > 1e-6
            sizes[one.name] = sum(p.numel() for p in one.network.parameters())
    assert sizes["MFT"] == pytest.approx(313_071, rel=0.05)  # as its authors print it


def test_the_loop_that_the_scan_is_compared_with_is_right():
    draws = torch.Generator().manual_seed(0)

    def normal(*size):
        return torch.randn(*size, generator=draws, dtype=torch.float64)

    inputs = (
        normal(2, 5, 3), normal(2, 5, 3).abs(), -normal(3, 4).abs(), normal(2, 5, 4),
        normal(2, 5, 4), normal(3),
    )  # fmt: skip
    torch.testing.assert_close(kernels.unbind_loop(*inputs), selective_scan_reference(*inputs))


def test_the_memory_of_a_process_is_its_own():
    held = torch.ones(200_000_000)  # 800 MB of this process
    done = bdgf(["--version"], 1)
    assert held.sum() > 0
    assert 10e6 < done.peak < 700e6
    assert done.cpu > 0


def test_parts_are_measured_once_and_printed(tmp_path, capsys, monkeypatch):
    words = ["--work", str(tmp_path), "--small", "--rounds", "1", "--threads", "1"]
    words += ["--devices", "cpu", "--only", "exactness", "maps", "scan", "steps", "profile"]
    assert program.main(words) == 0
    first = capsys.readouterr().out
    for line in (
        "| dense map against per-patch map, same weights, 59 pixels | 1 thread |",
        "| features, windows of 13, 64, 100 pixels against the whole scene | 1 thread |",
        "| **whole map, dense** | 1 thread |",
        "| ExViT, written by us | 1 thread |",
        "| S6, ours | 1 thread |",
        "| Pass over all states, 1 thread |",
        "| training | 1 thread | float32 |",
        " | 64 + 32 unlabelled | ",
        "| pre-training | 1 thread | aten::",
        "| map | 1 thread | aten::",
        "whose numbers mean nothing",
    ):
        assert line in first
    entries = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["values"]
    kept = {name: entry["values"] for name, entry in entries.items()}
    phases = kept["profile, 1 thread"]["phases"]
    assert list(phases) == ["pre-training", "training", "map"]
    for found in phases.values():
        assert found["seconds"] > 0
        assert 0.5 < sum(share for _, share, _ in found["operators"]) <= 1.0
    assert kept["exactness, 1 thread"]["logits"] <= 1e-5
    assert kept["exactness, 1 thread"]["other_classes"] == 0
    assert kept["exactness, 1 thread"]["features"] <= 1e-6
    assert kept["scan, 1 thread"]["error"] <= 1e-5

    def never(setup, work):
        pytest.fail("it was measured before")

    monkeypatch.setattr(program, "PARTS", dict.fromkeys(program.PARTS, never))
    assert program.main(words) == 0
    assert capsys.readouterr().out == first


def test_own_patches_see_what_the_dense_map_sees(tmp_path):
    from benchmarks.cases import SMALL, mapper

    case = mapper(tmp_path, SMALL, "cpu")
    patches = OwnPatches(case, 3)
    window = case.network.window
    cut = patches._cut(patches.values, window)
    for (row, col), values in zip(patches.places, cut, strict=True):
        whole, _ = case.prepared.window(0, around(row, col, window), edge="reflect")
        assert torch.equal(values, torch.from_numpy(whole))
    assert [level.shape[2:] for level in patches.guidance] == [(window, window)] * 3
    assert window <= CROP


def around(row: int, col: int, side: int):
    from bdgf.scene.windows import Window

    return Window(row - side // 2, col - side // 2, side, side)


def test_steps_are_made_in_the_precision_that_a_run_would_choose(tmp_path, monkeypatch):
    monkeypatch.setattr("bdgf.diffusion.pretraining.choose_precision", lambda *_: "bf16-mixed")
    case = cases.mapper(tmp_path, cases.SMALL, "cpu")
    both = Trainings.of(case, Setup())
    assert both.precisions == {"pre-training": "bf16-mixed", "training": "32-true"}
    seen = {"pre-training": [], "training": []}
    for name, work in (("pre-training", both.pretraining), ("training", both.training)):

        def note(module, _, name=name):
            seen[name].append((torch.is_autocast_enabled("cpu"), module.training))

        work.model.register_forward_pre_hook(note)
    for step in both.steps().values():
        step()
    # the second call of the network is that of its teacher
    assert seen == {"pre-training": [(True, True)], "training": [(False, True), (False, False)]}


def test_overlapping_spans_count_once():
    assert profiles.covered([]) == 0.0
    assert profiles.covered([(5, 6), (0, 2), (1, 3), (1, 2)]) == 4.0


def test_shares_are_of_all_the_time():
    own = [("a", 1.0), ("b", 4.0), ("a", 2.0), ("c", 0.0)]
    expected = [("b", 0.4, 1), ("a", 0.3, 2), (profiles.OUTSIDE, pytest.approx(0.3), 0)]
    assert sorted(profiles.shares(own, 10.0)) == sorted(expected)
    many = profiles.shares([(str(n), 1.0 + n) for n in range(20)], 210.0)
    assert [name for name, _, _ in many] == [str(n) for n in range(19, 11, -1)]


def gpu_event(name, device, spent, start=0.0, annotation=False):
    return SimpleNamespace(
        name=name,
        device_type=SimpleNamespace(name=device),
        is_user_annotation=annotation,
        self_cpu_time_total=1e9,
        self_device_time_total=spent,
        time_range=SimpleNamespace(start=start, end=start + spent),
    )


def test_on_a_gpu_its_own_time_counts(monkeypatch):
    """Stands for a GPU: of one second it is busy a quarter, an eighth of it with convolutions."""
    events = [
        gpu_event("aten::conv", "CPU", 125_000.0),
        gpu_event("aten::mul", "CPU", 75_000.0),
        gpu_event("Optimizer.step", "CPU", 900_000.0, annotation=True),
        gpu_event("kernel of conv", "CUDA", 125_000.0),
        gpu_event("kernel of mul", "CUDA", 75_000.0, 125_000.0),
        gpu_event("kernel of none", "CUDA", 50_000.0, 500_000.0),
        gpu_event("Optimizer.step", "CUDA", 900_000.0, annotation=True),
    ]
    asked = []

    class Profiler:
        def __init__(self, activities):
            asked.append(activities)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def events(self):
            return events

    monkeypatch.setattr(torch.profiler, "profile", Profiler)
    for name in ("synchronize", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 3 << 20)
    now = iter([1.0, 2.0])
    monkeypatch.setattr(profiles, "time", SimpleNamespace(perf_counter=lambda: next(now)))
    found = profiles.profiled(lambda: None, cuda=True, count=2)
    assert torch.profiler.ProfilerActivity.CUDA in asked[0]
    assert found == {
        "seconds": 0.5,
        "operators": [("aten::conv", 0.5, 1), ("aten::mul", 0.3, 1), (profiles.OUTSIDE, 0.2, 0)],
        "busy": 0.25,
        "gpu_peak": 3 << 20,
    }


def test_what_only_a_gpu_has_is_printed(tmp_path):
    results = results_of(tmp_path)
    operators = [["aten::conv", 0.5, 3], [profiles.OUTSIDE, 0.25, 0]]
    phase = {"seconds": 0.25, "operators": operators, "busy": 0.4, "gpu_peak": 3 << 20}
    results.put("profile", "CUDA", {"phases": {"map": phase}})
    job = {"preset": "quick", "cpu": 1.0, "peak": 1 << 30, "gpu_peak": 2 << 20, "stages": {}}
    sizes = [("Augsburg", 60.0), ("Berlin", 179.0)]
    found = [{**job, "scene": name, "size": name, "wall": wall} for name, wall in sizes]
    for setup in ("CUDA", "2 threads"):
        results.put("jobs", setup, {"jobs": found})
    ms = {f"{n}: {kind}": 1.0 for n in ("S6, loop with unbind", "S6, ours") for kind in KINDS}
    results.put("scan", "CUDA", {"ms": ms, "error": 0.0, "size": "B 1", "passes": {}})
    text = report.markdown(results, ["profile", "jobs", "scan"], ["CUDA", "2 threads"])
    named = "whole job on a scene of Berlin's size, preset quick"
    assert f"| {named} | CUDA | 179 s | < 180 s | yes |" in text
    assert text.count(named) == 1
    assert "| map | CUDA | 250 | 40 % | 3 | aten::conv, 50 % |" in text
    assert "| map | CUDA | aten::conv | 50.0 % | GPU's busy time | 3 |" in text
    assert "| Berlin | CUDA | quick | 179 | 1 | 1024 | 2 |" in text
    assert "| Berlin | 2 threads | quick | 179 | 1 | 1024 |  |" in text
    assert "Pass over all states" not in text


KINDS = ("forward", "both")


def test_growth_is_drawn(tmp_path):
    rows = [{"pixels": n, "seconds": n / 10, "peak": 1e9} for n in (10, 20)]
    jobs.draw_growth({"pixels": rows}, tmp_path / "new" / "growth.png")
    assert 1000 < (tmp_path / "new" / "growth.png").stat().st_size < 100_000


def test_a_sparse_scene_stores_its_squares_alone(tiny_scene, tmp_path):
    path, pixels = sparse_scene(tiny_scene, tmp_path / "sparse", 4000)
    scene = Scene.open(path)
    assert (scene.tiles[0].height, scene.tiles[0].width) == (4000, 4000)
    assert pixels == 12 * 45 * 51
    with (
        rasterio.open(path.parent / "hsi.tif") as sparse,
        rasterio.open(tiny_scene.parent / "hsi.tif") as small,
    ):
        inside = sparse.read(1, window=((0, 45), (0, 51)))
        np.testing.assert_array_equal(inside, small.read(1))
        assert not sparse.read(1, window=((100, 200), (100, 200))).any()
        assert 0 < (sparse.read(1) > 0).sum() <= pixels
    sizes = [(p.stat().st_size) for p in path.parent.glob("*.tif")]
    assert sum(sizes) < 20 << 20
