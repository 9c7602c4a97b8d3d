"""Label files of any kind as class codes on the grid of a tile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bdgf.errors import SceneError
from bdgf.scene.alignment import ApartError, align
from bdgf.scene.description import TILE, LabelFile, SceneSpec
from bdgf.scene.formats.base import RasterSource, known_empty
from bdgf.scene.formats.location import Location
from bdgf.scene.formats.opening import contents, open_source, raster_keys, read_array, shape_of
from bdgf.scene.grid import Grid
from bdgf.scene.labels.codes import read_codes
from bdgf.scene.labels.index_lists import index_codes, is_index_list
from bdgf.scene.labels.roi import roi_codes
from bdgf.scene.labels.vector import VectorLabels
from bdgf.scene.labels.vector_files import VECTOR_SUFFIXES
from bdgf.scene.warp import AbsentSource
from bdgf.scene.windows import Window

ROI_SUFFIXES = (".txt", ".roi", ".xml")
MOST_STORED = 10**11
"""Most pixels of a raster that are read to find labels; it takes some ten minutes."""

_SPAN = 4096  # rows of which a sparse file is asked at once whether it stores anything


class LabelReader:
    """Reads the label files of a scene, tile by tile; a file of polygons is opened once for all.

    Attributes:
        notes: What was done to labels on reading them, in words for the user.
    """

    def __init__(self, spec: SceneSpec) -> None:
        self.notes: list[str] = []
        self._spec = spec
        self._vectors: dict[LabelFile, VectorLabels] = {}
        self._apart: dict[LabelFile, dict[str, ApartError]] = {}  # by tiles that are not reached
        self._finished: list[str] = []  # what is to be said of the files of earlier tiles

    def codes(self, file: LabelFile, tile: str, grid: Grid, reference: str) -> NDArray[np.int32]:
        """Return the class codes (H, W) of a file on a tile's grid, 0 where unlabelled.

        Args:
            file: The label file.
            tile: Name of the tile.
            grid: The tile's grid.
            reference: Name of the file that the grid is from, for messages.

        Raises:
            SceneError: The file cannot be read, or does not fit the grid.
        """
        labels = self._spec.labels
        path = self._spec.file(file.path, tile)
        suffix = path.suffix.lower()
        ignore = labels.ignore if labels is not None else ()
        if isinstance(path, Path) and suffix in VECTOR_SUFFIXES:
            return _without(ignore, self._vector(file, path).codes(grid))
        if isinstance(path, Path) and suffix in ROI_SUFFIXES:
            return _without(ignore, roi_codes(path, grid, self._known()))
        if isinstance(path, Path) and self._is_list(path, file, grid):
            return self._listed(path, file, tile, grid, reference)
        return read_codes(self._aligned(path, file, tile, grid, reference), ignore=ignore)

    def strips(
        self, file: LabelFile, tile: str, grid: Grid, reference: str, rows: int
    ) -> Iterator[tuple[int, NDArray[np.int32] | None]]:
        """Yield the class codes of a file strip by strip, from top to bottom.

        Rasters and vector files are read by strips; lists of pixels are drawn whole.

        Args:
            file: The label file.
            tile: Name of the tile.
            grid: The tile's grid.
            reference: Name of the file that the grid is from, for messages.
            rows: Rows of a strip; the last one may have fewer.

        Yields:
            Rows h of the strip and its codes (h, W), None for rows of which a sparse file stores
            nothing: they take no memory, however many.

        Raises:
            SceneError: The file cannot be read, or does not fit the grid.
        """
        path = self._spec.file(file.path, tile)
        suffix = path.suffix.lower()
        local = path if isinstance(path, Path) else None
        drawn = local if suffix in VECTOR_SUFFIXES else None  # polygons or points
        listed = local is not None and (
            suffix in ROI_SUFFIXES or (drawn is None and self._is_list(local, file, grid))
        )
        if rows >= grid.height or listed:
            yield grid.height, self.codes(file, tile, grid, reference)
            return
        ignore = self._spec.labels.ignore if self._spec.labels is not None else ()
        if drawn is not None:
            shapes = self._vector(file, drawn)
            for row in range(0, grid.height, rows):
                height = min(rows, grid.height - row)
                yield height, _without(ignore, shapes.codes(grid.rows(row, height)))
            return
        raster = self._aligned(path, file, tile, grid, reference)
        for top, tall, empty in _spans(raster, grid, self._spec.display(path)):
            if empty:
                yield tall, None
                continue
            for row in range(top, top + tall, rows):
                height = min(rows, top + tall - row)
                yield height, read_codes(raster, Window(row, 0, height, grid.width), ignore)

    def finish(self) -> list[str]:
        """Return what is to be said of files of polygons when all tiles have been read.

        Raises:
            SceneError: A raster of labels reaches no tile.
        """
        for apart in self._apart.values():
            if len(apart) == len(self._spec.tiles):
                raise next(iter(apart.values()))
        for vector in self._vectors.values():
            self._finished += self._said(vector)
        self._vectors.clear()
        return list(dict.fromkeys(self._finished))

    def shape(self, file: LabelFile, tile: str) -> tuple[int, int] | None:
        """Return rows and columns of a label raster, None for labels of another kind."""
        path = self._spec.file(file.path, tile)
        if path.suffix.lower() in (*VECTOR_SUFFIXES, *ROI_SUFFIXES):
            return None
        arrays = contents(path)
        if arrays is None:
            alone = shape_of(path, None) if isinstance(path, Path) else None
            if alone is not None and (len(alone) < 2 or (len(alone) == 2 and min(alone) <= 3)):
                return None  # a list of pixels
            source = open_source(path)
            return source.height, source.width
        key = file.key or next(iter(raster_keys(arrays)), None)
        found = arrays[key].shape if key in arrays else ()
        return (found[0], found[1]) if len(found) == 2 and min(found) > 3 else None

    def _vector(self, file: LabelFile, path: Path) -> VectorLabels:
        shared = self._vectors.get(file) if file.path == str(path) or "{" not in file.path else None
        if shared is None:
            if file in self._vectors:  # each tile has a file of its own
                self._finished += self._said(self._vectors[file])
            shared = VectorLabels(path, file.column, file.layer, self._known())
            self._vectors[file] = shared
        return shared

    def _known(self) -> dict[int, str]:
        """Return the classes, and what is ignored: it is known, and taken away afterwards."""
        labels = self._spec.labels
        if labels is None:
            return {}
        return {**labels.classes, **{code: f"ignored {code}" for code in labels.ignore}}

    def _said(self, vector: VectorLabels) -> list[str]:
        name = self._spec.display(vector.path)
        lost = f"{name}: {vector.outside:,} features lie in no tile."
        return [*vector.notes, *([lost] if vector.outside else [])]

    def _is_list(self, path: Path, file: LabelFile, grid: Grid) -> bool:
        shape = shape_of(path, file.key)
        return shape is not None and is_index_list(shape, grid.height, grid.width)

    def _listed(
        self, path: Path, file: LabelFile, tile: str, grid: Grid, reference: str
    ) -> NDArray[np.int32]:
        """Codes at the listed pixels, picked from the map of all codes."""
        labels = self._spec.labels
        picked = None
        if labels is not None and labels.map is not None:
            picked = self.codes(labels.map, tile, grid, reference)
        codes, note = index_codes(
            read_array(path, file.key),
            file.index_base,
            picked,
            (grid.height, grid.width),
            f"{file.key} of {self._spec.display(path)}" if file.key else self._spec.display(path),
            file.index_order,
            labels.ignore if labels is not None else (),
        )
        if note:
            self.notes.append(note)
        return codes

    def _aligned(
        self, path: Location, file: LabelFile, tile: str, grid: Grid, reference: str
    ) -> RasterSource:
        source = open_source(path, file.key, axes=file.axes)
        name = self._spec.display(path)
        multiples = self._spec.align is not None
        try:
            aligned, sentence = align(
                source,
                grid,
                name=name,
                reference=reference,
                categorical=True,
                multiples=multiples,
                modality=self._spec.modalities[self._spec.reference].name,
            )
        except ApartError as error:
            if TILE in file.path:  # a tile's own file lies where the tile is
                raise
            self._apart.setdefault(file, {})[tile] = error
            self.notes.append(f"{name} does not reach tile {tile}, which has no label of it")
            return AbsentSource(source, grid, categorical=True)
        self.notes += [note for note in dict.fromkeys([sentence, *aligned.notes]) if note]
        if aligned is source and source.nodata is None:
            # 0 is unlabelled anyway, and what a sparse file does not store reads as 0
            return open_source(path, file.key, nodata=0.0, axes=file.axes)
        return aligned


def _without(ignore: tuple[int, ...], codes: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return codes with those that are ignored set to 0, in place."""
    codes[np.isin(codes, ignore)] = 0
    return codes


def _spans(raster: RasterSource, grid: Grid, name: str) -> list[tuple[int, int, bool]]:
    """Return spans of whole rows: the first row, their number, and whether nothing is stored there.

    Raises:
        SceneError: More pixels are stored than anybody looks through for labels.
    """
    spans = []
    for row in range(0, grid.height, _SPAN):
        tall = min(_SPAN, grid.height - row)
        spans.append((row, tall, known_empty(raster, Window(row, 0, tall, grid.width))))
    stored = sum(tall for _, tall, empty in spans if not empty) * grid.width
    if stored > MOST_STORED:
        raise SceneError(
            f"{name} has {stored:.0e} pixels to be looked through for labels, and the most is"
            f" {MOST_STORED:.0e}; give the labels of a scene of this size as polygons or points, or"
            " in a sparse GeoTIFF (SPARSE_OK=TRUE)."
        )
    return spans
