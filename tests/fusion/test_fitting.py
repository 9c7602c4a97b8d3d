from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from bdgf import checkpoint, config, presets
from bdgf.diffusion.store import FeatureStore
from bdgf.fusion import fitting as fitting_module
from bdgf.fusion.fitting import SCENE_PIXELS, Fitted, Fitting
from bdgf.fusion.patch_source import PatchSource
from bdgf.fusion.training import Labelled
from bdgf.history import History
from bdgf.progress import Progress, Silent
from bdgf.scene.prepared import PreparedScene

Pixels = set[tuple[int, ...]]


def fitting_of(
    prepared: PreparedScene,
    settings: config.Settings,
    folder: Path,
    progress: Progress | None = None,
) -> Fitting:
    folder.mkdir(exist_ok=True)
    names = [tile.name for tile in prepared.scene.tiles]
    shapes = [prepared.shape(tile) for tile in range(prepared.tiles)]
    history = History(folder / "history.jsonl")
    store = FeatureStore(None, names, shapes)
    return Fitting(prepared, store, settings, folder, {"of": "this"}, history, progress or Silent())


@pytest.fixture
def fitting(prepared: PreparedScene, tiny_settings: config.Settings, tmp_path: Path) -> Fitting:
    return fitting_of(prepared, tiny_settings, tmp_path)


def pixels(positions: np.ndarray) -> Pixels:
    return {tuple(place) for place in positions.tolist()}


def test_heads_are_compared_where_none_of_them_was_trained(fitting: Fitting) -> None:
    drawn = fitting._scene_pixels()
    assert SCENE_PIXELS // 2 < len(drawn) < SCENE_PIXELS, "training pixels had been drawn as well"
    assert not pixels(drawn) & pixels(fitting.labelled.positions)
    np.testing.assert_array_equal(drawn, fitting._scene_pixels())


def test_a_scene_that_is_all_labelled_has_none_but_training_pixels(fitting: Fitting) -> None:
    rows, cols = np.divmod(np.flatnonzero(fitting.prepared.valid(0)), fitting.prepared.shape(0)[1])
    everywhere = np.stack([np.zeros_like(rows), rows, cols], 1)
    fitting.labelled = Labelled(everywhere, np.zeros(len(rows), np.int64))
    drawn = fitting._scene_pixels()
    assert len(drawn) == SCENE_PIXELS
    assert pixels(drawn) <= pixels(everywhere)


def test_a_fold_of_an_older_version_is_not_taken(fitting: Fitting) -> None:
    path = fitting._fold_path(0)
    known = {"held_out": torch.zeros(2, 5, 3), "scene": torch.zeros(4, 5, 3)}
    checkpoint.save_tensors(path, known, fitting.origin)
    assert fitting._finished_fold(0) is not None
    checkpoint.save_tensors(path, {"held_out": known["held_out"]}, fitting.origin)
    assert fitting._finished_fold(0) is None
    checkpoint.save_tensors(path, known, {"of": "another"})
    assert fitting._finished_fold(0) is None


@pytest.mark.parametrize(
    ("fusion", "pixels_held_out", "folds"),
    [("mean", 0, 0), ("mean", 1, 1), ("mean", 10_000, 2), ("cv", 1, 1), ("cv", 10_000, 2)],
)
def test_folds_go_on_until_enough_pixels_were_held_out(
    prepared: PreparedScene,
    tiny_settings: config.Settings,
    tmp_path: Path,
    fusion: str,
    pixels_held_out: int,
    folds: int,
) -> None:
    changes = {"training.fusion": fusion, "training.fold_pixels": pixels_held_out}
    changes["training.patch_lead"] = 0.0
    fitting = fitting_of(prepared, presets.replace(tiny_settings, changes), tmp_path)
    fitted: Fitted = fitting.fit()
    assert len(list(tmp_path.glob("fold*.safetensors"))) == folds
    heads = len(fitted.network.heads)
    assert len(fitted.held_out) == len(fitted.shifts) == (heads if folds else 0)
    assert fitted.temperature >= 1.0
    assert folds or fitted.temperature == 1.0
    assert sum(fitted.fusion_weights) == pytest.approx(1.0)
    alike = max(fitted.fusion_weights) - min(fitted.fusion_weights) < 1e-12
    assert alike == (fusion == "mean")


def test_a_single_head_is_calibrated_as_well(
    prepared: PreparedScene, tiny_settings: config.Settings, tmp_path: Path
) -> None:
    alone = {
        "network.branches": ("cnn",),
        "network.pixel_path": False,
        "network.patch_path": False,
    }
    fitted = fitting_of(prepared, presets.replace(tiny_settings, alone), tmp_path).fit()
    assert fitted.fusion_weights == [1.0]
    assert len(fitted.held_out) == 1
    assert fitted.shifts == [0.0]


def test_a_scene_that_is_read_patch_by_patch_has_its_unlabelled_pixels_at_hand(
    prepared: PreparedScene,
    tiny_settings: config.Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = presets.replace(tiny_settings, {"training.consistency": 1.0})
    assert fitting_of(prepared, settings, tmp_path).unlabelled.pool is None
    room = len(prepared.scene.positions("train")) + 20
    source = partial(PatchSource, table_bytes=1000)
    monkeypatch.setattr(PatchSource, "room", lambda source: room)
    monkeypatch.setattr(fitting_module, "LEAST_POOL", 20)
    monkeypatch.setattr(fitting_module, "PatchSource", source)
    fitting = fitting_of(prepared, settings, tmp_path)
    labelled, pool = fitting.labelled.positions, fitting.unlabelled.pool
    assert fitting.source.table is None
    assert pool is not None
    assert 10 < len(pool) <= 20
    monkeypatch.setattr(fitting.source, "_read", None)  # no window is read any more
    fitting.source.gather(np.concatenate([labelled, fitting._scene_pixels()]))


class Told(Silent):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def crowded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is given for 20 patches."""
    monkeypatch.setattr(fitting_module, "PatchSource", partial(PatchSource, table_bytes=1000))
    monkeypatch.setattr(
        PatchSource, "room", lambda source: None if source.table is not None else 20
    )


def disk_of(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    usage = SimpleNamespace(free=free)
    monkeypatch.setattr(fitting_module.shutil, "disk_usage", lambda _: usage)


def test_patches_without_room_in_memory_go_to_a_file_and_train_the_same(
    prepared: PreparedScene,
    tiny_settings: config.Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    settings = presets.replace(tiny_settings, {"training.fold_pixels": 0})
    expected = fitting_of(prepared, settings, tmp_path / "a").fit()
    request.getfixturevalue("crowded")
    disk_of(monkeypatch, 1 << 40)
    told = Told()
    fitting = fitting_of(prepared, settings, tmp_path / "b", told)
    assert "they take" in told.lines[-1]
    assert [path for path in (tmp_path / "b").iterdir() if "patches" in path.name] == []
    read = fitting.source._read
    seen = []
    monkeypatch.setattr(fitting.source, "_read", lambda *a: (seen.append(a), read(*a))[1])
    fitting.source.gather(fitting.labelled.positions)
    assert not seen
    found = fitting.fit()
    for name, weight in expected.network.state_dict().items():
        assert torch.equal(weight, found.network.state_dict()[name]), name
    assert expected.fusion_weights == found.fusion_weights


def test_of_a_large_scene_the_unlabelled_pixels_go_to_the_file_as_well(
    prepared: PreparedScene,
    tiny_settings: config.Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    crowded: None,
) -> None:
    monkeypatch.setattr("bdgf.scene.scene.WHOLE_PIXELS", 10)
    disk_of(monkeypatch, 1 << 40)
    settings = presets.replace(tiny_settings, {"training.consistency": 1.0})
    fitting = fitting_of(prepared, settings, tmp_path)
    assert fitting.unlabelled.pool is not None
    assert len(fitting.unlabelled.pool) > 500
    monkeypatch.setattr(fitting.source, "_read", None)
    fitting.source.gather(np.concatenate([fitting.labelled.positions, fitting._scene_pixels()]))


@pytest.mark.parametrize("large", [False, True])
def test_without_room_on_the_disk_labels_of_a_large_scene_are_thinned_out(
    prepared: PreparedScene,
    tiny_settings: config.Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    crowded: None,
    large: bool,
) -> None:
    if large:
        monkeypatch.setattr("bdgf.scene.scene.WHOLE_PIXELS", 10)
    disk_of(monkeypatch, 1 << 30)
    settings = presets.replace(tiny_settings, {"training.consistency": 0.0})
    told = Told()
    fitting = fitting_of(prepared, settings, tmp_path, told)
    labels = len(prepared.scene.positions("train"))
    assert "1.07 GB are free" in told.lines[-1]
    assert len(fitting.labelled) == len(fitting.ground) == (20 if large else labels)
    assert (f"20 of {labels} labelled pixels" in told.lines[-1]) == large
    assert ("read at every step" in told.lines[-1]) != large
    assert fitting.origin == {"of": "this", **({"labels": 20} if large else {})}
    if large:
        again = fitting_of(prepared, settings, tmp_path)
        np.testing.assert_array_equal(again.labelled.positions, fitting.labelled.positions)
        monkeypatch.setattr(fitting.source, "_read", None)
        fitting.source.gather(fitting.labelled.positions)


def test_classes_that_a_fold_has_not_learned_say_nothing(
    fitting: Fitting, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes = fitting.labelled.classes
    alone = np.where(classes == 0, 0, np.arange(len(classes)) % 2)  # class 0 in the first fold only
    monkeypatch.setattr(fitting_module, "spatial_folds", lambda *_: alone)
    seen = []

    def trust_from(held_out, classes, scene, temperature, leads, weighed):
        seen.append(classes)
        return trust(held_out, classes, scene, temperature)

    trust = fitting_module.trust_from
    monkeypatch.setattr(fitting_module, "trust_from", trust_from)
    fitting._cross_validate()
    (held_out,) = seen
    assert len(held_out) == (classes != 0).sum()
    assert 0 not in held_out


def test_one_label_per_class_weighs_no_head(fitting: Fitting, listener: Any) -> None:
    labelled = fitting.labelled
    first = np.unique(labelled.classes, return_index=True)[1]
    keep = np.isin(np.arange(len(labelled)), first)
    fitting.labelled, fitting.ground = labelled.select(keep), fitting.ground[keep]
    assert fitting._cross_validate() is None
    fitting.progress = listener
    found = fitting.fit()
    of_patch = np.array(["patch" in name for name in found.network.heads])
    assert 0 < of_patch.sum() < len(of_patch)
    expected = np.where(of_patch, np.exp(fitting.settings.training.patch_lead / 16), 1.0)
    np.testing.assert_allclose(found.fusion_weights, expected / expected.sum())
    assert found.temperature == 1.0
    assert found.held_out == found.shifts == []
    assert "nan" not in " ".join(listener.lines)
    assert any("nothing can be held out" in line for line in listener.lines)


def test_curves_of_folds_that_are_not_trained_are_forgotten(
    fitting: Fitting, tiny_settings: config.Settings
) -> None:
    for stage in ("train fold 3", "train member 2"):
        fitting.history.add(stage, 5, loss=1.0)
    fitting.fit()
    stages = {row["stage"] for row in fitting.history.rows}
    assert stages == {"train fold 1", "train fold 2", "train"}


def test_what_is_held_out_is_not_trained_on_and_the_last_training_trusts_the_outcome(
    fitting: Fitting, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[Any, ...]] = []
    asked: list[np.ndarray] = []
    own, told = fitting._training, fitting_module.head_log_probabilities

    def noted(*arguments: Any) -> Any:
        made.append(arguments)
        return own(*arguments)

    def told_noted(network: Any, source: Any, positions: np.ndarray) -> Any:
        asked.append(positions)
        return told(network, source, positions)

    monkeypatch.setattr(fitting, "_training", noted)
    monkeypatch.setattr(fitting_module, "head_log_probabilities", told_noted)
    fitted = fitting.fit()
    *folds, last = made
    assert (len(folds), len(asked)) == (2, 4)
    for (_, inside, _, share, trust), held_out in zip(folds, asked[::2], strict=True):
        assert trust is None
        assert share == fitting.settings.training.fold_steps
        assert len(held_out)
        assert not pixels(inside.positions) & pixels(held_out)
    assert len(last[1]) == len(fitting.labelled)
    assert last[4] == fitted.fusion_weights
