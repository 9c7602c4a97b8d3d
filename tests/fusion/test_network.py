"""Both networks behind the one interface."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from bdgf.config import NetworkSettings
from bdgf.fusion.network import (
    DenseNetwork,
    NetworkOutput,
    PatchNetwork,
    build_network,
    fused_log_probabilities,
)

SMALL = NetworkSettings(
    window=5, width=16, groups=4, state=3, attention_heads=2, pooling=0, feature_path=True
)
KINDS = ["dense", "patch"]
NO_FEATURES = {"feature_path": False, "guided_patch": False}
"""Features guide the branches, and no head sees them itself."""
VARIANTS = [
    {},
    {"guided": ("mamba", "transformer")},
    {"guided": ("cnn", "transformer")},
    {"guided": ("cnn", "mamba")},
    {"guided": ()},
    {"cross_query": "diffusion"},
    {"pooling": 1},
    {"patch_path": False},
    {"feature_path": False},
    {"guided_patch": False},
    {"patch_norm": "batch"},
]
"""Ways in which the branches are guided, and their features pooled."""
MODALITIES = [(3,), (4, 2, 1), (200,)]


def settings_of(kind: str, **changes: object) -> NetworkSettings:
    return dataclasses.replace(SMALL, kind=kind, **changes)


def without_gradient(network: nn.Module) -> list[str]:
    return [
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None or float(parameter.grad.abs().max()) < 1e-9
    ]


def train_once(network: nn.Module, inputs: tuple) -> NetworkOutput:
    output = network(*inputs)
    generator = torch.Generator().manual_seed(1)
    loss = sum(
        (part * torch.randn(part.shape, generator=generator)).sum()
        for part in (torch.log_softmax(output.logits, 2), output.embedding)
    )
    loss.backward()
    return output


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", MODALITIES, ids=str)
@pytest.mark.parametrize("window", [3, 5, 9])
@pytest.mark.parametrize("guidance", [(4, 5, 6), (0, 5, 0), (0, 0, 0)], ids=str)
def test_output_is_finite_and_every_parameter_gets_a_gradient(
    layout_of, images, kind, sizes, window, guidance
):
    layout = layout_of(*sizes)
    network = build_network(settings_of(kind, window=window), layout, guidance, 2, seed=0)
    output = train_once(network, images(layout, (6, window, window), guidance))
    heads = 7 if any(guidance) else 5  # pixel, patch and branches; two more see the features
    assert output.logits.shape == (6, heads, 2, 1, 1)
    assert output.embedding.shape == (6, heads, 16, 1, 1)
    assert torch.isfinite(output.logits).all()
    assert without_gradient(network) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "changes",
    [
        {"groups": 1},
        {"groups": 16},
        {"attention_heads": 1},
        {"state": 1},
        {"branches": ("mamba",), "pixel_path": False, "feature_path": False},
        {"branches": ("mamba",), "pixel_path": False},
        {"branches": ("transformer", "cnn")},
        {"branches": ("cnn",), "guided": ("mamba", "transformer")},
        {"branches": ("transformer",), "cross_query": "diffusion", "window": 9},
        *VARIANTS[1:],
    ],
    ids=str,
)
def test_settings_at_their_limits(layout_of, images, kind, changes):
    layout = layout_of(3, 1)
    settings = settings_of(kind, **changes)
    network = build_network(settings, layout, (4, 5, 6), 3, seed=0)
    output = train_once(network, images(layout, (6, settings.window, settings.window)))
    expected = (
        *(("pixel",) if settings.pixel_path else ()),
        *(("diffusion",) if settings.feature_path else ()),
        *(("patch",) if settings.patch_path else ()),
        *(("guided patch",) if settings.patch_path and settings.guided_patch else ()),
        *settings.branches,
    )
    assert network.heads == expected
    assert network.window == settings.window
    assert output.logits.shape == (6, len(expected), 3, 1, 1)
    assert without_gradient(network) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("shape", "changes"),
    [
        ((2, 5, 5), {}),
        ((2, 5, 11), {}),
        *(((1, 8, 6), {**changes, "guidance_gain": 0.5}) for changes in VARIANTS),
    ],
    ids=str,
)
def test_an_image_gives_what_its_patches_give(layout_of, images, patches_of, kind, shape, changes):
    layout = layout_of(4, 1)
    network = build_network(settings_of(kind, **changes), layout, (4, 5, 6), 3, seed=0).eval()
    inputs = images(layout, shape)
    with torch.no_grad():
        image = network(*inputs)
        patches = network(*patches_of(inputs, 5))
    batch, height, width = shape[0], shape[1] - 4, shape[2] - 4
    for whole, single in zip(image, patches, strict=True):
        assert whole.shape == (batch, *single.shape[1:3], height, width)
        single = single[..., 0, 0].view(batch, height, width, *single.shape[1:3])
        assert (whole - single.permute(0, 3, 4, 1, 2)).abs().max() < 1e-5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("changes", [VARIANTS[0], VARIANTS[3], VARIANTS[5], VARIANTS[6]], ids=str)
def test_training_on_an_image_gives_the_gradients_of_its_patches(
    layout_of, images, patches_of, kind, changes
):
    layout = layout_of(3, 1)
    inputs = images(layout, (1, 7, 6))
    gradients = []
    for prepare in (lambda x: x, lambda x: patches_of(x, 5)):
        network = build_network(settings_of(kind, **changes), layout, (4, 5, 6), 3, seed=0)
        network(*prepare(inputs)).logits.square().sum().backward()
        gradients.append({name: p.grad for name, p in network.named_parameters()})
    for name, expected in gradients[1].items():
        scale = max(1.0, float(expected.abs().max()))
        assert (gradients[0][name] - expected).abs().max() < 2e-5 * scale, name


@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_at_missing_pixels_does_not_matter(layout_of, images, kind):
    layout = layout_of(3, 2)
    network = build_network(settings_of(kind), layout, (4, 5, 6), 3, seed=0)
    values, missing, guidance = images(layout, (3, 5, 5))
    index = torch.tensor(layout.modality_of_channel)
    other = torch.where(missing[:, index] > 0, torch.full_like(values, 1e6), values)
    with torch.no_grad():
        assert torch.equal(
            network(values, missing, guidance).logits, network(other, missing, guidance).logits
        )
        nothing = network(values, torch.ones_like(missing), guidance).logits
    assert torch.isfinite(nothing).all()


@pytest.mark.parametrize("kind", KINDS)
def test_without_gain_guidance_is_as_if_it_were_not_there(layout_of, images, kind):
    layout = layout_of(3, 1)
    values, missing, guidance = images(layout, (4, 5, 5))
    settings = settings_of(kind, guidance_gain=0.0, **NO_FEATURES)
    guided = build_network(settings, layout, (4, 5, 6), 3, seed=0)
    zeros = [torch.zeros_like(level) for level in guidance]
    with torch.no_grad():
        by_gain = guided(values, missing, guidance).logits
        for name, parameter in guided.named_parameters():
            if name.endswith(".gain"):
                parameter.fill_(0.7)
        by_zeros = guided(values, missing, zeros).logits
        moved = guided(values, missing, guidance).logits
    assert torch.allclose(by_gain, by_zeros, atol=1e-6)
    assert (moved - by_gain).abs().max() > 1e-3

    # the same weights in a network that has no guidance at all
    bare = build_network(settings_of(kind), layout, (0, 0, 0), 3, seed=1)
    own, state = bare.state_dict(), guided.state_dict()
    bare.load_state_dict({name: state[name][: len(own[name])] for name in own})
    with torch.no_grad():
        unguided = bare(values, missing, [level[:, :0] for level in guidance]).logits
    assert torch.allclose(unguided, by_gain, atol=1e-6)


def test_the_diffusion_head_sees_the_features_of_its_pixel_only(layout_of, images):
    layout = layout_of(3, 1)
    network = build_network(SMALL, layout, (4, 5, 6), 3, seed=0)
    values, missing, guidance = images(layout, (1, 5, 5))
    guidance = [level.requires_grad_() for level in guidance]
    head = network.heads.index("diffusion")
    network(values, missing, guidance).logits[0, head].square().sum().backward()
    for level in guidance:
        reached = level.grad[0].abs().amax(0) > 0
        assert reached[2, 2]
        assert reached.sum() == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("members", [1, 2])
def test_a_dropped_channel_is_zero_for_all_heads_but_the_patch(layout_of, images, kind, members):
    layout = layout_of(3, 2)
    network = build_network(settings_of(kind, members=members), layout, (4, 5, 6), 3, seed=0)
    values, missing, guidance = images(layout, (2, 5, 5))
    kept = torch.ones(2, 5)
    kept[0, 1] = kept[1, 3] = kept[1, 4] = 0.0
    found = network(values, missing, guidance, kept).logits
    dropped = network(values * kept[..., None, None], missing, guidance).logits
    whole = network(values, missing, guidance).logits
    for head, name in enumerate(network.heads):
        wanted, other = (whole, dropped) if name == "patch" else (dropped, whole)
        assert torch.equal(found[:, head], wanted[:, head]), name
        assert not torch.allclose(found[:, head], other[:, head]), name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("left_out", ["cnn", "mamba", "transformer"])
def test_only_the_branches_that_are_named_are_guided(layout_of, images, kind, left_out):
    layout = layout_of(3, 1)
    guided = tuple(name for name in SMALL.branches if name != left_out)
    settings = settings_of(kind, guided=guided, guidance_gain=0.7, window=9, **NO_FEATURES)
    network = build_network(settings, layout, (4, 5, 6), 3, seed=0)
    values, missing, guidance = images(layout, (4, 9, 9))
    with torch.no_grad():
        first = network(values, missing, guidance).logits
        other = network(values, missing, [2 - level for level in guidance]).logits
    moved = (first - other).abs().flatten(2).amax((0, 2)) > 1e-4  # (heads,)
    expected = [name in guided for name in network.heads]
    assert moved.tolist() == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("branches", [("cnn",), SMALL.branches], ids=str)
def test_a_network_that_nothing_guides_is_one_without_features(layout_of, images, kind, branches):
    layout = layout_of(3, 1)
    values, missing, guidance = images(layout, (4, 5, 5))
    guided = () if len(branches) > 1 else ("mamba", "transformer")
    settings = settings_of(kind, branches=branches, guided=guided, **NO_FEATURES)
    network = build_network(settings, layout, (4, 5, 6), 3, seed=0)
    bare = build_network(settings, layout, (0, 0, 0), 3, seed=0)
    with torch.no_grad():
        expected = bare(values, missing, [level[:, :0] for level in guidance]).logits
        assert torch.equal(network(values, missing, guidance).logits, expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("query", ["task", "diffusion"])
def test_which_features_the_cross_attention_sees(layout_of, images, kind, query):
    layout = layout_of(3, 1)
    settings = settings_of(
        kind,
        branches=("transformer",),
        pixel_path=False,
        cross_query=query,
        guidance_gain=0.8,
        **NO_FEATURES,
    )
    network = build_network(settings, layout, (4, 5, 6), 3, seed=0)
    values, missing, guidance = images(layout, (4, 5, 5))
    around, centre = [level.clone() for level in guidance], [level.clone() for level in guidance]
    for moved, other, level in zip(around, centre, guidance, strict=True):
        moved[:] = -level
        moved[:, :, 2, 2] = level[:, :, 2, 2]
        other[:, :, 2, 2] = -level[:, :, 2, 2]
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "guide_query" in name or "guide_key" in name:
                parameter.mul_(8)  # so that the attention is not almost even
        plain, by_centre, by_others = (
            network(values, missing, g).logits for g in (guidance, centre, around)
        )
        for name, parameter in network.named_parameters():
            if name.endswith(".gain"):
                parameter.zero_()
        assert torch.equal(*(network(values, missing, g).logits for g in (guidance, around)))
    assert (by_centre - plain).abs().max() > 1e-4
    # with a window of 5 the dense branch has one level of more than a pixel: only its centre asks
    only_the_centre = kind == "dense" and query == "diffusion"
    assert torch.equal(by_others, plain) == only_the_centre


@pytest.mark.parametrize("kind", KINDS)
def test_weights_survive_a_file(layout_of, images, tmp_path, kind):
    layout = layout_of(4, 2)
    first = build_network(settings_of(kind), layout, (4, 0, 6), 3, seed=0)
    second = build_network(settings_of(kind), layout, (4, 0, 6), 3, seed=1)
    save_file(first.state_dict(), tmp_path / "network.safetensors")
    second.load_state_dict(load_file(tmp_path / "network.safetensors"))
    inputs = images(layout, (2, 6, 5), (4, 0, 6))
    with torch.no_grad():
        assert torch.equal(first(*inputs).logits, second(*inputs).logits)


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_seed_decides_the_weights(layout_of, kind):
    layout = layout_of(3)

    def build(seed: int) -> dict:
        return build_network(settings_of(kind), layout, (4, 5, 6), 3, seed=seed).state_dict()

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = build(7)
    assert torch.equal(torch.rand(3), expected)
    torch.rand(11)
    second, other = build(7), build(8)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_kind_of_the_settings(layout_of):
    layout = layout_of(3)
    assert isinstance(build_network(settings_of("dense"), layout, (0, 0, 0), 2, 0), DenseNetwork)
    assert isinstance(build_network(settings_of("patch"), layout, (0, 0, 0), 2, 0), PatchNetwork)


@pytest.mark.parametrize(
    ("guidance", "classes", "message"),
    [((4, 5), 3, "2 levels"), ((4, 5, 6), 1, "1 classes")],
)
def test_networks_that_cannot_be_built(layout_of, guidance, classes, message):
    with pytest.raises(ValueError, match=message):
        build_network(SMALL, layout_of(3), guidance, classes, seed=0)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda v, m, g: (v[:, :-1], m, g), "4 channels.*built for 5"),
        (lambda v, m, g: (v[:, :, :4], m, g), "4 × 6 pixels.*window 5"),
        (lambda v, m, g: (v, m[:, :1], g), "missing indicator"),
        (lambda v, m, g: (v, m, g[:2]), "3 levels"),
        (lambda v, m, g: (v, m, [g[0], g[1][:, :, :5], g[2]]), "3 levels"),
        (lambda v, m, g: (v, m, [g[0], g[1], g[2][:, :3]]), "built for"),
    ],
)
def test_images_that_do_not_fit(layout_of, images, spoil: Callable, message: str):
    layout = layout_of(4, 1)
    network = build_network(SMALL, layout, (4, 5, 6), 3, seed=0)
    with pytest.raises(ValueError, match=message):
        network(*spoil(*images(layout, (1, 6, 6))))


def test_fusion_is_the_normalised_geometric_mean():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, 6, generator=generator)
    p = torch.softmax(logits, 2).double()
    weights = torch.tensor([0.5, 0.25, 0.25])
    expected = p[:, 0].pow(0.5) * p[:, 1].pow(0.25) * p[:, 2].pow(0.25)
    expected = expected / expected.sum(1, keepdim=True)
    found = fused_log_probabilities(logits, weights)
    assert torch.allclose(found.exp().double(), expected, atol=1e-6)
    warm = fused_log_probabilities(logits, weights / 4)
    assert torch.allclose(warm, torch.log_softmax(found / 4, 1), atol=1e-6), "the sum is 1 / T"


def test_a_weight_of_one_head_alone_gives_that_head():
    logits = torch.randn(1, 3, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    found = fused_log_probabilities(logits, torch.tensor([0.0, 1.0, 0.0]))
    assert torch.allclose(found, torch.log_softmax(logits[:, 1], 1), atol=1e-6)
