"""Random generators as a function of seed, purpose and step: a resumed run draws the same."""

from __future__ import annotations

import zlib

import numpy as np
import torch


def numpy_generator(seed: int, purpose: str, *counters: int) -> np.random.Generator:
    """Return the generator of one purpose at one step; it depends on nothing else.

    NumPy ignores trailing zeros of a seed: ``(s, p)`` and ``(s, p, 0)`` are one stream. So give one
    purpose always the same number of counters.
    """
    return np.random.default_rng([seed, zlib.crc32(purpose.encode()), *counters])


def torch_generator(
    seed: int, purpose: str, *counters: int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Return the torch generator of one purpose at one step on a device."""
    state = int(numpy_generator(seed, purpose, *counters).integers(0, 2**62))
    return torch.Generator(device=device).manual_seed(state)


def derived_seed(seed: int, purpose: str, *counters: int) -> int:
    """Return a seed of its own for one purpose; it depends on nothing else."""
    return int(numpy_generator(seed, purpose, *counters).integers(2**31))
