from __future__ import annotations

import numpy as np
import pytest

from bdgf.diffusion.crops import CropSampler
from bdgf.scene.prepared import PreparedScene


def test_crops_are_scaled_finite_and_zero_where_missing(prepared: PreparedScene) -> None:
    values, missing = CropSampler(prepared, 16).draw(12, np.random.default_rng(0))
    assert values.shape == (12, prepared.layout.channels, 16, 16)
    assert missing.shape == (12, len(prepared.layout.modalities), 16, 16)
    assert values.isfinite().all()
    assert set(missing.unique().tolist()) <= {0.0, 1.0}
    owner = list(prepared.layout.modality_of_channel)
    assert not values[missing[:, owner] > 0].any()
    assert missing.mean() < 0.5
    first = values[:, 0][missing[:, 0] == 0]
    assert 0.3 < float(first.std()) < 2.0, "the first component has a deviation near 1"


def test_a_tile_smaller_than_the_crop_lies_whole_inside(prepared_tiles: PreparedScene) -> None:
    sampler = CropSampler(prepared_tiles, 32)
    _, missing = sampler.draw(6, np.random.default_rng(0))
    areas = {int(sampler.valid[t].sum()) for t in range(prepared_tiles.tiles)}
    for crop in missing[:, 0]:
        assert int((crop == 0).sum()) in areas


def test_same_generator_same_crops(prepared: PreparedScene) -> None:
    sampler = CropSampler(prepared, 16)
    first, _ = sampler.draw(4, np.random.default_rng(5))
    again, _ = sampler.draw(4, np.random.default_rng(5))
    other, _ = sampler.draw(4, np.random.default_rng(6))
    assert (first == again).all()
    assert (first != other).any()


def test_large_tiles_are_drawn_more_often(prepared_tiles: PreparedScene) -> None:
    sampler = CropSampler(prepared_tiles, 32)
    areas = [float(mask.sum()) for mask in sampler.valid]
    assert sampler.share.tolist() == pytest.approx([a / sum(areas) for a in areas])
