"""A scene: tiles of co-registered rasters with their labels, checked when it is opened."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from bdgf.errors import SceneError
from bdgf.scene.description import ModalitySpec, Role, SceneSpec, SplitSpec, Units
from bdgf.scene.from_arrays import Images, InMemory, LabelArrays, describe
from bdgf.scene.ground import on_ground
from bdgf.scene.labels.parts import LabelParts
from bdgf.scene.labels.pixels import TileLabels, positions_of
from bdgf.scene.labels.reading import LabelReader
from bdgf.scene.notes import Notes
from bdgf.scene.palette import palette
from bdgf.scene.scene_file import load_scene_file
from bdgf.scene.splits import Pixels
from bdgf.scene.tiles import Part, Tile, TileOpener, check_bands

logger = logging.getLogger(__name__)

WHOLE_PIXELS = 1 << 23
"""Pixels of all tiles up to which a scene is looked at whole; of a larger one windows are drawn."""


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
        own = {code: colors[code] for code in self.class_codes if code in colors}
        others = iter(palette(len(classes) - len(own), own.values()))
        self.class_colors: tuple[str, ...] = tuple(
            own[code] if code in own else next(others) for code in self.class_codes
        )
        notes, reader = Notes(), LabelReader(spec)
        opener = TileOpener(spec, memory, reader, notes)
        self.tiles: tuple[Tile, ...] = tuple(
            opener.open(number, partial(self._labels_of, number))
            for number in range(len(spec.tiles))
        )
        opener.check_reached()
        check_bands(spec, self.tiles)
        self._labels: tuple[Pixels, Pixels] | None = None
        if spec.labels is not None:
            self._labels = LabelParts(spec, self.tiles, memory, reader, notes).load()
        self.notes: tuple[str, ...] = notes.summed()
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

    def in_order(self, names: Sequence[str], grid_of: str | None = None) -> Scene:
        """Return the scene with its modalities in another order, itself where that is its own.

        Its grid stays, whichever modality comes first, unless the scene names none to align to and
        ``grid_of`` does. A scene of other modalities is returned as it is.

        Args:
            names: The modalities in their new order.
            grid_of: Modality whose grid the scene gets where it does not say which.

        Raises:
            SceneError: Its files cannot be opened any more.
        """
        own = [modality.name for modality in self.modalities]
        if sorted(own) != sorted(names):
            return self
        reference = own[self.spec.reference]  # the first of the scene file, which it was read by
        if self.spec.align is None and grid_of in own:
            reference = grid_of
        if own == list(names) and reference == own[self.spec.reference]:
            return self
        spec = dataclasses.replace(
            self.spec,
            modalities=tuple(self.modalities[own.index(name)] for name in names),
            align=reference,
        )
        memory = None if self._memory is None else self._memory.in_order(names)
        return Scene(spec, memory)

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
        return positions_of(self._part(which))

    def ground_positions(self, which: Part) -> NDArray[np.int64]:
        """Return a part's pixels (n, 3) by their place on the ground, in the order of `positions`.

        Tiles that overlap, or lie near each other, are seen to do so; see `on_ground`.
        """
        return on_ground(self.tiles, self.positions(which))

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
            return self._memory.digest(part, self.spec.described(part))
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

    def _labels_of(self, number: int) -> tuple[TileLabels, TileLabels]:
        train, test = self._both()
        return train[number], test[number]
