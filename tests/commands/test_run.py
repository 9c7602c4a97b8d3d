"""``bdgf map`` on a scene that the run has not seen."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from bdgf import checkpoint
from bdgf.cli import main
from bdgf.scene.synthetic.generate import SyntheticSpec, make_scene


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = SyntheticSpec(height=20, width=30, bands=8, classes=4, train_per_class=8, seed=7)
    return make_scene(tmp_path_factory.mktemp("other"), spec)


def test_another_scene_goes_to_another_folder(
    trained_run: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {p: p.read_bytes() for p in trained_run.rglob("*") if p.is_file()}
    out = tmp_path / "out"
    words = ["map", str(trained_run), "--scene", str(other), "--to", str(out)]
    assert main([*words, "--mapping.tile", "16", "--mapping.acquired", "2020-05-06"]) == 0
    printed = capsys.readouterr().out
    assert f"map: {out / 'map.tif'}" in printed
    assert ("warning: " in printed) != ("no band of this scene is far" in printed)
    assert {p.name for p in out.iterdir()} == {
        *("map.tif", "confidence.tif", "map.tif.aux.xml", "map.qml", "map.json", "mapped.json"),
    }
    assert '"datetime": "2020-05-06T00:00:00Z"' in (out / "map.json").read_text()
    assert {p: p.read_bytes() for p in trained_run.rglob("*") if p.is_file()} == before


def test_a_run_without_its_own_scene_still_maps(
    trained_run: Path, other: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained_run, tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    lines = config.read_text().splitlines()
    lines[0] = "scene: /nowhere/scene.yaml"
    config.write_text("\n".join(lines))
    words = ["map", str(tmp_path / "run"), "--scene", str(other), "--to", str(tmp_path / "out")]
    assert main(words) == 0
    assert (tmp_path / "out" / "map.tif").is_file()


def test_a_setting_that_changes_nothing_of_what_is_learned_may_differ(
    trained_run: Path, other: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained_run, tmp_path / "run")
    path = tmp_path / "run" / "config.yaml"
    values = yaml.safe_load(path.read_text())
    values["training"]["checkpoint_every"] += 1
    values["features"]["stored"] = "always"
    path.write_text(yaml.safe_dump(values))
    words = ["map", str(tmp_path / "run"), "--scene", str(other), "--to", str(tmp_path / "out")]
    assert main(words) == 0


def test_what_was_learned_maps_whatever_has_been_set_since(
    trained_run: Path, other: Path, tmp_path: Path
) -> None:
    run, out = shutil.copytree(trained_run, tmp_path / "run"), tmp_path / "out"
    path = run / "config.yaml"
    values = yaml.safe_load(path.read_text())
    values["training"]["steps"] += 1  # set, and not trained yet
    values["mapping"]["acquired"] = "2018-08-27"  # when the scene of the training was taken
    path.write_text(yaml.safe_dump(values))
    assert main(["map", str(run), "--scene", str(other), "--to", str(out)]) == 0
    assert "2018-08-27" not in (out / "map.json").read_text()


def test_the_advice_for_unfinished_results_keeps_the_settings(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(trained_run, tmp_path / "run")
    path = run / "config.yaml"
    values = yaml.safe_load(path.read_text())
    values["training"]["steps"] += 1
    path.write_text(yaml.safe_dump(values))
    assert main(["figures", str(run), "--to", str(tmp_path / "figures")]) == 2
    assert f"run 'bdgf map {run}' first, which keeps the settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--to", "OUT"], "--scene"),
        (["--scene", "OTHER", "--to", "OUT", "--network.width", "24"], "leave the others out"),
        (["--scene", "OTHER", "--to", "RUN"], "holds files but no mapped.json"),
        (["--scene", "OTHER", "--to", "OUT", "--mapping.acquired", "today"], "ISO 8601"),
        (["--scene", "OTHER"], "'bdgf map' with --to"),
        (["--scene", "UNLABELLED"], "'bdgf map' with --to"),
    ],
)
def test_bad_input_gets_one_sentence(
    trained_run: Path,
    other: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    bare = Path(shutil.copytree(other.parent, tmp_path / "bare")) / other.name
    values = yaml.safe_load(bare.read_text())
    del values["labels"], values["split"]
    bare.write_text(yaml.safe_dump(values))
    names = {"OUT": str(tmp_path / "out"), "OTHER": str(other), "RUN": str(trained_run)}
    names["UNLABELLED"] = str(bare)
    assert main(["map", str(trained_run), *(names.get(word, word) for word in words)]) == 2
    error = capsys.readouterr().err
    assert said in " ".join(error.split())
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_a_scene_with_other_bands_is_refused(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = SyntheticSpec(height=20, width=20, bands=5, classes=3, train_per_class=8)
    scene = make_scene(tmp_path / "scene", spec)
    words = ["map", str(trained_run), "--scene", str(scene), "--to", str(tmp_path / "out")]
    assert main(words) == 2
    assert "the run was made for hsi (spectral, 8 bands)" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_stage_of_no_run_leaves_nothing(
    other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["map", str(tmp_path / "none"), "--scene", str(other)]) == 2
    assert "holds no run yet, and 'bdgf map' needs the stages before it" in " ".join(
        capsys.readouterr().err.split()
    )
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("scene: a.yaml\ntraining: {steps: -1}\n", "config.yaml: training.steps is -1"),
        ("scene: a.yaml\ntraining: 5\n", "config.yaml: training is 5"),
        ("scene: a.yaml\ntraining: {stepz: 1}\n", "config.yaml: training.stepz is not a setting"),
        ("- 1\n", "config.yaml cannot be read"),
        (3000 * "[", "config.yaml cannot be read"),
    ],
)
def test_a_damaged_config_is_named(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    run = shutil.copytree(trained_run, tmp_path / "run")
    (run / "config.yaml").write_text(text)
    assert main(["map", str(run)]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("part", ["network", "preparation"])
@pytest.mark.parametrize("command", ["map", "evaluate", "map --to"])
def test_weights_of_another_kind_get_one_sentence(
    trained_run: Path,
    other: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    part: str,
    command: str,
) -> None:
    run = shutil.copytree(trained_run, tmp_path / "run")
    tensors, origin = checkpoint.load_tensors(run / f"{part}.safetensors")
    kept = {name: origin[name] for name in ("settings", "stage") if name in origin}
    checkpoint.save_tensors(run / f"{part}.safetensors", tensors, kept)
    if command == "map":  # so that it is done again
        (run / "map.tif").unlink()
    words = command.split()
    more = [str(run), "--scene", str(other)] if "--to" in words else [str(run)]
    out = [str(tmp_path / "out")] if "--to" in words else []
    assert main([words[0], *more, *words[1:], *out]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert f"{part}.safetensors" in error or "does not say" in error
    assert "Traceback" not in error
