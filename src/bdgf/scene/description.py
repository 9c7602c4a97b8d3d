"""What a scene file says: files, labels and the split, as values that the rest of the code uses."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from bdgf.scene.formats.companions import companions
from bdgf.scene.formats.location import Location, fingerprint, locate

Role = Literal["spectral", "auxiliary"]
Units = Literal["auto", "linear", "db", "none"]

LARGEST_CODE = 65_535
"""Largest class code: maps are written as 16-bit integers at most."""

NAMING = frozenset({".gpkg", ".shp", ".fgb", ".geojson", ".txt", ".roi", ".xml"})
"""Endings of label files in which classes may be told by their names: vector files and ROIs."""

TILE = "{tile}"
"""What stands for the tile's name in paths."""


@dataclass(frozen=True)
class ModalitySpec:
    """One modality: a raster per tile, in one file or with its bands in several.

    Args:
        name: Name of the modality.
        path: Path or address of the raster, or of several whose bands belong together; ``{tile}``
            stands for the tile's name.
        key: Name of the array inside a file of several; None takes the only one.
        role: spectral (many correlated bands, rotated to principal components) or auxiliary.
        nodata: Value that means "no data"; None uses the file's own.
        units: SAR intensity: linear is brought to decibels, db and none stay as they are, auto
            decides by name and values.
        axes: What each axis of an array is, such as CHW; None decides by format and shape.
        bands: Bands that are used, from 1 on; None uses all.
    """

    name: str
    path: str | tuple[str, ...]
    key: str | None = None
    role: Role = "spectral"
    nodata: float | None = None
    units: Units = "auto"
    axes: str | None = None
    bands: tuple[int, ...] | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """All paths of the modality."""
        return (self.path,) if isinstance(self.path, str) else self.path


@dataclass(frozen=True)
class LabelFile:
    """A file with labels: a raster, an array, polygons or points, regions, or a list of pixels.

    Args:
        path: Path or address; ``{tile}`` stands for the tile's name.
        key: Name of the array inside a file of several.
        axes: What each axis of an array is: HW or WH.
        column: Column of a vector file with codes or names of classes.
        layer: Layer of a vector file.
        index_base: Number of the first row and column in a list of pixels: 0 or 1.
        index_order: Order in which single numbers of a list count the pixels: row-major or
            column-major, as in MATLAB.
    """

    path: str
    key: str | None = None
    axes: str | None = None
    column: str | None = None
    layer: str | None = None
    index_base: Literal[0, 1] | None = None
    index_order: Literal["auto", "row-major", "column-major"] = "auto"


Labelled = Literal["train", "test", "all"]


@dataclass(frozen=True)
class LabelSpec:
    """Labels of a scene; code 0 is unlabelled.

    Args:
        train: The training labels.
        test: The test labels.
        all: Labels that random and blocks splits divide.
        map: Codes of all pixels, from which lists of pixels pick.
        classes: Name of every class by its code.
        colors: Colour (#rrggbb) of classes by their code; others get one of a default palette.
        ignore: Codes beside 0 that mean unlabelled.
    """

    train: LabelFile | None = None
    test: LabelFile | None = None
    all: LabelFile | None = None
    map: LabelFile | None = None
    classes: dict[int, str] = field(default_factory=dict)
    colors: dict[int, str] = field(default_factory=dict)
    ignore: tuple[int, ...] = ()

    def files(self) -> list[tuple[Labelled, LabelFile]]:
        """Return the label files that are named, without the map."""
        named: list[tuple[Labelled, LabelFile | None]] = [
            ("train", self.train),
            ("test", self.test),
            ("all", self.all),
        ]
        return [(which, file) for which, file in named if file is not None]


@dataclass(frozen=True)
class SplitSpec:
    """How labelled pixels become training and test pixels.

    Args:
        kind: given (two label files), random (a number of pixels per class) or blocks (squares).
        per_class: Training pixels per class of a random split.
        size: Side of a block in pixels.
        guard: Test pixels up to this many pixels from a training block are left out.
        train_share: Share of the labelled pixels that goes to training blocks.
        seed: Seed of the split; it belongs to the data, so that runs of all seeds share it.
    """

    kind: Literal["given", "random", "blocks"] = "given"
    per_class: int = 20
    size: int = 32
    guard: int = 8
    train_share: float = 0.5
    seed: int = 0


@dataclass(frozen=True)
class SceneSpec:
    """A whole scene file.

    Args:
        name: Name of the scene.
        path: The scene file.
        folder: Folder that relative paths start from.
        modalities: The modalities, at least one.
        tiles: Names of the tiles; one tile named after the scene where none are listed.
        labels: The labels, None for a scene that is only mapped.
        split: The split.
        align: Modality whose grid all others are brought to; None is the first. Naming one also
            allows rasters without coordinates whose size is a multiple of that grid's.
        budget: Most training pixels per class, drawn from all; None keeps all. It is no field of
            the scene file but of a comparison over numbers of labels.
        budget_seed: Seed of that draw.
    """

    name: str
    path: Path
    folder: Path
    modalities: tuple[ModalitySpec, ...]
    tiles: tuple[str, ...]
    labels: LabelSpec | None = None
    split: SplitSpec = field(default_factory=SplitSpec)
    align: str | None = None
    budget: int | None = None
    budget_seed: int = 0

    @property
    def reference(self) -> int:
        """Index of the modality whose grid the others are brought to."""
        names = [modality.name for modality in self.modalities]
        return 0 if self.align is None else names.index(self.align)

    def absolute(self) -> SceneSpec:
        """Return the description with the absolute paths of its file and folder."""
        path, folder = self.path.absolute(), self.folder.absolute()
        return replace(self, path=path, folder=folder)

    def file(self, template: str, tile: str) -> Location:
        """Return the place of a tile's file."""
        return locate(template.replace(TILE, tile), self.folder)

    def display(self, path: Location) -> str:
        """Return a path as messages name it: relative to the scene file where it lies below it."""
        if isinstance(path, Path) and path.is_relative_to(self.folder):
            return str(path.relative_to(self.folder))
        return str(path)

    def files(self) -> list[Location]:
        """Return every input file once, in a fixed order."""
        return list(dict.fromkeys([*self.image_files(), *self.label_files()]))

    def image_files(self) -> list[Location]:
        """Return every modality's files once, in a fixed order."""
        return self._files([path for m in self.modalities for path in m.paths])

    def label_files(self) -> list[Location]:
        """Return every label file once, in a fixed order."""
        if self.labels is None:
            return []
        named = [file.path for _, file in self.labels.files()]
        return self._files(named + ([self.labels.map.path] if self.labels.map else []))

    def _files(self, templates: Iterable[str]) -> list[Location]:
        templates = list(templates)
        paths = (self.file(template, tile) for tile in self.tiles for template in templates)
        return list(dict.fromkeys(paths))

    def described(self, part: Literal["images", "labels"]) -> str:
        """Return the description of a part as a text: what it says, and not what the files hold."""
        if part == "images":
            return repr((self.modalities, self.tiles, self.align))
        return repr((self._labels_without_legend(), self.split, (self.budget, self.budget_seed)))

    def _labels_without_legend(self) -> LabelSpec | None:
        """Return the labels without what only the legend of a map shows.

        Colours never matter to what is learned, names only where files tell classes by them.
        """
        if self.labels is None:
            return None
        files = self.label_files()
        named = any(Path(str(file)).suffix.lower() in NAMING for file in files)
        classes = self.labels.classes if named else dict.fromkeys(self.labels.classes, "")
        return replace(self.labels, classes=classes, colors={})

    def signature(self, part: Literal["images", "labels"]) -> str:
        """Return a digest that changes when the description or a file of this part does.

        Input files, with all that is read with them, enter by relative name, size and time of
        change, not by content: a scene of many gigabytes is compared in no time.

        Args:
            part: The modalities, or the labels with their split; each part has its own digest, so
                that new labels leave alone what only the images decide.

        Raises:
            SceneError: An input file is gone.
        """
        paths = self.image_files() if part == "images" else self.label_files()
        digest = hashlib.sha256(self.described(part).encode())
        for path in paths:
            for own in companions(path):
                digest.update(f"\n{self.display(own)} {fingerprint(own)}".encode())
        return digest.hexdigest()
