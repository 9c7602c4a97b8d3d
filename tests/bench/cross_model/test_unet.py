"""Features of diffusers' U-Net: on the scene's grid, repeatable, of the spectral image alone."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest
import torch

from bdgf import presets
from bdgf.bench.cross_model import unet
from bdgf.diffusion.external import ExternalFeatures, adopt
from bdgf.diffusion.store import FeatureStore
from bdgf.errors import SceneError, SettingsError
from bdgf.progress import Silent
from bdgf.scene.synthetic.generate import SyntheticSpec, make_scene
from bdgf.scene.windows import Window

CPU = torch.device("cpu")


@pytest.fixture
def settings(tiny_settings):
    return presets.replace(tiny_settings, {"diffusion.steps": 2, "diffusion.crop": 12})


def test_features_lie_on_the_scenes_grid(prepared, settings, tmp_path):
    source, seconds = unet.unet_features(prepared, settings, tmp_path)
    shape = prepared.shape(0)
    assert shape[0] % 8, "a side that diffusers cannot halve"
    assert shape[1] % 8
    width = settings.diffusion.width
    name = prepared.scene.tiles[0].name
    for level, channels in ((1, 2 * width), (2, 2 * width), (3, width)):
        path = source.replace("{level}", str(level)).replace("{tile}", name)
        array = np.load(path)
        assert array.shape == (channels, *shape)
        assert array.dtype == np.float16
        assert np.isfinite(array).all()
        assert (array.reshape(channels, -1).std(1) > 0).all()
        ExternalFeatures(tmp_path / path, prepared.scene, 0)
    adopt(prepared, source, tmp_path, tmp_path / "f", settings.features, 0, Silent())
    assert FeatureStore(tmp_path / "f", [name], [shape]).level_channels == (4, 4, 4)
    # what is there is not made again
    assert unet.unet_features(prepared, settings, tmp_path) == (source, seconds)
    (record,) = tmp_path.glob("unet-*/unet.json")
    assert json.loads(record.read_text())["parameters"] > 0
    other = presets.replace(settings, {"seed": 1})
    assert unet.unet_features(prepared, other, tmp_path)[0] != source


def test_training_repeats_learns_and_leaves_the_global_generator_alone(prepared, settings):
    before = torch.get_rng_state()
    first, again = (unet.train_unet(prepared, settings.diffusion, 3, CPU) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    start = unet.build_unet(first.config.in_channels, settings.diffusion.width, 3)
    changed = 0
    for one, two, old in zip(
        first.parameters(), again.parameters(), start.parameters(), strict=True
    ):
        assert torch.equal(one, two)
        changed += int(not torch.equal(one, old))
    assert changed > 0.9 * len(list(start.parameters()))
    other = unet.train_unet(prepared, settings.diffusion, 4, CPU)
    assert not torch.equal(next(other.parameters()), next(first.parameters()))


def test_it_learns_to_predict_the_noise(prepared, settings):
    longer = presets.replace(settings, {"diffusion.steps": 60, "diffusion.learning_rate": 2e-3})
    losses = []
    for model in (
        unet.build_unet(prepared.layout.modalities[0].size, 8, 0).eval(),
        unet.train_unet(prepared, longer.diffusion, 0, CPU),
    ):
        from diffusers import DDPMScheduler

        schedule = DDPMScheduler(500, 1e-4, 0.02)
        values, _ = prepared.window(0, Window(0, 0, 40, 48), edge="reflect")
        scale = prepared.preparation.diffusion_scale[:, None, None]
        x0 = torch.from_numpy(values * scale)[None, : prepared.layout.modalities[0].size]
        noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
        t = torch.tensor([250])
        with torch.inference_mode():
            predicted = model(schedule.add_noise(x0, noise, t), t).sample
        losses.append(float((predicted - noise).square().mean()))
    assert losses[1] < 0.7 * losses[0]


def test_it_sees_the_spectral_image_alone(tmp_path, prepare, settings):
    """Scenes that differ in the auxiliary modality alone have the same features."""
    import rasterio

    spec = SyntheticSpec(height=20, width=21, bands=4, classes=2, train_per_class=8)
    found = []
    for number in range(2):
        path = make_scene(tmp_path / str(number), spec)
        if number:
            for name in ("sar.tif", "dsm.tif"):
                with rasterio.open(path.parent / name, "r+") as file:
                    file.write(file.read()[:, ::-1])
        prepared = prepare(path)
        model = unet.build_unet(prepared.layout.modalities[0].size, 8, 0).eval()
        window = Window(-4, -4, 24, 32)
        found.append(unet.read_unet(model, prepared, 0, window, 50, CPU))
    assert [len(level) for level in found[0]] == [16, 16, 8]
    assert all(level.shape[1:] == (24, 32) for level in found[0])
    for one, two in zip(*found, strict=True):
        assert torch.equal(one, two)


def test_what_it_needs_is_said(prepared, settings, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"pip install '\.\[diffusers\]'"):
        unet.unet_features(prepared, settings, tmp_path)
    monkeypatch.undo()
    layout = type(prepared.layout)(
        tuple(m for m in prepared.layout.modalities if m.role == "auxiliary")
    )
    monkeypatch.setattr(prepared, "layout", layout)
    with pytest.raises(SceneError, match="no spectral modality"):
        unet.unet_features(prepared, settings, tmp_path)
