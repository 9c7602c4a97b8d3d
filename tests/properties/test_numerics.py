"""Numerics against the libraries of the field, over drawn inputs."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.metrics import (
    accuracy_score,
    cohen_kappa_score,
    recall_score,
)
from sklearn.metrics import (
    confusion_matrix as sklearn_matrix,
)

from bdgf.diffusion.reduction import Projection
from bdgf.diffusion.schedule import NoiseSchedule
from bdgf.evaluation.metrics import confusion_matrix, scores, unpredicted_counts


@st.composite
def labellings(draw: st.DrawFn) -> tuple[int, NDArray[np.int64], NDArray[np.int64]]:
    """K, and reference and map in which classes may be absent from either."""
    classes = draw(st.integers(1, 7))
    size = draw(st.integers(1, 60))
    some = st.sets(st.integers(0, classes - 1), min_size=1)
    parts = []
    for _ in range(2):
        used = sorted(draw(some))
        parts.append(draw(arrays.arrays(np.int64, size, elements=st.sampled_from(used))))
    return classes, parts[0], parts[1]


@settings(max_examples=150, deadline=None)
@given(labellings())
def test_accuracies_are_those_of_scikit_learn(
    case: tuple[int, NDArray[np.int64], NDArray[np.int64]],
) -> None:
    classes, reference, predicted = case
    matrix = confusion_matrix(reference, predicted, classes)
    everything = range(classes)
    np.testing.assert_array_equal(
        matrix, sklearn_matrix(reference, predicted, labels=list(everything))
    )
    found = scores(matrix)
    present = np.unique(reference)
    recall = recall_score(reference, predicted, labels=present, average=None, zero_division=0)
    assert found.oa == pytest.approx(100 * accuracy_score(reference, predicted))
    assert found.aa == pytest.approx(100 * recall.mean())
    assert [i for i in everything if found.per_class[i] is not None] == present.tolist()
    np.testing.assert_allclose([found.per_class[i] for i in present], 100 * recall)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kappa = cohen_kappa_score(reference, predicted)
    assert found.kappa == pytest.approx(0.0 if np.isnan(kappa) else 100 * kappa, abs=1e-9)
    assert found.count == len(reference)


@settings(max_examples=60, deadline=None)
@given(labellings(), st.integers(1, 2**31))
def test_pixels_without_a_class_count_as_one_more_class_would(
    case: tuple[int, NDArray[np.int64], NDArray[np.int64]], seed: int
) -> None:
    classes, reference, predicted = case
    gaps = np.random.default_rng(seed).random(len(reference)) < 0.3
    ours = np.where(gaps, -1, predicted)
    found = scores(
        confusion_matrix(reference, ours, classes), unpredicted_counts(reference, ours, classes)
    )
    wider = scores(confusion_matrix(reference, np.where(gaps, classes, predicted), classes + 1))
    assert (found.oa, found.aa) == pytest.approx((wider.oa, wider.aa))
    assert found.kappa == pytest.approx(wider.kappa, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(2, 1000),
    st.floats(1e-5, 1e-3),
    st.floats(2e-3, 0.3),
    st.integers(0, 2**31),
)
def test_noise_is_added_as_diffusers_does(
    timesteps: int, start: float, end: float, seed: int
) -> None:
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.DDPMScheduler(
        num_train_timesteps=timesteps, beta_start=start, beta_end=end, beta_schedule="linear"
    )
    draws = torch.Generator().manual_seed(seed)
    clean, noise = (torch.randn(4, 2, 3, 3, generator=draws) for _ in range(2))
    t = torch.randint(timesteps, (4,), generator=draws)
    ours = NoiseSchedule(timesteps, start, end).add_noise(clean, noise, t)
    torch.testing.assert_close(ours, theirs.add_noise(clean, noise, t), atol=2e-5, rtol=2e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 9), st.integers(1, 9), st.integers(20, 200), st.integers(0, 2**31))
def test_components_of_features_are_those_of_scikit_learn(
    features: int, components: int, pixels: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    spread = np.arange(1, features + 1) ** 2
    sample = (rng.normal(size=(pixels, features)) * spread + rng.normal(size=features)).astype(
        np.float32
    )
    kept = min(components, features)
    ours = Projection.fit(sample, components)
    oracle = PCA(kept, svd_solver="full").fit(sample.astype(np.float64))
    scale = np.sqrt(oracle.explained_variance_[0])
    expected = oracle.transform(sample.astype(np.float64)) / scale
    found = ours.apply(torch.from_numpy(sample.T[:, None])).reshape(kept, -1).T.numpy()
    signs = np.sign((found * expected).sum(0))
    np.testing.assert_allclose(found * signs, expected, atol=2e-3)
    assert found[:, 0].std(ddof=1) == pytest.approx(1.0, rel=1e-3)
    assert ours.explained == pytest.approx(oracle.explained_variance_ratio_.sum(), rel=1e-6)
