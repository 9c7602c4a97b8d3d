"""The labels of a scene as a training and a test part, checked."""

from __future__ import annotations

import logging

import numpy as np

from bdgf.errors import SceneError
from bdgf.scene.description import LabelFile, SceneSpec
from bdgf.scene.from_arrays import InMemory
from bdgf.scene.ground import distances, on_ground, share_ground
from bdgf.scene.labels.codes import to_indices
from bdgf.scene.labels.pixels import TileLabels, joined, positions_of
from bdgf.scene.labels.reading import LabelReader
from bdgf.scene.notes import Notes
from bdgf.scene.splits import Pixels, split_pixels, thin_pixels
from bdgf.scene.tiles import Tile

logger = logging.getLogger(__name__)

_STRIP_PIXELS = 1 << 24  # of the labels that are read at once


class LabelParts:
    """Reads and divides the labels of a scene.

    Args:
        spec: The scene file.
        tiles: Its tiles.
        memory: The arrays, where the scene is made of arrays.
        reader: Reads label files.
        notes: Receives what is put right.
    """

    def __init__(
        self,
        spec: SceneSpec,
        tiles: tuple[Tile, ...],
        memory: InMemory | None,
        reader: LabelReader,
        notes: Notes,
    ) -> None:
        self.spec, self.tiles, self._memory, self._reader = spec, tiles, memory, reader
        self._notes = notes
        classes = spec.labels.classes if spec.labels is not None else {}
        self._names = dict(sorted(classes.items()))
        self._codes = tuple(self._names)

    def load(self) -> tuple[Pixels, Pixels]:
        """Return the labelled pixels of every tile, for training and for testing.

        Raises:
            SceneError: Labels that cannot be read, or do not fit together.
        """
        labels = self.spec.labels
        if labels is None:
            return [], []
        read = {
            which: [self._read_labels(which, tile, file) for tile in self.tiles]
            for which, file in labels.files()
        }
        for note in self._reader.finish():
            self._notes.say(note, note)
        if self.spec.split.kind == "given":
            nothing = [TileLabels.none(tile.height, tile.width) for tile in self.tiles]
            train, test = read.get("train", nothing), read.get("test", nothing)
            self._check_disjoint(train, test)
        else:
            train, test = split_pixels(self._merged(list(read.values())), self.spec.split)
        test = self._untrained(train, test)
        if self.spec.budget is not None:
            train = thin_pixels(train, self.spec.budget, self.spec.budget_seed)
        if self.spec.split.kind != "given" or "train" in read:
            self._check_classes(train, test)
        if self.spec.split.kind != "given" and not any(len(tile) for tile in test):
            self._notes.say(
                "no test",
                "the split leaves no pixel for testing, so no accuracy is measured: let it train"
                " fewer pixels, or lower the size and the guard of its blocks",
            )
        return train, test

    def _read_labels(self, which: str, tile: Tile, file: LabelFile) -> TileLabels:
        reference = self.spec.display(tile.sources[self.spec.reference].path)
        if self._memory is not None:
            number = self.spec.tiles.index(tile.name)
            modality = self.spec.modalities[self.spec.reference].name
            codes, sentence = self._memory.codes(which, number, tile.grid, reference, modality)
            self._notes.say(f"labels {which}", sentence)
            return TileLabels.of(to_indices(codes, self._codes, f"{which} labels"))
        rows = max(1, _STRIP_PIXELS // tile.width)
        name = self.spec.display(self.spec.file(file.path, tile.name))
        parts = [
            TileLabels.none(height, tile.width)
            if codes is None
            else TileLabels.of(to_indices(codes, self._codes, name))
            for height, codes in self._reader.strips(file, tile.name, tile.grid, reference, rows)
        ]
        for note in self._reader.notes:
            self._notes.say(f"labels {which}", note)
        self._reader.notes.clear()
        return joined(tile.height, tile.width, parts)

    def _untrained(self, train: Pixels, test: Pixels) -> Pixels:
        """Leave out test pixels whose ground is trained in another tile, or near it by a guard."""
        if not share_ground(self.tiles):
            return test
        tested, trained = (on_ground(self.tiles, positions_of(part)) for part in (test, train))
        guard = self.spec.split.guard if self.spec.split.kind == "blocks" else 0
        free = np.isinf(distances(tested, trained, guard))
        near, tiles = np.flatnonzero(~free), positions_of(test)[:, 0]
        source = positions_of(train)[:, 0]
        for tile in np.unique(tiles[near]):
            # its own training pixels are not meant: where pixels differ in size several of a tile
            # share one of the first tile's, by which the ground is counted
            here, others = near[tiles[near] == tile], trained[source != tile]
            free[here] = np.isinf(distances(tested[here], others, guard))
        if free.all():
            return test
        self._notes.say(
            "overlap",
            f"{np.count_nonzero(~free):,} test pixels lie on ground that is trained in another"
            " tile; they are left out.",
        )
        parts = np.split(free, np.cumsum([len(tile) for tile in test])[:-1])
        return [tile.select(keep) for tile, keep in zip(test, parts, strict=True)]

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
            for number, (ours, more) in enumerate(zip(merged, part, strict=True)):
                _, here, there = np.intersect1d(
                    ours.flat, more.flat, assume_unique=True, return_indices=True
                )
                differ = int((ours.classes[here] != more.classes[there]).sum())
                if differ:
                    raise SceneError(
                        f"the two label files of tile {self.tiles[number].name} disagree on"
                        f" {differ:,} pixels; a split of their union needs one class per pixel:"
                        " correct one of them, or name a single file with 'all: ...'."
                    )
                merged[number] = ours.union(more)
        return merged

    def _check_classes(self, train: Pixels, test: Pixels) -> None:
        trained, tested = (
            np.bincount(np.concatenate([t.classes for t in part]), minlength=len(self._codes))
            for part in (train, test)
        )
        if not trained.any():
            raise SceneError(
                f"{self.spec.path.name} has no training pixel: all of its training labels are 0 or"
                " nodata; label some pixels of every class."
            )
        for code, name, ours, theirs in zip(
            self._codes, self._names.values(), trained, tested, strict=True
        ):
            if theirs and not ours:
                raise SceneError(
                    f"class {code} ({name}) has {theirs:,} test pixels and no training pixel; what"
                    " is tested must be trained: label some for training, set them to 0 in the test"
                    " labels, or use another split."
                )
            if not ours and not theirs:
                logger.warning("Class %d (%s) has no labelled pixel.", code, name)
