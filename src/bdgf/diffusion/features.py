"""Dense diffusion features of a whole scene."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from bdgf.compute import exact
from bdgf.config import DiffusionSettings, FeatureSettings
from bdgf.diffusion.denoiser import HALO, STRIDE, Denoiser
from bdgf.diffusion.reduction import REDUCTION, Projection, Reduction, levels_in_use
from bdgf.diffusion.schedule import NoiseSchedule
from bdgf.diffusion.store import open_tile, room_for, tile_file, write_index
from bdgf.files import remove
from bdgf.progress import Progress
from bdgf.randomness import numpy_generator
from bdgf.scene.prepared import PreparedScene
from bdgf.scene.sampling import windows_with_data
from bdgf.scene.windows import Window, WindowGrid, in_order, windows_of

WINDOW = 256
"""Side of the windows that features are computed in; with their halo, half as large ones would cost
1.6 times as much a pixel."""
SAMPLE_WINDOW = 64
"""Side of the windows that components are fitted on: small, to see many places."""
KEPT_BYTES = 1 << 28
"""Most bytes of levels that are kept between fitting the components and writing the features."""
PCA_PIXELS, LEAST_VALID = 40_000, 1_000
NOISE_BLOCK = 64

OWN_SOURCES = ("diffusion", "none")
"""Values of ``features.source`` that need no files of another model."""

Block: TypeAlias = tuple[int, Window, NDArray[np.float16]]
"""Index of a tile, a window of the grid of blocks, and its features (g, h, w)."""

Blocks: TypeAlias = Callable[[Reduction], Iterator[Block]]
"""Computes all blocks of a scene, in any order, from the components of the levels."""


class FeatureExtractor:
    """Reads a denoiser densely, the same at a pixel however the scene is tiled.

    Args:
        denoiser: With the weights to read.
        prepared: The scene.
        settings: Timesteps and whether the input is noised.
        diffusion: The noise schedule's settings.
        seed: Seed of the noise field when the input is noised.
        device: Where the denoiser runs.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        prepared: PreparedScene,
        settings: FeatureSettings,
        diffusion: DiffusionSettings,
        seed: int,
        device: torch.device,
    ) -> None:
        self.denoiser = denoiser.to(device).eval()
        self.prepared, self.settings, self.seed, self.device = prepared, settings, seed, device
        self.schedule = NoiseSchedule(diffusion.timesteps, diffusion.beta_start, diffusion.beta_end)
        self.scale = torch.from_numpy(prepared.preparation.diffusion_scale).view(1, -1, 1, 1)

    @torch.inference_mode()
    @exact()
    def levels(self, tile: int, window: Window) -> list[Tensor]:
        """Return the decoder's features of a window, coarse to fine, at the scene's resolution.

        Coarse levels are interpolated bilinearly; with several timesteps their features are joined.

        Args:
            tile: Index of the tile.
            window: Any window of the tile; it is grown to whole strides and by the halo inside.

        Returns:
            Three tensors (g_l, h, w).
        """
        top, left = window.row % STRIDE, window.col % STRIDE
        height = -(-(window.height + top) // STRIDE) * STRIDE
        width = -(-(window.width + left) // STRIDE) * STRIDE
        grown = Window(window.row - top, window.col - left, height, width).grow(HALO)
        values, missing = self.prepared.window(tile, grown, edge="missing")
        x0 = torch.from_numpy(values)[None] * self.scale
        gone = torch.from_numpy(missing)[None].float().to(self.device)
        owner = list(self.prepared.layout.modality_of_channel)
        found: list[list[Tensor]] = [[], [], []]
        for timestep in self.settings.timesteps:
            t = torch.tensor([timestep], device=self.device)
            x = x0.to(self.device)
            if self.settings.noised:
                noise = torch.from_numpy(self._noise(tile, grown, timestep))[None]
                x = self.schedule.add_noise(x, noise.to(self.device), t)
                x = x * (1.0 - gone[:, owner])
            for level, features in zip(found, self.denoiser.decode(x, gone, t), strict=True):
                factor = grown.height // features.shape[2]
                if factor > 1:
                    features = F.interpolate(
                        features, scale_factor=float(factor), mode="bilinear", align_corners=False
                    )
                row, col = HALO + top, HALO + left
                level.append(features[0, :, row : row + window.height, col : col + window.width])
        return [torch.cat(level) for level in found]

    def block(self, reduction: Reduction, tile: int, window: Window) -> NDArray[np.float16]:
        """Return the features (g, h, w) of a window of the grid of blocks, as they are stored."""
        return stored_form(reduction, self.levels(tile, window))

    def _noise(self, tile: int, window: Window, timestep: int) -> NDArray[np.float32]:
        """The noise field: a function of seed, timestep and absolute position, never of tiling."""
        side, channels = NOISE_BLOCK, self.prepared.layout.channels
        first_row, first_col = window.row // side, window.col // side
        last_row = (window.row + window.height - 1) // side
        last_col = (window.col + window.width - 1) // side
        field = np.block(
            [
                [
                    numpy_generator(
                        # counters must not be negative; blocks left of the scene are
                        self.seed,
                        "noise field",
                        timestep,
                        tile,
                        row + 2**20,
                        col + 2**20,
                    ).standard_normal((channels, side, side), dtype=np.float32)
                    for col in range(first_col, last_col + 1)
                ]
                for row in range(first_row, last_row + 1)
            ]
        )
        row, col = window.row - first_row * side, window.col - first_col * side
        return np.ascontiguousarray(field[:, row : row + window.height, col : col + window.width])


def stored_form(reduction: Reduction, levels: Sequence[Tensor]) -> NDArray[np.float16]:
    """Return the features (g, h, w) of levels of the decoder, as they are stored."""
    return reduction.apply(levels).astype(np.float16)


class LevelBlocks:
    """The decoder's levels in parts of the blocks of a scene.

    Of a small scene every block is computed once, for the components and for the features; of a
    large one what is asked for is computed, and nothing is kept.

    Args:
        extractor: Reads the denoiser.
    """

    def __init__(self, extractor: FeatureExtractor) -> None:
        self.extractor, self.prepared = extractor, extractor.prepared
        shapes = self.prepared.shapes
        channels = sum(extractor.denoiser.level_channels) * len(extractor.settings.timesteps)
        self._small = 4 * channels * sum(h * w for h, w in shapes) <= KEPT_BYTES
        self._kept: dict[tuple[int, Window], list[Tensor]] = {}

    def levels(self, tile: int, window: Window) -> list[Tensor]:
        """Return the levels of a window, as the extractor gives them."""
        row, col = window.row // WINDOW * WINDOW, window.col // WINDOW * WINDOW
        height, width = self.prepared.shape(tile)
        block = Window(row, col, min(WINDOW, height - row), min(WINDOW, width - col))
        within = window.row + window.height <= row + block.height
        within &= window.col + window.width <= col + block.width
        if not (self._small and within):
            return self.extractor.levels(tile, window)
        found = self._kept.get((tile, block))
        if found is None:
            found = self._kept[tile, block] = self.extractor.levels(tile, block)
        rows = slice(window.row - row, window.row - row + window.height)
        cols = slice(window.col - col, window.col - col + window.width)
        return [level[:, rows, cols] for level in found]


def sample_windows(
    shapes: Sequence[tuple[int, int]], generator: np.random.Generator
) -> Iterator[tuple[int, Window]]:
    """Yield the windows of a scene in random order; `enough` says when to stop."""
    places = [
        (tile, window)
        for tile, shape in enumerate(shapes)
        for window in windows_of(*shape, SAMPLE_WINDOW)
    ]
    for index in generator.permutation(len(places)):
        yield places[index]


def enough(pixels: int, valid: int) -> bool:
    """Tell whether components can be fitted on so many pixels, of which so many are valid."""
    return pixels >= PCA_PIXELS and valid >= LEAST_VALID


def sample_valid(
    prepared: PreparedScene, generator: np.random.Generator
) -> Iterator[tuple[int, Window, NDArray[np.bool_]]]:
    """Yield windows from all over the scene with their valid pixels, which are some.

    The windows of a large scene hold about ``PCA_PIXELS`` valid pixels together; those of another
    one as many pixels, valid or not, and more where few of these are valid.
    """
    if prepared.scene.large:
        total = 0
        for sample in windows_with_data(prepared, WINDOW // 2, generator):
            yield sample.tile, sample.window, sample.valid
            total += int(sample.valid.sum())
            if total >= PCA_PIXELS:
                return
        return
    shapes = prepared.shapes
    pixels = known = 0
    for tile, window in sample_windows(shapes, generator):
        valid = prepared.valid_in(tile, window)
        if valid.any():
            yield tile, window, valid
        pixels, known = pixels + valid.size, known + int(valid.sum())
        if enough(pixels, known):
            return


def extract(
    extractor: FeatureExtractor,
    folder: Path,
    origin: dict[str, Any],
    progress: Progress,
    cluster: Blocks | None = None,
    known: bool = False,
) -> None:
    """Compute the features of the whole scene and write the container.

    Where the disk has no room for them, or the settings say so, only their components are
    written, and the features are computed where they are read; they are the same to the last bit.

    Args:
        extractor: Reads the denoiser.
        folder: Where the container is written.
        origin: Goes into the JSON.
        progress: Receives the blocks.
        cluster: Computes the blocks, with the same bits; None computes them here.
        known: Whether the folder's components are of these very features: they are kept then, since
            another processor would fit them to others by rounding.
    """
    prepared = extractor.prepared
    shapes = prepared.shapes
    read = LevelBlocks(extractor)
    stands = known and (folder / REDUCTION).is_file()
    reduction = Reduction.load(folder / REDUCTION) if stands else fit_reduction(read)
    levels, channels = reduction.levels, reduction.channels
    explained = [round(projection.explained, 4) for projection in reduction.projections]
    origin = {**origin, "explained_variance": explained}
    room = room_for(folder, shapes, channels)
    wanted = extractor.settings.stored
    stored = room.enough if wanted == "auto" else wanted == "always"
    reason = "" if wanted == "auto" else f", as features.stored is {wanted}"
    if not stored:
        alone = "" if cluster is None else "; only components are written, no scheduler is needed"
        progress.say(f"features: computed where they are read{reason}; {room.describe()}{alone}")
        reduction.save(folder / REDUCTION)
        write_index(folder, levels, {**origin, "room": room.describe()}, stored=False)
        for tile in prepared.scene.tiles:
            remove(folder / tile_file(tile.name))
        return
    if prepared.scene.large:
        progress.say(f"features: stored{reason}; {room.describe()}")
    blocks = _blocks(read, reduction) if cluster is None else cluster(reduction)
    _write(prepared, folder, channels, blocks, progress)
    reduction.save(folder / REDUCTION)
    write_index(folder, levels, origin)


def _blocks(read: LevelBlocks, reduction: Reduction) -> Iterator[Block]:
    for tile, window in in_order(grids_of(read.prepared)):
        yield tile, window, stored_form(reduction, read.levels(tile, window))


def _write(
    prepared: PreparedScene,
    folder: Path,
    channels: int,
    blocks: Iterator[Block],
    progress: Progress,
) -> None:
    """Write the blocks of all tiles; a tile's file takes its name with the last of its blocks."""
    left = [len(grid) for grid in grids_of(prepared)]
    total = sum(left)
    opened: dict[int, tuple[contextlib.ExitStack, NDArray[np.float16]]] = {}
    with contextlib.ExitStack() as tiles:
        for done, (tile, window, found) in enumerate(blocks, 1):
            if tile not in opened:
                file = tiles.enter_context(contextlib.ExitStack())
                name, shape = prepared.scene.tiles[tile].name, prepared.shape(tile)
                opened[tile] = file, file.enter_context(open_tile(folder, name, (channels, *shape)))
            file, array = opened[tile]
            array[(slice(None), *window.slices)] = found
            left[tile] -= 1
            if not left[tile]:
                del opened[tile]
                file.close()
            progress.track("features", done, total)


def grids_of(prepared: PreparedScene) -> list[WindowGrid]:
    """Return the grid of blocks of every tile: features are computed in these windows alone."""
    shapes = prepared.shapes
    return [WindowGrid(*shape, WINDOW, WINDOW) for shape in shapes]


def fit_reduction(read: LevelBlocks) -> Reduction:
    """Fit the components of the levels in use on windows from all over the scene."""
    extractor = read.extractor
    guides = extractor.settings.levels
    samples: dict[int, list[NDArray[np.float32]]] = {index: [] for index in levels_in_use(guides)}
    draws = numpy_generator(extractor.seed, "feature components")
    for tile, window, valid in sample_valid(extractor.prepared, draws):
        found_levels = read.levels(tile, window)
        for index, sample in samples.items():
            sample.append(found_levels[index].cpu().numpy()[:, valid].T)
    components = extractor.settings.components
    return Reduction(
        [Projection.fit(np.concatenate(s), components) for s in samples.values()], guides
    )
