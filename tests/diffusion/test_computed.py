from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from bdgf import config
from bdgf.diffusion import computed, features
from bdgf.diffusion.computed import ComputedFeatures
from bdgf.diffusion.features import FeatureExtractor, extract
from bdgf.diffusion.pretraining import build_denoiser
from bdgf.diffusion.reduction import REDUCTION, Reduction
from bdgf.diffusion.store import FeatureStore
from bdgf.progress import Silent
from bdgf.scene.hidden import SceneWithout
from bdgf.scene.prepared import PreparedScene
from bdgf.scene.synthetic.generate import SyntheticSpec, make_scene
from bdgf.scene.windows import Window


def reader(prepared: PreparedScene, settings: config.Settings) -> FeatureExtractor:
    denoiser = build_denoiser(settings.diffusion, prepared.layout, 0)
    return FeatureExtractor(
        denoiser, prepared, settings.features, settings.diffusion, 0, torch.device("cpu")
    )


@pytest.fixture(scope="module", autouse=True)
def _small_blocks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(computed, "WINDOW", 128)
        patch.setattr(features, "WINDOW", 128)
        yield


@pytest.fixture(scope="module")
def large(
    tmp_path_factory: pytest.TempPathFactory, prepare: Callable[[Path], PreparedScene]
) -> PreparedScene:
    """A scene of more than one block."""
    spec = SyntheticSpec(height=150, width=140, bands=5, classes=3, nodata_share=0.05)
    return prepare(make_scene(tmp_path_factory.mktemp("large"), spec))


@pytest.fixture(scope="module")
def stored(
    large: PreparedScene, tiny_settings: config.Settings, tmp_path_factory: pytest.TempPathFactory
) -> tuple[FeatureStore, Reduction]:
    """Its features as a run stores them."""
    folder = tmp_path_factory.mktemp("features")
    extract(reader(large, tiny_settings), folder, {}, Silent())
    store = FeatureStore(folder, [large.scene.tiles[0].name], [large.shape(0)])
    return store, Reduction.load(folder / REDUCTION)


WINDOWS = [Window(0, 0, 150, 140), Window(120, 119, 20, 21), Window(-5, 130, 30, 16)]


@pytest.mark.parametrize("edge", ["reflect", "missing"])
@pytest.mark.parametrize("cache_bytes", [0, 1 << 30])
def test_a_view_that_hides_nothing_has_the_stored_features(
    large: PreparedScene,
    stored: tuple[FeatureStore, Reduction],
    tiny_settings: config.Settings,
    edge: str,
    cache_bytes: int,
) -> None:
    store, reduction = stored
    view = SceneWithout(large, None)
    found = ComputedFeatures(reader(view, tiny_settings), reduction, cache_bytes)
    assert found.levels == store.levels
    assert found.channels == store.channels
    for window in WINDOWS:
        np.testing.assert_array_equal(found.window(0, window, edge), store.window(0, window, edge))


class Altered(PreparedScene):
    """A scene that differs from another in one modality, everywhere."""

    def __init__(self, like: PreparedScene, modality: int) -> None:
        super().__init__(like.scene, like.preparation)
        self.like, self.modality = like, modality

    def window(self, tile, window, edge):  # type: ignore[no-untyped-def]
        values, missing = self.like.window(tile, window, edge)
        part = self.layout.modalities[self.modality]
        values[part.start : part.stop] = 7.0
        missing[self.modality] = False
        return values, missing


def test_features_without_a_modality_know_nothing_of_it(
    large: PreparedScene, stored: tuple[FeatureStore, Reduction], tiny_settings: config.Settings
) -> None:
    store, reduction = stored
    window = Window(10, 10, 25, 25)
    for hidden in range(3):
        view = SceneWithout(large, hidden)
        found = ComputedFeatures(reader(view, tiny_settings), reduction).window(0, window)
        assert np.abs(found - store.window(0, window)).max() > 0.01
        other = SceneWithout(Altered(large, hidden), hidden)
        again = ComputedFeatures(reader(other, tiny_settings), reduction)
        np.testing.assert_array_equal(again.window(0, window), found)


def test_a_block_is_computed_once_while_it_fits(
    large: PreparedScene,
    stored: tuple[FeatureStore, Reduction],
    tiny_settings: config.Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []
    extractor = reader(large, tiny_settings)
    levels = extractor.levels
    monkeypatch.setattr(extractor, "levels", lambda *a: (calls.append(a), levels(*a))[1])
    found = ComputedFeatures(extractor, stored[1])
    assert not calls, "nothing is computed before it is asked for"
    for _ in range(3):
        found.window(0, Window(130, 20, 5, 5))
    assert len(calls) == 1
    found.window(0, Window(125, 125, 6, 6))
    assert len(calls) == 4
    assert computed.WINDOW == 128
