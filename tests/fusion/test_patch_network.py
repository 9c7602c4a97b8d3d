from __future__ import annotations

import torch
import torch.nn.functional as F

from bdgf.config import NetworkSettings
from bdgf.fusion import patch_network
from bdgf.fusion.network import build_network
from bdgf.fusion.patch_network import PatchMambaLevel, attention

SETTINGS = NetworkSettings(
    kind="patch", window=5, width=16, groups=4, state=3, attention_heads=2, feature_path=True
)


def test_attention_of_single_operations_is_that_of_the_fused_kernels() -> None:
    """On CUDA what learns takes it, since its gradients are the same every time."""
    values = [torch.randn(2, 4, 9, 12, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    own = attention(*values)
    fused = F.scaled_dot_product_attention(*values)
    torch.testing.assert_close(own, fused)
    weights = torch.randn_like(own)
    for gradients in zip(
        torch.autograd.grad((own * weights).sum(), values),
        torch.autograd.grad((fused * weights).sum(), values),
        strict=True,
    ):
        torch.testing.assert_close(*gradients)


def test_chunks_of_patches_do_not_change_the_map(monkeypatch, layout_of, images):
    layout = layout_of(4, 1)
    network = build_network(SETTINGS, layout, (4, 5, 6), 3, seed=0)
    inputs = images(layout, (2, 7, 12))
    with torch.no_grad():
        together = network(*inputs).logits
        monkeypatch.setattr(patch_network, "_PATCHES", 3)
        apart = network(*inputs).logits
    assert (together - apart).abs().max() < 1e-5


def test_every_token_reaches_every_branch(layout_of, images):
    layout = layout_of(3)
    network = build_network(SETTINGS, layout, (4, 5, 6), 3, seed=0)
    values, missing, guidance = images(layout, (1, 5, 5))
    missing = torch.zeros_like(missing)
    for index, name in enumerate(network.heads):
        values = values.detach().requires_grad_()
        network(values, missing, guidance).logits[0, index].square().sum().backward()
        reached = values.grad[0].abs().amax(0) > 0
        if name in ("pixel", "diffusion"):
            assert reached.sum() == 1
            assert reached[2, 2]
        else:
            assert reached.all()


def test_the_order_of_the_tokens_matters(layout_of, images):
    # a scan, unlike a pooled statistic, tells a patch from its mirror
    layout = layout_of(3)
    network = build_network(SETTINGS, layout, (4, 5, 6), 3, seed=0)
    values, missing, guidance = images(layout, (1, 5, 5))
    missing = torch.zeros_like(missing)
    with torch.no_grad():
        first = network(values, missing, guidance).logits
        second = network(values.flip(3), missing, [g.flip(3) for g in guidance]).logits
    difference = (first - second).abs().amax((0, 2, 3, 4))
    single = torch.tensor([name in ("pixel", "diffusion") for name in network.heads])
    assert (difference[~single] > 1e-5).all()
    assert (difference[single] < 1e-6).all()


def test_both_directions_of_the_scan_end_at_their_own_tokens():
    torch.manual_seed(0)
    level = PatchMambaLevel(8, 3, 0.5, False, 4, 2).double()
    x = torch.randn(2, 3, 3, 8, dtype=torch.float64)
    with torch.no_grad():
        found = level(x, None)
        entry, z = level.enter(level.norm(x)).chunk(2, 3)
        entry = F.silu(level.local(entry.contiguous())).flatten(1, 2)
        spiral = level.order.tolist()
        there, back = level.inwards(entry[:, spiral]), level.outwards(entry[:, spiral[::-1]])
        y = torch.zeros_like(entry)
        for i, place in enumerate(spiral):
            y[:, place] = there[:, i] + back[:, len(spiral) - 1 - i]
        expected = x + level.project(y.view_as(x) * F.silu(z))
    torch.testing.assert_close(found, expected)
