"""The graph, run by torch itself, against what ``bdgf map`` computes."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bdgf import config
from bdgf.diffusion.computed import ComputedFeatures
from bdgf.diffusion.features import FeatureExtractor
from bdgf.diffusion.reduction import Projection, Reduction
from bdgf.diffusion.store import FeatureStore
from bdgf.fusion.network import Ensemble, build_network
from bdgf.mapping.inference import window_log_probabilities
from bdgf.mapping.portable.comparison import FEATURE_TOLERANCE, Comparison, read_raw
from bdgf.mapping.portable.graph import ExportedMapper, PreparedModality, _Projected, build_mapper
from bdgf.mapping.pretrained import PretrainedMapper
from bdgf.scene.prepared import PreparedScene
from bdgf.scene.scene import Scene
from bdgf.scene.windows import Window

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def run(trained_run: Path) -> PretrainedMapper:
    torch.set_num_threads(1)
    return PretrainedMapper.from_run(trained_run)


@pytest.fixture(scope="module")
def mapper(run: PretrainedMapper) -> ExportedMapper:
    steps = run.settings.features.timesteps
    return build_mapper(
        run.preparation, run.denoiser, run.reduction, steps, run.network, run.weights
    )


def test_prepared_values_are_those_of_the_preparation(prepared: PreparedScene) -> None:
    whole = Window(0, 0, *prepared.shape(0))
    values = read_raw(prepared.scene, 0, whole)
    values[:, 5, 6] = -9999.0  # nothing that a sensor measured: it is cut
    read = prepared.scene.tiles[0].read
    raw, valid = zip(*(read(i, whole) for i in range(len(prepared.layout.modalities))), strict=True)
    for one, there in zip(raw, valid, strict=True):
        one[:, 5, 6], there[:, 5, 6] = -9999.0, True
    expected, missing = prepared.preparation.transform(raw, valid)
    start = 0
    for index, fitted in enumerate(prepared.preparation.fitted):
        place = prepared.preparation.order.index(index)
        part = prepared.layout.modalities[place]
        module = PreparedModality(fitted, start, prepared.preparation.clip)
        found, gone = module(values)
        np.testing.assert_array_equal(gone.numpy(), missing[place])
        np.testing.assert_allclose(found.numpy(), expected[part.start : part.stop], atol=2e-5)
        start += fitted.bands
    assert missing.any()


def test_values_that_overflow_are_missing(prepared: PreparedScene) -> None:
    fitted = prepared.preparation.fitted[0]
    fitted = dataclasses.replace(fitted, matrix=np.abs(fitted.matrix) * np.float32(1e3))
    values = np.zeros((fitted.bands, 2, 2), np.float32)
    values[:, 0, 0] = np.finfo(np.float32).max
    _, expected = fitted.transform(values.copy(), np.ones(values.shape, bool), 8.0)
    assert expected.tolist() == [[True, False], [False, False]]
    found, gone = PreparedModality(fitted, 0, 8.0)(torch.from_numpy(values))
    np.testing.assert_array_equal(gone.numpy(), expected)
    assert torch.isfinite(found).all()


def test_a_whole_tile_is_mapped_as_the_run_maps_it(
    mapper: ExportedMapper, run: PretrainedMapper, tiny_scene: Path
) -> None:
    compare = Comparison(run, Scene.open(tiny_scene), 0, Window(0, 0, 45, 51), mapper.halo)
    found = compare(mapper)
    assert found.pixels > 1500
    assert found.largest < TOLERANCE
    assert found.differing == 0


def test_a_piece_with_its_halo_is_mapped_as_the_whole(
    mapper: ExportedMapper, prepared: PreparedScene
) -> None:
    # a larger tile of the same values, so that a piece has cuts on all sides
    values = _larger(read_raw(prepared.scene, 0, Window(0, 0, *prepared.shape(0))))
    halo = mapper.halo
    assert halo % 4 == 0
    with torch.inference_mode():
        whole, _ = mapper(values)
        for top, left in ((halo, halo), (halo + 8, halo + 4)):
            cut = (..., slice(top - halo, top + 13 + halo), slice(left - halo, left + 10 + halo))
            piece = mapper(values[cut])[0][:, halo : halo + 13, halo : halo + 10]
            expected = whole[:, top : top + 13, left : left + 10]
            torch.testing.assert_close(piece, expected, atol=1e-4, rtol=0, equal_nan=True)


def _larger(image: Tensor) -> Tensor:
    wide = torch.cat([image, image.flip(2), image], 2)
    return torch.cat([wide, wide.flip(1), wide], 1)[:, :132, :130].contiguous()


def test_features_too_large_for_their_file_are_as_large_as_it_holds() -> None:
    projection = Projection(np.zeros(1), np.array([[1e6]]), 1.0)
    features = torch.ones(1, 1, 1)
    stored = projection.apply(features).half()
    drawn = _Projected(projection)(features[None])
    assert torch.equal(drawn[0], stored.to(drawn.dtype))
    assert stored.isfinite().all()


def test_without_guidance(
    run: PretrainedMapper, prepared: PreparedScene, tiny_settings: config.Settings
) -> None:
    network = build_network(tiny_settings.network, prepared.layout, [0, 0, 0], 4, 0).eval()
    weights = [0.1, 0.2, 0.3, 0.2, 0.2]
    mapper = build_mapper(run.preparation, None, None, (50,), network, weights)
    assert mapper.halo == 4
    shape = prepared.shape(0)
    store = FeatureStore(None, ["tile"], [shape])
    window = Window(0, 0, *shape)
    expected = window_log_probabilities(network, weights, prepared, store, 0, window)
    with torch.inference_mode():
        (found,) = mapper(read_raw(prepared.scene, 0, window))
    known = torch.from_numpy(prepared.valid(0))
    assert torch.equal(torch.isfinite(found).all(0), known)
    assert (found - expected)[:, known].abs().max() < TOLERANCE


def test_one_level_of_the_decoder_for_several_of_the_branches(
    run: PretrainedMapper, prepared: PreparedScene, tiny_settings: config.Settings
) -> None:
    assert run.denoiser is not None
    assert run.reduction is not None
    fine = Reduction(run.reduction.projections[2:], ("none", "fine", "fine"))
    channels = [len(level) for level in fine.levels]
    assert channels[0] == 0
    assert channels[1] == channels[2] > 0
    network = build_network(tiny_settings.network, prepared.layout, channels, 4, 0).eval()
    weights = [1 / len(network.heads)] * len(network.heads)
    s = run.settings
    cpu = torch.device("cpu")
    extractor = FeatureExtractor(run.denoiser, prepared, s.features, s.diffusion, s.seed, cpu)
    store, window = ComputedFeatures(extractor, fine), Window(0, 0, *prepared.shape(0))
    expected = window_log_probabilities(network, weights, prepared, store, 0, window)
    steps = s.features.timesteps
    mapper = build_mapper(run.preparation, run.denoiser, fine, steps, network, weights)
    with torch.inference_mode():
        found, features = mapper(read_raw(prepared.scene, 0, window))
    np.testing.assert_allclose(
        features, store.window(0, window), atol=FEATURE_TOLERANCE, rtol=2**-10
    )
    known = torch.from_numpy(prepared.valid(0))
    assert (found - expected)[:, known].abs().max() < TOLERANCE


def test_an_ensemble_is_what_its_members_say_together(
    prepared: PreparedScene, tiny_settings: config.Settings
) -> None:
    settings = dataclasses.replace(tiny_settings.network, members=2)
    ensemble = build_network(settings, prepared.layout, [0, 0, 0], 4, 1).eval()
    assert isinstance(ensemble, Ensemble)
    weights = [0.1, 0.2, 0.3, 0.1, 0.1]  # as at a temperature: they do not sum to 1
    build = partial(ExportedMapper, prepared.preparation, None, [[], [], []])
    values = read_raw(prepared.scene, 0, Window(0, 0, *prepared.shape(0)))
    with torch.inference_mode():
        found = build(ensemble, weights)(values)[0]
        single = [build(member, weights)(values)[0] for member in ensemble.networks()]
    expected = torch.log_softmax(torch.stack(single).mean(0), 0)
    torch.testing.assert_close(found, expected, equal_nan=True, atol=1e-5, rtol=1e-5)
