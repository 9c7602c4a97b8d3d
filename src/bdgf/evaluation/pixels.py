"""What classifiers of single pixels see: raw bands, 5 x 5 statistics, components, features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from bdgf.diffusion.store import FeatureStore
from bdgf.scene.prepared import PreparedScene
from bdgf.scene.scene import Scene
from bdgf.scene.tiles import Tile
from bdgf.scene.windows import Window, by_window, reflect_index

Kind = Literal["raw", "5x5"]

RADIUS = 2
"""Radius of the 5 x 5 neighbourhood."""

CONSTANT = 1e-6
"""Standard deviation over mean up to which a feature is constant."""

SIDE = 128
"""Side of the windows that bands are read in."""

Table = NDArray[np.float32]
PixelFeatures = Callable[[NDArray[np.int64]], Table]
"""Features (n, F) of pixels (n, 3), given as tile, row and column; NaN where one is missing."""


def band_features(scene: Scene, kind: Kind) -> PixelFeatures:
    """Return the bands of all modalities, of the pixel alone or of its 5 x 5 neighbourhood.

    Beyond the edge of a tile it is mirrored. Neighbourhoods count valid pixels only.

    Args:
        scene: The scene.
        kind: raw (the F bands of all modalities) or 5x5 (F means, then F standard deviations).
    """
    return lambda positions: _gaps(scene, positions, kind)


def component_features(prepared: PreparedScene) -> PixelFeatures:
    """Return the prepared channels: un-whitened components, decibels, scaled auxiliary bands."""
    owner = np.array(prepared.layout.modality_of_channel)

    def read(tile: int, window: Window) -> Table:
        values, missing = prepared.window(tile, window, edge="reflect")
        return np.where(missing[owner], np.float32(np.nan), values)

    return lambda positions: _by_windows(prepared, positions, prepared.layout.channels, read)


def stored_features(prepared: PreparedScene, store: FeatureStore) -> PixelFeatures:
    """Return the diffusion features of all levels."""
    return lambda positions: _by_windows(
        prepared,
        positions,
        store.channels,
        lambda tile, window: store.window(tile, window, edge="reflect"),
    )


def _by_windows(
    prepared: PreparedScene,
    positions: NDArray[np.int64],
    channels: int,
    read: Callable[[int, Window], Table],
) -> Table:
    """Read channels (C, h, w) window by window at some pixels, (n, C)."""
    table = np.empty((len(positions), channels), dtype=np.float32)
    places, grouped = by_window(positions, SIDE)
    for (tile, top, left), inside in zip(places.tolist(), grouped, strict=True):
        window = Window(top, left, SIDE, SIDE).inside(*prepared.shape(tile))
        row, col = (positions[inside, 1:] - (top, left)).T
        table[inside] = read(tile, window)[:, row, col].T
    return table


def filled(table: Table, fill: Table | None = None) -> Table:
    """Return a table with its gaps filled.

    Args:
        table: (n, F) with NaN where a feature is missing.
        fill: (F,) values for the gaps; None takes the means of the table.
    """
    missing = np.isnan(table)
    if not missing.any():
        return table
    values = means(table) if fill is None else fill
    return np.where(missing, values, table)


def seen(table: Table) -> NDArray[np.bool_]:
    """Tell which rows (n,) have any feature; all where none has, since something must be fitted."""
    found = np.asarray(~np.isnan(table).all(axis=1))
    return found if found.any() else np.ones_like(found)


def means(table: Table) -> Table:
    """Return the (F,) mean of the features over the rows that have them, 0 where none has."""
    there = ~np.isnan(table)
    total = np.where(there, table, 0.0).sum(axis=0, dtype=np.float64)
    found: Table = (total / np.maximum(there.sum(axis=0), 1)).astype(np.float32)
    return found


def deviations(table: Table) -> Table:
    """Return the (F,) standard deviation of the features, without gaps; 1 where they are constant.

    The deviation that rounding gives a constant is none.
    """
    spread = table.std(axis=0, dtype=np.float64)
    spread[spread <= CONSTANT * np.abs(means(table))] = 1.0
    found: Table = spread.astype(np.float32)
    return found


def _gaps(scene: Scene, positions: NDArray[np.int64], kind: Kind) -> Table:
    """Read the features of these pixels, NaN where one is missing."""
    parts = []
    for modality in range(len(scene.modalities)):
        part = _modality_table(scene, modality, positions, kind)
        halves = [part] if kind == "raw" else np.split(part, 2, axis=1)
        parts.append(halves)
    return np.concatenate([half for halves in zip(*parts, strict=True) for half in halves], axis=1)


def _modality_table(scene: Scene, modality: int, positions: NDArray[np.int64], kind: Kind) -> Table:
    bands = scene.tiles[0].sources[modality].bands
    table = np.empty((len(positions), bands if kind == "raw" else 2 * bands), dtype=np.float32)
    places, grouped = by_window(positions, SIDE)
    for place, inside in zip(places, grouped, strict=True):
        tile, pixels = scene.tiles[int(place[0])], positions[inside, 1:]
        first, last = pixels.min(axis=0), pixels.max(axis=0) + 1
        wanted = Window(int(first[0]), int(first[1]), *(int(n) for n in last - first))
        row, col = (pixels - first).T
        if kind == "raw":
            values, valid = tile.read(modality, wanted)
            found = np.where(valid, values, np.float32(np.nan))[:, row, col]
        else:
            found = _neighbourhoods(tile, modality, wanted, row, col)
        table[inside] = found.T
    return table


def _neighbourhoods(
    tile: Tile, modality: int, wanted: Window, row: NDArray[np.int64], col: NDArray[np.int64]
) -> Table:
    """Return (2 C, n): mean and standard deviation of the 5 x 5 pixels around some of a window."""
    grown = wanted.grow(RADIUS)
    there = grown.inside(tile.height, tile.width)
    values, valid = tile.read(modality, there)
    rows = reflect_index(grown.row, grown.height, tile.height) - there.row
    cols = reflect_index(grown.col, grown.width, tile.width) - there.col
    bands = len(values)
    found = np.empty((2 * bands, len(row)), dtype=np.float32)
    # Band by band in float64: the difference of two squares needs the digits.
    for band in range(bands):
        known = valid[band][rows][:, cols]
        centre = float(values[band][valid[band]].mean(dtype=np.float64)) if known.any() else 0.0
        centred = np.where(known, values[band][rows][:, cols].astype(np.float64) - centre, 0.0)
        share = _box(known.astype(np.float64))[row, col]
        enough = share > 0.5 / (2 * RADIUS + 1) ** 2
        share = np.where(enough, share, np.nan)
        mean = _box(centred)[row, col] / share
        square = _box(centred**2)[row, col] / share
        found[band] = mean + centre
        found[bands + band] = np.sqrt(np.maximum(square - mean**2, 0.0))
    return found


def _box(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of the 5 x 5 pixels around the pixels: (h - 4, w - 4)."""
    size = 2 * RADIUS + 1
    summed = uniform_filter1d(uniform_filter1d(values, size, axis=0), size, axis=1)
    inner: NDArray[np.float64] = summed[RADIUS:-RADIUS, RADIUS:-RADIUS]
    return inner
