"""The processes of one job: under ``torchrun`` several work on one batch, and the first one writes.

Each process takes its share of the same batch, so that a job of several computes what a job of one
would. Without ``torchrun`` everything here stands for one process alone.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from bdgf.errors import BdgfError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributed import ProcessGroup

Value = TypeVar("Value")

START = timedelta(minutes=30)
"""Within which all processes of a job must have started."""

PATIENCE = timedelta(days=30)
"""The others wait for the first process as long as its own stages take."""


def count() -> int:
    """Return the number of processes of the job, on all machines."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return 1  # other launchers set WORLD_SIZE too, and start programs that know nothing of it
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Return the number of this process in the job, from 0; number 0 writes and reports."""
    return int(os.environ.get("RANK", "0")) if count() > 1 else 0


def local_count() -> int:
    """Return the number of processes of the job on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if count() > 1 else 1


def joined() -> bool:
    """Tell whether this is one of several processes, and they have met."""
    if count() == 1:
        return False
    import torch.distributed as dist

    return dist.is_initialized()


@contextmanager
def told_by_all(told: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """Yield what every process tells before they are joined, in the order of their numbers.

    Join them inside of the block: the first one may be the host of what they tell it by.

    Args:
        told: Plain JSON values.
    """
    from torch.distributed.rendezvous import rendezvous

    store, _, _ = next(rendezvous("env://", timeout=START))
    store.set(f"bdgf/{rank()}", json.dumps(told))
    yield [json.loads(store.get(f"bdgf/{number}")) for number in range(count())]


@functools.cache
def _talk() -> ProcessGroup | None:
    """The group in which the processes talk and wait, made by all of them at their first word.

    Through NCCL words would go by way of the GPUs, which spin while they wait, and a process that
    has ended would not be noticed.
    """
    import torch.distributed as dist

    gloo = dist.get_backend() == "gloo"
    return dist.group.WORLD if gloo else dist.new_group(backend="gloo", timeout=PATIENCE)


def wait() -> None:
    """Wait until all processes have come here; where they were never joined nobody waits."""
    if joined():
        import torch.distributed as dist

        dist.barrier(group=_talk())


@contextmanager
def together() -> Iterator[None]:
    """Wait for all processes at the end of the block; the error of one is raised in all of them.

    Inside of the block they do not wait for each other.
    """
    if not joined():
        yield
        return
    import torch.distributed as dist

    own: Exception | None = None
    try:
        yield
    except (BdgfError, OSError) as error:
        own = error
    found: list[Exception | None] = [None] * count()
    try:
        dist.all_gather_object(found, own, group=_talk())
    except RuntimeError:  # another process has ended
        if own is not None:
            raise own from None
        raise
    for fault in (own, *found):
        if fault is not None:
            raise fault


@contextmanager
def in_turn() -> Iterator[None]:
    """Let the first process through the block before all others; its error is theirs, too."""
    if rank() == 0:
        with together():
            yield
    else:
        with together():
            pass
        yield


def agree(value: Value) -> Value:
    """Return the first process's value, in all of them."""
    if not joined():
        return value
    import torch.distributed as dist

    found = [value]
    dist.broadcast_object_list(found, src=0, group=_talk())
    return found[0]


def of_first(find: Callable[[], Value]) -> Value:
    """Return what the first process finds, in all of them; the others do not look.

    What processes decide must not differ, or they would wait for each other for ever: their
    machines may, and a file on a shared disk may be seen by one before another.
    """
    if count() == 1:
        return find()
    found: Value | None = None
    with together():
        if rank() == 0:
            found = find()
    return cast(Value, agree(found))


def shares(parts: Sequence[int]) -> list[NDArray[np.int64]]:
    """Divide a batch among the processes.

    Args:
        parts: Sizes of the parts of the batch, one after another; each is divided by itself.

    Returns:
        Rows of the batch by process, ascending.
    """
    number = count()
    found: list[list[NDArray[np.int64]]] = [[] for _ in range(number)]
    start = 0
    for size in parts:
        cut = np.array_split(np.arange(start, start + size), number)
        for mine, rows in zip(found, cut, strict=True):
            mine.append(rows)
        start += size
    return [np.concatenate(rows) for rows in found]


def total(tensor: Tensor) -> Tensor:
    """Return the sum of a tensor over the processes, without a gradient."""
    if count() == 1:
        return tensor
    import torch.distributed as dist

    found = tensor.detach().clone()
    dist.all_reduce(found)
    return found


def whole_value(tensor: Tensor) -> Tensor:
    """Return the sum over the processes that has the gradient of this process's part.

    It is the same in all of them, to the last bit.
    """
    return tensor if count() == 1 else total(tensor) + (tensor - tensor.detach())


def gathered(tensor: Tensor, rows: Sequence[NDArray[np.int64]]) -> Tensor:
    """Put the shares of a batch together.

    Args:
        tensor: This process's share, (b, ...).
        rows: Rows of all shares, as ``shares`` gives them.

    Returns:
        The whole batch (B, ...), the same in all processes. Its gradient reaches this process's own
        rows: summed over the processes it is the gradient of the whole.
    """
    if count() == 1:
        return tensor
    import torch
    import torch.distributed as dist

    most = max(len(part) for part in rows)
    padded = tensor.new_zeros((most, *tensor.shape[1:]))
    padded[: len(tensor)] = tensor.detach()
    found = [torch.empty_like(padded) for _ in rows]
    dist.all_gather(found, padded)
    parts = [
        tensor if number == rank() else part[: len(own)]
        for number, (part, own) in enumerate(zip(found, rows, strict=True))
    ]
    order = np.argsort(np.concatenate(rows), kind="stable")
    from bdgf.compute import to_device

    return torch.cat(parts)[to_device(torch.from_numpy(order), tensor.device)]
