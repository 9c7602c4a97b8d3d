from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
import yaml

from bdgf import checkpoint, config, presets
from bdgf.errors import BdgfError, RunFolderError, SceneError
from bdgf.mapping.pretrained import PretrainedMapper
from bdgf.pipeline import Pipeline, open_results
from bdgf.progress import Silent
from bdgf.scene.synthetic.generate import SyntheticSpec, make_scene
from bdgf.stages import STAGES


class Listener(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def carry_out(
    scene: Path, out: Path, settings: config.Settings, **changes: Any
) -> tuple[Pipeline, list[str]]:
    listener = Listener()
    named = {name.replace("__", "."): value for name, value in changes.items()}
    pipeline = Pipeline(scene, out, presets.replace(settings, named), listener)
    pipeline.run()
    return pipeline, listener.lines


@pytest.fixture(scope="module")
def whole(
    tiny_scene: Path, tiny_settings: config.Settings, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Run folder of an undisturbed run."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("whole") / "run"
    carry_out(tiny_scene, out, tiny_settings)
    return out


def network_of(out: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load_tensors(out / "network.safetensors")[0]


def same_weights(a: Path, b: Path) -> bool:
    first, second = network_of(a), network_of(b)
    return all(torch.equal(first[name], second[name]) for name in first)


def test_where_features_are_kept_can_be_changed_afterwards(
    whole: Path, tiny_scene: Path, tiny_settings: config.Settings, tmp_path: Path
) -> None:
    out = shutil.copytree(whole, tmp_path / "run")
    arrays = {path.name: path.read_bytes() for path in (out / "features").glob("*.npy")}
    assert arrays
    for wanted, there in (("never", {}), ("auto", {}), ("always", arrays), ("auto", arrays)):
        _, lines = carry_out(tiny_scene, out, tiny_settings, features__stored=wanted)
        found = {path.name: path.read_bytes() for path in (out / "features").glob("*.npy")}
        assert found == there, wanted
        kept = [line for line in lines if "nothing changed; kept" in line]
        assert len(kept) == len(STAGES) - (wanted != "auto"), "what follows stays as it is"


def test_features_that_cannot_be_put_elsewhere_stay_where_they_are(
    whole: Path,
    tiny_scene: Path,
    tiny_settings: config.Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = shutil.copytree(whole, tmp_path / "run")
    carry_out(tiny_scene, out, tiny_settings, features__stored="never")

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patched:
        patched.setattr("bdgf.diffusion.store.reserve", full)
        with pytest.raises(RunFolderError, match="No space left"):
            carry_out(tiny_scene, out, tiny_settings, features__stored="always")
    _, lines = carry_out(tiny_scene, out, tiny_settings, features__stored="auto")
    assert len([line for line in lines if "nothing changed; kept" in line]) == len(STAGES)


def test_features_that_count_no_more_leave_the_disk(
    whole: Path, tiny_scene: Path, tiny_settings: config.Settings, tmp_path: Path
) -> None:
    out = shutil.copytree(whole, tmp_path / "run")
    other = presets.replace(tiny_settings, {"features.timesteps": (20,)})
    (old,) = (out / "features").glob("*.npy")
    (out / "features" / "gone.npy").write_bytes(old.read_bytes())  # of a tile renamed since
    Pipeline(tiny_scene, out, other, Silent()).run(("features",))
    assert [path.name for path in (out / "features").glob("*.npy")] == [old.name]


def test_a_run_leaves_what_it_promises(
    whole: Path, tiny_scene: Path, tiny_settings: config.Settings, tmp_path: Path
) -> None:
    names = {path.name for path in whole.iterdir()}
    assert names >= {
        "config.yaml", "environment.json", "diffusion.safetensors", "features",
        "network.safetensors", "history.jsonl", "map.tif", "confidence.tif", "votes.tif",
        "metrics.json", "report.html", "balance.json",
    }  # fmt: skip
    assert not [name for name in names if "checkpoint" in name or name.startswith(("fold", "."))]
    with (
        rasterio.open(whole / "map.tif") as mapped,
        rasterio.open(tiny_scene.parent / "hsi.tif") as image,
    ):
        assert mapped.crs == image.crs
        assert mapped.transform == image.transform
        codes, empty = mapped.read(1), (image.read() == image.nodata).all(0)
        assert (codes[empty] == 0).all(), "pixels without a spectral value have no class"
        assert set(np.unique(codes[~empty])) <= {1, 2, 3, 4}
        assert empty.any()
    with rasterio.open(whole / "confidence.tif") as confidence:
        values = confidence.read(1)
        assert np.isnan(values[empty]).all()
        assert ((values[~empty] > 0.2) & (values[~empty] <= 1)).all()
    out = shutil.copytree(whole, tmp_path / "run")
    beside = presets.replace(tiny_settings, {"evaluation.baselines": True})
    Pipeline(tiny_scene, out, beside, Silent()).run(("evaluate",))
    metrics = json.loads((out / "metrics.json").read_text())
    assert set(metrics["methods"]) == {"BDGF", "RF raw", "RF 5x5", "SVM raw", "SVM 5x5"}
    assert sum(metrics["fusion_weights"]) == pytest.approx(1.0)
    assert metrics["balance"]["reliance"].keys() == {"hsi", "sar", "dsm"}


def test_the_same_run_twice_gives_the_same_map(
    whole: Path, tiny_scene: Path, tiny_settings: config.Settings, tmp_path: Path
) -> None:
    carry_out(tiny_scene, tmp_path / "run", tiny_settings)
    for name in (
        "map.tif", "confidence.tif", "votes.tif", "network.safetensors", "history.jsonl",
    ):  # fmt: skip
        assert (tmp_path / "run" / name).read_bytes() == (whole / name).read_bytes(), name


@pytest.mark.parametrize(("stage", "step"), [("pretrain", 5), ("train fold 2", 5), ("train", 5)])
def test_a_killed_run_goes_on_to_the_same_weights(
    whole: Path,
    tiny_scene: Path,
    tiny_settings: config.Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    step: int,
) -> None:
    from bdgf.optimisation import Course

    rate = Course.rate

    def killed(course: Course, at: int) -> float:
        if course.name == stage and at == step:
            raise KeyboardInterrupt
        return rate(course, at)

    out = tmp_path / "run"
    plain = {"evaluation.baselines": False, "evaluation.missing_modalities": False}
    settings = presets.replace(tiny_settings, plain)
    with monkeypatch.context() as patch:
        patch.setattr(Course, "rate", killed)
        with pytest.raises(KeyboardInterrupt):
            carry_out(tiny_scene, out, settings)
    assert not (out / "map.tif").exists()
    _, lines = carry_out(tiny_scene, out, settings)
    assert any(f"{stage} goes on from step" in line for line in lines)
    assert same_weights(out, whole)
    assert (out / "map.tif").read_bytes() == (whole / "map.tif").read_bytes()
    assert (out / "history.jsonl").read_bytes() == (whole / "history.jsonl").read_bytes()


def test_a_run_of_two_members_killed_in_the_second_keeps_the_first(
    trained_run: Path,
    tiny_scene: Path,
    tiny_settings: config.Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from bdgf.optimisation import Course

    rate, steps = Course.rate, []

    def watched(course: Course, at: int) -> float:
        steps.append(course.name)
        if fatal and course.name == "train member 2" and at == 5:
            raise KeyboardInterrupt
        return rate(course, at)

    monkeypatch.setattr(Course, "rate", watched)
    stages = ("pretrain", "features", "train", "map")
    settings = presets.replace(tiny_settings, {"network.members": 2})
    outs = [tmp_path / "whole", tmp_path / "killed"]
    for out, fatal in zip(outs, (False, True), strict=True):
        shutil.copytree(trained_run, out)
        if not fatal:
            listener = Listener()
            Pipeline(tiny_scene, out, settings, listener).run(stages)
            assert any("8 steps for each of 2 members" in line for line in listener.lines)
            continue
        with pytest.raises(KeyboardInterrupt):
            Pipeline(tiny_scene, out, settings, Silent()).run(stages)
        fatal = False
        steps.clear()
        Pipeline(tiny_scene, out, settings, Silent()).run(stages)
    assert set(steps) == {"train member 2"}, "folds and first member were finished and are kept"
    assert same_weights(*outs)
    assert not list(outs[1].glob("member*"))
    for name in ("map.tif", "confidence.tif", "history.jsonl"):
        assert (outs[0] / name).read_bytes() == (outs[1] / name).read_bytes(), name
    first = {n: w for n, w in network_of(outs[0]).items() if n.startswith("members.0.")}
    alone = network_of(trained_run)
    assert all(torch.equal(w, alone[n.removeprefix("members.0.")]) for n, w in first.items())


def test_finished_stages_are_kept_and_changed_ones_done_again(
    whole: Path, tiny_scene: Path, tiny_settings: config.Settings
) -> None:
    before = (whole / "network.safetensors").stat().st_mtime_ns
    _, lines = carry_out(tiny_scene, whole, tiny_settings)
    assert [line for line in lines if "kept" in line] == [
        f"{stage}: finished before, nothing changed; kept" for stage in STAGES
    ]
    _, lines = carry_out(tiny_scene, whole, tiny_settings, mapping__tile=24)
    assert "map: inputs, settings or files changed; done again" in lines
    assert "train: finished before, nothing changed; kept" in lines
    assert (whole / "network.safetensors").stat().st_mtime_ns == before


def test_a_finished_run_is_opened_and_another_is_refused(
    whole: Path, tiny_scene: Path, tiny_settings: config.Settings
) -> None:
    carry_out(tiny_scene, whole, tiny_settings)
    opened = open_results(whole, tiny_scene, tiny_settings)
    assert opened.metrics["scene"] == opened.scene.name
    for name, value, stage in (("training.steps", 9, "map"), ("evaluation.trees", 11, "evaluate")):
        changed = presets.replace(tiny_settings, {name: value})
        with pytest.raises(RunFolderError, match=f"stage '{stage}' is not finished with scene and"):
            open_results(whole, tiny_scene, changed)


def test_a_stage_needs_those_before_it(
    tiny_scene: Path, tiny_settings: config.Settings, tmp_path: Path
) -> None:
    pipeline = Pipeline(tiny_scene, tmp_path / "run", tiny_settings, Silent())
    with pytest.raises(RunFolderError, match="run 'bdgf pretrain' first"):
        pipeline.run(("train",))
    pipeline.run(("pretrain",))
    with pytest.raises(RunFolderError, match="run 'bdgf features' first"):
        pipeline.run(("map",))


def test_many_tiles_have_a_map_each(
    tiles_scene: Path, tiny_settings: config.Settings, tmp_path: Path
) -> None:
    pipeline, _ = carry_out(
        tiles_scene,
        tmp_path / "run",
        tiny_settings,
        diffusion__crop=32,
        evaluation__baselines=False,
    )
    for tile in pipeline.scene.tiles:
        for kind in ("maps", "confidence", "votes"):
            with rasterio.open(tmp_path / "run" / kind / f"{tile.name}.tif") as raster:
                assert raster.shape == (tile.height, tile.width)
                assert raster.transform == tile.transform
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["leak"]["inside"] == 0.0, "tiles are wholly training or wholly test"


@pytest.mark.parametrize(
    ("spec", "changes"),
    [
        (SyntheticSpec(height=21, width=26, bands=5, classes=2, sar=False, dsm=False), {}),
        (SyntheticSpec(height=30, width=23, bands=1, classes=2, dsm=False), {}),
        (
            SyntheticSpec(height=40, width=40, bands=6, classes=3, train_per_class=5),
            {
                "training.fusion": "mean",
                "training.fold_pixels": 0,
                "network.pixel_path": False,
            },
        ),
        (
            SyntheticSpec(height=13, width=15, bands=6, classes=2, train_per_class=4),
            {"diffusion.crop": 32, "network.branches": ("mamba",), "network.pixel_path": False},
        ),
        (
            SyntheticSpec(height=24, width=24, bands=6, classes=2, train_per_class=8),
            {"network.kind": "patch"},
        ),
        (
            SyntheticSpec(height=24, width=24, bands=6, classes=2, train_per_class=8),
            {"features.source": "none", "mutual.unlabelled": False},
        ),
        (
            SyntheticSpec(height=24, width=24, bands=6, classes=2, train_per_class=8),
            {"diffusion.pretrain": False, "features.noised": True, "features.timesteps": (9, 99)},
        ),
        (
            SyntheticSpec(height=24, width=24, bands=6, classes=2, train_per_class=8),
            {
                "features.levels": ("none", "fine", "fine"),
                "network.guided": ("mamba", "transformer"),
                "network.cross_query": "diffusion",
                "training.ema": 0.9,
                "training.label_smoothing": 0.1,
            },
        ),
    ],
    ids=[
        "one modality alone", "one band", "few labels, mean", "tile smaller than crop",
        "patch network", "no guidance", "untrained control",
        "guided in parts",
    ],
)  # fmt: skip
def test_unusual_scenes_and_settings_run(
    tmp_path: Path, tiny_settings: config.Settings, spec: SyntheticSpec, changes: dict[str, Any]
) -> None:
    scene = make_scene(tmp_path / "scene", spec)
    settings = presets.replace(tiny_settings, {"evaluation.baselines": False, **changes})
    Pipeline(scene, tmp_path / "run", settings, Silent()).run()
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert 0 <= metrics["methods"]["BDGF"]["all"]["oa"] <= 100


def test_features_of_another_model_take_the_place_of_ours(
    tiny_scene: Path, tiny_settings: config.Settings, tmp_path: Path
) -> None:
    array = np.random.default_rng(0).normal(size=(5, 45, 51)).astype(np.float32)
    np.save(tmp_path / "embedding.npy", array)
    source = str(tmp_path / "embedding.npy")
    pipeline, _ = carry_out(
        tiny_scene, tmp_path / "run", tiny_settings,
        features__source=source, evaluation__baselines=False,
    )  # fmt: skip
    assert pipeline.store.level_channels == (4, 4, 4)
    assert not (tmp_path / "run" / "diffusion.safetensors").exists()
    assert (tmp_path / "run" / "map.tif").is_file()


def test_weights_that_were_taken_over_may_go_afterwards(
    whole: Path, tiny_settings: config.Settings, tmp_path: Path
) -> None:
    scene = make_scene(tmp_path / "scene", SyntheticSpec(height=24, width=24, bands=5, classes=2))
    start = tmp_path / "start.safetensors"
    start.write_bytes((whole / "diffusion.safetensors").read_bytes())
    settings = presets.replace(tiny_settings, {"diffusion.from_run": str(start)})
    Pipeline(scene, tmp_path / "run", settings, Silent()).run(("pretrain",))
    start.unlink()
    listener = Listener()
    Pipeline(scene, tmp_path / "run", settings, listener).run(("pretrain", "features"))
    assert "pretrain: finished before, nothing changed; kept" in listener.lines
    index = (tmp_path / "run" / "stages.json").read_bytes()
    longer = presets.replace(settings, {"diffusion.steps": 7})
    with pytest.raises(BdgfError, match="does not exist"):
        Pipeline(scene, tmp_path / "run", longer, Silent()).run(("pretrain",))
    assert (tmp_path / "run" / "stages.json").read_bytes() == index


def test_bad_input_leaves_a_finished_run_as_it_was(
    whole: Path, tiny_scene: Path, tiny_settings: config.Settings
) -> None:
    before = {p.name: p.read_bytes() for p in whole.iterdir() if p.is_file()}
    for name, value in (
        ("features.source", "absent.npy"),
        ("diffusion.from_run", "absent"),
        ("compute.accelerator", "cuda"),
        ("network.window", 8),
    ):
        if value == "cuda" and torch.cuda.is_available():
            continue
        with pytest.raises(BdgfError):
            carry_out(tiny_scene, whole, presets.replace(tiny_settings, {name: value}))
    assert {p.name: p.read_bytes() for p in whole.iterdir() if p.is_file()} == before


def test_a_lost_output_is_made_again(
    tiny_scene: Path, tiny_settings: config.Settings, tmp_path: Path
) -> None:
    settings = presets.replace(tiny_settings, {"evaluation.baselines": False})
    carry_out(tiny_scene, tmp_path / "run", settings)
    before = (tmp_path / "run" / "map.tif").read_bytes()
    (tmp_path / "run" / "map.tif").unlink()
    _, lines = carry_out(tiny_scene, tmp_path / "run", settings)
    assert "train: finished before, nothing changed; kept" in lines
    assert (tmp_path / "run" / "map.tif").read_bytes() == before
    for name in ("map.json", "map.qml", "map.tif.aux.xml", "votes.tif"):
        (tmp_path / "run" / name).unlink()
        Pipeline(tiny_scene, tmp_path / "run", settings, Silent()).run(("map",))
        assert (tmp_path / "run" / name).is_file(), name
    # the preparation is a function of what has not changed: it asks for nothing else anew
    (tmp_path / "run" / "preparation.safetensors").unlink()
    _, lines = carry_out(tiny_scene, tmp_path / "run", settings)
    assert (tmp_path / "run" / "preparation.safetensors").is_file()
    assert "pretrain: finished before, nothing changed; kept" in lines
    assert "train: finished before, nothing changed; kept" in lines


def test_features_that_were_deleted_are_made_again_and_nothing_else(
    whole: Path, tiny_scene: Path, tiny_settings: config.Settings, tmp_path: Path
) -> None:
    out = shutil.copytree(whole, tmp_path / "run")
    carry_out(tiny_scene, out, tiny_settings)
    (array,) = (out / "features").glob("*.npy")
    before = array.read_bytes()
    for lost in ([array], [array, out / "features" / "features.json"]):
        for path in lost:
            path.unlink()
        _, lines = carry_out(tiny_scene, out, tiny_settings)
        assert array.read_bytes() == before
        kept = [line for line in lines if "nothing changed; kept" in line]
        assert len(kept) == len(STAGES) - 1, lines
    # without their components the same features could not be promised
    for path in (array, out / "features" / "reduction.safetensors"):
        path.unlink()
    _, lines = carry_out(tiny_scene, out, tiny_settings)
    assert "train: finished before, nothing changed; kept" not in lines


def test_guidance_switched_off_and_on_again(
    tiny_scene: Path, tiny_settings: config.Settings, tmp_path: Path
) -> None:
    settings = presets.replace(tiny_settings, {"evaluation.baselines": False})
    carry_out(tiny_scene, tmp_path / "run", settings, features__source="none")
    assert not (tmp_path / "run" / "diffusion.safetensors").exists()
    carry_out(tiny_scene, tmp_path / "run", settings)
    assert (tmp_path / "run" / "diffusion.safetensors").is_file()


def test_labels_without_data_are_left_out(tmp_path: Path, tiny_settings: config.Settings) -> None:
    spec = SyntheticSpec(height=24, width=24, bands=4, classes=2, train_per_class=8)
    scene = make_scene(tmp_path / "scene", spec)
    with rasterio.open(scene.parent / "train.tif") as source:
        row, col = np.argwhere(source.read(1) > 0)[0]
    with rasterio.open(scene.parent / "hsi.tif", "r+") as image:
        values = image.read()
        values[:, row, col] = image.nodata
        image.write(values)
    _, lines = carry_out(scene, tmp_path / "run", tiny_settings, evaluation__baselines=False)
    assert "training: 1 labelled pixels have no data, left out" in lines


def test_a_scene_without_labels_is_refused_before_the_long_stages(
    tmp_path: Path, tiny_settings: config.Settings
) -> None:
    spec = SyntheticSpec(height=24, width=24, bands=4, classes=2, train_per_class=8)
    scene = make_scene(tmp_path / "scene", spec)
    values = yaml.safe_load(scene.read_text())
    del values["labels"], values["split"]
    scene.write_text(yaml.safe_dump(values))
    with pytest.raises(SceneError, match="has no labels"):
        carry_out(scene, tmp_path / "run", tiny_settings)
    assert not (tmp_path / "run" / "diffusion.safetensors").exists()
    Pipeline(scene, tmp_path / "run", tiny_settings, Silent()).run(("pretrain", "features"))
    assert (tmp_path / "run" / "features" / "features.json").is_file()


def test_a_checkpoint_that_does_not_fit_is_refused(
    whole: Path, tiny_scene: Path, tiny_settings: config.Settings
) -> None:
    tensors, origin = checkpoint.load_tensors(whole / "network.safetensors")
    name = next(iter(tensors))
    wrong = {**tensors, name: torch.zeros(3, 3, 3)}
    pipeline = Pipeline(
        tiny_scene, whole, presets.replace(tiny_settings, {"mapping.tile": 17}), Silent()
    )
    checkpoint.save_tensors(whole / "network.safetensors", wrong, origin)
    before = (whole / "map.tif").read_bytes()
    try:
        with pytest.raises(RunFolderError, match="does not fit this scene"):
            pipeline.run(("map",))
    finally:
        checkpoint.save_tensors(whole / "network.safetensors", tensors, origin)
    assert (whole / "map.tif").read_bytes() == before


def test_another_date_is_written_beside_a_finished_map(
    whole: Path, tiny_scene: Path, tiny_settings: config.Settings, tmp_path: Path
) -> None:
    out = shutil.copytree(whole, tmp_path / "run")
    carry_out(tiny_scene, out, tiny_settings)
    made = (out / "map.tif").stat().st_mtime_ns

    def said() -> str:
        return str(json.loads((out / "map.json").read_text())["properties"]["datetime"])

    dated = "2020-05-06T00:00:00Z"
    for acquired in ("2020-05-06", ""):
        _, lines = carry_out(tiny_scene, out, tiny_settings, mapping__acquired=acquired)
        assert len([line for line in lines if "nothing changed; kept" in line]) == len(STAGES)
        assert (said() == dated) == bool(acquired)
    assert (out / "map.tif").stat().st_mtime_ns == made


def test_features_put_elsewhere_keep_their_components(
    whole: Path,
    tiny_scene: Path,
    tiny_settings: config.Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another processor would fit others by rounding, under a network trained on these."""
    out = shutil.copytree(whole, tmp_path / "run")
    carry_out(tiny_scene, out, tiny_settings)
    before = (out / "features" / "reduction.safetensors").read_bytes()

    def never(*args: Any) -> None:
        raise AssertionError("components were fitted again")

    monkeypatch.setattr("bdgf.diffusion.features.fit_reduction", never)
    for wanted in ("never", "always"):
        carry_out(tiny_scene, out, tiny_settings, features__stored=wanted)
    assert (out / "features" / "reduction.safetensors").read_bytes() == before


def test_a_scheduler_that_is_not_there_costs_nothing(
    whole: Path, tiny_scene: Path, tiny_settings: config.Settings, tmp_path: Path
) -> None:
    pytest.importorskip("distributed")
    out = shutil.copytree(whole, tmp_path / "run")
    carry_out(tiny_scene, out, tiny_settings)
    other = presets.replace(tiny_settings, {"features.components": 3})
    stages = (out / "stages.json").read_bytes()
    arrays = sorted((out / "features").glob("*.npy"))
    assert arrays
    with pytest.raises(BdgfError, match="no scheduler answers"):
        Pipeline(tiny_scene, out, other, Silent(), "tcp://nowhere").run(("features",))
    assert (out / "stages.json").read_bytes() == stages
    assert sorted((out / "features").glob("*.npy")) == arrays


def test_what_was_learned_elsewhere_is_mapped_and_scored_here(
    whole: Path, tiny_scene: Path, tiny_settings: config.Settings, tmp_path: Path
) -> None:
    """With another precision or processor nothing is learned anew but by 'run' and 'train'."""
    out = shutil.copytree(whole, tmp_path / "run")
    carry_out(tiny_scene, out, tiny_settings)
    network = (out / "network.safetensors").read_bytes()
    wanted = "bf16" if tiny_settings.compute.precision == "32" else "32"
    other = presets.replace(tiny_settings, {"compute.precision": wanted, "mapping.tile": 20})
    for stage in ("map", "evaluate", "report"):
        Pipeline(tiny_scene, out, other, Silent()).run((stage,))
    assert (out / "network.safetensors").read_bytes() == network
    kept = yaml.safe_load((out / "config.yaml").read_text())
    assert kept["compute"]["precision"] == tiny_settings.compute.precision
    assert kept["mapping"]["tile"] == 20
    _, lines = carry_out(tiny_scene, out, tiny_settings, mapping__tile=20)
    assert len([line for line in lines if "nothing changed; kept" in line]) == len(STAGES)
    with pytest.raises(RunFolderError, match="'pretrain' is not finished"):
        Pipeline(tiny_scene, out, other, Silent()).run(("train",))


def test_a_name_or_a_colour_changes_the_map_and_nothing_that_is_learned(
    whole: Path, tiny_scene: Path, tiny_settings: config.Settings, tmp_path: Path
) -> None:
    scene = Path(shutil.copytree(tiny_scene.parent, tmp_path / "scene")) / tiny_scene.name
    out = tmp_path / "run"
    carry_out(scene, out, tiny_settings)
    weights, classes = network_of(out), rasterio.open(out / "map.tif").read(1)
    values = yaml.safe_load(scene.read_text())
    code = min(values["labels"]["classes"])
    values["labels"]["colors"] = {code: "#123456"}
    values["labels"]["classes"][code] = "another name"
    scene.write_text(yaml.safe_dump(values, sort_keys=False))
    _, lines = carry_out(scene, out, tiny_settings)
    kept = [line.partition(":")[0] for line in lines if "nothing changed; kept" in line]
    assert kept == list(STAGES[: STAGES.index("map")])
    assert all(torch.equal(weights[name], tensor) for name, tensor in network_of(out).items())
    with rasterio.open(out / "map.tif") as raster:
        np.testing.assert_array_equal(raster.read(1), classes)
        assert raster.colormap(1)[code] == (0x12, 0x34, 0x56, 255)
    known = PretrainedMapper.from_run(out).classes
    assert "#123456" in known.colors
    assert "another name" in known.names
    assert "another name" in (out / "map.qml").read_text()
