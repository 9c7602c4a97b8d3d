"""Tiny files for the tests of scenes, written anew for every test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import yaml
from affine import Affine
from numpy.typing import NDArray

from bdgf.config import PreparationSettings
from bdgf.scene.description import SceneSpec
from bdgf.scene.preparation import Preparation
from bdgf.scene.scene import Scene
from bdgf.scene.scene_file import load_scene_file
from bdgf.scene.windows import Window

WriteTif = Callable[..., Path]
WriteScene = Callable[..., Path]


@pytest.fixture
def write_tif(tmp_path: Path) -> WriteTif:
    """Write an array (C, H, W) or (H, W) as a GeoTIFF below tmp_path."""

    def write(name, values, *, nodata=None, crs=None, transform=None, **profile):
        values = np.asarray(values)
        values = values[None] if values.ndim == 2 else values
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with rasterio.open(
            path, "w", driver="GTiff", count=values.shape[0], height=values.shape[1],
            width=values.shape[2], dtype=values.dtype, nodata=nodata, crs=crs,
            transform=transform or Affine.identity(), **profile,
        ) as dataset:  # fmt: skip
            dataset.write(values)
        return path

    return write


@pytest.fixture
def write_scene(tmp_path: Path, write_tif: WriteTif) -> WriteScene:
    """Write arrays and their scene file, and return the scene file's path.

    Images are spectral where their name begins with h or m. ``changes`` replaces fields of the
    scene file, None removes them.
    """

    def write(images, train=None, test=None, changes=None, georeferenced=None):
        place = georeferenced or {}
        for name, values in images.items():
            write_tif(f"{name}.tif", values, **place)
        content = {
            "name": "tiny",
            "modalities": {
                name: {
                    "path": f"{name}.tif",
                    "role": "spectral" if name[0] in "hm" else "auxiliary",
                }
                for name in images
            },
        }
        labels = {}
        for which, codes in (("train", train), ("test", test)):
            if codes is not None:
                write_tif(f"{which}.tif", np.asarray(codes, dtype=np.uint8), nodata=0, **place)
                labels[which] = f"{which}.tif"
        if labels:
            content["labels"] = {**labels, "classes": {1: "water", 2: "forest"}}
            content["split"] = "given"
        for field, value in (changes or {}).items():
            if value is None:
                content.pop(field, None)
            else:
                content[field] = value
        path = tmp_path / "scene.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path

    return write


@pytest.fixture
def load(tmp_path: Path) -> Callable[[str], SceneSpec]:
    """Read a scene file of this text, beside empty files hsi.tif, t.tif and u.tif."""
    for name in ("hsi.tif", "t.tif", "u.tif"):
        (tmp_path / name).touch()

    def load(text):
        path = tmp_path / "scene.yaml"
        path.write_text(text)
        return load_scene_file(path)

    return load


H, W = 40, 50
SETTINGS = PreparationSettings(components=4)


@pytest.fixture
def spectra() -> Callable[..., NDArray[np.float32]]:
    """Three smooth sources mixed into bands, with a little noise."""

    def make(bands=9, seed=0):
        rng = np.random.default_rng(seed)
        sources = rng.normal(size=(3, H * W)) * np.array([[9.0], [4.0], [1.0]])
        mixing = rng.normal(size=(bands, 3))
        values = mixing @ sources + 0.05 * rng.normal(size=(bands, H * W)) + 100
        return values.reshape(bands, H, W).astype(np.float32)

    return make


@pytest.fixture
def speckle() -> Callable[..., NDArray[np.float32]]:
    """Linear intensity of two looks over fields of different brightness."""

    def make(bands=2, seed=1):
        rng = np.random.default_rng(seed)
        fields = np.repeat(rng.choice([0.02, 0.2, 1.0], size=(bands, H, W // 10)), 10, axis=2)
        return (fields * rng.gamma(2.0, 0.5, size=(bands, H, W))).astype(np.float32)

    return make


@pytest.fixture
def prepare() -> Callable[..., Any]:
    """Prepare a whole tile: values and what is missing."""

    def transform(scene, preparation, tile=0):
        area = Window(0, 0, scene.tiles[tile].height, scene.tiles[tile].width)
        read = [scene.tiles[tile].read(m, area) for m in range(len(scene.modalities))]
        return preparation.transform([values for values, _ in read], [valid for _, valid in read])

    return transform


@pytest.fixture
def fit(prepare: Callable[..., Any]) -> Callable[..., Any]:
    """Fit a preparation to a scene file, and prepare its first tile."""

    def make(path, settings=SETTINGS, seed=0):
        scene = Scene.open(path)
        preparation = Preparation.fit(scene, settings, seed)
        return preparation, *prepare(scene, preparation)

    return make
