"""What may be silently wrong with a scene: found before training, said once, kept for the report.

A run with these faults ends with a map that looks like any other. Each sentence says what was found
and what to look at; none stops the run, for each has harmless explanations as well.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bdgf.scene.prepared import PreparedScene
from bdgf.scene.windows import Window

REACH = 6
"""Rows and columns by which labels are moved to see whether they fit better elsewhere."""

CLOSER = 0.75
"""Spread inside the classes, as a part of that of the labels as they are, that counts as better."""

FAR = 2.0
"""Standard deviations between training pixels and the scene that count as far."""

_PIXELS = 800
_FEWEST = 60
_SIDE = 64
_CHANNELS = 6
_LISTED = 5


def find_cautions(prepared: PreparedScene, seed: int) -> list[str]:
    """Look at bands, classes and labels.

    Args:
        prepared: The scene, with labels or without.
        seed: Seed of the pixels that are looked at, where there are many.
    """
    found = [sentence for index in _modalities(prepared) for sentence in _twins(prepared, index)]
    if not prepared.scene.has_labels or not len(prepared.scene.positions("train")):
        return found
    found += _classes(prepared)
    scene = prepared.scene
    trained = scene.positions("train")
    positions = np.concatenate([trained, scene.positions("test")])
    classes = np.concatenate([scene.labels_at("train"), scene.labels_at("test")])
    rng = np.random.default_rng([seed, 0])
    found += _moved(prepared, positions, classes, rng)
    found += _turned(prepared, positions, classes, rng)
    found += _apart(prepared, trained, rng)
    return found


def _modalities(prepared: PreparedScene) -> range:
    return range(len(prepared.preparation.fitted))


def _twins(prepared: PreparedScene, modality: int) -> list[str]:
    """Bands that hold the same values as an earlier one."""
    fitted = prepared.preparation.fitted[modality]
    if fitted.spread is None or len(fitted.kept) < 2:
        return []
    tile = prepared.scene.tiles[0]
    middle = Window(
        max(0, (tile.height - _SIDE) // 2), max(0, (tile.width - _SIDE) // 2), _SIDE, _SIDE
    ).inside(tile.height, tile.width)
    same = []
    values: NDArray[np.float32] | None = None
    # by their statistics, which are known; only bands that agree in these are read
    marks = list(zip(fitted.mean.tolist(), fitted.spread.tolist(), strict=True))
    for second in range(1, len(marks)):
        for first in range(second):
            if not np.allclose(marks[first], marks[second], rtol=1e-6, atol=0):
                continue
            if values is None:
                values = tile.read(modality, middle)[0]
            a, b = int(fitted.kept[first]), int(fitted.kept[second])
            if np.array_equal(values[a], values[b]):
                same.append(f"{a + 1} and {b + 1}")
                break
    if not same:
        return []
    more = f" and {len(same) - _LISTED} more pairs" if len(same) > _LISTED else ""
    return [
        f"bands {', '.join(same[:_LISTED])}{more} of modality {fitted.name} hold the same values:"
        " was a file read twice? Name the bands that count with 'bands: [...]'"
    ]


def _classes(prepared: PreparedScene) -> list[str]:
    """Classes without a training pixel, and those whose training pixels have no data."""
    scene = prepared.scene
    positions, classes = scene.positions("train"), scene.labels_at("train")
    seen = prepared.valid_at(positions)
    found = []
    for index, (code, name) in enumerate(zip(scene.class_codes, scene.class_names, strict=True)):
        own = classes == index
        if not own.any():
            found.append(
                f"class {code} ({name}) has no training pixel, so no pixel is mapped as it: label"
                " some, or take it out of the classes"
            )
        elif not seen[own].any():
            found.append(
                f"class {code} ({name}) has {int(own.sum())} training pixels and none with image"
                " data, so no pixel is mapped as it: are the labels shifted?"
            )
    return found


def _moved(
    prepared: PreparedScene,
    positions: NDArray[np.int64],
    classes: NDArray[np.int64],
    rng: np.random.Generator,
) -> list[str]:
    """Whether the labels fit the image much better when they are moved."""
    keep = _some(len(positions), rng)
    if len(keep) < _FEWEST:
        return []
    side = 2 * REACH + 1
    values = np.zeros((len(keep), _channels(prepared), side, side), dtype=np.float32)
    there = np.zeros((len(keep), side, side), dtype=bool)
    for number, (tile, row, col) in enumerate(positions[keep]):
        window = Window(int(row) - REACH, int(col) - REACH, side, side)
        found, missing = prepared.window(int(tile), window, "missing")
        values[number] = found[: values.shape[1]]
        there[number] = ~missing[_first(prepared)]
    spread = np.full((side, side), np.inf)
    for i in range(side):
        for j in range(side):
            use = there[:, i, j]
            if use.sum() >= 0.8 * len(keep):
                spread[i, j] = _within(values[use, :, i, j], classes[keep][use])
    own = spread[REACH, REACH]
    best = np.unravel_index(int(spread.argmin()), spread.shape)
    row, col = int(best[0]) - REACH, int(best[1]) - REACH
    if not np.isfinite(own) or spread.min() > CLOSER * own or max(abs(row), abs(col)) < 2:
        return []
    return [
        f"the labels fit the image better when they are moved by {row:+d} rows and {col:+d} columns"
        f" (the classes then vary by {100 * spread.min() / own:.0f} % of what they do now): check"
        " that labels and image have the same origin"
    ]


def _turned(
    prepared: PreparedScene,
    positions: NDArray[np.int64],
    classes: NDArray[np.int64],
    rng: np.random.Generator,
) -> list[str]:
    """Whether the labels of a single tile fit much better when they are turned or mirrored."""
    keep = _some(len(positions), rng)
    if prepared.tiles != 1 or len(keep) < _FEWEST:
        return []
    height, width = prepared.shape(0)
    rows, cols = positions[keep, 1], positions[keep, 2]
    ways = {
        "mirrored top to bottom": (height - 1 - rows, cols),
        "mirrored left to right": (rows, width - 1 - cols),
        "turned by half": (height - 1 - rows, width - 1 - cols),
    }
    if height == width:
        ways["with rows and columns exchanged"] = (cols, rows)
    own = _spread_at(prepared, rows, cols, classes[keep])
    found = {way: _spread_at(prepared, *at, classes[keep]) for way, at in ways.items()}
    way = min(found, key=lambda name: found[name])
    if not np.isfinite(own) or found[way] > CLOSER * own:
        return []
    return [
        f"the labels fit the image better {way} (the classes then vary by"
        f" {100 * found[way] / own:.0f} % of what they do now): check the axes of labels and image,"
        " and name them with 'axes: HW' or 'axes: WH'"
    ]


def _apart(
    prepared: PreparedScene, positions: NDArray[np.int64], rng: np.random.Generator
) -> list[str]:
    """Whether the training pixels are unlike the scene that they are to stand for."""
    keep = _some(len(positions), rng)
    if len(keep) < _FEWEST:
        return []
    values = _values(prepared, *positions[keep].T)
    deviation = np.maximum(prepared.preparation.deviation.astype(np.float64), 1e-12)
    found = []
    for modality in prepared.layout.modalities:
        channel = modality.start  # the strongest component, or the first band
        own = values[:, channel]
        own = own[np.isfinite(own)]
        if len(own) < _FEWEST:
            continue
        distance = float(own.mean(dtype=np.float64) / deviation[channel])
        if abs(distance) >= FAR:
            found.append(
                f"the training pixels are far from the scene in modality {modality.name}: their"
                f" mean lies {distance:+.1f} standard deviations from that of all pixels, so most"
                " of the map is of a kind that was not trained; label more of the scene"
            )
    return found


def _some(count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    if count <= _PIXELS:
        return np.arange(count)
    return np.sort(rng.choice(count, _PIXELS, replace=False))


def _first(prepared: PreparedScene) -> int:
    return next(iter(prepared.layout.spectral), 0)


def _channels(prepared: PreparedScene) -> int:
    """Return how many channels of the first modality are compared: the strongest."""
    return min(_CHANNELS, prepared.layout.modalities[_first(prepared)].size)


def _values(
    prepared: PreparedScene,
    tiles: NDArray[np.int64],
    rows: NDArray[np.int64],
    cols: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Return the channels (n, C) of pixels, NaN where a modality is missing."""
    owner = np.array(prepared.layout.modality_of_channel)
    found = np.empty((len(rows), prepared.layout.channels), dtype=np.float32)
    for number, (tile, row, col) in enumerate(zip(tiles, rows, cols, strict=True)):
        window = Window(int(row), int(col), 1, 1)
        values, missing = prepared.window(int(tile), window, "missing")
        found[number] = np.where(missing[owner, 0, 0], np.nan, values[:, 0, 0])
    return found


def _spread_at(
    prepared: PreparedScene,
    rows: NDArray[np.int64],
    cols: NDArray[np.int64],
    classes: NDArray[np.int64],
) -> float:
    values = _values(prepared, np.zeros_like(rows), rows, cols)[:, : _channels(prepared)]
    use = np.isfinite(values).all(axis=1)
    if use.sum() < max(_FEWEST, 0.8 * len(rows)):
        return float("inf")
    return _within(values[use], classes[use])


def _within(values: NDArray[np.float32], classes: NDArray[np.int64]) -> float:
    """Return the mean squared distance to the class's mean over that to the mean of all."""
    whole = values.astype(np.float64)
    total = np.square(whole - whole.mean(axis=0)).sum()
    inside = 0.0
    for index in np.unique(classes):
        own = whole[classes == index]
        inside += np.square(own - own.mean(axis=0)).sum()
    return float(inside / total) if total > 0 else float("inf")
