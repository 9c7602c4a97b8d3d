from __future__ import annotations

import pytest
import torch

from bdgf.config import NetworkSettings
from bdgf.fusion.dense_network import TransformerLevel, split_radius
from bdgf.fusion.network import build_network


@pytest.mark.parametrize(
    ("window", "radii"),
    [
        (3, (0, 0, 0)),
        (5, (1, 0, 0)),
        (7, (1, 1, 0)),
        (9, (1, 1, 1)),
        (11, (2, 1, 1)),
        (15, (2, 2, 2)),
    ],
)
def test_radii_fill_the_window(window, radii):
    assert split_radius(window) == radii
    assert 2 * (1 + sum(radii)) + 1 == window
    assert split_radius(window + 2, 1) == radii


def test_small_windows_pool_over_what_they_have(layout_of):
    for window, pooling in ((3, 0), (5, 1), (7, 2), (11, 3)):
        settings = NetworkSettings(window=window, width=16, groups=4, pooling=3)
        network = build_network(settings, layout_of(3), (4, 5, 6), 3, seed=0)
        assert network.pooling == pooling
        assert 1 + sum(network.radii) + pooling == window // 2


@pytest.mark.parametrize(
    ("window", "shape"),
    [(3, (2, 9, 12)), (5, (1, 13, 8)), (7, (1, 16, 15)), (11, (2, 17, 14)), (11, (1, 30, 13))],
)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"guided": ("mamba", "transformer")},
        {"guided": ("cnn", "transformer")},
        {"guided": ("cnn", "mamba")},
        {"cross_query": "diffusion"},
        {"pooling": 0},
        {"pooling": 2},
        {"patch_norm": "batch"},
    ],
    ids=str,
)
def test_the_map_equals_the_patches(layout_of, images, patches_of, window, shape, changes):
    layout = layout_of(6, 2, 1)
    settings = NetworkSettings(window=window, width=24, groups=4, guidance_gain=0.5, **changes)
    network = build_network(settings, layout, (4, 5, 6), 5, seed=2)
    inputs = images(layout, shape, seed=window)
    with torch.inference_mode():
        network(*inputs)  # what is normalised over the batch moves its averages
        whole = network.eval()(*inputs).logits
        single = network(*patches_of(inputs, window)).logits[..., 0, 0]
    single = single.view(shape[0], *whole.shape[3:], *whole.shape[1:3]).permute(0, 3, 4, 1, 2)
    assert (whole - single).abs().max() < 1e-5
    assert torch.equal(whole.argmax(2), single.argmax(2))


@pytest.mark.parametrize("window", [3, 7, 11])
def test_every_pixel_of_the_patch_reaches_the_centre_and_none_beyond(layout_of, images, window):
    layout = layout_of(3)
    settings = NetworkSettings(window=window, width=16, groups=4, attention_heads=2)
    network = build_network(settings, layout, (4, 5, 6), 3, seed=0)
    values, missing, guidance = images(layout, (1, window + 4, window + 4))
    values.requires_grad_()
    logits = network(values, torch.zeros_like(missing), guidance).logits
    logits[0, :, :, 2, 2].square().sum().backward()
    reached = values.grad[0].abs().amax(0) > 0
    expected = torch.zeros_like(reached)
    expected[2:-2, 2:-2] = True
    assert torch.equal(reached, expected)


def test_a_branch_can_be_a_pixel_classifier(layout_of, images):
    layout = layout_of(3)
    settings = NetworkSettings(
        window=5, width=16, groups=4, attention_heads=2, pooling=0, patch_path=False
    )
    network = build_network(settings, layout, (4, 5, 6), 3, seed=0)
    with torch.no_grad():
        for name in settings.branches:
            network.classifiers[name].hidden.weight[:, :16] = 0  # what it reads of its branch
    values, missing, guidance = images(layout, (2, 5, 5))
    other = values.flip(2).flip(3)  # the same centre, everything else moved
    with torch.no_grad():
        first = network(values, torch.zeros_like(missing), guidance).logits
        second = network(other, torch.zeros_like(missing), guidance).logits
    assert torch.allclose(first, second, atol=1e-6)


def test_a_float64_network_agrees(layout_of, images):
    layout = layout_of(4, 2)
    network = build_network(NetworkSettings(width=16, groups=4), layout, (4, 5, 6), 3, seed=0)
    values, missing, guidance = images(layout, (2, 12, 11))
    with torch.no_grad():
        single = network(values, missing, guidance).logits
        double = network.double()(
            values.double(), missing.double(), [level.double() for level in guidance]
        ).logits
    assert double.dtype == torch.float64
    assert (single - double).abs().max() < 1e-5


@pytest.mark.parametrize("norm", ["pixel", "batch"])
def test_bfloat16_autocast_trains(layout_of, images, norm):
    layout = layout_of(4, 2)
    settings = NetworkSettings(width=16, groups=4, patch_norm=norm)
    network = build_network(settings, layout, (4, 5, 6), 3, seed=0)
    inputs = images(layout, (4, 11, 11))
    exact = network(*inputs).logits.detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = network(*inputs).logits
    rounded.float().square().sum().backward()
    assert (rounded.float() - exact).abs().max() < 0.1
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())


def test_swapped_attention_of_one_level_is_that_of_the_formula():
    generator = torch.Generator().manual_seed(0)
    level = TransformerLevel(8, 1, 0.6, True, 2, swapped=True).double()
    x = torch.randn(1, 3, 3, 8, generator=generator, dtype=torch.float64)
    guidance = torch.randn(1, 3, 3, 8, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        level.bias.copy_(torch.randn(4, 9, generator=generator))
        found = level(x, guidance)[0, 0, 0]
        tokens = level.norm(x).view(9, 8)
        own_query = level.query(tokens[4]) / 2
        asked = level.guide_query(guidance.view(9, 8)[4]) / 2
        keys, values = level.key(tokens), level.value(tokens)
        cross_keys, cross_values = level.guide_key(tokens), level.guide_value(tokens)
        read = []
        for query, key, value, bias in (
            (own_query, keys, values, level.bias[:2]),
            (asked, cross_keys, cross_values, level.bias[2:]),
        ):
            parts = [slice(0, 4), slice(4, 8)]
            weights = [
                torch.softmax(key[:, p] @ query[p] + b, 0) for p, b in zip(parts, bias, strict=True)
            ]
            read.append(torch.cat([w @ value[:, p] for w, p in zip(weights, parts, strict=True)]))
        hidden = x[0, 1, 1] + level.project((read[0] + level.gain * read[1])[None, None, None])
        expected = level.feed_forward(hidden)[0, 0, 0]
    assert torch.allclose(found, expected, atol=1e-12)
