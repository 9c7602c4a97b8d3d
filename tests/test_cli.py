from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import yaml

from bdgf.cli import COMMANDS, main
from bdgf.scene.synthetic.generate import SyntheticSpec, make_scene


def words(settings: dict[str, Any]) -> list[str]:
    return [word for name, value in settings.items() for word in (f"--{name}", str(value))]


@pytest.fixture(scope="module")
def quick(tiny_values: dict[str, Any]) -> list[str]:
    """Options by which a run takes seconds."""
    return words({**tiny_values, "evaluation.baselines": "false"})


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    values = yaml.safe_load(path.read_text())
    change(values)
    path.write_text(yaml.safe_dump(values))


def rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray], placed: bool = True) -> None:
    with rasterio.open(path) as source:
        values, profile = change(source.read()), source.profile
    if not placed:
        profile.update(crs=None, transform=None)
    profile.update(count=values.shape[0], height=values.shape[1], width=values.shape[2])
    with rasterio.open(path, "w", **profile) as target:
        target.write(values)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    spec = SyntheticSpec(height=24, width=27, bands=5, classes=3, train_per_class=8)
    return make_scene(tmp_path / "scene", spec)


def test_help_names_every_command_and_every_command_has_an_example(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([]) == 0
    overview = capsys.readouterr().out
    for command in COMMANDS:
        assert command in overview
        with pytest.raises(SystemExit) as stopped:
            main([command, "--help"])
        assert stopped.value.code == 0
        assert "Example: bdgf" in " ".join(capsys.readouterr().out.split())


def test_run_prints_the_table_and_does_nothing_twice(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], quick: list[str]
) -> None:
    out = tmp_path / "run"
    command = ["run", str(scene), "--out", str(out), *quick]
    command += ["--evaluation.missing_modalities", "true"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    for word in (
        *("OA", "AA", "kappa", "BDGF", "parameters", "reliance", "map.tif"),
        *("BDGF without sar", "without hsi: a map has no class"),
    ):
        assert word in printed
    resolved = yaml.safe_load((out / "config.yaml").read_text())
    assert resolved["diffusion"]["width"] == 8
    assert resolved["scene"] == str(scene)
    assert main(command) == 0
    assert "train: finished before, nothing changed; kept" in capsys.readouterr().out


def test_stages_one_by_one_equal_the_whole_run(
    scene: Path, tmp_path: Path, quick: list[str]
) -> None:
    whole, steps = tmp_path / "whole", tmp_path / "steps"
    assert main(["run", str(scene), "--out", str(whole), *quick]) == 0
    assert main(["pretrain", str(steps), "--scene", str(scene), *quick]) == 0
    for stage in ("features", "train", "map", "evaluate", "report"):
        assert main([stage, str(steps)]) == 0, stage
    assert (steps / "map.tif").read_bytes() == (whole / "map.tif").read_bytes()
    assert (steps / "report.html").is_file()


def test_figures_of_a_finished_run(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], quick: list[str]
) -> None:
    run, out = tmp_path / "run", tmp_path / "figures"
    command = ["figures", str(run), "--to", str(out)]
    assert main(command) == 2
    assert "holds no run" in capsys.readouterr().err
    assert not run.exists()
    assert main(["run", str(scene), "--out", str(run), *quick]) == 0
    capsys.readouterr()
    assert main([*command, "--format", "png"]) == 0
    printed = capsys.readouterr().out
    assert str(out / "map.png") in printed
    assert {path.suffix for path in out.iterdir()} == {".png"}
    assert main([*command, "--format", "svg"]) == 2
    assert "png or pdf" in capsys.readouterr().err
    (run / "map.tif").unlink()
    assert main(command) == 2
    assert "run 'bdgf map' again" in capsys.readouterr().err


def test_presets_give_way_to_single_settings(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], quick: list[str]
) -> None:
    out = tmp_path / "run"
    assert main(["run", str(scene), "--preset", "quick", "--out", str(out), *quick]) == 0
    resolved = yaml.safe_load((out / "config.yaml").read_text())
    assert resolved["diffusion"]["steps"] == 6
    capsys.readouterr()
    assert main(["run", str(scene), "--preset", "fast", "--out", str(out)]) == 2
    assert "fast" in capsys.readouterr().err


def test_demo_makes_its_scene_and_maps_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_values: dict[str, Any]
) -> None:
    settings = words({**tiny_values, "evaluation.baselines": "true"})
    assert main(["demo", "--out", str(tmp_path / "demo"), "--size", "40", *settings]) == 0
    assert "RF raw" in capsys.readouterr().out
    assert (tmp_path / "demo" / "run" / "map.tif").is_file()


def test_inspect_describes_and_writes_a_scene_file_that_opens(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "elsewhere" / "suggested.yaml"
    files = [str(scene.parent / f"{n}.tif") for n in ("hsi", "sar", "dsm", "train", "test")]
    assert main(["inspect", *files, "--write", str(target)]) == 0
    printed = capsys.readouterr().out
    for name in ("hsi.tif", "EPSG:32632", "24", "27"):
        assert name in printed
    assert f"then run it: bdgf run {target} --out runs/first" in printed
    assert main(["inspect", str(target)]) == 0
    assert main(["inspect", *files, "--write", str(target)]) == 2
    assert "not overwritten" in capsys.readouterr().err


def test_inspect_writes_quicklooks_and_shows_names_as_they_are(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "area [red]"
    shutil.copytree(scene.parent, folder)
    (folder / "scene.yaml").unlink()
    looks, target = tmp_path / "looks", tmp_path / "new.yaml"
    arguments = ["inspect", str(folder), "--quicklook", str(looks), "--write", str(target)]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "area [red]" in printed
    assert "What looks wrong" in printed
    for name in ("hsi", "sar", "dsm"):
        assert (looks / f"{name}.png").is_file()
        assert str(looks / f"{name}.png") in printed
    assert main(["inspect", str(target)]) == 0


def test_inspect_of_a_folder_with_a_scene_file_still_writes_another(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "new.yaml"
    assert main(["inspect", str(scene.parent), "--write", str(target)]) == 0
    assert "training pixel inside their own" in capsys.readouterr().out
    assert set(yaml.safe_load(target.read_text())["modalities"]) == {"hsi", "sar", "dsm"}


BAD: dict[str, tuple[Callable[[Path], None], list[str], str]] = {
    "missing file": (lambda folder: (folder / "sar.tif").unlink(), [], "sar.tif"),
    "sizes that differ": (
        lambda folder: rewrite(folder / "dsm.tif", lambda a: a[:, :, :-1], placed=False),
        [],
        "26 columns wide",
    ),
    "code without a class": (
        lambda folder: rewrite(folder / "train.tif", lambda a: np.where(a == 3, 9, a)),
        [],
        "9",
    ),
    "modality of nodata": (
        lambda folder: rewrite(folder / "dsm.tif", lambda a: np.full_like(a, -9999.0)),
        [],
        "nodata",
    ),
    "even patch": (lambda folder: None, ["--network.window", "8"], "odd"),
    "class only in test": (
        lambda folder: rewrite(folder / "train.tif", lambda a: np.where(a == 3, 0, a)),
        [],
        "training",
    ),
    "unknown field": (
        lambda folder: edit(folder / "scene.yaml", lambda v: v.update(modalitys={})),
        [],
        "modalitys",
    ),
    "not YAML": (lambda folder: (folder / "scene.yaml").write_text("a: [1"), [], "scene.yaml"),
    "unknown setting": (lambda folder: None, ["--diffusion.widht", "8"], "widht"),
    "wrong type": (lambda folder: None, ["--diffusion.width", "wide"], "width"),
    "missing features": (lambda folder: None, ["--features.source", "no.npy"], "no.npy"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_sentence_and_status_2(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str, quick: list[str]
) -> None:
    spoil, extra, word = BAD[case]
    spoil(scene.parent)
    out = tmp_path / "run"
    assert main(["run", str(scene), "--out", str(out), *quick, *extra]) == 2
    captured = capsys.readouterr()
    assert word in captured.err
    assert "Traceback" not in captured.err + captured.out
    assert len(captured.err.strip().splitlines()) == 1
    assert not (out / "map.tif").exists()


def test_a_wrong_key_lists_the_right_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], quick: list[str]
) -> None:
    from scipy.io import savemat

    rng = np.random.default_rng(0)
    savemat(tmp_path / "image.mat", {"data": rng.normal(size=(20, 22, 4))})
    labels = np.zeros((20, 22), dtype=np.uint8)
    labels[2:6], labels[10:14] = 1, 2
    savemat(tmp_path / "gt.mat", {"gt": labels})
    values = {
        "name": "mat",
        "modalities": {"hsi": {"path": "image.mat", "key": "cube", "role": "spectral"}},
        "labels": {"all": "gt.mat", "classes": {1: "a", 2: "b"}},
        "split": {"random": "10 per class"},
    }
    path = tmp_path / "scene.yaml"
    path.write_text(yaml.safe_dump(values))
    assert main(["run", str(path), "--out", str(tmp_path / "run"), *quick]) == 2
    error = capsys.readouterr().err
    assert "cube" in error
    assert "data" in error
    edit(path, lambda v: v["modalities"]["hsi"].update(key="data"))
    assert main(["run", str(path), "--out", str(tmp_path / "run"), *quick]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["train_pixels"] == 20


def test_an_output_that_is_no_run_is_left_alone(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], quick: list[str]
) -> None:
    out = tmp_path / "photos"
    out.mkdir()
    (out / "beach.jpg").write_bytes(b"x")
    assert main(["run", str(scene), "--out", str(out), *quick]) == 2
    assert "not a run folder" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["beach.jpg"]
    assert main(["run", str(scene), "--out", str(out / "beach.jpg" / "x"), *quick]) == 2
    assert main(["train", str(tmp_path / "nothing")]) == 2
    assert "--scene" in capsys.readouterr().err


def test_a_run_of_another_scene_is_refused_by_its_stages(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], quick: list[str]
) -> None:
    out = tmp_path / "run"
    assert main(["run", str(scene), "--out", str(out), *quick]) == 0
    before = (out / "map.tif").read_bytes()
    other = make_scene(
        tmp_path / "other",
        SyntheticSpec(height=24, width=27, bands=9, classes=3, train_per_class=8),
    )
    assert main(["map", str(out), "--scene", str(other)]) == 2
    assert "holds a run of" in capsys.readouterr().err
    assert main(["run", str(other), "--out", str(out), *quick]) == 2
    assert "holds a run of" in capsys.readouterr().err
    assert (out / "map.tif").read_bytes() == before
    shutil.rmtree(scene.parent)
    assert main(["map", str(out)]) == 2


def test_a_killed_process_goes_on_to_the_same_map(
    scene: Path, tmp_path: Path, tiny_values: dict[str, Any]
) -> None:
    settings = {
        **tiny_values,
        "diffusion.steps": 120,
        "diffusion.checkpoint_every": 10,
        "report.points": 0,
        "evaluation.baselines": "false",
        "compute.threads": 1,
    }

    def command(out: Path) -> list[str]:
        return ["run", str(scene), "--out", str(out), *words(settings)]

    checkpoint = tmp_path / "killed" / "pretrain.checkpoint.safetensors"
    process = subprocess.Popen(
        [sys.executable, "-m", "bdgf", *command(tmp_path / "killed")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not checkpoint.is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert checkpoint.is_file(), "it was killed in the middle of pre-training"
    assert not (tmp_path / "killed" / "map.tif").exists()
    assert main(command(tmp_path / "killed")) == 0
    assert main(command(tmp_path / "whole")) == 0
    for name in ("network.safetensors", "map.tif", "history.jsonl"):
        killed = (tmp_path / "killed" / name).read_bytes()
        assert killed == (tmp_path / "whole" / name).read_bytes(), name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--methods", "denoiser of spain"], "add --denoisers NAME=PATH"),
        (["--methods", "BDGF,features of it"], "add --embeddings NAME=PATH"),
        (["--methods", "cross", "--denoisers", "spain"], "such as NAME=PATH,NAME=PATH"),
        (["--methods", "cross", "--denoisers", "a=x.yaml"], "x.yaml"),
        (["--methods", "features of it", "--embeddings", "it=absent.npy"], "absent.npy"),
    ],
)
def test_bench_refuses_what_it_cannot_take_from_elsewhere(
    scene: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    assert main(["bench", str(scene), "--out", str(tmp_path / "bench"), *options]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert message in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 3.64 TiB for an array"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    ],
)
def test_memory_that_is_used_up_is_one_sentence(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(words: list[str], console: object) -> None:
        raise error

    monkeypatch.setitem(COMMANDS, "run", ("", command))
    assert main(["run"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert said.startswith("bdgf: the memory is not enough (")
    assert "Traceback" not in said
    monkeypatch.setitem(COMMANDS, "run", ("", lambda words, console: [][0]))
    with pytest.raises(IndexError):
        main(["run"])


def test_a_process_of_the_job_that_is_lost_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(words: list[str], console: object) -> None:
        raise RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer [::1]:4000")

    monkeypatch.setitem(COMMANDS, "run", ("", command))
    with pytest.raises(RuntimeError):  # of one process alone it is a fault
        main(["run"])
    monkeypatch.setattr("bdgf.processes.count", lambda: 2)
    assert main(["run"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert said.startswith("bdgf: another process of the job has ended, ")


def test_a_name_that_no_system_takes_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "a" * 5000]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert "bdgf: " in said
