from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bdgf.fusion.guidance import FeatureFusion, GroupChannelAttention, GuidanceProjection


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def attention(groups: int, gain: float) -> GroupChannelAttention:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return GroupChannelAttention(12, groups, gain)


def test_projection_keeps_zero_and_fades_weak_features():
    project = GuidanceProjection((4, 0, 2), 12)
    levels = [draw(1, 4, 3, 3), draw(1, 0, 3, 3), torch.zeros(1, 2, 3, 3)]
    coarse, none, fine = project(levels)
    assert coarse.shape == (1, 3, 3, 12)
    assert none is None
    assert not fine.any()
    weak = project([levels[0] * 1e-3, *levels[1:]])[0]
    assert weak.abs().max() < 0.02 * coarse.abs().max()


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("groups", [1, 4, 12])
def test_group_attention_is_the_identity_without_gain_or_guidance(groups, pooled):
    x, guidance = draw(2, 3, 3, 12), draw(2, 3, 3, 12, seed=1)
    assert torch.allclose(attention(groups, 0.0)(x, guidance, pooled), x)
    zero = torch.zeros_like(guidance)
    assert torch.allclose(attention(groups, 0.8)(x, zero, pooled), x, atol=1e-6)
    assert (attention(groups, 0.8)(x, guidance, pooled) - x).abs().max() > 1e-2


def test_group_weights_have_mean_one_and_channel_weights_at_most_two():
    weigh = attention(4, 1.0)
    with torch.no_grad():
        weigh.to_channels.zero_()  # channel weights of one: what is left are the groups' weights
        weights = weigh.weights(draw(2, 3, 3, 12), draw(2, 3, 3, 12, seed=1))
    by_group = weights.unflatten(3, (4, 3))
    assert torch.allclose(by_group, by_group[..., :1].expand_as(by_group))
    assert torch.allclose(weights.mean(3), torch.ones(2, 3, 3), atol=1e-6)
    assert weights.std() > 1e-3


def test_groups_see_only_their_own_channels():
    weigh = attention(4, 1.0)
    with torch.no_grad():
        weigh.to_group.zero_()  # the softmax over the groups ties them together
        x, guidance = draw(1, 2, 2, 12), draw(1, 2, 2, 12, seed=1)
        before = weigh.weights(x, guidance)
        x[..., 3:6] += 1
        guidance[..., 3:6] += 1
        changed = (weigh.weights(x, guidance) != before).flatten(0, 2).any(0)
    assert changed.tolist() == [False] * 3 + [True] * 3 + [False] * 6


def test_pooled_weights_are_one_per_sample():
    x, guidance = draw(2, 3, 3, 12), draw(2, 3, 3, 12, seed=1)
    ratio = attention(4, 0.5)(x, guidance, pooled=True) / x
    assert torch.allclose(ratio, ratio[:, :1, :1].expand_as(ratio), atol=1e-4)


def test_feature_fusion_opens_with_the_gain():
    x, guidance = draw(2, 3, 3, 12), draw(2, 3, 3, 12, seed=1)
    fuse = FeatureFusion(12, 0.0, guided=True)
    closed = fuse(x, guidance)
    assert torch.allclose(closed, fuse(x, -guidance), atol=1e-6)
    with torch.no_grad():
        fuse.gain.fill_(0.5)
    assert (fuse(x, guidance) - closed).abs().max() > 1e-2
    assert torch.allclose(fuse(x, torch.zeros_like(guidance)), closed, atol=1e-6)
