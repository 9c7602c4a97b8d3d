from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bdgf import config
from bdgf.diffusion.computed import ComputedFeatures
from bdgf.diffusion.denoiser import HALO
from bdgf.diffusion.features import LEAST_VALID, FeatureExtractor, extract, sample_valid
from bdgf.diffusion.pretraining import build_denoiser
from bdgf.diffusion.reduction import REDUCTION, Reduction
from bdgf.diffusion.store import FeatureStore, are_stored
from bdgf.errors import RunFolderError
from bdgf.progress import Silent
from bdgf.scene.description import SplitSpec
from bdgf.scene.preparation import Preparation
from bdgf.scene.prepared import PreparedScene
from bdgf.scene.scene import Scene
from bdgf.scene.synthetic.generate import SyntheticSpec, make_scene
from bdgf.scene.windows import Window, windows_of


def extractor(
    prepared: PreparedScene,
    settings: config.Settings,
    device: torch.device = torch.device("cpu"),  # noqa: B008
    **features: object,
) -> FeatureExtractor:
    denoiser = build_denoiser(settings.diffusion, prepared.layout, 0)
    reading = config.FeatureSettings(**features)  # type: ignore[arg-type]
    return FeatureExtractor(denoiser, prepared, reading, settings.diffusion, 0, device)


@pytest.mark.parametrize("noised", [False, True])
@pytest.mark.parametrize("side", [7, 16, 30])
def test_any_tiling_gives_the_features_of_the_whole_scene(
    prepared: PreparedScene, tiny_settings: config.Settings, side: int, noised: bool
) -> None:
    reader = extractor(prepared, tiny_settings, noised=noised, timesteps=(10, 200))
    height, width = prepared.shape(0)
    whole = reader.levels(0, Window(0, 0, height, width))
    for window in windows_of(height, width, side):
        for part, level in zip(reader.levels(0, window), whole, strict=True):
            expected = level[(slice(None), *window.slices)]
            assert (part - expected).norm() <= 1e-6 * expected.norm()


@pytest.mark.parametrize("noised", [False, True])
def test_features_are_read_on_the_device_and_stored_from_it(
    prepared: PreparedScene,
    tiny_settings: config.Settings,
    tmp_path: Path,
    no_cpu: torch.device,
    noised: bool,
) -> None:
    reader = extractor(prepared, tiny_settings, no_cpu, noised=noised, timesteps=(10, 200))
    levels = reader.levels(0, Window(3, 5, 20, 17))
    assert {level.device for level in levels} == {no_cpu}
    extract(reader, tmp_path, {"seed": 0}, Silent())
    store = FeatureStore(tmp_path, [prepared.scene.tiles[0].name], [prepared.shape(0)])
    assert not store.arrays[0].any()  # what the device that holds no values gives back


def test_container_holds_unwhitened_components(
    prepared: PreparedScene, tiny_settings: config.Settings, tmp_path: Path
) -> None:
    extract(extractor(prepared, tiny_settings, components=3), tmp_path, {"seed": 0}, Silent())
    shape = prepared.shape(0)
    store = FeatureStore(tmp_path, [prepared.scene.tiles[0].name], [shape])
    assert store.level_channels == (3, 3, 3)
    assert store.arrays[0].dtype == np.float16
    assert isinstance(store.arrays[0], np.memmap)
    values = store.window(0, Window(0, 0, *shape))
    deviation = values[:, prepared.valid(0)].std(1)
    for level in store.levels:
        spread = deviation[level]
        assert spread[0] == pytest.approx(1.0, abs=0.15)
        assert (np.diff(spread) <= 0.05).all(), "components come in the order of their spread"
    index = json.loads((tmp_path / "features.json").read_text())
    assert index["origin"]["seed"] == 0
    assert all(0 < share <= 1 for share in index["origin"]["explained_variance"])


@pytest.mark.parametrize(
    "guides", [("middle",) * 3, ("fine", "none", "none"), ("fine", "middle", "middle")], ids=str
)
def test_chosen_levels_are_those_of_the_whole_container(
    prepared: PreparedScene, tiny_settings: config.Settings, tmp_path: Path, guides: tuple[str, ...]
) -> None:
    names, shape = [prepared.scene.tiles[0].name], prepared.shape(0)
    found = {}
    for folder, levels in (("all", ("coarse", "middle", "fine")), ("some", guides)):
        reader = extractor(prepared, tiny_settings, components=3, levels=levels)
        extract(reader, tmp_path / folder, {}, Silent())
        store = FeatureStore(tmp_path / folder, names, [shape])
        values = store.window(0, Window(0, 0, *shape))
        found[folder] = [values[level] for level in store.levels]
        again = ComputedFeatures(reader, Reduction.load(tmp_path / folder / REDUCTION))
        assert again.levels == store.levels
        np.testing.assert_array_equal(again.window(0, Window(3, 4, 9, 8)), values[:, 3:12, 4:12])
    assert store.channels == 3 * len(set(guides) - {"none"})
    place = {"coarse": 0, "middle": 1, "fine": 2}
    for name, level in zip(guides, found["some"], strict=True):
        expected = found["all"][place[name]] if name in place else level[:0]
        np.testing.assert_array_equal(level, expected)


def test_windows_that_see_only_a_part_of_a_large_scene_agree_with_the_whole(
    tmp_path: Path, tiny_settings: config.Settings, prepare: Callable[[Path], PreparedScene]
) -> None:
    spec = SyntheticSpec(height=190, width=170, bands=5, classes=3, nodata_share=0.05)
    prepared = prepare(make_scene(tmp_path / "scene", spec))
    reader = extractor(prepared, tiny_settings)
    height, width = prepared.shape(0)
    whole = reader.levels(0, Window(0, 0, height, width))
    for window in (Window(0, 0, 30, 33), Window(75, 66, 21, 18), Window(167, 151, 23, 19)):
        for part, level in zip(reader.levels(0, window), whole, strict=True):
            expected = level[(slice(None), *window.slices)]
            assert (part - expected).abs().max() <= 1e-6 * expected.abs().max()


def test_blocks_that_are_kept_change_nothing(
    tmp_path: Path,
    tiny_settings: config.Settings,
    prepare: Callable[[Path], PreparedScene],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = SyntheticSpec(height=290, width=270, bands=5, classes=3, nodata_share=0.05)
    prepared = prepare(make_scene(tmp_path / "scene", spec))
    reader = extractor(prepared, tiny_settings)
    read: list[Window] = []
    levels = reader.levels

    def counted(tile: int, window: Window) -> list[torch.Tensor]:
        read.append(window)
        return levels(tile, window)

    monkeypatch.setattr(reader, "levels", counted)
    extract(reader, tmp_path / "kept", {}, Silent())
    assert len(read) == len(set(read)) == 4, "every block is computed once"
    monkeypatch.setattr("bdgf.diffusion.features.KEPT_BYTES", 0)
    extract(reader, tmp_path / "anew", {}, Silent())
    assert len(read) > 8
    names, shape = [prepared.scene.tiles[0].name], prepared.shape(0)
    kept, anew = (
        FeatureStore(tmp_path / folder, names, [shape]).window(0, Window(0, 0, *shape))
        for folder in ("kept", "anew")
    )
    np.testing.assert_allclose(kept, anew, atol=2e-3, rtol=2**-9)  # a step of half precision


def test_features_that_do_not_fit_are_computed_where_they_are_read(
    prepared: PreparedScene,
    tiny_settings: config.Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines: list[str] = []

    class Listener(Silent):
        def say(self, text: str) -> None:
            lines.append(text)

    def free(bytes_left: int) -> None:
        usage = SimpleNamespace(free=bytes_left)
        monkeypatch.setattr("bdgf.diffusion.store.shutil.disk_usage", lambda path: usage)

    reader = extractor(prepared, tiny_settings)
    free(10 << 30)
    extract(reader, tmp_path / "stored", {}, Listener())
    assert not lines
    free(2 << 30)
    extract(reader, tmp_path / "computed", {}, Listener())
    assert "computed where they are read; they take 0.00 GB and 2.15 GB are free" in lines[-1]
    assert are_stored(tmp_path / "stored")
    assert not are_stored(tmp_path / "computed")
    assert {p.name for p in (tmp_path / "computed").iterdir()} == {"features.json", REDUCTION}
    names, shape = [prepared.scene.tiles[0].name], prepared.shape(0)
    with pytest.raises(RunFolderError, match="not stored but computed"):
        FeatureStore(tmp_path / "computed", names, [shape])
    again = ComputedFeatures(reader, Reduction.load(tmp_path / "computed" / REDUCTION))
    whole = Window(0, 0, *shape)
    stored = FeatureStore(tmp_path / "stored", names, [shape])
    np.testing.assert_array_equal(again.window(0, whole), stored.window(0, whole))
    # a setting goes before the disk
    extract(extractor(prepared, tiny_settings, stored="always"), tmp_path / "a", {}, Listener())
    assert are_stored(tmp_path / "a")
    free(10 << 30)
    extract(extractor(prepared, tiny_settings, stored="never"), tmp_path / "b", {}, Listener())
    assert "as features.stored is never" in lines[-1]
    assert not are_stored(tmp_path / "b")


@pytest.mark.parametrize("seed", range(3))
def test_few_valid_pixels_are_found_in_a_wide_scene(seed: int) -> None:
    """Most windows of this scene have no data."""
    rng = np.random.default_rng(0)
    hsi = np.full((4, 640, 640), np.nan, np.float32)
    hsi[:, 300:360, 100:160] = rng.normal(size=(4, 60, 60))
    labels = np.zeros((640, 640), np.uint8)
    labels[310:320, 110:120], labels[330:340, 130:140] = 1, 2
    scene = Scene.from_arrays({"hsi": hsi}, labels, split=SplitSpec("random", per_class=20))
    prepared = PreparedScene(scene, Preparation.fit(scene, config.PreparationSettings(), 0))
    drawn = list(sample_valid(prepared, np.random.default_rng(seed)))
    assert all(valid.any() for _, _, valid in drawn)
    assert sum(int(valid.sum()) for _, _, valid in drawn) >= LEAST_VALID


def test_the_denoiser_reads_what_it_learned_on_at_the_timesteps_asked_for(
    prepared: PreparedScene, tiny_settings: config.Settings
) -> None:
    reader = extractor(prepared, tiny_settings, timesteps=(10, 200))
    seen, decode = [], reader.denoiser.decode

    def noted(x: torch.Tensor, gone: torch.Tensor, t: torch.Tensor) -> tuple[torch.Tensor, ...]:
        seen.append((x.clone(), int(t)))
        return decode(x, gone, t)

    reader.denoiser.decode = noted  # type: ignore[method-assign]
    window = Window(8, 12, 16, 20)
    reader.levels(0, window)
    values, _ = prepared.window(0, window.grow(HALO), "missing")
    scale = prepared.preparation.diffusion_scale[:, None, None]
    assert scale.std() > 0
    assert [t for _, t in seen] == [10, 200]
    for x, _ in seen:
        np.testing.assert_array_equal(x[0].numpy(), values * scale)
