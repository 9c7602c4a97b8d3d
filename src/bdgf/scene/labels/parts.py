"""The labels of a scene as a training and a test part, checked."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from bdgf.errors import SceneError
from bdgf.scene.description import LabelFile, SceneSpec
from bdgf.scene.labels.codes import UNLABELLED, count_classes, to_indices
from bdgf.scene.labels.reading import LabelReader
from bdgf.scene.memory import InMemory
from bdgf.scene.notes import Notes
from bdgf.scene.splits import Labels, split_labels, thin_labels
from bdgf.scene.tiles import Tile

logger = logging.getLogger(__name__)


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

    def load(self) -> tuple[Labels, Labels]:
        """Return the class indices of every tile, for training and for testing.

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
            train = read["train"]
            test = read.get("test", [np.full_like(tile, UNLABELLED) for tile in train])
            self._check_disjoint(train, test)
        else:
            train, test = split_labels(self._merged(list(read.values())), self.spec.split)
        if self.spec.budget is not None:
            train = thin_labels(train, self.spec.budget, self.spec.budget_seed)
        self._check_classes(train, test)
        return train, test

    def _read_labels(self, which: str, tile: Tile, file: LabelFile) -> NDArray[np.int16]:
        reference = self.spec.display(tile.sources[self.spec.reference].path)
        if self._memory is not None:
            number = self.spec.tiles.index(tile.name)
            modality = self.spec.modalities[self.spec.reference].name
            codes, sentence = self._memory.codes(which, number, tile.grid, reference, modality)
            self._notes.say(f"labels {which}", sentence)
            return to_indices(codes, self._codes, f"{which} labels")
        codes = self._reader.codes(file, tile.name, tile.grid, reference)
        for note in self._reader.notes:
            self._notes.say(f"labels {which}", note)
        self._reader.notes.clear()
        name = self.spec.display(self.spec.file(file.path, tile.name))
        return to_indices(codes, self._codes, name)

    def _check_disjoint(self, train: Labels, test: Labels) -> None:
        shared = [(a >= 0) & (b >= 0) for a, b in zip(train, test, strict=True)]
        count = sum(int(mask.sum()) for mask in shared)
        if count:
            tile = next(t.name for t, mask in zip(self.tiles, shared, strict=True) if mask.any())
            where = f", the first in tile {tile}" if len(self.tiles) > 1 else ""
            raise SceneError(
                f"{count:,} pixels are labelled for training and for testing{where}. Accuracy is"
                " measured on pixels that were not trained on: set them to 0 in one of the two"
                " label files, or let 'split: {random: 20 per class}' or 'split: {blocks: {size:"
                " 32, guard: 8}}' divide all labels."
            )

    def _merged(self, parts: list[Labels]) -> Labels:
        merged = [tile.copy() for tile in parts[0]]
        for part in parts[1:]:
            for tile, ours, more in zip(self.tiles, merged, part, strict=True):
                differ = (ours >= 0) & (more >= 0) & (ours != more)
                if differ.any():
                    raise SceneError(
                        f"the two label files of tile {tile.name} disagree on {int(differ.sum()):,}"
                        " pixels; a split of their union needs one class per pixel: correct one of"
                        " them, or name a single file with 'all: ...'."
                    )
                np.copyto(ours, more, where=ours < 0)
        return merged

    def _check_classes(self, train: Labels, test: Labels) -> None:
        trained = count_classes(train, len(self._codes))
        tested = count_classes(test, len(self._codes))
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
