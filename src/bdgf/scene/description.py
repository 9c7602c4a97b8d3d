"""The scene file: what a user writes about files, labels and the split, checked field by field."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bdgf.errors import SceneError
from bdgf.scene.fields import Fields, load_yaml, shown
from bdgf.scene.formats.location import Location

Role = Literal["spectral", "auxiliary"]
Units = Literal["auto", "linear", "db", "none"]

LARGEST_CODE = 65_535
"""Largest class code: maps are written as 16-bit integers at most."""

_ROLES = ("spectral", "auxiliary")
_UNITS = ("auto", "linear", "db", "none")
_TILE = "{tile}"
_PER_CLASS = re.compile(r"(\d+)(\s+per\s+class)?")
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True)
class ModalitySpec:
    """One modality: a raster per tile.

    Args:
        name: Name of the modality.
        path: Path of the raster; ``{tile}`` stands for the tile's name.
        key: Name of the array inside a ``.mat`` file; None takes the only one.
        role: spectral (many correlated bands, rotated to principal components) or auxiliary.
        nodata: Value that means "no data"; None uses the file's own.
        units: SAR intensity: linear is brought to decibels, db and none stay as they are, auto
            decides by name and values.
    """

    name: str
    path: str
    key: str | None = None
    role: Role = "spectral"
    nodata: float | None = None
    units: Units = "auto"


@dataclass(frozen=True)
class LabelSpec:
    """Label rasters, code 0 is unlabelled.

    Args:
        train: Path of the training labels, or of all labels that a split divides.
        test: Path of the test labels.
        classes: Name of every class by its code.
        colors: Colour (#rrggbb) of classes by their code; others get one of a default palette.
        all: Path of labels that random and blocks splits divide.
        key: Name of the array inside the ``.mat`` files.
        train_key: Name of the array of the training labels, where it differs.
        test_key: Name of the array of the test labels, where it differs.
    """

    train: str | None = None
    test: str | None = None
    classes: dict[int, str] = field(default_factory=dict)
    colors: dict[int, str] = field(default_factory=dict)
    all: str | None = None
    key: str | None = None
    train_key: str | None = None
    test_key: str | None = None

    def files(self) -> list[tuple[str, str, str | None]]:
        """Return (train | test | all, path template, array key) of every label file named."""
        named = [
            ("train", self.train, self.train_key or self.key),
            ("test", self.test, self.test_key or self.key),
            ("all", self.all, self.key),
        ]
        return [(which, path, key) for which, path, key in named if path is not None]


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
    """

    name: str
    path: Path
    folder: Path
    modalities: tuple[ModalitySpec, ...]
    tiles: tuple[str, ...]
    labels: LabelSpec | None = None
    split: SplitSpec = field(default_factory=SplitSpec)

    def file(self, template: str, tile: str) -> Path:
        """Return the path of a tile's file."""
        return self.folder / template.replace(_TILE, tile)

    def display(self, path: Location) -> str:
        """Return a path as messages name it: relative to the scene file where it lies below it."""
        if isinstance(path, Path) and path.is_relative_to(self.folder):
            return str(path.relative_to(self.folder))
        return str(path)

    def files(self) -> list[Path]:
        """Return every input file once, in a fixed order."""
        return list(dict.fromkeys([*self.image_files(), *self.label_files()]))

    def image_files(self) -> list[Path]:
        """Return every modality's files once, in a fixed order."""
        return self._files([m.path for m in self.modalities])

    def label_files(self) -> list[Path]:
        """Return every label file once, in a fixed order."""
        return self._files([path for _, path, _ in self.labels.files()] if self.labels else [])

    def _files(self, templates: list[str]) -> list[Path]:
        paths = (self.file(template, tile) for tile in self.tiles for template in templates)
        return list(dict.fromkeys(paths))


def load_scene_file(path: str | Path) -> SceneSpec:
    """Read and validate a scene file.

    Args:
        path: The YAML file, or a folder with a ``scene.yaml``.

    Raises:
        SceneError: The first field that cannot be used, or a file that is not there.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "scene.yaml"
    raw = Fields(load_yaml(path), path.name)
    raw.only("name", "modalities", "tiles", "labels", "split")
    name = raw.text("name")
    modalities = _modalities(raw, path.name)
    labels = _labels(raw, path.name)
    spec = SceneSpec(
        name=name,
        path=path,
        folder=path.parent,
        modalities=modalities,
        tiles=_tiles(raw, path, modalities[0].path, name),
        labels=labels,
        split=_split(raw, labels, path.name),
    )
    _check_templates(spec, listed="tiles" in raw.values)
    for file in spec.files():
        if not file.is_file():
            raise SceneError(
                f"{spec.display(file)} does not exist; paths in {path.name} are relative to its"
                f" folder {spec.folder.resolve()}: correct the path, or put the file there."
            )
    return spec


def _modalities(raw: Fields, file: str) -> tuple[ModalitySpec, ...]:
    listed = Fields(raw.values.get("modalities"), f"modalities of {file}")
    if not listed.values:
        raise SceneError(f"modalities of {file} is empty; a scene has at least one modality.")
    found = []
    for name, values in listed.values.items():
        if not isinstance(name, str) or not name.strip():
            raise SceneError(f"the modality {name!r} of {file} needs a text as its name: quote it.")
        fields = Fields(values, f"modality {name} of {file}")
        fields.only("path", "key", "role", "nodata", "units")
        nodata = fields.values.get("nodata")
        found.append(
            ModalitySpec(
                name=name,
                path=fields.text("path"),
                key=fields.optional_text("key"),
                role=fields.choice("role", _ROLES),  # type: ignore[arg-type]
                nodata=None if nodata is None else _nodata(nodata, fields.where),
                units=fields.choice("units", _UNITS, "auto"),  # type: ignore[arg-type]
            )
        )
    return tuple(found)


def _nodata(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SceneError(f"nodata of {where} is {value!r}; it must be a number, such as -9999.")
    return float(value)


def _labels(raw: Fields, file: str) -> LabelSpec | None:
    if raw.values.get("labels") is None:
        return None
    fields = Fields(raw.values["labels"], f"labels of {file}")
    fields.only("train", "test", "all", "key", "train_key", "test_key", "classes", "colors")
    classes = _by_code(fields, "classes", file)
    if len(classes) < 2:
        raise SceneError(
            f"labels of {file} name {len(classes)} class(es); a map needs at least two: add"
            " 'classes: {1: Forest, 2: Water}' with every code of the label files."
        )
    names = list(classes.values())
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise SceneError(
            f"labels of {file} name more than one class {sorted(twice)[0]!r}; names are unique:"
            " rename one, or give both the same code in the label files."
        )
    colors = _by_code(fields, "colors", file)
    for code, color in colors.items():
        if code not in classes or not _COLOR.fullmatch(color):
            raise SceneError(
                f"colors of {file} gives code {code} the colour {color!r}; it must be a code of"
                " classes with a quoted colour such as '#1b9e77'."
            )
    texts = ("train", "test", "all", "key", "train_key", "test_key")
    return LabelSpec(
        classes=dict(sorted(classes.items())),
        colors=colors,
        **{name: fields.optional_text(name) for name in texts},
    )


def _by_code(fields: Fields, key: str, file: str) -> dict[int, str]:
    if fields.values.get(key) is None:
        return {}
    found: dict[int, str] = {}
    for code, value in Fields(fields.values[key], f"{key} of {file}").values.items():
        if isinstance(code, bool) or not isinstance(code, int) or code < 0:
            raise SceneError(f"{key} of {file} has the code {code!r}; codes are whole numbers.")
        if code > LARGEST_CODE:
            raise SceneError(
                f"{key} of {file} has the code {code}; maps hold codes up to {LARGEST_CODE}: give"
                " the class a smaller one in the label files."
            )
        if code == 0:
            raise SceneError(
                f"{key} of {file} uses the code 0, which means unlabelled: give that class another"
                " code in the label files, for example the highest code plus one."
            )
        if not isinstance(value, str) or not value.strip():
            raise SceneError(f"{key} of {file} gives code {code} {shown(value)}: put it in quotes.")
        found[code] = value
    return found


def _tiles(raw: Fields, path: Path, template: str, name: str) -> tuple[str, ...]:
    value = raw.values.get("tiles")
    if value is None:
        return (name,)
    if isinstance(value, str) and value.strip() and "/" not in value:
        return _glob_tiles(value, path, template)
    if not isinstance(value, list) or not value:
        raise SceneError(
            f"tiles of {path.name} is {shown(value)}; it must be a list of names or a pattern"
            " such as 'plot_*'."
        )
    for tile in value:
        if isinstance(tile, bool) or not isinstance(tile, str | int):
            raise SceneError(f"tiles of {path.name} holds {shown(tile)}: put names in quotes.")
    names = [str(tile) for tile in value]
    for tile in names:
        if tile in ("", ".", "..") or set(tile) & set("/\\"):
            raise SceneError(
                f"tiles of {path.name} holds {tile!r}; a tile's name also names its map, so it has"
                " no slash: put folders into the paths, around {tile}."
            )
    _check_unique(names, f"tiles of {path.name}")
    return tuple(names)


def _glob_tiles(pattern: str, path: Path, template: str) -> tuple[str, ...]:
    """Names that a pattern stands for, found by the files of the first modality."""
    relative = Path(template)
    anchor = Path(relative.anchor) if relative.is_absolute() else path.parent
    relative = relative.relative_to(relative.anchor)
    parts = re.split(re.escape(_TILE), relative.as_posix())
    if len(parts) < 2:
        raise SceneError(
            f"tiles of {path.name} is a pattern, and the path {template} has no {_TILE}: add it"
            " where the tile's name stands."
        )
    name = "([^/]+)"
    expression = name.join(map(re.escape, parts[:2])) + "".join(
        rf"\1{re.escape(part)}" for part in parts[2:]
    )
    found = set()
    for file in anchor.glob(relative.as_posix().replace(_TILE, pattern)):
        match = re.fullmatch(expression, file.relative_to(anchor).as_posix())
        if match:
            found.add(match.group(1))
    if not found:
        raise SceneError(
            f"tiles of {path.name} is {pattern!r}, and no file fits"
            f" {template.replace(_TILE, pattern)}: correct the pattern, or list the tiles."
        )
    return tuple(sorted(found))


def _check_unique(names: Iterable[str], where: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise SceneError(f"{where} lists {name!r} twice; names are unique: remove one.")
        seen.add(name)


def _split(raw: Fields, labels: LabelSpec | None, file: str) -> SplitSpec:
    value = raw.values.get("split")
    if value is None:
        only_all = labels is not None and labels.train is None and labels.all is not None
        if only_all:
            raise SceneError(
                f"labels of {file} are in one file, and no split divides them: add"
                " 'split: {random: 20 per class}' or 'split: {blocks: {size: 32, guard: 8}}'."
            )
        value = "given"
    split = _split_kind(value, file)
    if labels is None and raw.values.get("split") is not None:
        raise SceneError(f"{file} has a split and no labels; add labels, or remove the split.")
    if labels is None:
        return split
    if split.kind == "given" and labels.train is None:
        raise SceneError(
            f"labels of {file} name no train file, and the split is given: add 'train: ...', or"
            " divide all labels with 'split: {random: 20 per class}'."
        )
    if split.kind != "given" and labels.train is None and labels.test is None and not labels.all:
        raise SceneError(f"labels of {file} name no file; add 'all: ...' with the label raster.")
    if labels.all is not None and (labels.train is not None or labels.test is not None):
        raise SceneError(
            f"labels of {file} name all beside train or test; give either one file that a split"
            " divides, or the two."
        )
    return split


def _split_kind(value: object, file: str) -> SplitSpec:
    if value == "given":
        return SplitSpec()
    rule = "it must be given, {random: 20 per class} or {blocks: {size: 32, guard: 8}}."
    if not isinstance(value, Mapping) or len(value) != 1:
        raise SceneError(f"split of {file} is {shown(value)}; {rule}")
    kind, options = next(iter(value.items()))
    where = f"split {kind} of {file}"
    if kind == "random":
        if not isinstance(options, Mapping):
            match = _PER_CLASS.fullmatch(str(options).strip())
            if match is None:
                raise SceneError(f"split of {file} is {shown(value)}; {rule}")
            options = {"per_class": int(match.group(1))}
        fields = Fields(options, where)
        fields.only("per_class", "seed")
        return SplitSpec(
            "random", per_class=fields.whole("per_class", 20, 1), seed=fields.whole("seed", 0, 0)
        )
    if kind == "blocks":
        fields = Fields(options, where)
        fields.only("size", "guard", "train_share", "seed")
        return SplitSpec(
            "blocks",
            size=fields.whole("size", 32, 1),
            guard=fields.whole("guard", 8, 0),
            train_share=fields.number("train_share", 0.5, 0.01, 0.99),
            seed=fields.whole("seed", 0, 0),
        )
    raise SceneError(f"split of {file} is {shown(value)}; {rule}")


def _check_templates(spec: SceneSpec, listed: bool) -> None:
    named = [(f"modality {m.name}", m.path) for m in spec.modalities]
    if spec.labels is not None:
        named += [(f"labels {which}", path) for which, path, _ in spec.labels.files()]
    for where, template in named:
        other = re.search(r"\{(?!tile\})[^}]*\}?", template)
        if other:
            raise SceneError(
                f"the path of {where} in {spec.path.name} has {other.group(0)}; only {_TILE} is"
                " filled in: correct it."
            )
        if _TILE in template and not listed:
            raise SceneError(
                f"the path of {where} in {spec.path.name} has {_TILE}, and no tiles are listed: add"
                " 'tiles: [a, b]' or a pattern."
            )
        if _TILE not in template and len(spec.tiles) > 1:
            raise SceneError(
                f"the path of {where} in {spec.path.name} is the same for all"
                f" {len(spec.tiles)} tiles: put {_TILE} where the tile's name stands."
            )
