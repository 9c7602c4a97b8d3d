"""Devices, precision and threads, through lightning-fabric."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import logging
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch
from threadpoolctl import ThreadpoolController, threadpool_limits
from torch import Tensor, nn

from bdgf import processes
from bdgf.config import ComputeSettings, Settings
from bdgf.errors import SettingsError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

logger = logging.getLogger(__name__)

AnyModule = TypeVar("AnyModule", bound=nn.Module)

Precision = Literal["32-true", "bf16-mixed"]

_LIMITED = threading.RLock()

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h

PROBE_GAIN = 1.5
"""bf16 is used only where it is at least this much faster: the gain is real, not noise."""


def set_threads(settings: ComputeSettings) -> None:
    """Set the number of CPU threads of torch, and let NumPy take one; 0 leaves both as they are."""
    if settings.threads:
        torch.set_num_threads(settings.threads)
        # not more: what this thread has set, no other thread can limit (`one_blas_thread`)
        threadpool_limits(1, user_api="blas")


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let NumPy's matrix products have the same bits however many threads the process may use.

    Their library divides a product among its threads, and rounds otherwise at the borders.
    """
    # the limit is the process's: a thread that leaves must not lift it while another computes
    with _LIMITED, _libraries().limit(limits=1, user_api="blas"):
        yield


@functools.cache
def _libraries() -> ThreadpoolController:
    """Return the libraries with threads, which take milliseconds to find."""
    return ThreadpoolController()


def keep_freed_memory() -> None:
    """Let glibc keep large freed blocks: giving each tensor's pages back costs a quarter of a step.

    Elsewhere than on Linux with glibc nothing is done.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        mallopt(_M_TRIM_THRESHOLD, 1 << 30)


def check_device(settings: ComputeSettings) -> None:
    """Check that the device asked for is there.

    Raises:
        SettingsError: CUDA is asked for and torch sees none.
    """
    if settings.accelerator == "cuda" and not torch.cuda.is_available():
        raise SettingsError(
            "compute.accelerator is cuda and torch finds no CUDA device; use auto or cpu, or"
            " install a torch build with CUDA and its driver."
        )


def device_of(settings: ComputeSettings) -> torch.device:
    """Return the device the settings name; auto is CUDA when it is there."""
    if settings.accelerator == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(settings.accelerator)


def place(module: AnyModule, device: torch.device) -> AnyModule:
    """Move a module to a device, its convolutions channels-last as layer normalisation reads them.

    Returns:
        The module itself.
    """
    module.to(device)
    for parameter in module.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return module


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device, without waiting for what the device is still doing.

    An ordinary copy to CUDA waits for all work before it; one from pinned memory is queued.
    """
    if device.type != "cuda":
        return tensor.to(device)
    return _pinned(tensor, pin=True).to(device, non_blocking=True)


def _pinned(tensor: Tensor, pin: bool) -> Tensor:
    """Return a copy without gaps in pinned memory, in the order of the axes that it has.

    Of a part of a larger tensor, such as some of its channels, the copy to the device would make
    another one first, which is not pinned.
    """
    return torch.empty_like(tensor, pin_memory=pin).copy_(tensor)


_exact_lock = threading.Lock()
_exact_blocks: list[Callable[[], None]] = []
"""How to put torch's switches back, once for each block of `exact` that is open, in any thread."""


@contextlib.contextmanager
def exact() -> Iterator[None]:
    """Let float32 be float32 on every device, and convolutions on CUDA the same bits every time.

    No TF32 and no bf16 in place of it, neither in convolutions nor in matrix products, whatever
    else the program asked torch for. The switches are torch's own for the whole program, and are
    put back when the last of several blocks ends, in whichever thread it was.
    """
    with _exact_lock:
        _exact_blocks.append(_exact_blocks[0] if _exact_blocks else _switch())
    try:
        yield
    finally:
        with _exact_lock:
            put_back = _exact_blocks.pop()
            if not _exact_blocks:
                put_back()


def _switch() -> Callable[[], None]:
    """Set torch's switches for `exact`; what is returned puts them back as they were."""
    cudnn, cuda = torch.backends.cudnn, torch.backends.cuda
    mkldnn: Any = torch.backends.mkldnn  # whose parts are made as it is loaded
    switches: list[tuple[Any, str, str | bool]]
    if hasattr(cudnn, "conv"):  # before torch 2.9 there is one switch, and one for products
        switches = [
            (part, "fp32_precision", "ieee")
            for part in (cudnn.conv, cuda.matmul, mkldnn.conv, mkldnn.matmul)
        ]
    else:
        switches = [(part, "allow_tf32", False) for part in (cudnn, cuda.matmul)]
    switches += [(cudnn, "deterministic", True), (cudnn, "benchmark", False)]
    before = [(part, name, getattr(part, name)) for part, name, _ in switches]

    def put_back() -> None:
        for part, name, value in before:
            setattr(part, name, value)

    for part, name, value in switches:
        setattr(part, name, value)
    return put_back


def make_fabric(settings: ComputeSettings, precision: Precision) -> Fabric:
    """Return a launched Fabric on one device of the settings' kind.

    Under ``torchrun`` every process has a device of its own, and gradients are averaged.
    """
    from lightning_fabric import Fabric  # loads the compiler of torch, which takes seconds
    from lightning_fabric.strategies.ddp import DDPStrategy

    # it advises every owner of a GPU to give the precision up that `exact` keeps
    logging.getLogger("lightning_fabric.utilities.rank_zero").setLevel(logging.WARNING)
    kind = device_of(settings).type
    if processes.count() == 1:
        # the one that the program uses, on which the work lies already
        own = [torch.cuda.current_device()] if kind == "cuda" else 1
        fabric = Fabric(accelerator=kind, devices=own, precision=precision)
    else:
        local = processes.local_count()
        strategy = DDPStrategy(find_unused_parameters=True, timeout=processes.PATIENCE)
        fabric = Fabric(
            accelerator=kind,
            devices=local,
            num_nodes=processes.count() // local,
            strategy=strategy,
            precision=precision,
        )
    with exact():  # else it asks for a precision that torch may refuse to name
        fabric.launch()
    return fabric


def join_processes(settings: Settings) -> None:
    """Meet the other processes of the job, where there are any and they have not met.

    Raises:
        SettingsError: A batch has fewer samples than there are processes, or a machine fewer GPUs;
            machines have other numbers of processes, or other devices.
    """
    number = processes.count()
    if number == 1:
        return
    batches = {
        "diffusion.batch": settings.diffusion.batch,
        "training.batch": settings.training.batch,
    }
    if settings.training.consistency or settings.mutual.unlabelled:
        batches["training.unlabelled_pixels"] = settings.training.unlabelled_pixels
    for name, size in batches.items():
        if size < number:
            raise SettingsError(
                f"{name} is {size} and there are {number} processes; each takes its share of the"
                f" batch, so it must be at least {number}: start fewer processes, or raise it."
            )
    if processes.joined():
        return
    machine = {
        "processes": processes.local_count(),
        "device": device_of(settings.compute).type,
        "gpus": torch.cuda.device_count(),
    }
    with processes.told_by_all(machine) as machines:
        _check_machines(machines)  # by all of them: who went on would wait for ever
        make_fabric(settings.compute, "32-true")


def _check_machines(machines: Sequence[Mapping[str, Any]]) -> None:
    """Check that the machines of a job can work together, as each process tells of its own.

    Raises:
        SettingsError: They cannot.
    """
    numbers = sorted({machine["processes"] for machine in machines})
    if len(numbers) > 1:
        raise SettingsError(
            f"the machines of the job have {' and '.join(map(str, numbers))} processes; all must"
            " have the same number: start torchrun with one --nproc-per-node on all of them."
        )
    devices = sorted({machine["device"] for machine in machines})
    if len(devices) > 1:
        raise SettingsError(
            f"some processes of the job would compute on {' and some on '.join(devices)}; all must"
            " use one kind of device: set compute.accelerator cpu, or mend the driver of the"
            " machines whose torch finds no CUDA device."
        )
    gpus = min(machine["gpus"] for machine in machines)
    if devices == ["cuda"] and numbers[0] > gpus:
        raise SettingsError(
            f"there are {numbers[0]} processes and {gpus} GPUs on a machine; every process has a"
            " GPU of its own: start fewer processes, or use compute.accelerator cpu."
        )


@exact()
def choose_precision(settings: ComputeSettings, work: Callable[[], Tensor]) -> Precision:
    """Choose the precision of training, by the float32 that training would run in.

    Args:
        settings: What is asked for; ``auto`` times both where the device has matrix units for bf16.
            Without them the gain is small and may flip with the load of the machine, and the same
            command must give the same map.
        work: Computes a scalar loss; it is run with and without bf16 autocast, with its backward.

    Returns:
        bf16 mixed precision where it is asked for, or is faster by ``PROBE_GAIN``; else float32.
    """
    if settings.precision != "auto":
        return "bf16-mixed" if settings.precision == "bf16" else "32-true"
    device = device_of(settings)
    # the first process decides for all, whose steps wait for each other
    if not processes.agree(_has_bf16_units(device)):
        return "32-true"
    seconds = {False: math.inf, True: math.inf}
    for _ in range(4):
        for half in seconds:
            start = time.perf_counter()
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
                loss = work()
            loss.backward()  # type: ignore[no-untyped-call]
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds[half] = min(seconds[half], time.perf_counter() - start)
    faster = seconds[False] / seconds[True]
    logger.info("bf16 autocast runs at %.2f times the speed of float32", faster)
    return processes.agree("bf16-mixed" if faster >= PROBE_GAIN else "32-true")


def _has_bf16_units(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    supported = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(supported and supported())


def peak_memory() -> int:
    """Return the largest resident memory of this process so far, in bytes."""
    if sys.platform == "win32":
        return 0  # Windows has no such count without further packages
    status = Path("/proc/self/status")
    if status.is_file():
        # Linux hands the count of getrusage on to the program that a process starts, so a small
        # program that is started by a large one would count the large one's memory
        for line in status.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
