from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_info, threadpool_limits

from bdgf import compute, config, presets
from bdgf.config import ComputeSettings
from bdgf.errors import SettingsError


def work(slow_with_autocast: bool) -> torch.Tensor:
    """A loss that takes longer with autocast, or without it."""
    if torch.is_autocast_enabled("cpu") == slow_with_autocast:
        time.sleep(0.02)
    return torch.ones(1, requires_grad=True).sum()


def test_bf16_only_where_a_probe_shows_that_it_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ComputeSettings(accelerator="cpu")
    monkeypatch.setattr(compute, "_has_bf16_units", lambda device: True)
    assert compute.choose_precision(settings, lambda: work(False)) == "bf16-mixed"
    assert compute.choose_precision(settings, lambda: work(True)) == "32-true"


def test_the_probe_times_the_float32_that_training_runs_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compute, "_has_bf16_units", lambda device: True)
    seen = []

    def watched() -> torch.Tensor:
        flags = torch.backends.cudnn
        seen.append((flags.deterministic, flags.conv.fp32_precision))
        return torch.ones(1, requires_grad=True).sum()

    compute.choose_precision(ComputeSettings(accelerator="cpu"), watched)
    assert set(seen) == {(True, "ieee")}
    assert torch.backends.cudnn.conv.fp32_precision == "tf32"


def test_without_units_for_bf16_the_clock_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute, "_has_bf16_units", lambda device: False)
    settings = ComputeSettings(accelerator="cpu")
    assert compute.choose_precision(settings, lambda: work(False)) == "32-true"


@pytest.mark.parametrize("first", [False, True])
def test_the_first_process_decides_the_precision(
    first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The work is that of all processes: none may do it alone, and none may be missing."""
    steps = []

    def counted() -> torch.Tensor:
        steps.append(1)
        return work(False)

    told = [first, *(["bf16-mixed"] if first else [])]
    monkeypatch.setattr(compute.processes, "agree", lambda own: told.pop(0))
    monkeypatch.setattr(compute, "_has_bf16_units", lambda device: not first)
    found = compute.choose_precision(ComputeSettings(accelerator="cpu"), counted)
    assert (found == "bf16-mixed", bool(steps), told) == (first, first, [])


def test_a_precision_that_is_asked_for_is_taken() -> None:
    def never() -> torch.Tensor:
        pytest.fail("nothing is to be timed")

    for asked, given in (("32", "32-true"), ("bf16", "bf16-mixed")):
        settings = ComputeSettings(accelerator="cpu", precision=asked)  # type: ignore[arg-type]
        assert compute.choose_precision(settings, never) == given


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    compute.check_device(ComputeSettings())
    with pytest.raises(SettingsError, match="finds no CUDA device; use auto or cpu"):
        compute.check_device(ComputeSettings(accelerator="cuda"))


@pytest.mark.parametrize(
    ("environment", "changes", "message"),
    [
        ({"WORLD_SIZE": "3"}, {"training.unlabelled_pixels": 2}, "training.unlabelled_pixels is 2"),
        ({"WORLD_SIZE": "40"}, {}, "diffusion.batch is 16 and there are 40 processes"),
    ],
)
def test_processes_that_would_have_nothing_to_work_with_are_refused(
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    changes: dict[str, int],
    message: str,
) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "RANK": "0", **environment}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=message):
        compute.join_processes(presets.replace(config.Settings(), dict(changes)))


@pytest.mark.parametrize(
    ("machines", "message"),
    [
        ([(2, "cpu", 0), (2, "cpu", 0), (1, "cpu", 0)], "have 1 and 2 processes; all must"),
        ([(1, "cuda", 1), (1, "cpu", 0)], "some .* on cpu and some on cuda; all must"),
        ([(2, "cuda", 2), (2, "cuda", 1)], "2 processes and 1 GPUs on a machine"),
        ([(1, "cuda", 1), (1, "cuda", 0)], "1 processes and 0 GPUs on a machine"),
    ],
)
def test_machines_that_cannot_work_together_are_refused(
    machines: list[tuple[int, str, int]], message: str
) -> None:
    names = ("processes", "device", "gpus")
    told = [dict(zip(names, machine, strict=True)) for machine in machines]
    with pytest.raises(SettingsError, match=message):
        compute._check_machines(told)


@pytest.mark.parametrize("machine", [(2, "cpu", 1), (2, "cuda", 2), (1, "cuda", 8)])
def test_machines_that_can_are_not(machine: tuple[int, str, int]) -> None:
    compute._check_machines(2 * [dict(zip(("processes", "device", "gpus"), machine, strict=True))])


def blas_threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def in_a_thread(work: Callable[..., object], *arguments: object) -> None:
    """Do something in a thread that ends; what it limits others may limit again."""
    thread = Thread(target=work, args=arguments)
    thread.start()
    thread.join()


@pytest.fixture
def _two_blas_threads() -> Iterator[None]:
    before = max(blas_threads())
    in_a_thread(threadpool_limits, 2, "blas")
    yield
    in_a_thread(threadpool_limits, before, "blas")


@pytest.mark.usefixtures("_two_blas_threads")
def test_the_number_of_threads_is_that_of_torch_and_numpy_has_one() -> None:
    found = []

    def set_threads() -> None:
        compute.set_threads(ComputeSettings(threads=2))
        found.append(torch.get_num_threads())

    in_a_thread(set_threads)
    assert found == [2]
    assert blas_threads() == {1}


@pytest.mark.usefixtures("_two_blas_threads")
def test_products_have_the_same_bits_in_several_threads() -> None:
    generator = np.random.default_rng(0)
    a, b = (generator.normal(size=shape).astype("f4") for shape in ((30, 180), (180, 16384)))

    def product(_: int) -> NDArray[np.float32]:
        with compute.one_blas_thread():
            return a @ b

    with threadpool_limits(1, user_api="blas"):
        expected = a @ b
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(product, range(8)):
            np.testing.assert_array_equal(found, expected)
    assert blas_threads() == {2}, "all have left"


def test_copies_to_a_device_keep_the_values() -> None:
    tensor = torch.arange(6.0).view(2, 3).t()
    assert torch.equal(compute.to_device(tensor, torch.device("cpu")), tensor)


def test_convolutions_are_placed_channels_last() -> None:
    module = torch.nn.Sequential(torch.nn.Conv2d(4, 8, 3), torch.nn.LayerNorm(8))
    placed = compute.place(module, torch.device("cpu"))
    assert placed is module
    assert module[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_a_program_starts_without_the_compiler_of_torch() -> None:
    """It takes as long to load as torch itself, in every process of a comparison."""
    told = "import sys, bdgf.bench.worker, bdgf.cli; print('lightning_fabric' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False"]


def switches() -> tuple[bool, bool, str, str, str, str]:
    cudnn, mkldnn = torch.backends.cudnn, torch.backends.mkldnn
    return (
        cudnn.deterministic,
        cudnn.benchmark,
        cudnn.conv.fp32_precision,
        torch.backends.cuda.matmul.fp32_precision,
        mkldnn.conv.fp32_precision,
        mkldnn.matmul.fp32_precision,
    )


EXACT = (True, False, "ieee", "ieee", "ieee", "ieee")


@pytest.mark.parametrize(
    "before",
    [
        "",
        "torch.backends.cudnn.conv.fp32_precision = 'ieee'",
        "torch.backends.fp32_precision = 'tf32'",
        "torch.set_float32_matmul_precision('medium')",
        "torch.backends.cudnn.allow_tf32 = False",
    ],
)
def test_single_precision_is_exact_whatever_was_asked_of_torch(before: str) -> None:
    # the switches are those of a whole program, so each case has one of its own
    told = f"""
import torch
{before}
from bdgf.compute import exact, make_fabric
from bdgf.config import ComputeSettings
from tests.test_compute import EXACT, switches
as_asked = switches()
for _ in range(2):
    with exact():
        assert switches() == EXACT
        with exact():
            pass
        assert switches() == EXACT, "the inner block has put the switches back"
        assert torch.get_float32_matmul_precision()  # may raise where switches disagree
    assert switches() == as_asked
make_fabric(ComputeSettings(accelerator="cpu"), "32-true")
assert switches() == as_asked
"""
    root = Path(__file__).parents[1]
    subprocess.run([sys.executable, "-c", told], check=True, cwd=root)


def test_blocks_of_several_threads_keep_it_exact_until_the_last_ends() -> None:
    before = switches()
    entered, end = threading.Event(), threading.Event()

    def other() -> None:
        with compute.exact():
            entered.set()
            end.wait(10)

    thread = threading.Thread(target=other)
    with compute.exact():
        thread.start()
        assert entered.wait(10)
    assert switches() == EXACT, "the other thread is still at work"
    end.set()
    thread.join()
    assert switches() == before


def test_what_goes_to_a_device_has_no_gaps_and_its_own_order() -> None:
    whole = torch.randn(5, 9, 6, 7).contiguous(memory_format=torch.channels_last)
    part = whole[:, 2:6]
    assert not part.is_contiguous(memory_format=torch.channels_last)
    packed = compute._pinned(part, pin=False)
    assert torch.equal(packed, part)
    assert packed.is_contiguous(memory_format=torch.channels_last)


def test_the_device_that_a_program_uses_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    import lightning_fabric

    asked = []

    class Recorded:
        def __init__(self, **options: object) -> None:
            asked.append(options["devices"])

        def launch(self) -> None:
            pass

    monkeypatch.setattr(lightning_fabric, "Fabric", Recorded)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    for device in ("cuda", "cpu"):
        monkeypatch.setattr(compute, "device_of", lambda _, device=device: torch.device(device))
        compute.make_fabric(ComputeSettings(), "32-true")
    assert asked == [[3], 1]
