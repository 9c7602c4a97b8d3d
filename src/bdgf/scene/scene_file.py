"""Reading a scene file: what a user writes, checked field by field."""

from __future__ import annotations

import contextlib
import glob
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bdgf.errors import SceneError
from bdgf.scene.confinement import check_confined
from bdgf.scene.description import (
    LARGEST_CODE,
    TILE,
    LabelFile,
    LabelSpec,
    ModalitySpec,
    SceneSpec,
    SplitSpec,
)
from bdgf.scene.fields import Fields, WrittenInt, check_visible, load_yaml, shown
from bdgf.scene.formats.arrays import MOST_BANDS
from bdgf.scene.formats.location import is_remote

_ROLES = ("spectral", "auxiliary")
_UNITS = ("auto", "linear", "db", "none")
_BAND_RANGE = re.compile(r"\s*(\d{1,5})\s*-\s*(\d{1,5})\s*")
_PER_CLASS = re.compile(r"(\d+)(\s+per\s+class)?")
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")
_ORDERS = ("auto", "row-major", "column-major")
_LONGEST_TILE = 200  # a file may have 255 bytes, with what is put around the tile's name
_LABEL_FILES = ("train", "test", "all", "map")


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
    raw.only("name", "modalities", "tiles", "labels", "split", "align")
    name = raw.text("name")
    modalities = _modalities(raw, path.name)
    align = _align(raw, modalities, path.name)
    reference = next((m for m in modalities if m.name == align), modalities[0])
    labels = _labels(raw, path.name)
    spec = SceneSpec(
        name=name,
        path=path,
        folder=path.parent,
        modalities=modalities,
        tiles=_tiles(raw, path, reference.paths[0], name),
        labels=labels,
        split=_split(raw, labels, path.name),
        align=align,
    )
    _check_templates(spec, listed="tiles" in raw.values)
    check_confined(spec)
    for file in spec.files():
        # os.path: a name that no system can have is one of no file
        if isinstance(file, Path) and not os.path.isfile(file):
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
        check_visible(name, f"a modality's name of {file}")
        fields = Fields(values, f"modality {name} of {file}")
        fields.only("path", "key", "role", "nodata", "units", "axes", "bands")
        nodata = fields.values.get("nodata")
        found.append(
            ModalitySpec(
                name=name,
                path=_paths(fields),
                key=fields.optional_name("key"),
                role=fields.choice("role", _ROLES),  # type: ignore[arg-type]
                nodata=None if nodata is None else _nodata(nodata, fields.where),
                units=fields.choice("units", _UNITS, "auto"),  # type: ignore[arg-type]
                axes=_axes(fields),
                bands=_bands(fields),
            )
        )
    return tuple(found)


def _paths(fields: Fields) -> str | tuple[str, ...]:
    """One path, or a list of them for bands in several files."""
    value = fields.values.get("path")
    if not isinstance(value, list):
        return fields.text("path")
    for path in value:
        if not isinstance(path, str) or not path.strip():
            raise SceneError(
                f"path of {fields.where} holds {shown(path)}; it must be a path, or a list of paths"
                " of files whose bands belong together: quote them."
            )
    if not value:
        raise SceneError(f"path of {fields.where} is an empty list; name at least one file.")
    _check_unique(value, f"path of {fields.where}")
    return tuple(value) if len(value) > 1 else str(value[0])


def _axes(fields: Fields) -> str | None:
    axes = fields.optional_text("axes")
    if axes is not None and sorted(axes.upper()) not in (sorted("HW"), sorted("HWC")):
        raise SceneError(
            f"axes of {fields.where} is {axes!r}; it names what each axis of the array is, H rows,"
            " W columns, C bands, such as HWC or CHW."
        )
    return axes.upper() if axes else None


def _bands(fields: Fields) -> tuple[int, ...] | None:
    value = fields.values.get("bands")
    if value is None:
        return None
    bands = _numbered(value) if isinstance(value, list) else []
    if not bands or len(set(bands)) < len(bands):
        raise SceneError(
            f"bands of {fields.where} is {shown(value)}; it must be a list of band numbers from 1"
            " on, each once, such as [1, 2, 3] or [1-107, 114-151]."
        )
    return tuple(bands)


def _numbered(items: list[Any]) -> list[int]:
    """Return the bands of a list of numbers and ranges such as 3-5; none where one is neither."""
    found: list[int] = []
    for item in items:
        ends = _BAND_RANGE.fullmatch(item) if isinstance(item, str) else None
        first, last = map(int, ends.groups()) if ends else (item, item)
        if type(first) is not int or not 1 <= first <= last <= MOST_BANDS:
            return []
        found += range(first, last + 1)
    return found


def _align(raw: Fields, modalities: tuple[ModalitySpec, ...], file: str) -> str | None:
    align = raw.optional_text("align")
    names = [modality.name for modality in modalities]
    if align is not None and align not in names:
        raise SceneError(
            f"align of {file} is {align!r}; it names the modality whose grid the others are brought"
            f" to, one of {', '.join(names)}."
        )
    return align


def _nodata(value: object, where: str) -> float:
    if isinstance(value, str):
        with contextlib.suppress(ValueError):  # YAML takes 1e20 for a text
            return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SceneError(f"nodata of {where} is {value!r}; it must be a number, such as -9999.")
    return float(value)


def _labels(raw: Fields, file: str) -> LabelSpec | None:
    if raw.values.get("labels") is None:
        return None
    fields = Fields(raw.values["labels"], f"labels of {file}")
    fields.only(
        *_LABEL_FILES, "key", "train_key", "test_key", "column", "classes", "colors", "ignore"
    )
    classes, colors = named_classes(fields, file)
    return LabelSpec(
        classes=classes,
        colors=colors,
        ignore=_ignore(fields, classes),
        **{which: _label_file(fields, which, file) for which in _LABEL_FILES},
    )


def named_classes(fields: Fields, file: str) -> tuple[dict[int, str], dict[int, str]]:
    """Return the names of the classes, sorted by code, and the colours that are given.

    Args:
        fields: What stands under ``classes`` and ``colors``.
        file: What messages call the place they stand in.

    Raises:
        SceneError: Fewer than two classes, a name twice, or a code or colour that cannot be used.
    """
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
    return dict(sorted(classes.items())), colors


def _label_file(labels: Fields, which: str, file: str) -> LabelFile | None:
    """One label file: a path, or a mapping of its path and how it is read."""
    value = labels.values.get(which)
    if value is None:
        return None
    key = labels.optional_name("key") if which != "map" else None
    if which in ("train", "test"):
        key = labels.optional_name(f"{which}_key") or key
    column = labels.optional_text("column")
    if not isinstance(value, Mapping):
        path = labels.optional_text(which)
        return None if path is None else LabelFile(path, key=key, column=column)
    fields = Fields(value, f"labels {which} of {file}")
    fields.only("path", "key", "axes", "column", "layer", "index_base", "index_order")
    base = fields.values.get("index_base")
    if base not in (None, 0, 1) or isinstance(base, bool):
        raise SceneError(
            f"index_base of {fields.where} is {shown(base)}; it is the number of the first row and"
            " column in a list of pixels: 0 or 1."
        )
    return LabelFile(
        path=fields.text("path"),
        key=fields.optional_name("key") or key,
        axes=_axes(fields),
        column=fields.optional_text("column") or column,
        layer=fields.optional_text("layer"),
        index_base=base,
        index_order=fields.choice("index_order", _ORDERS, "auto"),  # type: ignore[arg-type]
    )


def _ignore(fields: Fields, classes: Mapping[int, str]) -> tuple[int, ...]:
    value = fields.values.get("ignore", [])
    value = value if isinstance(value, list) else [value]
    for code in value:
        if type(code) is not int or code in classes:
            raise SceneError(
                f"ignore of {fields.where} holds {shown(code)}; it lists codes that mean"
                " unlabelled, whole numbers that are no class, such as [-1]."
            )
    return tuple(value)


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
        check_visible(value, f"the text of code {code} in {key} of {file}")
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
    names = [tile.text if isinstance(tile, WrittenInt) else str(tile) for tile in value]
    _check_tiles(names, path)
    _check_unique(names, f"tiles of {path.name}")
    return tuple(names)


def _check_tiles(names: Iterable[str], path: Path) -> None:
    """Check that tiles can give their maps their names."""
    for tile in names:
        check_visible(tile, f"a name in tiles of {path.name}")
        if not tile or set(tile) & set("/\\"):
            raise SceneError(
                f"tiles of {path.name} holds {tile!r}; a tile's name also names its map, so it has"
                " no slash: put folders into the paths, around {tile}."
            )
        if tile.startswith(".") or len(tile.encode()) > _LONGEST_TILE:
            raise SceneError(
                f"tiles of {path.name} holds {tile[:40]!r}; a tile's name also names its map, so it"
                f" does not begin with a dot and has at most {_LONGEST_TILE} bytes: rename the"
                " tile and its files."
            )


def _glob_tiles(pattern: str, path: Path, template: str) -> tuple[str, ...]:
    """Names that a pattern stands for, found by the files of the first modality."""
    if is_remote(template):
        raise SceneError(
            f"tiles of {path.name} is a pattern, and {template} is an address, which cannot be"
            " searched: list the tiles."
        )
    relative = Path(template)
    anchor = Path(relative.anchor) if relative.is_absolute() else path.parent
    relative = relative.relative_to(relative.anchor)
    parts = relative.as_posix().split(TILE)
    if len(parts) < 2:
        raise SceneError(
            f"tiles of {path.name} is a pattern, and the path {template} has no {TILE}: add it"
            " where the tile's name stands."
        )
    name = "([^/]+)"
    expression = name.join(map(re.escape, parts[:2])) + "".join(
        rf"\1{re.escape(part)}" for part in parts[2:]
    )
    found = set()
    escaped = pattern.join(map(glob.escape, parts))
    for file in anchor.glob(escaped):
        match = re.fullmatch(expression, file.relative_to(anchor).as_posix())
        if match:
            found.add(match.group(1))
    if not found:
        raise SceneError(
            f"tiles of {path.name} is {pattern!r}, and no file fits"
            f" {template.replace(TILE, pattern)}: correct the pattern, or list the tiles."
        )
    _check_tiles(sorted(found), path)
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
    if split.kind == "given" and labels.train is None and labels.test is None:
        raise SceneError(
            f"labels of {file} name no train file and no test file: add 'train: ...', or"
            " divide all labels with 'split: {random: 20 per class}'."
        )
    if (
        split.kind != "given"
        and labels.train is None
        and labels.test is None
        and labels.all is None
    ):
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
    named = [(f"modality {m.name}", path) for m in spec.modalities for path in m.paths]
    if spec.labels is not None:
        named += [(f"labels {which}", file.path) for which, file in spec.labels.files()]
        named += [("labels map", spec.labels.map.path)] if spec.labels.map else []
    for where, template in named:
        other = re.search(r"\{(?!tile\})[^}]*\}?", template)
        if other:
            raise SceneError(
                f"the path of {where} in {spec.path.name} has {other.group(0)}; only {TILE} is"
                " filled in: correct it."
            )
        if TILE in template and not listed:
            raise SceneError(
                f"the path of {where} in {spec.path.name} has {TILE}, and no tiles are listed: add"
                " 'tiles: [a, b]' or a pattern."
            )
    reference = spec.modalities[spec.reference]
    if len(spec.tiles) > 1 and TILE not in reference.paths[0]:
        raise SceneError(
            f"the path of modality {reference.name} in {spec.path.name} is the same for all"
            f" {len(spec.tiles)} tiles: put {TILE} where the tile's name stands."
        )
