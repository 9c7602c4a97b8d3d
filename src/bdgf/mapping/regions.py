"""Connected regions of a map, and how small ones join the neighbour with the longest border.

A map is read by strips of rows. What is kept is one record per run of equal pixels in a row, so
memory grows with the detail of the map and not with its size.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from bdgf.mapping.legend import NODATA

ReadRows = Callable[[int, int], tuple[NDArray[np.integer], NDArray[np.float32]]]
"""From first row and number of rows to codes (h, W) and confidences (h, W)."""

_PIXELS = 1 << 20


@dataclass(frozen=True)
class Runs:
    """Runs of equal pixels in a row, in the order of rows and columns.

    Attributes:
        code: (runs,) code of every run, 0 for no data.
        pixels: (runs,) number of pixels.
        confidence: (runs,) sum of their confidences.
    """

    code: NDArray[np.int64]
    pixels: NDArray[np.int64]
    confidence: NDArray[np.float64]


@dataclass
class Regions:
    """Regions of equal code, connected by edges of pixels.

    Attributes:
        code: (n,) code of every region, 0 for one without data.
        area: (n,) area, in the unit of the areas that were given.
        of_run: (runs,) region of every run.
        runs: The runs of the map.
        borders: Length of the shared border of every pair of neighbours, twice: by the first and
            by the second of them.
    """

    code: NDArray[np.int64]
    area: NDArray[np.float64]
    of_run: NDArray[np.int64]
    runs: Runs
    borders: dict[int, dict[int, float]] = field(repr=False)

    @property
    def count(self) -> int:
        """Number of regions that have a class."""
        return len(self.borders)

    @property
    def pixels(self) -> NDArray[np.int64]:
        """(n,) number of pixels of every region."""
        return np.bincount(self.of_run, self.runs.pixels, len(self.code)).astype(np.int64)

    @property
    def confidence(self) -> NDArray[np.float64]:
        """(n,) mean confidence of the pixels that had the region's code before any merging."""
        own = self.runs.code == self.code[self.of_run]
        sums, counts = (
            np.bincount(self.of_run, np.where(own, values, 0), len(self.code))
            for values in (self.runs.confidence, self.runs.pixels)
        )
        return np.asarray(sums / np.maximum(counts, 1))

    def merge_small(self, minimum: float) -> None:
        """Join every region below an area to the neighbour with the longest shared border.

        The smallest goes first; of equal borders the larger neighbour counts. What it joins grows,
        and is not small any more where it has become large enough; neighbours that have the same
        code after it are one region. A small region that borders on no data only stays.

        Args:
            minimum: Smallest area that a region may have.
        """
        parent = np.arange(len(self.code))
        rank = parent.tolist()  # decides where all else is equal
        small_ones = np.flatnonzero((self.area < minimum) & (self.code > 0)).tolist()
        heap = [(float(self.area[i]), i, i) for i in small_ones]
        heapq.heapify(heap)
        while heap:
            area, _, small = heapq.heappop(heap)
            if parent[small] != small or area != self.area[small]:
                continue  # joined meanwhile, or grown: then it stands in the heap again
            beside = self.borders.get(small)
            if not beside:
                continue
            target = max(beside, key=lambda n: (beside[n], self.area[n], -rank[n]))
            touched = list(beside)
            self._join(small, target, parent)
            for other in touched:
                if parent[other] != other or other == target:
                    continue  # joined already
                if self.code[other] != self.code[target]:
                    continue
                if len(self.borders[other]) > len(self.borders[target]):
                    # the shorter list of borders moves: that of a background is as long as the map
                    other, target = target, other
                    rank[target] = rank[other]
                self._join(other, target, parent)
            if self.area[target] < minimum:
                heapq.heappush(heap, (float(self.area[target]), rank[target], target))
        self.of_run = _roots(parent)[self.of_run]

    def _join(self, gone: int, target: int, parent: NDArray[np.int64]) -> None:
        parent[gone] = target
        self.area[target] += self.area[gone]
        beside = self.borders.pop(gone)
        mine = self.borders[target]
        mine.pop(gone, None)
        for other, length in beside.items():
            if other == target:
                continue
            theirs = self.borders[other]
            del theirs[gone]
            theirs[target] = theirs.get(target, 0.0) + length
            mine[other] = mine.get(other, 0.0) + length

    def numbers(self, codes: NDArray[np.integer], first_run: int) -> tuple[NDArray[np.int64], int]:
        """Return the region (h, W) of every pixel of a strip.

        Args:
            codes: (h, W) codes of the strip.
            first_run: Number of runs in the strips before it.

        Returns:
            The regions, −1 where there is no data, and the number of runs up to here.
        """
        runs = first_run + _starts(codes).cumsum().reshape(codes.shape) - 1
        found = self.of_run[runs]
        return np.where(codes == NODATA, -1, found), int(runs[-1, -1]) + 1


def strips(height: int, width: int) -> Iterator[tuple[int, int]]:
    """Yield first row and number of rows of strips of about a million pixels."""
    rows = max(1, _PIXELS // width)
    for row in range(0, height, rows):
        yield row, min(rows, height - row)


def find_regions(
    read: ReadRows,
    height: int,
    width: int,
    areas: NDArray[np.float64],
    pixel: tuple[float, float] = (1.0, 1.0),
) -> Regions:
    """Find the regions of a map.

    Args:
        read: Reads rows.
        height: H.
        width: W.
        areas: (H,) area of a pixel of every row.
        pixel: Width and height of a pixel, which borders are measured by.
    """
    code, size, area, confidence = [], [], [], []
    joined: list[NDArray[np.int64]] = []
    beside: list[NDArray[np.int64]] = []
    lengths: list[NDArray[np.float64]] = []
    before = 0
    above: tuple[NDArray[np.int64], NDArray[np.integer]] | None = None
    for row, count in strips(height, width):
        codes, values = read(row, count)
        starts = _starts(codes)
        number = before + starts.cumsum().reshape(codes.shape) - 1
        at = np.flatnonzero(starts)
        length = np.diff(at, append=codes.size)
        code.append(codes.ravel()[at].astype(np.int64))
        size.append(length)
        area.append(length * areas[row + at // width])
        known = np.nan_to_num(values.ravel().astype(np.float64), nan=0.0)
        confidence.append(np.add.reduceat(known, at))
        before += len(at)
        # 1. neighbours in a row: every run and the one before it
        inner = at[at % width > 0]
        sides = (codes.ravel()[inner - 1] != NODATA) & (codes.ravel()[inner] != NODATA)
        beside.append(np.stack([number.ravel()[inner - 1], number.ravel()[inner]])[:, sides])
        lengths.append(np.full(int(sides.sum()), pixel[1]))
        # 2. neighbours in a column: pieces of the border between two rows
        if above is not None:
            number_ = np.concatenate([above[0], number])
            codes_ = np.concatenate([above[1], codes])
        else:
            number_, codes_ = number, codes
        above = number[-1:], codes[-1:]
        upper, lower = number_[:-1], number_[1:]
        if not upper.size:
            continue
        new = np.ones(upper.shape, dtype=bool)
        new[:, 1:] = (upper[:, 1:] != upper[:, :-1]) | (lower[:, 1:] != lower[:, :-1])
        piece = np.flatnonzero(new)
        long = np.diff(piece, append=upper.size) * pixel[0]
        pairs = np.stack([upper.ravel()[piece], lower.ravel()[piece]])
        one, other = codes_[:-1].ravel()[piece], codes_[1:].ravel()[piece]
        both = (one != NODATA) & (other != NODATA)
        joined.append(pairs[:, both & (one == other)])
        beside.append(pairs[:, both & (one != other)])
        lengths.append(long[both & (one != other)])
    return _regions(
        Runs(np.concatenate(code), np.concatenate(size), np.concatenate(confidence)),
        np.concatenate(area),
        np.concatenate([np.zeros((2, 0), np.int64), *joined], axis=1),
        np.concatenate(beside, axis=1),
        np.concatenate(lengths),
    )


def _regions(
    runs: Runs,
    area: NDArray[np.float64],
    joined: NDArray[np.int64],
    beside: NDArray[np.int64],
    lengths: NDArray[np.float64],
) -> Regions:
    """Put runs together to regions."""
    number = len(runs.code)
    links = coo_matrix(
        (np.ones(joined.shape[1], dtype=bool), tuple(joined)), shape=(number, number)
    )
    count, label = connected_components(links, directed=False)
    of_run = label.astype(np.int64)
    code = np.zeros(count, dtype=np.int64)
    code[of_run] = runs.code
    pairs = np.sort(of_run[beside], axis=0)
    # a matrix adds up what lies at one place
    sums = coo_matrix((lengths, tuple(pairs)), shape=(count, count)).tocsr().tocoo()
    borders: dict[int, dict[int, float]] = {n: {} for n in np.flatnonzero(code).tolist()}
    for a, b, length in zip(sums.row.tolist(), sums.col.tolist(), sums.data.tolist(), strict=True):
        borders[a][b] = length
        borders[b][a] = length
    areas = np.bincount(of_run, area, count).astype(np.float64)
    return Regions(code, areas, of_run, runs, borders)


def _starts(codes: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Whether a run begins at a pixel, flat; every row begins one."""
    starts = np.ones(codes.shape, dtype=bool)
    starts[:, 1:] = codes[:, 1:] != codes[:, :-1]
    return starts.ravel()


def _roots(parent: NDArray[np.int64]) -> NDArray[np.int64]:
    """Follow every chain to its end."""
    while True:
        further = parent[parent]
        if np.array_equal(further, parent):
            return parent
        parent = further
