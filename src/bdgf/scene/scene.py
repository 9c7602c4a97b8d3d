"""A scene: tiles of co-registered rasters with their labels, checked when it is opened."""

from __future__ import annotations

import colorsys
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from bdgf.errors import SceneError
from bdgf.scene.alignment import agree, align, finest
from bdgf.scene.description import LabelFile, ModalitySpec, Role, SceneSpec, SplitSpec, Units
from bdgf.scene.formats.arrays import ArraySource
from bdgf.scene.formats.base import RasterSource
from bdgf.scene.formats.opening import open_source
from bdgf.scene.formats.selection import BandSelection
from bdgf.scene.formats.stack import StackSource
from bdgf.scene.grid import Grid, apply
from bdgf.scene.labels.codes import to_indices
from bdgf.scene.labels.pixels import TileLabels, joined
from bdgf.scene.labels.reading import LabelReader
from bdgf.scene.layout import Window
from bdgf.scene.memory import Images, InMemory, LabelArrays, describe
from bdgf.scene.scene_file import load_scene_file
from bdgf.scene.splits import Pixels, split_pixels, thin_pixels

logger = logging.getLogger(__name__)

Part = Literal["train", "test"]

WHOLE_PIXELS = 1 << 23
"""Pixels of all tiles up to which a scene is looked at whole; of a larger one windows are drawn."""

_STRIP_PIXELS = 1 << 24  # of the labels that are read at once

# Okabe and Ito's colours for colour-blind readers, then Paul Tol's muted scheme.
_PALETTE = (
    *("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"),
    *("#332288", "#88CCEE", "#117733", "#DDCC77", "#882255", "#44AA99", "#999933", "#AA4499"),
)


class Tile:
    """One tile of a scene: a raster per modality, all on one grid.

    Attributes:
        name: Name of the tile.
        height: H, number of rows.
        width: W, number of columns.
        crs: Coordinate reference system, None where no modality has one.
        transform: From (column, row) to map coordinates, None where no modality has one.
        sources: The raster of every modality, in the scene's order.
    """

    def __init__(
        self,
        name: str,
        sources: tuple[RasterSource, ...],
        labels: Callable[[], tuple[TileLabels, TileLabels]],
    ) -> None:
        placed = [source for source in sources if Grid.of(source).placed]
        self.name = name
        self.sources = sources
        self.height = sources[0].height
        self.width = sources[0].width
        self.transform: Affine | None = placed[0].transform if placed else None
        self.crs: Any | None = next((s.crs for s in sources if s.crs is not None), None)
        self._labels = labels

    @property
    def grid(self) -> Grid:
        """The grid of pixels that all rasters of the tile share."""
        return Grid(self.height, self.width, self.transform, self.crs)

    @property
    def train(self) -> NDArray[np.int16]:
        """Class indices (H, W) of the training pixels, -1 elsewhere."""
        return self.labels("train").whole()

    @property
    def test(self) -> NDArray[np.int16]:
        """Class indices (H, W) of the test pixels, -1 elsewhere."""
        return self.labels("test").whole()

    def labels(self, which: Part) -> TileLabels:
        """Return the labelled pixels of a part.

        Raises:
            SceneError: The scene has no labels.
        """
        return self._labels()[0 if which == "train" else 1]

    def read(self, modality: int, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Read raw values (C, h, w), 0 where not valid, and valid (C, h, w) inside the tile."""
        return self.sources[modality].read(window)


class Scene:
    """A scene that has been checked; `Scene.open` opens files, `Scene.from_arrays` takes arrays.

    Attributes:
        spec: The scene file.
        name: Name of the scene.
        modalities: The modalities, in the scene file's order.
        tiles: The tiles.
        class_codes: Code of every class, sorted; a class's place here is its index.
        class_names: Name of every class.
        class_colors: Colour (#rrggbb) of every class.
        notes: What was put right on opening, such as resampling, in words for the user.
    """

    def __init__(self, spec: SceneSpec, memory: InMemory | None = None) -> None:
        self.spec = spec
        self._memory = memory
        self.name = spec.name
        self.modalities: tuple[ModalitySpec, ...] = spec.modalities
        classes = spec.labels.classes if spec.labels is not None else {}
        colors = spec.labels.colors if spec.labels is not None else {}
        self.class_codes: tuple[int, ...] = tuple(sorted(classes))
        self.class_names: tuple[str, ...] = tuple(classes[code] for code in self.class_codes)
        self.class_colors: tuple[str, ...] = tuple(
            colors.get(code, default)
            for code, default in zip(self.class_codes, palette(len(classes)), strict=True)
        )
        self._said: dict[str, list[str]] = {}
        self._reader = LabelReader(spec)
        self.tiles: tuple[Tile, ...] = tuple(
            self._open_tile(number, name) for number, name in enumerate(spec.tiles)
        )
        self._check_bands()
        self._labels = self._load_labels() if spec.labels is not None else None
        self.notes: tuple[str, ...] = tuple(_summed(said) for said in self._said.values())
        for note in self.notes:
            logger.info("%s", note)

    @classmethod
    def open(cls, scene: str | Path | SceneSpec) -> Scene:
        """Open a scene and check that its files fit together; no image values are read.

        Args:
            scene: A scene file, its folder, or a description.

        Raises:
            SceneError: The first thing that does not fit, with the way out.
        """
        return cls(scene if isinstance(scene, SceneSpec) else load_scene_file(scene))

    @classmethod
    def from_arrays(
        cls,
        images: Images,
        labels: LabelArrays = None,
        test: LabelArrays = None,
        *,
        name: str = "scene",
        classes: Mapping[int, str] | None = None,
        colors: Mapping[int, str] | None = None,
        roles: Mapping[str, Role] | None = None,
        units: Mapping[str, Units] | None = None,
        nodata: Mapping[str, float] | float | None = None,
        split: SplitSpec | None = None,
        align_to: str | None = None,
        crs: Any | None = None,  # noqa: ANN401
        transform: Affine | None = None,
    ) -> Scene:
        """Make a scene of arrays in memory; no file is read or written.

        NumPy arrays, memory maps, torch tensors, dask arrays and xarray's ``DataArray`` will do.
        The latter may have its dimensions in any order, and brings its own coordinates, CRS and
        nodata as rioxarray keeps them; arrays whose coordinates differ are resampled onto the grid
        of the first as they are read. The arrays are not copied: leave them as they are while the
        scene is in use.

        Args:
            images: By modality an array (C, H, W) or (H, W), such as ``{"hsi": a, "sar": b}``; for
                several tiles a list of such mappings.
            labels: Class codes (H, W), 0 where unlabelled, for training or for the split; for
                several tiles a list of them; None for a scene that is only mapped.
            test: Class codes for testing, likewise.
            name: Name of the scene.
            classes: Name of every class by its code; without it every code that occurs is a class.
            colors: Colour (#rrggbb) of classes by their code.
            roles: spectral or auxiliary by modality, auxiliary where it is not said; without any
                the modality with most bands is spectral.
            units: Of radar intensity by modality, as in a scene file; auto where it is not said.
            nodata: Value that means "no data", for all modalities or by modality. NaN never is
                data.
            split: Divides ``labels`` into training and test pixels; without it all are for
                training, and ``test`` is for testing.
            align_to: Modality whose grid the others are brought to; the first by default.
            crs: Coordinate reference system of all arrays that have none of their own.
            transform: From (column, row) to map coordinates, likewise.

        Raises:
            SceneError: The first thing that does not fit, with the way out.
        """
        spec, memory = describe(
            images, labels, test, name=name, classes=classes, colors=colors, roles=roles,
            units=units, nodata=nodata, split=split, align_to=align_to, crs=crs,
            transform=transform,
        )  # fmt: skip
        return cls(spec, memory)

    @property
    def large(self) -> bool:
        """Whether the scene is too large to keep something of every pixel in memory."""
        return sum(tile.height * tile.width for tile in self.tiles) > WHOLE_PIXELS

    @property
    def has_labels(self) -> bool:
        """Whether the scene has labels; one without can only be mapped."""
        return self._labels is not None

    def positions(self, which: Part) -> NDArray[np.int64]:
        """Return the labelled pixels (n, 3) of a part as tile, row, column, in this order."""
        found = [
            np.column_stack([np.full((len(labels), 1), number), labels.positions])
            for number, labels in enumerate(self._part(which))
        ]
        return np.concatenate(found).astype(np.int64)

    def ground_positions(self, which: Part) -> NDArray[np.int64]:
        """Return a part's pixels (n, 3) by their place on the ground, in the order of `positions`.

        Where all tiles have coordinates in one system, rows and columns count pixels from a common
        origin and the first column is 0, so that tiles of one neighbourhood are seen to be near;
        otherwise this is `positions`.
        """
        positions = self.positions(which)
        transforms = [tile.transform for tile in self.tiles]
        if len(self.tiles) == 1 or None in transforms or len({t.crs for t in self.tiles}) > 1:
            return positions
        found = np.zeros_like(positions)
        first = transforms[0]
        for number, transform in enumerate(transforms):
            if first is None or transform is None:
                continue
            here = positions[:, 0] == number
            # in pixels of the first tile, which all tiles of a scene resemble
            rows, cols = positions[here, 1] + 0.5, positions[here, 2] + 0.5
            col, row = apply(~first, *apply(transform, cols, rows))
            found[here, 1], found[here, 2] = np.floor(row), np.floor(col)
        return found

    def labels_at(self, which: Part) -> NDArray[np.int64]:
        """Return the class indices (n,) of a part's pixels, in the order of `positions`."""
        found = [labels.classes for labels in self._part(which)]
        return np.concatenate(found).astype(np.int64)

    def signature(self, part: Literal["images", "labels"]) -> str:
        """Return a digest that changes when a part does; see `SceneSpec.signature`.

        Of arrays in memory the values enter.

        Raises:
            SceneError: An input file is gone.
        """
        if self._memory is not None:
            spec = self.spec
            if part == "images":
                described = repr((spec.modalities, spec.tiles, spec.align))
            else:
                described = repr((spec.labels, spec.split, spec.budget, spec.budget_seed))
            return self._memory.digest(part, described)
        return self.spec.signature(part)

    def _part(self, which: Part) -> Pixels:
        if which not in ("train", "test"):
            raise ValueError(f"which is {which!r}; it must be train or test")
        train, test = self._both()
        return train if which == "train" else test

    def _both(self) -> tuple[Pixels, Pixels]:
        if self._labels is None:
            raise SceneError(
                f"{self.spec.path.name} has no labels, and this step needs them: add"
                " 'labels: {train: ..., test: ..., classes: {1: ..., 2: ...}}'."
            )
        return self._labels

    def _open_tile(self, number: int, name: str) -> Tile:
        if self._memory is None:
            opened = [self._open_modality(modality, name) for modality in self.modalities]
        else:
            opened = list(self._memory.images[number].values())
        reference = opened[self.spec.reference]
        if isinstance(reference, ArraySource) and not self.modalities[self.spec.reference].axes:
            shapes = [(s.height, s.width) for s in opened if s is not reference]
            reference = agree(reference, [*shapes, *self._label_shapes(name)])
        grid = Grid.of(reference)
        sources: list[RasterSource] = []
        for index, (modality, source) in enumerate(zip(self.modalities, opened, strict=True)):
            sentence = None
            if index == self.spec.reference:
                source = reference
            else:
                source, sentence = align(
                    source,
                    grid,
                    name=self._named(source),
                    reference=self._named(reference),
                    categorical=False,
                    multiples=self.spec.align is not None,
                    modality=self.modalities[self.spec.reference].name,
                )
            if modality.bands is not None and isinstance(opened[index], ArraySource):
                # after its axes are known to be right
                source = BandSelection(source, modality.bands)
            if not grid.placed and Grid.of(source).placed:
                # of the same size: what has coordinates places all others of the tile
                grid = Grid.of(source)
            for place, note in enumerate(dict.fromkeys([sentence, *source.notes])):
                self._say(f"{modality.name} {place}", note)
            sources.append(source)

        def labels() -> tuple[TileLabels, TileLabels]:
            train, test = self._both()
            return train[number], test[number]

        return Tile(name, tuple(sources), labels)

    def _open_modality(self, modality: ModalitySpec, tile: str) -> RasterSource:
        """Open a modality of a tile; bands in several files are brought to the finest of them."""
        files = [
            open_source(
                self.spec.file(path, tile), modality.key, modality.nodata, axes=modality.axes
            )
            for path in modality.paths
        ]
        source = files[0]
        if len(files) > 1:
            grid = finest(files)
            first = next(file for file in files if Grid.of(file) == grid)
            parts = []
            for file in files:
                part, sentence = align(
                    file,
                    grid,
                    name=self._named(file),
                    reference=self._named(first),
                    categorical=False,
                    multiples=True,
                )
                self._say(f"{modality.name}: {file.path.name}", sentence)
                parts.append(part)
            source = StackSource(parts)
        if modality.bands is None or isinstance(source, ArraySource):
            return source
        # before any resampling, so that only these are read
        return BandSelection(source, modality.bands)

    def _label_shapes(self, tile: str) -> list[tuple[int, int]]:
        labels = self.spec.labels
        if labels is None:
            return []
        files = [file for _, file in labels.files()] + ([labels.map] if labels.map else [])
        shapes = [self._reader.shape(file, tile) for file in files]
        return [shape for shape in shapes if shape is not None]

    def _say(self, topic: str, sentence: str | None) -> None:
        """Keep a sentence for the user; those of many tiles on one topic become one."""
        if sentence:
            self._said.setdefault(topic, []).append(sentence)

    def _check_bands(self) -> None:
        for index, modality in enumerate(self.modalities):
            first = self.tiles[0].sources[index]
            for tile in self.tiles[1:]:
                source = tile.sources[index]
                if source.bands != first.bands:
                    raise SceneError(
                        f"{self._named(source)} has {source.bands} bands, {self._named(first)} has"
                        f" {first.bands}. All tiles of modality {modality.name} share their bands:"
                        " correct the file, or leave the tile out."
                    )

    def _named(self, source: RasterSource) -> str:
        return self.spec.display(source.path)

    def _load_labels(self) -> tuple[Pixels, Pixels]:
        labels = self.spec.labels
        if labels is None:
            return [], []
        read = {
            which: [self._read_labels(which, tile, file) for tile in self.tiles]
            for which, file in labels.files()
        }
        for note in self._reader.finish():
            self._say(note, note)
        if self.spec.split.kind == "given":
            train = read["train"]
            nothing = [TileLabels.none(tile.height, tile.width) for tile in self.tiles]
            test = read.get("test", nothing)
            self._check_disjoint(train, test)
        else:
            train, test = split_pixels(self._merged(list(read.values())), self.spec.split)
        if self.spec.budget is not None:
            train = thin_pixels(train, self.spec.budget, self.spec.budget_seed)
        self._check_classes(train, test)
        return train, test

    def _read_labels(self, which: str, tile: Tile, file: LabelFile) -> TileLabels:
        reference = self._named(tile.sources[self.spec.reference])
        if self._memory is not None:
            number = self.spec.tiles.index(tile.name)
            modality = self.modalities[self.spec.reference].name
            codes, sentence = self._memory.codes(which, number, tile.grid, reference, modality)
            self._say(f"labels {which}", sentence)
            return TileLabels.of(to_indices(codes, self.class_codes, f"{which} labels"))
        rows = max(1, _STRIP_PIXELS // tile.width)
        name = self.spec.display(self.spec.file(file.path, tile.name))
        parts = [
            TileLabels.of(to_indices(codes, self.class_codes, name))
            for codes in self._reader.strips(file, tile.name, tile.grid, reference, rows)
        ]
        for note in self._reader.notes:
            self._say(f"labels {which}", note)
        self._reader.notes.clear()
        return joined(tile.height, tile.width, parts)

    def _check_disjoint(self, train: Pixels, test: Pixels) -> None:
        shared = [
            np.intersect1d(a.flat, b.flat, assume_unique=True).size
            for a, b in zip(train, test, strict=True)
        ]
        count = sum(shared)
        if count:
            tile = next(t.name for t, number in zip(self.tiles, shared, strict=True) if number)
            where = f", the first in tile {tile}" if len(self.tiles) > 1 else ""
            raise SceneError(
                f"{count:,} pixels are labelled for training and for testing{where}. Accuracy is"
                " measured on pixels that were not trained on: set them to 0 in one of the two"
                " label files, or let 'split: {random: 20 per class}' or 'split: {blocks: {size:"
                " 32, guard: 8}}' divide all labels."
            )

    def _merged(self, parts: list[Pixels]) -> Pixels:
        merged = list(parts[0])
        for part in parts[1:]:
            for number, (tile, ours, more) in enumerate(zip(self.tiles, merged, part, strict=True)):
                _, here, there = np.intersect1d(
                    ours.flat, more.flat, assume_unique=True, return_indices=True
                )
                differ = int((ours.classes[here] != more.classes[there]).sum())
                if differ:
                    raise SceneError(
                        f"the two label files of tile {tile.name} disagree on {differ:,}"
                        " pixels; a split of their union needs one class per pixel: correct one of"
                        " them, or name a single file with 'all: ...'."
                    )
                merged[number] = ours.union(more)
        return merged

    def _check_classes(self, train: Pixels, test: Pixels) -> None:
        trained, tested = (
            np.bincount(np.concatenate([t.classes for t in part]), minlength=len(self.class_codes))
            for part in (train, test)
        )
        if not trained.any():
            raise SceneError(
                f"{self.spec.path.name} has no training pixel: all of its training labels are 0 or"
                " nodata; label some pixels of every class."
            )
        for code, name, ours, theirs in zip(
            self.class_codes, self.class_names, trained, tested, strict=True
        ):
            if theirs and not ours:
                raise SceneError(
                    f"class {code} ({name}) has {theirs:,} test pixels and no training pixel; what"
                    " is tested must be trained: label some for training, set them to 0 in the test"
                    " labels, or use another split."
                )
            if not ours and not theirs:
                logger.warning("Class %d (%s) has no labelled pixel.", code, name)


def palette(number: int) -> tuple[str, ...]:
    """Return as many colours (#rrggbb), the first fifteen chosen for colour-blind readers."""
    more = []
    for index in range(number - len(_PALETTE)):
        # Steps of the golden angle keep any number of hues apart.
        red, green, blue = colorsys.hls_to_rgb(
            0.618034 * index % 1.0, 0.35 + 0.15 * (index % 3), 0.6
        )
        more.append(f"#{round(red * 255):02X}{round(green * 255):02X}{round(blue * 255):02X}")
    return (*_PALETTE[:number], *more)


def _summed(said: list[str]) -> str:
    """One sentence for what was said of many tiles."""
    return said[0] if len(said) == 1 else f"{said[0]} (and alike in {len(said) - 1} more tiles)"
