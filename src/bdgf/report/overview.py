"""Overviews of the map: every tile thinned out to a size that a page can hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from bdgf.mapping.reading import checked_confidence, class_indices, read_strips
from bdgf.report.results import Results
from bdgf.scene.windows import Window

MOST_SIDE = 1200
"""Most rows and columns of an overview."""

MOST_CELLS = 3_000_000
"""Most cells of all overviews together; of more tiles some are left out."""

NONE, RIGHT, WRONG = 0, 1, 2
"""Verdicts on a cell: no test pixel, mostly right, at least half of them wrong."""

_STRIP, _STRIP_PIXELS = 512, 1 << 24
"""Most rows of a strip, unless one row of cells has more, and about as many pixels."""

Indices = NDArray[np.int32]


@dataclass(frozen=True)
class TileOverview:
    """The map of a tile, one cell for every ``step`` × ``step`` pixels, taken from their middle.

    Args:
        tile: Index of the tile in the scene.
        step: Pixels per cell in each direction.
        classes: (h, w) class index, −1 for no data.
        confidence: (h, w) probability of the class, NaN for no data.
        votes: (heads, h, w) class index of every head, −1 for no data.
        train: (h, w) class index of a training label in the cell, −1 for none.
        test: (h, w) class index of a test label in the cell, −1 for none.
        verdict: (h, w) ``NONE``, ``RIGHT`` or ``WRONG``, by all test pixels of the cell.
        counts: (K,) pixels of every class on the whole tile.
        test_right: (n,) whether the map has the class of the label at the tile's test pixels.
    """

    tile: int
    step: int
    classes: Indices
    confidence: NDArray[np.float32]
    votes: Indices
    train: Indices
    test: Indices
    verdict: NDArray[np.uint8]
    counts: NDArray[np.int64]
    test_right: NDArray[np.bool_]


def step_of(height: int, width: int, most_side: int = MOST_SIDE) -> int:
    """Return the pixels per cell by which a tile's overview has at most ``most_side`` cells."""
    return max(1, -(-max(height, width) // most_side))


def shown_tiles(results: Results, most_cells: int = MOST_CELLS) -> list[int]:
    """Choose the tiles whose overviews fit together, evenly over the scene.

    Tiles with test pixels go before those without.
    """
    tiles = results.scene.tiles
    cells = []
    for tile in tiles:
        step = step_of(tile.height, tile.width)
        cells.append(-(-tile.height // step) * -(-tile.width // step))
    if sum(cells) <= most_cells:
        return list(range(len(tiles)))
    tested = [i for i, tile in enumerate(tiles) if len(tile.labels("test"))]
    pool = tested or list(range(len(tiles)))
    count = len(pool)
    while True:
        chosen = [pool[i] for i in np.linspace(0, len(pool) - 1, count).round().astype(int)]
        if count == 1 or sum(cells[i] for i in chosen) <= most_cells:
            return sorted(set(chosen))
        count -= max(1, count // 20)


def tile_overview(results: Results, tile: int, most_side: int = MOST_SIDE) -> TileOverview:
    """Read the overview of a tile, strip by strip.

    Args:
        results: The run.
        tile: Index of the tile.
        most_side: Most rows and columns of the overview.

    Raises:
        RunFolderError: A raster is missing or damaged, or holds what no map can hold.
    """
    place, codes = results.scene.tiles[tile], results.scene.class_codes
    step = step_of(place.height, place.width, most_side)
    size = (-(-place.height // step), -(-place.width // step))
    map_path, confidence_path = results.map_paths(tile)
    votes_path = results.votes_path(tile)
    strip = step * max(1, min(_STRIP, _STRIP_PIXELS // place.width) // step)
    labels = {"train": place.labels("train"), "test": place.labels("test")}
    marks = {name: np.full(size, -1, dtype=np.int32) for name in labels}
    outcomes = np.zeros((2, *size), dtype=np.int64)
    counts = np.zeros(len(codes), dtype=np.int64)
    parts: dict[str, list[NDArray[np.generic]]] = {
        name: [] for name in ("classes", "confidence", "votes", "right")
    }
    whole = (place.height, place.width)
    rasters = zip(
        *(read_strips(path, strip, whole) for path in (map_path, confidence_path, votes_path)),
        strict=True,
    )
    for number, (code, confidence, vote) in enumerate(rasters):
        first = number * strip
        classes = class_indices(code[0], codes, map_path)
        counts += np.bincount(classes[classes >= 0], minlength=len(codes))
        at = np.ix_(_middles(classes.shape[0], step), _middles(classes.shape[1], step))
        parts["classes"].append(classes[at].astype(np.int32))
        parts["confidence"].append(checked_confidence(confidence[0][at], confidence_path))
        votes = class_indices(vote[:, at[0], at[1]], codes, votes_path)
        parts["votes"].append(votes.astype(np.int32))
        for name, all_labels in labels.items():
            here = all_labels.part(Window(first, 0, *classes.shape))
            row, col = np.nonzero(here >= 0)
            cell = ((row + first) // step, col // step)
            marks[name][cell] = here[row, col]
            if name == "test":
                right = classes[row, col] == here[row, col]
                np.add.at(outcomes, (right.astype(np.int64), *cell), 1)
                parts["right"].append(right)
    wrong_count, right_count = outcomes
    verdict = np.where(right_count > wrong_count, RIGHT, np.where(wrong_count > 0, WRONG, NONE))
    return TileOverview(
        tile,
        step,
        cast(Indices, np.concatenate(parts["classes"])),
        np.concatenate(parts["confidence"]).astype(np.float32),
        cast(Indices, np.concatenate(parts["votes"], axis=1)),
        marks["train"],
        marks["test"],
        verdict.astype(np.uint8),
        counts,
        np.concatenate(parts["right"]).astype(np.bool_),
    )


def _middles(size: int, step: int) -> NDArray[np.int64]:
    """Return the middle of every cell along an axis of a strip."""
    starts = np.arange(0, size, step)
    return np.minimum(starts + step // 2, size - 1)
