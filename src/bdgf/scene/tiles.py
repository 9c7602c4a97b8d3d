"""The tiles of a scene: their rasters opened, and brought to one grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from bdgf.errors import SceneError
from bdgf.scene.alignment import ApartError, agree, align, finest
from bdgf.scene.bands import band_labels, other_order
from bdgf.scene.description import TILE, ModalitySpec, SceneSpec
from bdgf.scene.formats.arrays import ArraySource
from bdgf.scene.formats.base import RasterSource
from bdgf.scene.formats.opening import open_source
from bdgf.scene.formats.selection import BandSelection
from bdgf.scene.formats.stack import StackSource
from bdgf.scene.from_arrays import InMemory
from bdgf.scene.grid import Grid
from bdgf.scene.labels.pixels import TileLabels
from bdgf.scene.labels.reading import LabelReader
from bdgf.scene.notes import Notes
from bdgf.scene.warp import AbsentSource
from bdgf.scene.windows import Window

Part = Literal["train", "test"]


class Tile:
    """One tile of a scene: a raster per modality, all on one grid.

    Attributes:
        name: Name of the tile.
        height: H, number of rows.
        width: W, number of columns.
        crs: Coordinate reference system, None where no modality has one.
        transform: From (column, row) to map coordinates, None where no modality has one.
        sources: The raster of every modality, in the scene's order.
        agreed_axes: Axes of the raster that gives the grid, where the other rasters and the labels
            decided them, such as CWH; None where the file or the scene file did.
    """

    def __init__(
        self,
        name: str,
        sources: tuple[RasterSource, ...],
        labels: Callable[[], tuple[TileLabels, TileLabels]],
        agreed_axes: str | None = None,
    ) -> None:
        placed = [source for source in sources if Grid.of(source).placed]
        self.name = name
        self.sources = sources
        self.height = sources[0].height
        self.width = sources[0].width
        self.transform: Affine | None = placed[0].transform if placed else None
        # a system without coordinates, as some files have, is no say against one with them
        self.crs: Any | None = next((s.crs for s in [*placed, *sources] if s.crs is not None), None)
        self.agreed_axes = agreed_axes
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


class TileOpener:
    """Opens the tiles of a scene.

    Args:
        spec: The scene file.
        memory: The arrays, where the scene is made of arrays.
        reader: Reads the labels, of which only the shapes are asked for.
        notes: Receives what is put right.
    """

    def __init__(
        self, spec: SceneSpec, memory: InMemory | None, reader: LabelReader, notes: Notes
    ) -> None:
        self.spec, self._memory, self._reader, self._notes = spec, memory, reader, notes
        self._apart: dict[str, list[ApartError]] = {}

    def open(self, number: int, labels: Callable[[], tuple[TileLabels, TileLabels]]) -> Tile:
        """Open the rasters of a tile; the first modality, or ``align``, gives the grid.

        Args:
            number: Index of the tile.
            labels: Gives its labelled pixels, for training and for testing.

        Raises:
            SceneError: A raster cannot be read, or does not fit the grid.
        """
        name = self.spec.tiles[number]
        if self._memory is None:
            opened = [self._open_modality(modality, name) for modality in self.spec.modalities]
        else:
            opened = list(self._memory.images[number].values())
        chosen = self.spec.modalities[self.spec.reference]
        reference = opened[self.spec.reference]
        agreed = None
        if isinstance(reference, ArraySource) and not chosen.axes:
            shapes = [(s.height, s.width) for s in opened if s is not reference]
            found = agree(reference, [*shapes, *self._label_shapes(name)])
            if isinstance(found, ArraySource) and found is not reference:
                agreed = found.axes
            reference = found
        placing = _placing(reference, opened)
        sources: list[RasterSource] = []
        for index, (modality, source) in enumerate(zip(self.spec.modalities, opened, strict=True)):
            sentence = None
            if index == self.spec.reference:
                source = reference
            else:
                source, sentence = self._on_grid(source, modality, placing, name)
            if modality.bands is not None and isinstance(opened[index], ArraySource):
                # after its axes are known to be right
                source = BandSelection(source, modality.bands)
            for place, note in enumerate(dict.fromkeys([sentence, *source.notes])):
                self._notes.say(f"{modality.name} {place}", note)
            sources.append(source)
        return Tile(name, tuple(sources), labels, agreed)

    def _on_grid(
        self, source: RasterSource, modality: ModalitySpec, reference: RasterSource, tile: str
    ) -> tuple[RasterSource, str | None]:
        """Bring a modality to the grid of the raster that places the tile.

        A raster that all tiles share may miss this one; a tile's own file lies where the tile is.
        """
        grid = Grid.of(reference)
        try:
            return align(
                source,
                grid,
                name=self.spec.display(source.path),
                reference=self.spec.display(reference.path),
                categorical=False,
                multiples=self.spec.align is not None,
                modality=self.spec.modalities[self.spec.reference].name,
            )
        except ApartError as error:
            if self._memory is not None or any(TILE in path for path in modality.paths):
                raise
            self._apart.setdefault(modality.name, []).append(error)
            sentence = f"{modality.name} does not reach tile {tile} and is missing there"
            self._notes.say(f"{modality.name} apart", sentence)
            return AbsentSource(source, grid, categorical=False), None

    def check_reached(self) -> None:
        """Check that every modality reaches one of the tiles that were opened, or more.

        Raises:
            SceneError: One reaches none.
        """
        for apart in self._apart.values():
            if len(apart) == len(self.spec.tiles):
                raise apart[0]

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
                    name=self.spec.display(file.path),
                    reference=self.spec.display(first.path),
                    categorical=False,
                    multiples=True,
                )
                self._notes.say(f"{modality.name}: {file.path.name}", sentence)
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


def _placing(reference: RasterSource, opened: Sequence[RasterSource]) -> RasterSource:
    """Return what says where a tile lies: its reference, or the first of the same size that can."""
    if Grid.of(reference).placed:
        return reference
    size = (reference.height, reference.width)
    return next((s for s in opened if Grid.of(s).placed and (s.height, s.width) == size), reference)


def check_bands(spec: SceneSpec, tiles: tuple[Tile, ...]) -> None:
    """Check that all tiles have the same bands, in the same order where they have names.

    Raises:
        SceneError: One has others, or the same ones in another order.
    """
    for index, modality in enumerate(spec.modalities):
        first = tiles[0].sources[index]
        for tile in tiles[1:]:
            source = tile.sources[index]
            if source.bands != first.bands:
                raise SceneError(
                    f"{spec.display(source.path)} has {source.bands} bands,"
                    f" {spec.display(first.path)} has {first.bands}. All tiles of modality"
                    f" {modality.name} share their bands: correct the file, or leave the tile out."
                )
            order = other_order(band_labels(first), band_labels(source))
            if order is not None:
                raise SceneError(
                    f"{spec.display(source.path)} has its bands in the order {order}, as"
                    f" {spec.display(first.path)} has them. All tiles of modality {modality.name}"
                    " share their order: write the file again in that order, or leave the tile out."
                )
