"""Tiny files for the tests of scenes, written anew for every test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from affine import Affine

from bdgf.scene.description import SceneSpec
from bdgf.scene.scene_file import load_scene_file

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
