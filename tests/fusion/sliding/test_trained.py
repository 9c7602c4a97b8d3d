from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bdgf.fusion.scan import spiral_order, ssd_reference
from bdgf.fusion.sliding import trained
from bdgf.fusion.sliding.trained import crop, ssd_centre_readout, window_attention

CASES = [(1, 0, 4, 5), (2, 1, 3, 3), (2, 1, 6, 9), (1, 2, 5, 5), (3, 2, 9, 6), (1, 3, 8, 11)]
"""Batch, radius, height and width."""
HEADS, WIDTH, STATES = 2, 6, 3


def draw(*shapes: tuple[int, ...], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(len(shapes))
    return [
        torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
        for shape in shapes
    ]


def attention_inputs(case: tuple[int, int, int, int], dtype=torch.float64) -> list[Tensor]:
    batch, radius, height, width = case
    inner = (batch, height - 2 * radius, width - 2 * radius, WIDTH)
    outer = (batch, height, width, WIDTH)
    return draw(inner, outer, outer, (HEADS, (2 * radius + 1) ** 2), dtype=dtype)


def ssd_inputs(case: tuple[int, int, int, int], dtype=torch.float64) -> list[Tensor]:
    batch, radius, height, width = case
    x, dt, A, b, c = draw(
        (batch, height, width, WIDTH),
        (batch, height, width, HEADS),
        (HEADS,),
        (batch, height, width, STATES),
        (batch, height - 2 * radius, width - 2 * radius, STATES),
        dtype=dtype,
    )
    dt = torch.nn.functional.softplus(dt).detach().requires_grad_()
    A = (-torch.nn.functional.softplus(A)).detach().requires_grad_()
    return [x, dt, A, b, c]


def windows_of(x: Tensor, radius: int) -> Tensor:
    side = 2 * radius + 1
    cut = x.unfold(1, side, 1).unfold(2, side, 1)  # (B, h, w, C, side, side)
    return cut.flatten(4).transpose(3, 4)  # (B, h, w, side², C)


def attention_by_windows(query, key, value, bias, radius):
    heads = bias.shape[0]
    q = query.unflatten(3, (heads, -1)).unsqueeze(4)  # (B, h, w, heads, 1, d)
    k, v = (
        windows_of(t, radius).unflatten(4, (heads, -1)).transpose(3, 4) for t in (key, value)
    )  # (B, h, w, heads, side², d)
    weights = torch.softmax((q * k).sum(5) + bias, 4)
    return (weights.unsqueeze(5) * v).sum(4).flatten(3)


def ssd_by_windows(x, dt, A, b, c, radius):
    order = spiral_order(2 * radius + 1)
    x_, dt_, b_ = (windows_of(t, radius)[:, :, :, order].flatten(0, 2) for t in (x, dt, b))
    heads = dt.shape[3]
    c_ = c.flatten(0, 2).unsqueeze(1).expand(-1, len(order), -1)
    no_skip = x.new_zeros(heads, x.shape[3] // heads)
    y = ssd_reference(x_.unflatten(2, (heads, -1)), dt_, A, b_, c_, no_skip)
    return y[:, -1].flatten(1).view(*c.shape[:3], -1)


OPERATORS = {
    "attention": (window_attention, attention_by_windows, attention_inputs),
    "ssd": (ssd_centre_readout, ssd_by_windows, ssd_inputs),
}


def run(function, inputs, radius) -> list[Tensor]:
    y = function(*inputs, radius)
    weights = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).view_as(y).to(y.dtype)
    gradients = torch.autograd.grad((y * weights).sum(), inputs, allow_unused=True)
    return [y.detach(), *(torch.zeros(1) if g is None else g for g in gradients)]


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("whole", [0, 10**9], ids=["tiles", "whole"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_equals_every_window_by_itself(monkeypatch, name, case, whole, dtype, tolerance):
    monkeypatch.setattr(trained, "_WHOLE", whole)
    monkeypatch.setattr(trained, "_SCORES", 500)  # several strips of tiles
    fast, reference, inputs = OPERATORS[name]
    expected = run(reference, inputs(case), case[1])
    found = run(fast, inputs(case, dtype), case[1])
    for f, e in zip(found, expected, strict=True):
        assert (f.double() - e).abs().max() <= tolerance * max(1, float(e.abs().max()))


def test_ssd_of_one_token_needs_no_decay():
    x, dt, A, b, c = ssd_inputs((2, 0, 4, 5))
    assert torch.allclose(
        ssd_centre_readout(x, dt, None, b, c, 0), ssd_centre_readout(x, dt, A, b, c, 0), atol=1e-12
    )


@pytest.mark.parametrize("name", OPERATORS)
def test_training_after_a_map_in_inference_mode(name):
    # another shape than elsewhere, so that its masks are made in inference mode
    case = (1, 1, 4, 7)
    fast, _, inputs = OPERATORS[name]
    trained._offsets.cache_clear()
    trained._spiral_masks.cache_clear()
    with torch.inference_mode():
        mapped = fast(*inputs(case), 1)
    learned = run(fast, inputs(case), 1)
    assert torch.equal(learned[0], mapped)
    assert all(torch.isfinite(g).all() for g in learned[1:])


@pytest.mark.parametrize("name", OPERATORS)
def test_what_lies_outside_the_window_does_not_matter(name):
    case = (1, 1, 7, 7)
    fast, _, inputs = OPERATORS[name]
    arguments = [t.detach() for t in inputs(case)]
    before = fast(*arguments, 1)
    for t in arguments:
        if t.shape[:3] == (1, 7, 7):
            t[:, 0, 0] += 5
    after = fast(*arguments, 1)
    changed = (before != after).any(3)[0]
    assert changed[0, 0]
    assert changed.sum() == 1


def test_crop():
    x = torch.arange(25.0).view(1, 5, 5, 1)
    assert torch.equal(crop(x, 0), x)
    assert crop(x, 2).flatten().tolist() == [12.0]


def test_scores_in_memory_stay_below_their_limit(monkeypatch):
    monkeypatch.setattr(trained, "_WHOLE", 0)
    inputs = [t.detach() for t in attention_inputs((2, 1, 66, 18))]
    whole = window_attention(*inputs, 1)
    sizes, softmax = [], torch.softmax

    def watched(scores, dim):
        sizes.append(scores.numel())
        return softmax(scores, dim)

    tile = trained._TILE
    row = 2 * -(-16 // tile) * HEADS * tile**2 * (tile + 2) ** 2  # scores of one row of tiles
    monkeypatch.setattr(trained, "_SCORES", 2 * row)
    monkeypatch.setattr(trained.torch, "softmax", watched)
    assert torch.allclose(window_attention(*inputs, 1), whole, atol=1e-12)
    assert max(sizes) == 2 * row, "as much at once as may be"
    assert len(sizes) == -(-64 // (2 * tile))


def test_an_image_is_one_tile_up_to_a_number_of_pairs(monkeypatch):
    centres, tokens = torch.randn(1, 4, 5, 2), torch.randn(1, 6, 7, 2)
    seen = []

    def core(own, around, height, width):
        seen.append((height, width))
        return own[0]

    pairs = 4 * 5 * (6 * 7) ** 2
    for limit in (pairs, pairs - 1):
        monkeypatch.setattr(trained, "_WHOLE", limit)
        assert torch.equal(trained._slide(core, [centres], [tokens], 1, 1), centres)
    assert seen[0] == (6, 7)
    assert set(seen[1:]) == {(trained._TILE + 2, trained._TILE + 2)}


def test_a_device_gets_more_at_a_time_than_the_cache_of_a_cpu(monkeypatch):
    monkeypatch.setattr(trained, "_WHOLE", 0)
    monkeypatch.setattr(trained, "_SCORES", 1)
    rounds = []

    def core(own, around, height, width):
        rounds.append(own[0].device.type)
        return own[0]

    for device in ("cpu", "meta"):
        centres = torch.empty(1, 40, 20, 2, device=device)
        tokens = torch.empty(1, 42, 22, 2, device=device)
        assert trained._slide(core, [centres], [tokens], 1, 1).shape == centres.shape
    assert rounds == ["cpu"] * (40 // trained._TILE) + ["meta"]
