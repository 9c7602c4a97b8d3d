"""Reading a scene file: what a user writes, checked field by field."""

from __future__ import annotations

import contextlib
import glob
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bdgf.errors import SceneError
from bdgf.scene.confinement import check_confined
from bdgf.scene.description import TILE, ModalitySpec, SceneSpec
from bdgf.scene.fields import Fields, WrittenInt, check_visible, load_yaml, shown
from bdgf.scene.formats.arrays import MOST_BANDS
from bdgf.scene.formats.location import is_remote
from bdgf.scene.scene_file_labels import read_labels
from bdgf.scene.scene_file_split import read_split

_ROLES = ("spectral", "auxiliary")
_UNITS = ("auto", "linear", "db", "none")
_BAND_RANGE = re.compile(r"\s*(\d{1,5})\s*-\s*(\d{1,5})\s*")
_LONGEST_TILE = 200  # a file may have 255 bytes, with what is put around the tile's name


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
    labels = read_labels(raw, path.name)
    spec = SceneSpec(
        name=name,
        path=path,
        folder=path.parent,
        modalities=modalities,
        tiles=_tiles(raw, path, reference.paths[0], name),
        labels=labels,
        split=read_split(raw, labels, path.name),
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
                axes=fields.axes(),
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
