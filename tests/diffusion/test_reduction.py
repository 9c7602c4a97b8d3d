from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

from bdgf import checkpoint
from bdgf.diffusion.reduction import Projection, Reduction
from bdgf.errors import RunFolderError


def test_projection_keeps_all_variance_of_low_rank_data() -> None:
    generator = np.random.default_rng(0)
    data = (generator.normal(size=(500, 2)) @ generator.normal(size=(2, 6))).astype(np.float32)
    projection = Projection.fit(data, 2)
    assert projection.explained == pytest.approx(1.0)
    projected = projection.apply(torch.from_numpy(data.T.reshape(6, 20, 25))).reshape(2, -1)
    assert projected[0].std().item() == pytest.approx(1.0, abs=1e-3)
    assert abs(np.corrcoef(projected.numpy())[0, 1]) < 1e-3


def test_components_far_beyond_the_sample_stay_finite_in_half_precision() -> None:
    projection = Projection.fit(np.random.default_rng(2).normal(size=(200, 3)).astype("f4"), 3)
    far = np.array([1e6, -3.4e38, 0.0], dtype=np.float32).reshape(3, 1, 1)
    assert projection.apply(torch.from_numpy(far)).half().isfinite().all()


def test_what_is_stored_reduces_to_the_same_bits(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    samples = [generator.normal(size=(300, g)).astype(np.float32) for g in (9, 2, 5)]
    fitted = Reduction([Projection.fit(sample, 4) for sample in samples])
    assert fitted.levels == [[0, 1, 2, 3], [4, 5], [6, 7, 8, 9]]
    fitted.save(tmp_path / "reduction.safetensors")
    loaded = Reduction.load(tmp_path / "reduction.safetensors")
    assert loaded.levels == fitted.levels
    features = [torch.randn(g, 3, 7) for g in (9, 2, 5)]
    assert fitted.apply(features).shape == (10, 3, 7)
    np.testing.assert_array_equal(loaded.apply(features), fitted.apply(features))
    for one, other in zip(loaded.projections, fitted.projections, strict=True):
        assert one.explained == other.explained


@pytest.mark.parametrize(
    ("guides", "levels"),
    [
        (("coarse", "coarse", "coarse"), [[0, 1, 2, 3]] * 3),
        (("none", "middle", "none"), [[], [0, 1], []]),
        (("fine", "middle", "fine"), [[2, 3, 4, 5], [0, 1], [2, 3, 4, 5]]),
    ],
)
def test_levels_that_guide(tmp_path: Path, guides: tuple[str, ...], levels: list) -> None:
    generator = np.random.default_rng(1)
    names = ("coarse", "middle", "fine")
    fits = {
        name: Projection.fit(generator.normal(size=(300, g)).astype(np.float32), 4)
        for name, g in zip(names, (9, 2, 5), strict=True)
    }
    used = [fits[name] for name in names if name in guides]
    fitted = Reduction(used, guides)
    fitted.save(tmp_path / "reduction.safetensors")
    loaded = Reduction.load(tmp_path / "reduction.safetensors")
    features = [torch.randn(g, 3, 7) for g in (9, 2, 5)]
    for reduction in (fitted, loaded):
        assert reduction.levels == levels
        found = reduction.apply(features)
        assert len(found) == reduction.channels == len({c for level in levels for c in level})
        for name, channels in zip(guides, levels, strict=True):
            if channels:
                expected = fits[name].apply(features[names.index(name)])
                np.testing.assert_array_equal(found[channels], expected)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "reduction.safetensors"
    with pytest.raises(RunFolderError, match="is missing"):
        Reduction.load(path)
    checkpoint.save_tensors(path, {"0.mean": torch.zeros(3)}, {"explained": [1.0]})
    with pytest.raises(RunFolderError, match="run 'bdgf features' again"):
        Reduction.load(path)


def test_components_have_the_same_bits_on_any_number_of_threads() -> None:
    sample = np.random.default_rng(3).normal(size=(2000, 256)).astype(np.float32)
    fitted = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            fitted.append(Projection.fit(sample, 12).matrix)
    np.testing.assert_array_equal(*fitted)
