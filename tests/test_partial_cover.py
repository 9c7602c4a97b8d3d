"""Whole runs on scenes whose sensors do not cover all of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio

from bdgf import checkpoint, config, presets
from bdgf.pipeline import Pipeline
from bdgf.progress import Silent
from bdgf.scene.synthetic.generate import SyntheticSpec, make_scene

HEIGHT, WIDTH = 26, 33
SPEC = SyntheticSpec(height=HEIGHT, width=WIDTH, bands=5, classes=3, train_per_class=10, seed=4)
Lacking = dict[str, np.ndarray]


def right_half_without_radar() -> Lacking:
    lacking = np.zeros((HEIGHT, WIDTH), dtype=bool)
    lacking[:, WIDTH // 2 :] = True
    return {"sar": lacking}


def every_pixel_without_one() -> Lacking:
    row, col = np.indices((HEIGHT, WIDTH))
    which = (row // 3 + 2 * (col // 2)) % 3
    return {name: which == index for index, name in enumerate(("hsi", "sar", "dsm"))}


def behind_a_mask(path: Path, lacking: np.ndarray, rng: np.random.Generator) -> None:
    """Leave some values, of any size, behind a mask band."""
    with rasterio.open(path) as source:
        values, profile = source.read(), source.profile
    values[:, lacking] = rng.integers(1, 9000, size=(len(values), lacking.sum()))
    profile.update(nodata=None)
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", **profile) as target,
    ):
        target.write(values)
        target.write_mask(~lacking)


def in_one_band(path: Path, lacking: np.ndarray, rng: np.random.Generator) -> None:
    """Leave no data in the first band and some values in the others."""
    with rasterio.open(path, "r+") as image:
        values = image.read()
        values[:, lacking] = rng.integers(1, 9000, size=(len(values), lacking.sum()))
        values[0, lacking] = image.nodata
        image.write(values)


def run(
    folder: Path,
    lacking: Lacking,
    spoil: Callable[[Path, np.ndarray, np.random.Generator], None],
    seed: int,
    settings: config.Settings,
) -> Path:
    scene = make_scene(folder / "scene", SPEC)
    for name, where in lacking.items():
        spoil(scene.parent / f"{name}.tif", where, np.random.default_rng(seed))
    few = {"diffusion.steps": 3, "training.steps": 3, "report.points": 0}
    settings = presets.replace(
        settings, {"evaluation.missing_modalities": True, "mapping.tile": 16, **few}
    )
    Pipeline(scene, folder / "run", settings, Silent()).run()
    return folder / "run"


@pytest.mark.parametrize("spoil", [behind_a_mask, in_one_band])
@pytest.mark.parametrize("cover", [right_half_without_radar, every_pixel_without_one])
def test_the_map_uses_what_is_there_and_nothing_else(
    tmp_path: Path,
    tiny_settings: config.Settings,
    cover: Callable[[], Lacking],
    spoil: Callable[[Path, np.ndarray, np.random.Generator], None],
) -> None:
    lacking = cover()
    out = run(tmp_path / "first", lacking, spoil, 1, tiny_settings)
    empty = lacking.get("hsi", np.zeros((HEIGHT, WIDTH), dtype=bool))
    with rasterio.open(out / "map.tif") as mapped, rasterio.open(out / "confidence.tif") as sure:
        codes, confidence = mapped.read(1), sure.read(1)
    np.testing.assert_array_equal(codes == 0, empty)
    np.testing.assert_array_equal(np.isnan(confidence), empty)
    assert ((confidence[~empty] > 0) & (confidence[~empty] <= 1)).all()
    metrics = json.loads((out / "metrics.json").read_text())
    assert list(metrics["missing"]) == ["hsi", "sar", "dsm"]
    for one in (metrics["methods"]["BDGF"], *metrics["missing"].values()):
        assert 0 <= one["all"]["oa"] <= 100
    # other values under the mask: the same statistics, weights and map
    other = run(tmp_path / "second", lacking, spoil, 2, tiny_settings)
    for name in ("preparation", "diffusion", "network"):
        first, second = (
            checkpoint.load_tensors(folder / f"{name}.safetensors")[0] for folder in (out, other)
        )
        for key, value in first.items():
            assert value.equal(second[key]), f"{name}: {key}"
    for name in ("map.tif", "confidence.tif"):
        assert (out / name).read_bytes() == (other / name).read_bytes(), name
    again = json.loads((other / "metrics.json").read_text())
    for key in ("methods", "missing", "fusion_weights", "balance"):
        assert again[key] == metrics[key], key
