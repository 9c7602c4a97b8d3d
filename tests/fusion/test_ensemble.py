"""Several trainings as one network."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from bdgf.config import NetworkSettings
from bdgf.fusion.network import Ensemble, build_network, fused_log_probabilities

SMALL = NetworkSettings(window=5, width=16, groups=4, state=3, attention_heads=2)
GUIDANCE = (4, 5, 6)


def network_of(layout, members: int, kind: str = "dense", seed: int = 3):
    settings = dataclasses.replace(SMALL, kind=kind, members=members)
    return build_network(settings, layout, GUIDANCE, 3, seed)


@pytest.mark.parametrize("kind", ["dense", "patch"])
def test_every_head_is_the_mean_of_that_head_of_the_members(layout_of, images, kind):
    layout = layout_of(4, 2)
    ensemble = network_of(layout, 3, kind)
    inputs = images(layout, (2, 5, 5))
    assert isinstance(ensemble, Ensemble)
    said = [member(*inputs).logits for member in ensemble.networks()]
    found = ensemble(*inputs)
    assert found.logits.shape == said[0].shape
    wanted = torch.stack([logits.double().log_softmax(2) for logits in said]).mean(0)
    torch.testing.assert_close(found.logits.double(), wanted, rtol=0, atol=1e-5)
    assert found.embedding.shape[2] == 3 * SMALL.width


def test_its_fusion_is_the_mean_of_the_members_fusions(layout_of, images):
    layout = layout_of(4, 2)
    ensemble = network_of(layout, 2)
    inputs = images(layout, (3, 7, 8))
    weights = torch.tensor([0.1, 0.3, 0.2, 0.2, 0.15, 0.05])
    each = [
        fused_log_probabilities(member(*inputs).logits, weights) for member in ensemble.networks()
    ]
    wanted = torch.stack(each).mean(0).log_softmax(1)
    found = fused_log_probabilities(ensemble(*inputs).logits, weights)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_members_differ_and_the_first_is_what_one_alone_would_be(layout_of):
    layout = layout_of(4, 2)
    first, second = network_of(layout, 2).networks()
    alone = network_of(layout, 1)
    for name, weight in alone.state_dict().items():
        assert torch.equal(weight, first.state_dict()[name])
    name = "pixel.first.weight"
    assert not torch.equal(first.state_dict()[name], second.state_dict()[name])


def test_its_map_is_that_of_every_pixels_own_patch(layout_of, images, patches_of):
    layout = layout_of(4, 2)
    ensemble = network_of(layout, 2).eval()
    inputs = images(layout, (1, 9, 10))
    dense = ensemble(*inputs).logits[0]  # (heads, K, h, w)
    patches = ensemble(*patches_of(inputs, 5)).logits[..., 0, 0]  # (h w, heads, K)
    torch.testing.assert_close(dense.flatten(2).permute(2, 0, 1), patches, rtol=0, atol=1e-5)
