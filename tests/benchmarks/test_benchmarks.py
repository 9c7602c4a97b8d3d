"""The program that measures: what it prints belongs to what it ran."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import __main__ as program
from benchmarks import jobs, kernels, timing
from benchmarks.large import sparse_scene
from benchmarks.maps import CROP, OwnPatches
from benchmarks.opponents import opponents
from benchmarks.results import Results, figure, table
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


def test_results_are_kept_and_not_mixed_with_those_of_another_machine(tmp_path):
    path = tmp_path / "results.json"
    Results(path, {"torch": "1"}).put("scan", "1 thread", {"ms": 3.0})
    again = Results(path, {"torch": "1"})
    assert again.get("scan", "1 thread") == {"ms": 3.0}
    assert again.get("scan", "2 threads") is None
    with pytest.raises(SystemExit, match="another machine"):
        Results(path, {"torch": "2"})


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
    words += ["--devices", "cpu", "--only", "exactness", "maps", "scan"]
    assert program.main(words) == 0
    first = capsys.readouterr().out
    for line in (
        "| dense map against per-patch map, same weights, 59 pixels | 1 thread |",
        "| features, windows of 13, 64, 100 pixels against the whole scene | 1 thread |",
        "| **whole map, dense** | 1 thread |",
        "| ExViT, written by us | 1 thread |",
        "| S6, ours | 1 thread |",
    ):
        assert line in first
    kept = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["values"]
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
    from bdgf.scene.layout import Window

    return Window(row - side // 2, col - side // 2, side, side)


def test_growth_is_drawn(tmp_path):
    rows = [{"pixels": n, "cpu": n / 10, "peak": 1e9} for n in (10, 20)]
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
