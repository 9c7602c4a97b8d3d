from __future__ import annotations

import sys
import types

import pytest
import torch

from bdgf.fusion import scan
from bdgf.fusion.scan import (
    selective_scan,
    selective_scan_reference,
    spiral_order,
    ssd_reference,
)
from bdgf.fusion.scan_blocks import blocked_scan


def test_scan_equals_the_loop_with_all_gradients(scan_arguments, scan_gradients, largest_error):
    shape = (3, 7, 5, 2)
    expected = scan_gradients(selective_scan_reference, scan_arguments(shape, torch.float64))
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        found = scan_gradients(selective_scan, scan_arguments(shape, dtype))
        assert all(f.dtype == dtype for f in found)
        assert largest_error(found, expected) < tolerance


def test_scan_of_an_empty_batch(scan_arguments):
    x, dt, A, B_, C_, D_ = (t.detach() for t in scan_arguments((2, 5, 3, 2), torch.float32))
    assert selective_scan(x[:0], dt[:0], A, B_[:0], C_[:0], D_).shape == (0, 5, 3)


def test_scan_takes_views_and_half_precision_inputs(scan_arguments):
    x, dt, A, B_, C_, D_ = (t.detach() for t in scan_arguments((3, 7, 5, 2), torch.float32))
    expected = selective_scan(x, dt, A, B_, C_, D_)
    view = x.transpose(0, 1).contiguous().transpose(0, 1)
    assert torch.equal(selective_scan(view, dt, A, B_, C_, D_), expected)
    rounded = selective_scan(x.bfloat16(), dt, A, B_, C_, D_)
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - expected).abs().max() < 0.05 * expected.abs().max()


def test_kernel_gets_channels_before_tokens(scan_arguments):
    inputs = [t.detach() for t in scan_arguments((3, 7, 5, 2), torch.float64)]

    def kernel(u, delta, A, B, C, D):
        assert all(t.is_contiguous() for t in (u, delta, B, C))
        to = (t.transpose(1, 2) for t in (u, delta, B, C))
        x, dt, b, c = to
        return selective_scan_reference(x, dt, A, b, c, D).transpose(1, 2)

    found = scan._scan_by_kernel(kernel, *inputs)
    assert torch.allclose(found, selective_scan_reference(*inputs), atol=1e-12)


def no_code(*arguments):
    raise RuntimeError("no kernel image is available for execution on the device")


def test_kernel_is_found_only_where_the_package_is_and_works(monkeypatch, caplog):
    name = "mamba_ssm.ops.selective_scan_interface"
    module = types.ModuleType(name)
    module.selective_scan_fn = lambda u, delta, A, B, C, D: (u * delta + D[:, None]) * B[:, :1]
    ones = torch.ones
    with monkeypatch.context() as patch:
        patch.setattr(scan.torch, "ones", lambda *size, device, **more: ones(*size, **more))
        for part in ("mamba_ssm", "mamba_ssm.ops"):
            patch.setitem(sys.modules, part, types.ModuleType(part))
        patch.setitem(sys.modules, name, module)
        assert scan._cuda_kernel.__wrapped__() is module.selective_scan_fn
        module.selective_scan_fn = no_code  # of a build for other cards
        assert scan._cuda_kernel.__wrapped__() is None
        assert "no kernel image" in caplog.text
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "mamba_ssm", None)
        caplog.clear()
        assert scan._cuda_kernel.__wrapped__() is None
        assert not caplog.text, "who has not installed it misses nothing"

        def lazily(name):
            raise RuntimeError("a part of it failed")

        patch.setattr(scan.importlib, "import_module", lazily)
        assert scan._cuda_kernel.__wrapped__() is None
        assert "a part of it failed" in caplog.text


@pytest.fixture
def fresh_choice():
    choice = scan._triton_scan
    choice.cache_clear()
    yield
    choice.cache_clear()


def test_every_device_has_the_fastest_scan_that_is_installed(monkeypatch, fresh_choice):
    def own(*arguments):
        return selective_scan_reference(*arguments)

    monkeypatch.setattr(scan, "_cuda_kernel", lambda: None)
    monkeypatch.setattr(scan, "_triton_scan", lambda: own)
    for learning in (False, True):
        assert scan._fastest("cpu", torch.float32, learning) is blocked_scan
        assert scan._fastest("cuda", torch.float32, learning) is own
    monkeypatch.setattr(scan, "_cuda_kernel", lambda: selective_scan_reference)
    assert scan._fastest("cuda", torch.float32, False).func is scan._scan_by_kernel
    # it adds gradients up in any order, and takes no float64
    assert scan._fastest("cuda", torch.float32, True) is own
    assert scan._fastest("cuda", torch.float64, False) is own
    monkeypatch.setattr(scan, "_triton_scan", lambda: None)
    assert scan._fastest("cuda", torch.float32, True).func is scan._scan_by_kernel
    assert scan._fastest("cuda", torch.float64, True) is blocked_scan


def test_what_learns_is_told_from_what_maps(monkeypatch):
    asked = []

    def fastest(device, dtype, learning):
        asked.append(learning)
        return selective_scan_reference

    monkeypatch.setattr(scan, "_fastest", fastest)
    sizes = ((1, 2, 3), (1, 2, 3), (3, 4), (1, 2, 4), (1, 2, 4), (3,))
    arguments = [torch.rand(size) for size in sizes]
    scan.selective_scan(*arguments)
    arguments[-1].requires_grad_()
    scan.selective_scan(*arguments)
    with torch.inference_mode():
        scan.selective_scan(*arguments)
    assert asked == [False, True, False]


def test_no_own_kernels_without_triton_or_where_it_fails(monkeypatch, fresh_choice, caplog):
    name = "bdgf.fusion.scan_triton"
    monkeypatch.setitem(sys.modules, name, None)
    assert scan._triton_scan() is None
    module = types.ModuleType(name)

    def broken(*arguments):
        raise RuntimeError("no C compiler")

    module.triton_scan = broken
    monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(scan.torch, "ones", lambda *size, **_: torch.zeros(*size))
    scan._triton_scan.cache_clear()
    assert scan._triton_scan() is None
    assert "no C compiler" in caplog.text


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_own_kernels_are_tried_with_gradients_wherever_the_first_scan_is(
    monkeypatch, fresh_choice, mode
):
    module = types.ModuleType("bdgf.fusion.scan_triton")
    module.triton_scan = selective_scan_reference
    monkeypatch.setitem(sys.modules, module.__name__, module)
    ones = torch.ones
    monkeypatch.setattr(scan.torch, "ones", lambda *size, device, **more: ones(*size, **more))
    with mode():
        assert scan._triton_scan() is selective_scan_reference


def test_reference_of_one_state_is_the_known_sum():
    x = torch.tensor([[[1.0], [2.0], [3.0]]], dtype=torch.float64)
    one = torch.ones_like(x)
    A = torch.full((1, 1), -0.5, dtype=torch.float64)
    y = selective_scan_reference(x, one, A, one, one, torch.zeros(1, dtype=torch.float64))
    r = torch.exp(torch.tensor(-0.5, dtype=torch.float64))
    expected = torch.stack([r * 0 + 1, r + 2, r * r + 2 * r + 3])
    assert torch.allclose(y.flatten(), expected, atol=1e-12)


def test_ssd_is_s6_with_one_decay_per_head():
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, 9, 3, 4, generator=generator, dtype=torch.float64)
    dt = torch.rand(2, 9, 3, generator=generator, dtype=torch.float64)
    A = -torch.rand(3, generator=generator, dtype=torch.float64)
    B_, C_ = torch.randn(2, 2, 9, 5, generator=generator, dtype=torch.float64)
    D_ = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    found = ssd_reference(x, dt, A, B_, C_, D_)
    expected = selective_scan_reference(
        x.flatten(2),
        dt.repeat_interleave(4, 2),
        A.repeat_interleave(4)[:, None].expand(12, 5),
        B_,
        C_,
        D_.flatten(),
    )
    assert torch.allclose(found.flatten(2), expected, atol=1e-12)


@pytest.mark.parametrize("side", [1, 3, 5, 11])
def test_spiral_visits_every_pixel_once_from_the_border_to_the_centre(side):
    order = spiral_order(side)
    assert sorted(order.tolist()) == list(range(side * side))
    assert order[-1] == side * side // 2
    row, col = order // side - side // 2, order % side - side // 2
    ring = torch.maximum(row.abs(), col.abs())
    assert (ring.diff() <= 0).all()
    steps = row.diff().abs() + col.diff().abs()
    assert (steps == 1).all()


@pytest.mark.parametrize("side", [0, 2, -3])
def test_spiral_needs_a_centre(side):
    with pytest.raises(ValueError, match="must be odd"):
        spiral_order(side)
