from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bdgf import config, presets
from bdgf.evaluation.missing import evaluate_without, predict, windows_with
from bdgf.mapping.reading import read_map
from bdgf.pipeline import Pipeline
from bdgf.progress import Silent
from bdgf.scene.hidden import SceneWithout
from bdgf.scene.prepared import PreparedScene
from bdgf.scene.synthetic.generate import SyntheticSpec, make_scene
from bdgf.scene.windows import Window


def carry_out(scene: Path, out: Path, settings: config.Settings, **changes: Any) -> Pipeline:
    named = {name.replace("__", "."): value for name, value in changes.items()}
    settings = presets.replace(settings, {"evaluation.missing_modalities": True, **named})
    pipeline = Pipeline(scene, out, settings, Silent())
    pipeline.run()
    return pipeline


def metrics_of(pipeline: Pipeline) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(pipeline.folder.metrics.read_text())
    return found


@pytest.fixture(scope="module")
def whole(
    tiny_scene: Path, tiny_settings: config.Settings, tmp_path_factory: pytest.TempPathFactory
) -> Pipeline:
    """A finished run of the tiny scene."""
    torch.set_num_threads(1)
    return carry_out(tiny_scene, tmp_path_factory.mktemp("whole") / "run", tiny_settings)


def everywhere(prepared: PreparedScene) -> np.ndarray:
    """Positions of all pixels of all tiles."""
    found = [
        np.column_stack([np.full(h * w, tile), *(a.ravel() for a in np.indices((h, w)))])
        for tile in range(prepared.tiles)
        for h, w in [prepared.shape(tile)]
    ]
    return np.concatenate(found).astype(np.int64)


@pytest.mark.parametrize("source", ["diffusion", "none"])
def test_hiding_nothing_gives_the_map(
    whole: Pipeline, tiny_scene: Path, tiny_settings: config.Settings, tmp_path: Path, source: str
) -> None:
    run = whole
    if source == "none":
        run = carry_out(tiny_scene, tmp_path / "run", tiny_settings, features__source="none")
    network, weights = run.trained(run.store)
    positions = everywhere(run.prepared)
    shapes = [run.prepared.shape(0)]
    places = windows_with(positions, shapes, run.settings.mapping.tile, 10**9, 0)
    view = SceneWithout(run.prepared, None)
    found = predict(network, weights, view, run.features_of(view), positions, places)
    mapped = read_map(run.folder.path / "map.tif", run.scene.class_codes)
    np.testing.assert_array_equal(found, mapped.ravel())
    assert (found == -1).any()


def test_hiding_nothing_gives_the_maps_of_many_tiles(
    tiles_scene: Path, tiny_settings: config.Settings, tmp_path: Path
) -> None:
    run = carry_out(tiles_scene, tmp_path / "run", tiny_settings)
    positions = run.scene.positions("test")
    shapes = [run.prepared.shape(tile) for tile in range(run.prepared.tiles)]
    places = windows_with(positions, shapes, run.settings.mapping.tile, 10**9, 0)
    network, weights = run.trained(run.store)
    view = SceneWithout(run.prepared, None)
    found = predict(network, weights, view, run.features_of(view), positions, places)
    for tile in range(run.prepared.tiles):
        here = positions[:, 0] == tile
        path, _ = run.folder.map_paths(run.scene.tiles[tile].name, single=False)
        mapped = read_map(path, run.scene.class_codes)
        np.testing.assert_array_equal(found[here], mapped[positions[here, 1], positions[here, 2]])


class Altered(PreparedScene):
    """A scene that differs from another in one modality, everywhere."""

    def __init__(self, like: PreparedScene, modality: int) -> None:
        super().__init__(like.scene, like.preparation)
        self.like, self.modality = like, modality

    def window(self, tile, window, edge):  # type: ignore[no-untyped-def]
        values, missing = self.like.window(tile, window, edge)
        part = self.layout.modalities[self.modality]
        values[part.start : part.stop] = 5.0
        missing[self.modality] = False
        return values, missing


@pytest.mark.parametrize("hidden", [0, 1, 2])
def test_no_value_of_the_hidden_modality_reaches_the_classes(whole: Pipeline, hidden: int) -> None:
    network, weights = whole.trained(whole.store)
    positions = whole.scene.positions("test")
    places = windows_with(positions, [whole.prepared.shape(0)], 32, 10**9, 0)
    view = SceneWithout(whole.prepared, hidden)
    other = SceneWithout(Altered(whole.prepared, hidden), hidden)
    first, second = (
        predict(network, weights, v, whole.features_of(v), positions, places) for v in (view, other)
    )
    np.testing.assert_array_equal(first, second)
    assert (first >= 0).any()


def test_the_metrics_have_every_modality_in_the_form_of_a_method(whole: Pipeline) -> None:
    metrics = metrics_of(whole)
    assert list(metrics["missing"]) == ["hsi", "sar", "dsm"]
    method = metrics["methods"]["BDGF"]
    for name, found in metrics["missing"].items():
        assert found.keys() - {"note"} == method.keys(), name
        for part in ("all", "far"):
            assert found[part].keys() == method[part].keys()
            assert found[part]["count"] == method[part]["count"]
        assert np.sum(found["confusion"]) <= found["all"]["count"]
    assert "no class where every spectral modality is missing" in metrics["missing"]["hsi"]["note"]
    assert metrics["missing"]["sar"]["note"] == ""
    assert metrics["missing"]["hsi"] != metrics["missing"]["sar"]
    page = (whole.folder.path / "report.html").read_text(encoding="utf-8")
    assert "Without hsi: a map has no class" in page


def test_kept_features_of_another_model_are_named(
    tiny_scene: Path, tiny_settings: config.Settings, tmp_path: Path
) -> None:
    np.save(tmp_path / "other.npy", np.random.default_rng(0).normal(size=(5, 45, 51)))
    run = carry_out(
        tiny_scene, tmp_path / "run", tiny_settings, features__source=str(tmp_path / "other.npy")
    )
    note = metrics_of(run)["missing"]["sar"]["note"]
    assert "other.npy" in note
    assert "kept" in note


def test_it_is_left_out_where_it_is_not_asked_for_or_makes_no_sense(
    tiny_settings: config.Settings, tmp_path: Path
) -> None:
    spec = SyntheticSpec(height=24, width=24, bands=4, classes=2, train_per_class=6, dsm=False)
    scene = make_scene(tmp_path / "two", spec)
    run = carry_out(scene, tmp_path / "run", tiny_settings, evaluation__missing_modalities=False)
    assert metrics_of(run)["missing"] == {}
    spec = SyntheticSpec(height=24, width=24, bands=4, classes=2, sar=False, dsm=False)
    run = carry_out(make_scene(tmp_path / "one", spec), tmp_path / "alone", tiny_settings)
    assert metrics_of(run)["missing"] == {}
    assert "Missing from the whole scene" not in (tmp_path / "alone/report.html").read_text()


def test_windows_are_those_of_the_map_that_hold_a_pixel() -> None:
    positions = np.array([[0, 5, 70], [1, 40, 3], [0, 5, 69], [0, 99, 99], [0, 33, 0]])
    found = windows_with(positions, [(100, 100), (50, 10)], 32, 10**9, 0)
    corners = [(t, w.row, w.col, w.height, w.width, inside.tolist()) for t, w, inside in found]
    assert corners == [
        (0, 0, 64, 32, 32, [0, 2]),
        (0, 32, 0, 32, 32, [4]),
        (0, 96, 96, 4, 4, [3]),
        (1, 32, 0, 18, 10, [1]),
    ]


def test_of_a_large_scene_windows_are_drawn_and_the_note_says_so(whole: Pipeline) -> None:
    positions = whole.scene.positions("test")
    shapes = [whole.prepared.shape(0)]
    every = windows_with(positions, shapes, 8, 10**9, 0)
    some = windows_with(positions, shapes, 8, 200, 0)
    area = sum(w.height * w.width for _, w, _ in some)
    assert 200 <= area < 200 + 64
    assert {(w.row, w.col) for _, w, _ in some} < {(w.row, w.col) for _, w, _ in every}
    network, weights = whole.trained(whole.store)
    found = evaluate_without(
        whole.prepared, whole.leak, network, weights, whole.features_of, 8, 0, Silent(),
        most_pixels=200,
    )  # fmt: skip
    seen = sum(len(inside) for _, _, inside in some)
    assert 0 < seen < len(positions)
    for one in found.values():
        assert one["all"]["count"] == seen
        assert f"on {seen} of {len(positions)} test pixels" in one["note"]


def test_the_guidance_of_a_view_is_not_what_was_stored_with_all_sensors(whole: Pipeline) -> None:
    window = Window(0, 0, 20, 20)
    for hidden in range(3):
        features = whole.features_of(SceneWithout(whole.prepared, hidden))
        assert np.abs(features.window(0, window) - whole.store.window(0, window)).max() > 0.01
