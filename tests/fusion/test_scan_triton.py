from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bdgf.fusion import scan
from bdgf.fusion.scan import selective_scan_reference

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None,
    reason="Triton, which the CUDA kernels of the scan are written in, is not installed",
)

INTERPRETED = """
import sys
import torch
sys.path.insert(0, sys.argv[1])
from bdgf.fusion.scan_triton import triton_scan
for name in sys.argv[2:]:
    inputs = [t.requires_grad_(t.is_floating_point()) for t in torch.load(name, weights_only=True)]
    y = triton_scan(*inputs)
    weights = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).view_as(y).to(y.dtype)
    gradients = torch.autograd.grad((y * weights).sum(), inputs)
    with torch.no_grad():
        assert torch.equal(triton_scan(*inputs), y)
    torch.save([y.detach(), *gradients], name)
"""


def test_kernels_equal_the_float64_loop_in_the_interpreter(
    tmp_path, scan_arguments, scan_gradients, largest_error
):
    # one token; channels and states that fill no power of two; several blocks and programs
    cases = [
        ((1, 1, 3, 4), torch.float64),
        ((2, 5, 3, 3), torch.float64),
        ((1, 7, 40, 2), torch.float32),
        ((0, 5, 3, 2), torch.float32),
    ]
    names = []
    for index, (shape, dtype) in enumerate(cases):
        names.append(str(tmp_path / f"{index}.pt"))
        torch.save([t.detach() for t in scan_arguments(shape, dtype)], names[-1])
    package = str(Path(scan.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED, package, *names],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for name, (shape, dtype) in zip(names, cases, strict=True):
        found = torch.load(name, weights_only=True)
        assert all(f.dtype == dtype for f in found)
        if not shape[0]:
            assert found[0].shape == shape[:3]
            assert not any(f.any() for f in found)
            continue
        expected = scan_gradients(selective_scan_reference, scan_arguments(shape, torch.float64))
        assert largest_error(found, expected) < (1e-10 if dtype == torch.float64 else 1e-5)


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize(
    ("name", "keep"), [("_forward", True), ("_forward", False), ("_backward", True)]
)
def test_kernels_compile_for_cuda_without_a_gpu(tmp_path, monkeypatch, name, keep, capability):
    if os.environ.get("TRITON_INTERPRET") == "1":
        pytest.skip("Triton interprets in this environment and compiles nothing")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from bdgf.fusion import scan_triton

    kernel = getattr(scan_triton, name)
    constants = {"KEEP": keep, "WIDTH": 32, "STATES": 16}
    constants = {key: value for key, value in constants.items() if key in kernel.arg_names}
    signature = {
        argument: "constexpr"
        if argument in constants
        else ("*fp32" if argument.endswith("_ptr") else "i32")
        for argument in kernel.arg_names
    }
    compiled = triton.compile(
        ASTSource(kernel, signature, constants),
        target=GPUTarget("cuda", capability, 32),
        options={"num_warps": scan_triton._WARPS},
    )
    assert f".target sm_{capability}" in compiled.asm["ptx"]
    assert len(compiled.asm["cubin"]) > 1000


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_kernels_equal_the_float64_loop_on_the_device(
    scan_arguments, scan_gradients, largest_error
):
    from bdgf.fusion.scan_triton import triton_scan

    shape = (5, 121, 48, 16)
    expected = scan_gradients(selective_scan_reference, scan_arguments(shape, torch.float64))
    inputs = [t.detach().cuda().requires_grad_() for t in scan_arguments(shape, torch.float32)]
    found = [t.cpu() for t in scan_gradients(triton_scan, inputs)]
    assert largest_error(found, expected) < 1e-5
