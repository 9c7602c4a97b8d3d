"""Samples cover the scene, with the keys of torchgeo's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from affine import Affine
from torch.utils.data import DataLoader

from bdgf.errors import SceneError
from bdgf.scene.chips import SceneChips
from bdgf.scene.grid import apply
from bdgf.scene.scene import Scene
from bdgf.scene.windows import Window


def test_samples_cover_every_pixel_and_carry_its_values(tiny_scene):
    scene = Scene.open(tiny_scene)
    chips = SceneChips(scene, 16)
    tile = scene.tiles[0]
    whole = np.concatenate([tile.read(m, Window(0, 0, 45, 51))[0] for m in range(3)])
    seen = np.zeros((45, 51), dtype=int)
    for sample in chips:
        row, col = sample["row"], sample["col"]
        np.testing.assert_array_equal(sample["image"], whole[:, row : row + 16, col : col + 16])
        codes = np.array((*scene.class_codes, 0))[tile.train[row : row + 16, col : col + 16]]
        np.testing.assert_array_equal(sample["mask"], codes)
        seen[row : row + 16, col : col + 16] += 1
    assert (seen > 0).all()
    assert sample["image"].dtype == torch.float32
    assert sample["mask"].dtype == torch.int64


def test_bounds_and_transform_place_a_sample(tiny_scene):
    scene = Scene.open(tiny_scene)
    sample = next(s for s in SceneChips(scene, 16) if (s["row"], s["col"]) == (16, 32))
    left, top = apply(scene.tiles[0].transform, 32, 16)
    assert sample["bounds"].tolist() == [left, top - 80, left + 80, top]
    assert sample["transform"].tolist() == list(Affine(5, 0, left, 0, -5, top))
    assert sample["crs"] == scene.tiles[0].crs


def test_a_tile_smaller_than_a_sample_is_filled_up():
    scene = Scene.from_arrays({"a": np.ones((2, 5, 9))}, np.eye(5, 9) + 2 * np.eye(5, 9, 3))
    with pytest.raises(SceneError, match="size is 0"):
        SceneChips(scene, 0)
    (sample,) = SceneChips(scene, 12)
    assert sample["image"].shape == (2, 12, 12)
    assert sample["image"].sum() == sample["valid"].sum() == 2 * 5 * 9
    assert sample["mask"].sum() == 5 * 1 + 5 * 2
    assert sample["bounds"].tolist() == [0, 0, 12, 12]
    assert sample["crs"] is None


def test_only_samples_with_labels_of_the_part(tiles_scene):
    scene = Scene.open(tiles_scene)
    for part in ("train", "test"):
        every = SceneChips(scene, 8, stride=4, part=part)
        some = SceneChips(scene, 8, stride=4, part=part, labelled_only=True)
        assert 0 < len(some) < len(every)
        assert all((sample["mask"] > 0).any() for sample in some)
    with pytest.raises(SceneError, match="has no labels"):
        SceneChips(Scene.from_arrays({"a": np.ones((2, 5, 9))}), labelled_only=True)


def test_there_are_two_parts(tiny_scene):
    with pytest.raises(SceneError, match="must be train or test"):
        SceneChips(Scene.open(tiny_scene), 8, part="val")


def test_a_loader_makes_batches_of_them(tiny_scene):
    chips = SceneChips(Scene.open(tiny_scene), 16)
    loader = DataLoader(
        chips, batch_size=4, collate_fn=lambda s: torch.stack([x["image"] for x in s])
    )
    assert next(iter(loader)).shape == (4, 11, 16, 16)
