from __future__ import annotations

import pytest
import torch

from bdgf.fusion import scan_blocks
from bdgf.fusion.scan import selective_scan_reference
from bdgf.fusion.scan_blocks import block_sizes, blocked_scan

SHAPES = [(2, 1, 3, 4), (1, 2, 1, 1), (3, 7, 5, 2), (5, 25, 8, 4), (2, 121, 6, 3)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize(
    ("step", "buffer"), [(1, 1), (40, 200), (1 << 16, 100), (1 << 16, 1 << 20)]
)
def test_blocks_equal_the_float64_loop(
    monkeypatch,
    scan_arguments,
    scan_gradients,
    largest_error,
    shape,
    dtype,
    tolerance,
    step,
    buffer,
):
    # one sample and token at a time, a few, all samples but few tokens, everything at once
    monkeypatch.setattr(scan_blocks, "_STEP", step)
    monkeypatch.setattr(scan_blocks, "_BUFFER", buffer)
    expected = scan_gradients(selective_scan_reference, scan_arguments(shape, torch.float64))
    found = scan_gradients(blocked_scan, scan_arguments(shape, dtype))
    assert all(f.dtype == dtype for f in found)
    assert largest_error(found, expected) < tolerance


def test_gradients_by_finite_differences(monkeypatch, scan_arguments):
    monkeypatch.setattr(scan_blocks, "_BUFFER", 8)  # a token each
    assert torch.autograd.gradcheck(blocked_scan, scan_arguments((2, 3, 2, 2), torch.float64))


@pytest.mark.parametrize("batch", [1, 7, 64, 1000])
def test_blocks_are_even_and_within_the_buffer(batch):
    length, per_token = 121, 128 * 16
    samples, tokens = block_sizes(batch, length, per_token)
    assert 1 <= samples <= batch
    assert samples * per_token <= scan_blocks._STEP
    assert samples * tokens * per_token <= scan_blocks._BUFFER
    pieces = -(-length // tokens)
    assert pieces * tokens < length + pieces  # no piece is shorter than another by more than that


def test_only_the_states_before_the_blocks_are_kept(scan_arguments):
    inputs = scan_arguments((2, 600, 64, 16), torch.float32)
    kept: list[int] = []

    def pack(t):
        kept.append(t.numel())
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        blocked_scan(*inputs)
    own = sum(t.numel() for t in inputs)
    states = 2 * 600 * 64 * 16  # what autograd would keep, twice
    assert own < sum(kept) < own + states / 100


def test_nothing_is_kept_without_gradients(scan_arguments):
    inputs = [t.detach() for t in scan_arguments((2, 9, 4, 2), torch.float32)]
    y = blocked_scan(*inputs)
    assert not y.requires_grad
    with torch.no_grad():
        again = blocked_scan(*scan_arguments((2, 9, 4, 2), torch.float32))
    assert torch.equal(y, again)
