"""Features of any other model in the place of ours: arrays, or rasters on a grid of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bdgf.config import FeatureSettings
from bdgf.diffusion.features import WINDOW, enough, sample_windows
from bdgf.diffusion.reduction import DECODER_LEVELS, REDUCTION, Projection, levels_in_use
from bdgf.diffusion.store import open_tile, write_index
from bdgf.errors import SceneError
from bdgf.files import NPY_ERRORS
from bdgf.progress import Progress
from bdgf.randomness import numpy_generator
from bdgf.scene.alignment import ApartError, align
from bdgf.scene.description import TILE
from bdgf.scene.formats.arrays import NUMERIC
from bdgf.scene.formats.companions import companions
from bdgf.scene.formats.location import Location, fingerprint, locate, named, without_secrets
from bdgf.scene.formats.opening import open_source
from bdgf.scene.grid import Grid
from bdgf.scene.notes import Notes
from bdgf.scene.prepared import PreparedScene
from bdgf.scene.scene import Scene
from bdgf.scene.warp import AbsentSource
from bdgf.scene.windows import Window, windows_of

LEVEL = "{level}"
"""What stands for the guidance level in paths: 1 (coarse) to 3 (fine)."""


def adopt(
    prepared: PreparedScene,
    template: str,
    base: Path,
    folder: Path,
    settings: FeatureSettings,
    seed: int,
    progress: Progress,
) -> None:
    """Put an array or raster of another model in the features' place.

    All guidance levels that the settings do not leave out read the same components of it, or each
    its own file where the path has ``{level}``. A raster with coordinates is resampled onto the
    scene's grid.

    Args:
        prepared: The scene.
        template: Path of a ``.npy`` (C, H, W) or raster; ``{tile}`` stands for the tile's name,
            ``{level}`` for the guidance level.
        base: Folder that a relative path starts from.
        folder: Where the container is written.
        settings: Number of components, per level, and the levels that are guided.
        seed: Seed of the sample the components are fitted on.
        progress: Receives the tiles, and what was done to the rasters.

    Raises:
        SceneError: A file that is missing, unreadable, not finite or without a place on the scene.
    """
    names = [tile.name for tile in prepared.scene.tiles]
    shapes = prepared.shapes
    levels = _open_all(prepared.scene, template, base)
    used = levels_in_use(settings.levels)
    if LEVEL in template:
        levels = [levels[index] for index in used]
    notes = _notes(levels)
    for note in notes:
        progress.say(f"features: {note}")
    projections = [_fitted(prepared, files, template, settings, seed) for files in levels]
    (folder / REDUCTION).unlink(missing_ok=True)
    sizes = [projection.matrix.shape[1] for projection in projections]
    unknown = pixels = 0
    for tile, name in enumerate(names):
        with open_tile(folder, name, (sum(sizes), *shapes[tile])) as array:
            for window in windows_of(*shapes[tile], WINDOW):
                found, without = [], np.zeros((window.height, window.width), dtype=bool)
                for files, projection in zip(levels, projections, strict=True):
                    values, known = files[tile].read(window)
                    # where the other model has nothing, there is no guidance
                    found.append(projection.apply(torch.from_numpy(values)).numpy() * known)
                    without |= ~known
                mapped = prepared.valid_in(tile, window)
                pixels += int(mapped.sum())
                unknown += int((without & mapped).sum())
                array[(slice(None), *window.slices)] = np.concatenate(found)
        progress.track("features", tile + 1, len(names))
    shown = without_secrets(template)
    if unknown:
        notes.append(
            f"{shown} has no value at {unknown:,} of the {pixels:,} pixels that are mapped"
            f" ({100 * unknown / pixels:.1f} %); their features are zero, so nothing guides them"
        )
        progress.say(f"features: {notes[-1]}")
    starts = np.cumsum([0, *sizes]).tolist()
    own = [list(range(starts[i], starts[i + 1])) for i in range(len(sizes))]
    if LEVEL not in template:
        own *= len(used)
    by_name = {DECODER_LEVELS[index]: channels for index, channels in zip(used, own, strict=True)}
    origin = {
        "source": shown,
        "explained_variance": [round(projection.explained, 4) for projection in projections],
        "notes": notes,
        "pixels_without": unknown,
    }
    write_index(folder, [by_name.get(name, []) for name in settings.levels], origin)


def _fitted(
    prepared: PreparedScene,
    files: Sequence[ExternalFeatures],
    template: str,
    settings: FeatureSettings,
    seed: int,
) -> Projection:
    """Fit the components of one level on a sample of the scene's pixels."""
    shapes = prepared.shapes
    sample = []
    pixels = valid = 0
    for tile, window in sample_windows(shapes, numpy_generator(seed, "feature components")):
        values, known = files[tile].read(window)
        known &= prepared.valid_in(tile, window)
        sample.append(values[:, known].T)
        pixels, valid = pixels + known.size, valid + int(known.sum())
        if enough(pixels, valid):
            break
    joined = np.concatenate(sample)
    if len(joined) < 2:
        raise SceneError(
            f"{without_secrets(template)} has no value at any of the pixels of"
            f" {prepared.scene.name} that were looked at; features must cover the scene: check the"
            " raster's coordinates and its nodata value."
        )
    return Projection.fit(joined, settings.components)


def _open_all(scene: Scene, template: str, base: Path) -> list[list[ExternalFeatures]]:
    """Open the files of every level and tile, and check that they fit together."""
    each = range(1, len(DECODER_LEVELS) + 1) if LEVEL in template else (1,)
    levels = [
        [
            ExternalFeatures(path, scene, tile, shared=TILE not in template)
            for tile, path in enumerate(_paths(template.replace(LEVEL, str(level)), base, scene))
        ]
        for level in each
    ]
    for files in levels:
        if len({file.channels for file in files}) > 1:
            raise SceneError(
                f"{without_secrets(template)}: the tiles have different numbers of channels; every"
                " tile needs the same."
            )
    return levels


def _paths(template: str, base: Path, scene: Scene) -> list[Location]:
    return [locate(template.replace(TILE, tile.name), base) for tile in scene.tiles]


def _notes(levels: Sequence[Sequence[ExternalFeatures]]) -> list[str]:
    """What was done to the rasters, in one sentence per level and kind, and not one per tile."""
    found: list[str] = []
    for files in levels:
        notes = Notes()
        for file in files:
            for note in file.notes:
                notes.say("apart" if file.apart else "placed", note)
        found += notes.summed()
    return found


class ExternalFeatures:
    """An array or raster of another model on a tile's grid, read by windows.

    Args:
        path: ``.npy`` (C, H, W) on the tile's grid, memory-mapped, or a raster: with coordinates it
            is resampled onto the tile's grid, without them its rows and columns must match.
        scene: The scene.
        tile: Index of the tile.
        shared: Whether all tiles read this one file, which then needs coordinates.

    Attributes:
        channels: C, number of features.
        apart: Whether the file does not reach this tile, as one that all tiles read may.
        notes: What was done to the raster, in words for the user.

    Raises:
        SceneError: The file is missing, unreadable or has no place on the tile.
    """

    def __init__(self, path: Location, scene: Scene, tile: int, shared: bool = False) -> None:
        self.path = path
        self.notes: tuple[str, ...] = ()
        self.apart = False
        self._mapped: tuple[Path, tuple[int, int]] | None = None
        own = scene.tiles[tile]
        placed = False
        if isinstance(path, Path) and path.suffix == ".npy":
            # opened for each window: of a thousand tiles not all can be open together
            self._mapped = path, (own.height, own.width)
            self.channels = int(_memory_mapped(*self._mapped).shape[0])
        else:
            opened = open_source(path)
            placed = Grid.of(opened).placed and own.grid.placed
            reference = scene.spec.reference
            try:
                self._source, note = align(
                    opened,
                    own.grid,
                    name=named(path),
                    reference=scene.spec.display(own.sources[reference].path),
                    categorical=False,
                    multiples=scene.spec.align is not None,
                    modality=scene.modalities[reference].name,
                )
            except ApartError:
                if not shared or len(scene.tiles) == 1:
                    raise
                self.apart = True
                self._source = AbsentSource(opened, own.grid, categorical=False)
                note = f"{named(path)} does not reach tile {own.name}, where nothing guides"
            self.channels = self._source.bands
            self.notes = tuple(dict.fromkeys(n for n in (note, *self._source.notes) if n))
        if shared and not placed and len(scene.tiles) > 1:
            raise SceneError(
                f"{named(path)} is one file for {len(scene.tiles)} tiles, and coordinates do not"
                f" say which part belongs to which tile; put {TILE} in features.source and give"
                " every tile a file, or give the raster and the tiles coordinates."
            )

    def read(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return features (C, h, w), 0 where they are not known, and where they are (h, w).

        Raises:
            SceneError: A value of an array is not finite.
        """
        if self._mapped is None:
            values, valid = self._source.read(window)
            known = np.asarray(valid.all(axis=0))
            return np.where(known, values, np.float32(0)), known
        part = (slice(None), *window.slices)
        values = _memory_mapped(*self._mapped)[part].astype(np.float32)
        if not np.isfinite(values).all():
            raise SceneError(
                f"{self.path} holds values that are not finite; replace them, for example by 0."
            )
        return values, np.ones(values.shape[1:], dtype=bool)


def _memory_mapped(path: Path, shape: tuple[int, int]) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except NPY_ERRORS as error:
        raise SceneError(
            f"{path} cannot be read as features ({error}); features.source must name a .npy array"
            " or a raster."
        ) from None
    if array.dtype.kind not in NUMERIC:
        raise SceneError(
            f"{path} holds values of type {array.dtype}; features are integers, floats or truth"
            " values: convert it."
        )
    if array.ndim != 3 or array.shape[1:] != shape or not array.shape[0]:
        raise SceneError(
            f"{path} has shape {array.shape}, the scene's tile is {shape[0]} × {shape[1]} pixels;"
            " features must be (channels, rows, columns) on the scene's grid."
        )
    return array


def external_signature(source: str, folder: Path, scene: Scene) -> str:
    """Check the feature files of another model; return what changes when they do.

    Args:
        source: What ``features.source`` names.
        folder: Folder of the scene file.
        scene: The scene.

    Returns:
        A text; an empty one where no file is named.

    Raises:
        SceneError: A file that is missing, unreadable or without a place on the scene.
    """
    if source in ("diffusion", "none"):
        return ""
    files = [file for level in _open_all(scene, source, folder) for file in level]
    paths = dict.fromkeys(file.path for file in files)
    own = dict.fromkeys(one for path in paths for one in companions(path))
    return "\n".join(f"{named(path)} {fingerprint(path)}" for path in own)
