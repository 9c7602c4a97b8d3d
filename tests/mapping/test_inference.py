from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bdgf import config, presets
from bdgf.diffusion.computed import ComputedFeatures, panel_columns
from bdgf.diffusion.denoiser import HALO
from bdgf.diffusion.store import FeatureStore, open_tile, write_index
from bdgf.fusion.network import build_network, fused_log_probabilities
from bdgf.fusion.patch_source import PatchSource
from bdgf.mapping import inference, pretrained
from bdgf.mapping.inference import map_windows, window_log_probabilities, window_logits
from bdgf.scene.layout import ChannelLayout, ModalityChannels
from bdgf.scene.prepared import PreparedScene
from bdgf.scene.windows import Window, panels_of, windows_of

WEIGHTS = [0.1, 0.2, 0.1, 0.2, 0.2, 0.2]


def fill_tile(folder: Path, name: str, values: np.ndarray) -> None:
    with open_tile(folder, name, values.shape) as array:
        array[:] = values


@pytest.fixture
def store(prepared: PreparedScene, tmp_path: Path) -> FeatureStore:
    rng = np.random.default_rng(0)
    name, shape = prepared.scene.tiles[0].name, prepared.shape(0)
    fill_tile(tmp_path, name, rng.normal(size=(6, *shape)).astype(np.float16))
    write_index(tmp_path, [[0, 1], [2, 3], [4, 5]], {})
    return FeatureStore(tmp_path, [name], [shape])


@pytest.mark.parametrize("kind", ["dense", "patch"])
@pytest.mark.parametrize("window", [3, 7, 11])
def test_dense_map_equals_every_pixels_own_patch(
    prepared: PreparedScene,
    store: FeatureStore,
    tiny_settings: config.Settings,
    kind: str,
    window: int,
) -> None:
    settings = presets.replace(
        tiny_settings, {"network.kind": kind, "network.window": window}
    ).network
    network = build_network(settings, prepared.layout, store.level_channels, 4, 0).eval()
    # the patch network is slow: a corner of the scene has all that can differ
    height, width = prepared.shape(0) if kind == "dense" else (9, 11)
    with torch.inference_mode():
        whole = window_log_probabilities(
            network, WEIGHTS, prepared, store, 0, Window(0, 0, height, width)
        )
        rng = np.random.default_rng(0)
        places = [(0, 0, 0), (0, height - 1, width - 1), (0, 0, width - 1)]
        places += [(0, int(rng.integers(height)), int(rng.integers(width))) for _ in range(40)]
        positions = np.array(places)
        patches = PatchSource(prepared, store, window).gather(positions)
        single = fused_log_probabilities(network(*patches).logits, torch.tensor(WEIGHTS))[..., 0, 0]
    dense = whole[:, positions[:, 1], positions[:, 2]].T
    assert (dense - single).abs().max() < 1e-5
    assert torch.equal(dense.argmax(1), single.argmax(1))


def test_tiles_agree_with_the_whole(
    prepared: PreparedScene, store: FeatureStore, tiny_settings: config.Settings
) -> None:
    network = build_network(tiny_settings.network, prepared.layout, store.level_channels, 4, 0)
    maps = {}
    for side in (16, 33, 512):
        classes = np.full(prepared.shape(0), -2)
        confidence = np.full(prepared.shape(0), -2.0, dtype=np.float32)
        for part in map_windows(
            network, WEIGHTS, prepared, store, 0, windows_of(*prepared.shape(0), side)
        ):
            at = part.window.slices
            assert (classes[at] == -2).all(), "no pixel is mapped twice"
            classes[at], confidence[at] = part.classes, part.confidence
        maps[side] = classes, confidence
    for classes, confidence in maps.values():
        np.testing.assert_array_equal(classes, maps[512][0])
        np.testing.assert_allclose(confidence, maps[512][1], atol=1e-5)
    valid = prepared.valid(0)
    assert (maps[512][0][valid] >= 0).all()
    assert (maps[512][0][~valid] == -1).all()
    assert np.isnan(maps[512][1][~valid]).all()
    assert 0 < valid.mean() < 1


@pytest.mark.parametrize("side", [1, 13, 1000])
def test_pieces_of_a_window_agree_with_the_whole(
    prepared: PreparedScene,
    store: FeatureStore,
    tiny_settings: config.Settings,
    monkeypatch: pytest.MonkeyPatch,
    side: int,
) -> None:
    network = build_network(tiny_settings.network, prepared.layout, store.level_channels, 4, 0)
    window = Window(2, 1, 29, 14)
    whole = window_logits(network.eval(), prepared, store, 0, window)
    monkeypatch.setattr(inference, "_SIDE", side)
    found = window_logits(network, prepared, store, 0, window)
    assert found.shape == (len(network.heads), 4, 29, 14)
    torch.testing.assert_close(found, whole, atol=1e-5, rtol=0)


def test_votes_are_what_each_head_says(
    prepared: PreparedScene, store: FeatureStore, tiny_settings: config.Settings
) -> None:
    network = build_network(tiny_settings.network, prepared.layout, store.level_channels, 4, 0)
    whole = Window(0, 0, *prepared.shape(0))
    logits = window_logits(network.eval(), prepared, store, 0, whole).numpy()
    valid = prepared.valid(0)
    (part,) = map_windows(network, WEIGHTS, prepared, store, 0, [whole])
    np.testing.assert_array_equal(part.votes[:, valid], logits.argmax(1)[:, valid])
    assert (part.votes[:, ~valid] == -1).all()
    # the whole weight on one head makes the map that head's vote
    for head in range(len(network.heads)):
        alone = [float(head == other) for other in range(len(network.heads))]
        (part,) = map_windows(network, alone, prepared, store, 0, [whole])
        np.testing.assert_array_equal(part.classes, part.votes[head])


@pytest.mark.parametrize("kind", ["dense", "patch"])
def test_a_map_stays_on_the_networks_device(
    prepared: PreparedScene,
    store: FeatureStore,
    tiny_settings: config.Settings,
    no_cpu: torch.device,
    kind: str,
) -> None:
    settings = presets.replace(tiny_settings, {"network.kind": kind}).network
    network = build_network(settings, prepared.layout, store.level_channels, 4, 0).eval()
    logits = window_logits(network.to(no_cpu), prepared, store, 0, Window(2, 1, 29, 14))
    assert logits.device == no_cpu
    assert logits.shape == (len(network.heads), 4, 29, 14)


class Counted(PreparedScene):
    """A scene of zeros, which counts how often each of its blocks is prepared."""

    def __init__(self, height: int, width: int, channels: int) -> None:
        tile = SimpleNamespace(height=height, width=width, name="a")
        tile.sources = [SimpleNamespace(block=(128, 128))]
        scene = SimpleNamespace(large=True, tiles=[tile], modalities=["hsi"])
        layout = ChannelLayout((ModalityChannels("hsi", "spectral", 0, channels),))
        preparation = SimpleNamespace(layout=layout, order=[0], check_fits=lambda _: None)
        super().__init__(scene, preparation)  # type: ignore[arg-type]
        self.made: Counter[tuple[int, int]] = Counter()

    def _without_data(self, tile: int, window: Window) -> bool:
        return False

    def _prepare(self, tile, row, cols):  # type: ignore[no-untyped-def]
        self.made.update((row, col) for col in cols)
        values = np.broadcast_to(np.float32(0), (self.layout.channels, 128, 128))
        return [(values, np.broadcast_to(np.False_, (1, 128, 128))) for _ in cols]


class CountedExtractor:
    """Reads what features are made from, and counts how often each of their blocks is made."""

    def __init__(self, prepared: PreparedScene, channels: int) -> None:
        self.prepared, self.channels = prepared, channels
        self.made: Counter[tuple[int, int]] = Counter()

    def block(self, reduction: object, tile: int, window: Window) -> np.ndarray:
        self.made[window.row, window.col] += 1
        self.prepared.load(tile, window.grow(HALO))
        return np.broadcast_to(np.float16(0), (self.channels, window.height, window.width))


@pytest.mark.parametrize(("channels", "features"), [(14, 36), (35, 36), (32, 90)])
def test_a_wide_scene_is_prepared_hardly_more_than_once(
    monkeypatch: pytest.MonkeyPatch, channels: int, features: int
) -> None:
    prepared = Counted(1536, 4500, channels)
    kept = pretrained._pixels_kept(prepared.scene, 256, 4 * channels + 1 + 2 * features)
    assert kept * (4 * channels + 1 + 2 * features) <= 512 << 20
    prepared._cache_bytes = kept * (4 * channels + 1)
    extractor = CountedExtractor(prepared, features)
    reduction = SimpleNamespace(levels=[[0], [0], [0]], channels=features)
    store = ComputedFeatures(extractor, reduction, kept * 2 * features)  # type: ignore[arg-type]

    def read(network, weights, prepared, store, tile, window, present):  # type: ignore[no-untyped-def]
        prepared.load(tile, window.grow(5))
        store.window(tile, window.grow(5))

    monkeypatch.setattr(inference, "classify", read)
    network = SimpleNamespace(eval=lambda: None, window=11)
    windows = panels_of(1536, 4500, 256, panel_columns(prepared, store))
    for _ in map_windows(network, [], prepared, store, 0, windows):  # type: ignore[arg-type]
        pass
    assert len(extractor.made) == 6 * 18
    assert len(prepared.made) == 12 * 36
    assert extractor.made.total() < 1.4 * len(extractor.made)
    assert prepared.made.total() < 1.7 * len(prepared.made)
