"""Statistics of a raster from a bounded number of its values."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bdgf.scene.formats.base import RasterSource
from bdgf.scene.formats.location import RemotePath
from bdgf.scene.windows import Window

MOST_VALUES = 25_000_000
"""Rasters of up to this many values are read completely; of larger ones about as many are read."""

MOST_REMOTE_VALUES = 2_000_000
"""The same for rasters that come over a network."""

MOST_CODES = 100
"""A band of more different values than this holds no class codes."""

_AT_ONCE = 2_000_000
_KEPT = 1_000_000
_MOST_UNPACKED = 2_000_000_000
"""Values in the blocks that are unpacked for one sample: a block is unpacked for any part of it."""

_SEEN = 0.02
"""Share of valid pixels in a sample from which on it is believed."""


@dataclass(frozen=True)
class Statistics:
    """What the values of a raster are like.

    Args:
        pixels: Number of pixels that were read.
        share: Share of the raster's pixels that these are, 1 for all of them.
        low: (C,) smallest valid value of every band, NaN for a band without any.
        high: (C,) largest.
        valid: (C,) share of the pixels that hold data.
        present: Share of the pixels that hold data in any band.
        codes: Pixels by value, of one band with few different whole numbers; else None. Of a
            raster that was read in part they are those of the part.
        sample: (n, C) values of some of the pixels that hold data, NaN where a band does not.
    """

    pixels: int
    share: float
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    valid: NDArray[np.float64]
    present: float
    codes: dict[int, int] | None
    sample: NDArray[np.float32]

    @property
    def exact(self) -> bool:
        """Whether every pixel was read."""
        return self.share == 1.0

    @property
    def labels(self) -> dict[int, int]:
        """Pixels of the whole raster by code, without 0; estimated where it was read in part."""
        counts = sorted((self.codes or {}).items())
        return {code: round(count / self.share) for code, count in counts if code != 0}

    def percentiles(self, band: int | None = None) -> tuple[float, float, float]:
        """Return the 2nd, 50th and 98th percentile of a band, or of all; NaN without a value."""
        values = self.sample if band is None else self.sample[:, band]
        values = values[np.isfinite(values)]
        if not values.size:
            return (np.nan, np.nan, np.nan)
        low, middle, high = np.percentile(values, (2, 50, 98))
        return float(low), float(middle), float(high)


def measure(source: RasterSource, most: int | None = None) -> Statistics:
    """Read a raster, or of a large one windows that are spread over it.

    Args:
        source: The raster.
        most: Values from which on a raster is large.

    Raises:
        SceneError: The file cannot be read.
    """
    if most is None:
        most = MOST_REMOTE_VALUES if isinstance(source.path, RemotePath) else MOST_VALUES
    if source.bands * source.height * source.width <= most:
        return _collect(source, _strips(source), whole=True)
    windows = _spread(source, 7, most)
    found = _collect(source, windows, whole=False)
    if _seen(found) < _SEEN and not isinstance(source.path, RemotePath):
        # Rasters that are mostly empty: more and smaller windows find what there is.
        finer = _spread(source, 24, most)
        if len(finer) > len(windows):
            more = _collect(source, finer, whole=False)
            found = more if _seen(more) > _seen(found) else found
    return found


def _seen(found: Statistics) -> float:
    """Share of the pixels that hold data, of labels those that are labelled."""
    if found.codes is None:
        return found.present
    return found.present - found.codes.get(0, 0) / found.pixels


def merge(parts: Sequence[Statistics]) -> Statistics:
    """Return the statistics of several rasters with the same bands, such as tiles, together."""
    if len(parts) == 1:
        return parts[0]
    # each counts by its size, however much of it was read
    sizes = np.array([part.pixels / part.share for part in parts])
    weights = sizes / sizes.sum()
    pixels = sum(part.pixels for part in parts)
    share = 1.0 if all(part.exact for part in parts) else pixels / float(sizes.sum())
    codes: dict[int, int] | None = {}
    for part in parts:
        known = None if part.codes is None else _scaled(part.codes, share / part.share)
        codes = None if codes is None or known is None else _added(codes, known)
    with warnings.catch_warnings():
        # A band that has no value in any of the rasters stays NaN.
        warnings.simplefilter("ignore", RuntimeWarning)
        low = np.nanmin([part.low for part in parts], axis=0)
        high = np.nanmax([part.high for part in parts], axis=0)
    sample = np.concatenate([part.sample for part in parts])
    step = max(1, sample.size // _KEPT)
    return Statistics(
        pixels=pixels,
        share=share,
        low=low,
        high=high,
        valid=np.asarray(weights @ np.array([part.valid for part in parts])),
        present=float(weights @ np.array([part.present for part in parts])),
        codes=codes,
        sample=sample[::step],
    )


def _scaled(codes: dict[int, int], factor: float) -> dict[int, int]:
    """Return counts for another share of a raster; what was seen at all stays."""
    if factor == 1.0:
        return codes
    return {code: max(1, round(count * factor)) for code, count in codes.items()}


def _strips(source: RasterSource) -> list[Window]:
    """Cut a raster into full rows, a whole number of the file's blocks each."""
    rows = max(1, _AT_ONCE // (source.width * source.bands))
    if rows > source.block[0]:
        rows -= rows % source.block[0]
    return [
        Window(row, 0, min(rows, source.height - row), source.width)
        for row in range(0, source.height, rows)
    ]


def _spread(source: RasterSource, side: int, most: int) -> list[Window]:
    """Place side × side windows evenly, each of about one block and within its part of ``most``."""
    rows, cols = min(source.block[0], source.height), min(source.block[1], source.width)
    dear = (_MOST_UNPACKED / (rows * cols * source.bands)) ** 0.5
    side = max(1, min(side, int(dear)))
    if cols == source.width and cols > rows:
        # Whole rows are stored at once: a narrow window would cost as much.
        count = max(2, min(side * side, most // (source.bands * cols)))
        high = max(1, min(max(rows, 1), most // (source.bands * cols * count)))
        starts = np.linspace(0, source.height - high, count).astype(int)
        return [Window(int(row), 0, high, source.width) for row in dict.fromkeys(starts.tolist())]
    edge = int(max(1, most // (side * side * source.bands)) ** 0.5)
    high, wide = (
        min(_multiple(edge, block), size)
        for block, size in ((rows, source.height), (cols, source.width))
    )
    tops = np.linspace(0, source.height - high, side).astype(int)
    lefts = np.linspace(0, source.width - wide, side).astype(int)
    return [
        # Down to a block's edge, so that no block is read for a few of its pixels.
        Window(int(top) - int(top) % rows, int(left) - int(left) % cols, high, wide)
        for top in dict.fromkeys(tops.tolist())
        for left in dict.fromkeys(lefts.tolist())
    ]


def _multiple(edge: int, block: int) -> int:
    """Return the multiple of a block next below an edge; the edge where a block is larger."""
    return max(1, edge - edge % block if edge >= block else edge)


def _collect(source: RasterSource, windows: list[Window], whole: bool) -> Statistics:
    bands, total = source.bands, sum(w.height * w.width for w in windows)
    low, high = np.full(bands, np.inf), np.full(bands, -np.inf)
    valid_pixels, any_pixels = np.zeros(bands, dtype=np.int64), 0
    codes: dict[int, int] | None = {} if bands == 1 else None
    kept = []
    keep = min(1.0, max(_KEPT / bands, 2000) / total)
    rng = np.random.default_rng(0)
    for window in windows:
        values, valid = source.read(window)
        values, valid = values.reshape(bands, -1), valid.reshape(bands, -1)
        present = valid.any(axis=0)
        any_pixels += int(np.count_nonzero(present))
        valid_pixels += valid.sum(axis=1)
        low = np.minimum(low, np.min(values, axis=1, where=valid, initial=np.inf))
        high = np.maximum(high, np.max(values, axis=1, where=valid, initial=-np.inf))
        if codes is not None:
            codes = _count(codes, values[0][valid[0]])
        chosen = present & (rng.random(values.shape[1]) < keep)
        kept.append(np.where(valid[:, chosen], values[:, chosen], np.float32(np.nan)).T)
    empty = valid_pixels == 0
    low[empty], high[empty] = np.nan, np.nan
    share = 1.0 if whole else min(1.0, total / (source.height * source.width))
    return Statistics(
        pixels=total,
        share=share,
        low=low,
        high=high,
        valid=valid_pixels / total,
        present=any_pixels / total,
        codes=codes,
        sample=np.concatenate(kept),
    )


def _count(codes: dict[int, int], values: NDArray[np.float32]) -> dict[int, int] | None:
    """Add the counts of values, None from the first on that is no class code."""
    found, numbers = np.unique(values, return_counts=True)
    if len(found) > MOST_CODES or (found != np.rint(found)).any():
        return None
    if len(found) and max(abs(float(found[0])), abs(float(found[-1]))) > 2**24:
        return None
    return _added(codes, dict(zip(map(int, found.tolist()), numbers.tolist(), strict=True)))


def _added(codes: dict[int, int], more: dict[int, int]) -> dict[int, int] | None:
    """Add counts to counts, None where that makes too many codes."""
    both = {code: codes.get(code, 0) + more.get(code, 0) for code in codes.keys() | more.keys()}
    return dict(sorted(both.items())) if len(both) <= MOST_CODES else None
