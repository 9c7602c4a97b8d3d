from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bdgf import config
from bdgf.diffusion.computed import ComputedFeatures
from bdgf.diffusion.features import FeatureExtractor, extract
from bdgf.diffusion.pretraining import build_denoiser
from bdgf.diffusion.reduction import REDUCTION, Reduction
from bdgf.diffusion.store import FeatureStore, open_tile, write_index
from bdgf.fusion.patch_source import PatchSource
from bdgf.progress import Silent
from bdgf.scene.hidden import SceneWithout
from bdgf.scene.prepared import PreparedScene
from bdgf.scene.windows import Window


def fill_tile(folder: Path, name: str, values: np.ndarray) -> None:
    with open_tile(folder, name, values.shape) as array:
        array[:] = values


@pytest.fixture
def store(prepared_tiles: PreparedScene, tmp_path: Path) -> FeatureStore:
    rng = np.random.default_rng(0)
    names = [tile.name for tile in prepared_tiles.scene.tiles]
    shapes = [prepared_tiles.shape(t) for t in range(prepared_tiles.tiles)]
    for name, shape in zip(names, shapes, strict=True):
        fill_tile(tmp_path, name, rng.normal(size=(5, *shape)).astype(np.float16))
    write_index(tmp_path, [[0, 1], [2], [3, 4]], {})
    return FeatureStore(tmp_path, names, shapes)


def positions(prepared: PreparedScene, count: int = 40) -> np.ndarray:
    rng = np.random.default_rng(1)
    found = []
    for _ in range(count):
        tile = int(rng.integers(prepared.tiles))
        height, width = prepared.shape(tile)
        found.append((tile, rng.integers(height), rng.integers(width)))
    corners = [(0, 0, 0), (1, prepared.shape(1)[0] - 1, prepared.shape(1)[1] - 1)]
    return np.array(found + corners, dtype=np.int64)


def test_a_patch_is_the_mirrored_window_around_its_pixel(
    prepared_tiles: PreparedScene, store: FeatureStore
) -> None:
    where = positions(prepared_tiles)
    patches = PatchSource(prepared_tiles, store, 7).gather(where)
    for index, (tile, row, col) in enumerate(where):
        window = Window(int(row) - 3, int(col) - 3, 7, 7)
        values, missing = prepared_tiles.window(int(tile), window, "reflect")
        features = store.window(int(tile), window, "reflect")
        np.testing.assert_array_equal(patches.values[index].numpy(), values)
        np.testing.assert_array_equal(patches.missing[index].numpy() > 0, missing)
        np.testing.assert_array_equal(patches.guidance[2][index].numpy(), features[3:5])
    assert [level.shape[1] for level in patches.guidance] == [2, 1, 2]


def test_scenes_too_large_for_the_table_give_the_same_patches(
    prepared_tiles: PreparedScene, store: FeatureStore
) -> None:
    where = positions(prepared_tiles)
    orientation = torch.arange(len(where)) % 8
    table = PatchSource(prepared_tiles, store, 5).gather(where, orientation)
    reader = PatchSource(prepared_tiles, store, 5, table_bytes=0)
    assert reader.table is None
    read = reader.gather(where, orientation)
    assert torch.equal(table.values, read.values)
    assert torch.equal(table.missing, read.missing)
    assert all(torch.equal(a, b) for a, b in zip(table.guidance, read.guidance, strict=True))


@pytest.mark.parametrize("in_a_file", [False, True])
def test_kept_patches_are_those_that_are_read(
    prepared_tiles: PreparedScene,
    store: FeatureStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    in_a_file: bool,
) -> None:
    where = positions(prepared_tiles)
    orientation = torch.arange(len(where)) % 8
    read = PatchSource(prepared_tiles, store, 5, table_bytes=0).gather(where, orientation)
    source = PatchSource(prepared_tiles, store, 5, table_bytes=0)
    before = sorted(tmp_path.iterdir())
    source.keep(np.concatenate([where[:-1], where[:9]]), tmp_path if in_a_file else None)
    assert sorted(tmp_path.iterdir()) == before, "the file has no name any more"
    found = source.gather(where, orientation)
    for one, other in zip((*found[:2], *found[2]), (*read[:2], *read[2]), strict=True):
        assert torch.equal(one, other)
    monkeypatch.setattr(source, "_read", None)
    source.gather(where[:-1], orientation[:-1])
    with pytest.raises(TypeError):
        source.gather(where[-1:])


def test_blocks_of_features_are_computed_hardly_more_than_once_for_patches_that_are_kept(
    prepared_tiles: PreparedScene,
    tiny_settings: config.Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tile = SimpleNamespace(name="a", height=1792, width=9000)
    monkeypatch.setattr(prepared_tiles.scene, "tiles", [tile])
    made: list[Window] = []

    def block(reduction: object, tile: int, window: Window) -> np.ndarray:
        made.append(window)
        return np.broadcast_to(np.float16(0), (5, window.height, window.width))

    extractor = SimpleNamespace(prepared=prepared_tiles, block=block)
    reduction = SimpleNamespace(levels=[[0, 1], [2], [3, 4]], channels=5)
    rows = 3 * 256 * 2304 * 2 * 5  # bytes of three rows of blocks
    features = ComputedFeatures(extractor, reduction, rows)  # type: ignore[arg-type]
    shape = (prepared_tiles.layout.channels, 7, 7)
    nothing = np.zeros(shape, np.float32), np.zeros((3, 7, 7), dtype=bool)
    monkeypatch.setattr(prepared_tiles, "window", lambda *_, **__: nothing)
    source = PatchSource(prepared_tiles, features, 7, table_bytes=0)
    rng = np.random.default_rng(0)
    where = np.stack(
        [np.zeros(6000, int), rng.integers(1792, size=6000), rng.integers(9000, size=6000)], 1
    )
    source.keep(where)
    assert len(set(made)) == 7 * 36
    assert len(made) <= 7 * (36 + 10), "twice on both sides of the five borders of panels alone"


def computed(
    prepared: PreparedScene, settings: config.Settings, folder: Path, **options: int
) -> tuple[FeatureStore, dict[int, ComputedFeatures]]:
    """Stored features of the scene, and those without its second and third modality."""

    def reader(scene: PreparedScene) -> FeatureExtractor:
        denoiser = build_denoiser(settings.diffusion, scene.layout, 0)
        device = torch.device("cpu")
        return FeatureExtractor(denoiser, scene, settings.features, settings.diffusion, 0, device)

    extract(reader(prepared), folder, {}, Silent())
    reduction = Reduction.load(folder / REDUCTION)
    names = [tile.name for tile in prepared.scene.tiles]
    store = FeatureStore(folder, names, [prepared.shape(t) for t in range(prepared.tiles)])
    views = {m: reader(SceneWithout(prepared, m)) for m in (1, 2)}
    return store, {m: ComputedFeatures(view, reduction, **options) for m, view in views.items()}


@pytest.mark.parametrize("table_bytes", [0, 1 << 30])
def test_a_patch_without_a_modality_is_that_of_a_scene_without_it(
    prepared_tiles: PreparedScene, tiny_settings: config.Settings, tmp_path: Path, table_bytes: int
) -> None:
    store, without = computed(prepared_tiles, tiny_settings, tmp_path)
    source = PatchSource(prepared_tiles, store, 5, table_bytes)
    source.without = without
    where = positions(prepared_tiles)
    orientation = torch.arange(len(where)) % 8
    hidden = np.arange(len(where)) % 4 - 1  # none, then each of the three modalities
    whole, found = source.gather(where, orientation), source.gather(where, orientation, hidden)
    for modality in (-1, 0, 1, 2):
        chosen = np.flatnonzero(hidden == modality)
        view = SceneWithout(prepared_tiles, modality if modality >= 0 else None)
        features = without.get(modality, store)  # of the first there are none, it keeps its own
        expected = PatchSource(view, features, 5).gather(where[chosen], orientation[chosen])
        assert torch.equal(found.values[chosen], expected.values)
        assert torch.equal(found.missing[chosen], expected.missing)
        for one, other, before in zip(
            found.guidance, expected.guidance, whole.guidance, strict=True
        ):
            assert torch.equal(one[chosen], other)
            assert torch.equal(one[chosen], before[chosen]) == (modality < 1)
    assert torch.equal(source.gather(where, orientation).values, whole.values), "nothing is kept"


def test_only_what_fits_into_memory_is_hidden(
    prepared_tiles: PreparedScene, tiny_settings: config.Settings, tmp_path: Path
) -> None:
    store, without = computed(prepared_tiles, tiny_settings, tmp_path)
    source = PatchSource(prepared_tiles, store, 5)
    where = np.array([[0, 1, 1], [1, 2, 2], [1, 2, 3], [2, 0, 0]])
    assert source.hideable(where).all(), "without such features there is nothing to fit"
    source.without = without
    assert source.hideable(where).all()
    height, width = prepared_tiles.shape(1)
    block = height * width * store.channels * 2
    source.without = computed(prepared_tiles, tiny_settings, tmp_path, cache_bytes=2 * block)[1]
    assert source.hideable(where).tolist() == [False, True, True, False]


def test_orientations_are_the_eight_flips_and_turns(
    prepared_tiles: PreparedScene, store: FeatureStore
) -> None:
    source = PatchSource(prepared_tiles, store, 5)
    where = np.repeat(positions(prepared_tiles, 1)[:1], 8, axis=0)
    turned = source.gather(where, torch.arange(8)).values
    expected = {
        np.rot90(g, k, axes=(1, 2)).tobytes()
        for g in (turned[0].numpy(), turned[0].numpy()[:, :, ::-1])
        for k in range(4)
    }
    assert {patch.contiguous().numpy().tobytes() for patch in turned} == expected
    assert len(expected) == 8
