"""Values that no sensor measured: those that programs write for "no data", and lonely spikes.

A single undeclared −9999 decides mean, deviation and components of a whole scene, as moments weigh
what is far by the square of its distance. Such pixels do not count in the statistics.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FILL_VALUES = (-9999.0, -99999.0, -32768.0, -32767.0, -3.4028234663852886e38,
               3.4028234663852886e38, 9.969209968386869e36, 1e20, -1e20)  # fmt: skip
"""Values that programs write for "no data" and no sensor measures."""

TAIL = 0.5
"""Percent of the pixels on either side that the usual range of a band leaves out."""

RANGES = 20.0
"""Beyond the usual range by so many times its width a value is far outside of all others."""

_ROWS = 20_000


def filled_rows(values: NDArray[np.float32], nodata: float | None) -> NDArray[np.bool_]:
    """Tell which pixels hold an undeclared fill value in one of their bands.

    Args:
        values: (n, C), NaN where a band is not valid; not everywhere.
        nodata: What the file or the scene declares, None for nothing.

    Returns:
        (n,).
    """
    found = np.zeros(len(values), dtype=bool)
    lowest, highest = np.nanmin(values), np.nanmax(values)
    for value in FILL_VALUES:
        if value != nodata and lowest <= np.float32(value) <= highest:
            found |= (values == np.float32(value)).any(axis=1)
    return found


def usual_range(values: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return between which values (C,) the middle 99 % of pixels (n, C) lie, n at least 1."""
    every = -(-len(values) // _ROWS)  # of many pixels some tell as much
    some = values[::every].astype(np.float64)
    low, high = np.percentile(some, (TAIL, 100.0 - TAIL), axis=0)
    return low, high


def far_rows(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Tell which pixels lie far outside of all others in one of their bands.

    By each band they are one of a hundred at the most. A band that has one value nearly everywhere
    has no usual range, and nothing is far outside of it.

    Args:
        values: Valid pixels (n, C), finite.

    Returns:
        (n,).
    """
    found = np.zeros(len(values), dtype=bool)
    if not len(values):
        return found
    low, high = usual_range(values)
    reach = np.where(high > low, RANGES * (high - low), np.inf)
    lowest, highest = values.min(axis=0), values.max(axis=0)
    for band in np.flatnonzero((lowest < low - reach) | (highest > high + reach)):
        own = values[:, band]
        found |= (own < low[band] - reach[band]) | (own > high[band] + reach[band])
    return found
