from __future__ import annotations

import numpy as np
import pytest

from bdgf import config, presets
from bdgf.fusion.label_counts import (
    consistency_weight,
    guidance_dropout,
    steps_for,
    thinned,
    with_patch_norm,
)


def test_more_labels_get_more_steps(tiny_settings: config.Settings) -> None:
    settings = presets.replace(tiny_settings, {"training.steps": 100})
    steps = [steps_for(settings, n) for n in (10, 1000, 4000, 9000, 10**6)]
    assert steps == [100, 100, 400, 800, 800]


def test_guidance_dropout_comes_in_where_consistency_goes() -> None:
    settings = presets.replace(
        config.Settings(), {"training.guidance_dropout": 0.4, "training.consistency": 2.0}
    )
    labels = (10, 1000, 2500, 4000, 10**6)
    assert [guidance_dropout(settings, n) for n in labels] == pytest.approx([0, 0, 0.2, 0.4, 0.4])
    assert [consistency_weight(settings, n) for n in labels] == pytest.approx([2, 2, 1, 0, 0])


@pytest.mark.parametrize(
    ("asked", "labels", "found"),
    [
        ("auto", 29, "batch"),
        ("auto", 30, "pixel"),
        ("pixel", 5, "pixel"),
        ("batch", 500, "batch"),
    ],
)
def test_few_labels_per_class_are_normalised_over_the_batch(
    asked: str, labels: int, found: str
) -> None:
    settings = presets.replace(config.Settings(), {"network.patch_norm": asked})
    classes = np.repeat([0, 3], labels)  # classes without a label do not count
    assert with_patch_norm(settings, classes).network.patch_norm == found


def test_labels_are_thinned_out_class_by_class() -> None:
    classes = np.repeat([0, 2, 3], [50_000, 900, 30_000])
    classes = np.random.default_rng(1).permutation(classes)
    drawn = thinned(classes, 20_000, np.random.default_rng(0))
    counts = np.bincount(classes[drawn], minlength=4)
    assert counts.sum() == 20_000
    assert counts[1] == 0
    assert counts[2] == 900, "a small class stays whole"
    assert (counts[0] - 1000) / (counts[3] - 1000) == pytest.approx(5 / 3, rel=1e-3)
    np.testing.assert_array_equal(drawn, thinned(classes, 20_000, np.random.default_rng(0)))
    assert (drawn != thinned(classes, 20_000, np.random.default_rng(1))).any()
    assert thinned(classes, 10**6, np.random.default_rng(0)).all()
    few = thinned(classes, 30, np.random.default_rng(0))
    assert np.bincount(classes[few], minlength=4).tolist() == [10, 0, 10, 10]
