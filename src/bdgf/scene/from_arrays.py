"""Scenes made of arrays instead of files: what `Scene.from_arrays` describes and opens."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from bdgf.errors import SceneError
from bdgf.scene.alignment import align
from bdgf.scene.description import (
    LARGEST_CODE,
    LabelFile,
    LabelSpec,
    ModalitySpec,
    Role,
    SceneSpec,
    SplitSpec,
    Units,
)
from bdgf.scene.fields import Fields
from bdgf.scene.formats.memory import MemorySource
from bdgf.scene.grid import Grid
from bdgf.scene.labels.codes import read_codes
from bdgf.scene.scene_file_labels import named_classes

Images: TypeAlias = Mapping[str, Any] | Sequence[Mapping[str, Any]]
"""An array (C, H, W) or (H, W) by the name of its modality; of several tiles one such mapping
each. An xarray ``Dataset`` is such a mapping as well."""

LabelArrays: TypeAlias = Any
"""Class codes (H, W), 0 where unlabelled; of several tiles a list of them."""


@dataclass(frozen=True)
class InMemory:
    """The arrays of a scene, where another scene has files.

    Args:
        images: By tile, the raster of every modality.
        labels: By part (train, test or all), the codes of every tile.
    """

    images: tuple[dict[str, MemorySource], ...]
    labels: dict[str, tuple[MemorySource, ...]]

    def in_order(self, names: Sequence[str]) -> InMemory:
        """Return the same arrays with the modalities in another order."""
        images = tuple({name: tile[name] for name in names} for tile in self.images)
        return InMemory(images, self.labels)

    def codes(
        self, which: str, tile: int, grid: Grid, reference: str, modality: str
    ) -> tuple[NDArray[np.int32], str | None]:
        """Return the class codes (H, W) of a tile on its grid, and what was done to them.

        Raises:
            SceneError: They are no class codes, or do not fit the grid.
        """
        source = self.labels[which][tile]
        aligned, sentence = align(
            source,
            grid,
            name=str(source.path),
            reference=reference,
            categorical=True,
            multiples=False,
            modality=modality,
        )
        return read_codes(aligned), sentence

    def digest(self, part: Literal["images", "labels"], described: str) -> str:
        """Return a digest of a part's description and values."""
        found = hashlib.sha256(described.encode())
        sources: list[MemorySource] = []
        if part == "images":
            sources = [source for tile in self.images for source in tile.values()]
        else:
            sources = [source for tiles in self.labels.values() for source in tiles]
        for source in sources:
            place = (source.bands, source.height, source.width, source.transform, source.crs)
            found.update(f"\n{place} {source.dtype} {source.nodata}".encode())
            for strip in source.strips():
                found.update(np.ascontiguousarray(strip).tobytes())
        return found.hexdigest()


def _check_split(split: SplitSpec) -> None:
    kinds = ("given", "random", "blocks")
    if split.kind not in kinds:
        raise SceneError(f"the kind of split is {split.kind!r}; it must be {' or '.join(kinds)}.")
    for name, least in (("per_class", 1), ("size", 1), ("guard", 0), ("seed", 0)):
        value = getattr(split, name)
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
            raise SceneError(
                f"{name} of the split is {value!r}; it must be a whole number from {least} on."
            )
    if not 0 < split.train_share < 1:
        raise SceneError(
            f"train_share of the split is {split.train_share!r}; it must be in (0, 1)."
        )


def describe(
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
) -> tuple[SceneSpec, InMemory]:
    """Return the description of a scene of arrays, and the arrays; see `Scene.from_arrays`."""
    single = isinstance(images, Mapping)
    given = _tiles(images)
    # in a Dataset the CRS may be a variable of its own, without axes
    parted = [without_crs(tile) for tile in given]
    tiles = [arrays for arrays, _ in parted]
    crs = crs or next((found for _, found in parted if found), None)
    if transform is not None and not isinstance(transform, Affine):
        transform = _affine(transform)
    if split is not None and not isinstance(split, SplitSpec):
        raise SceneError(f"split is {split!r}; of arrays it must be a bdgf SplitSpec.")
    if split is not None:
        _check_split(split)
    opened = _open_images(tiles, nodata, crs, transform)
    names = list(opened[0])
    each = nodata if isinstance(nodata, Mapping) else {}
    modalities = _modalities(opened[0], roles or {}, units or {}, each)
    if align_to is not None and align_to not in names:
        raise SceneError(f"align_to is {align_to!r}; it must name one of {', '.join(names)}.")
    split = split or SplitSpec()
    own = "train" if split.kind == "given" else "all"
    if test is not None and (labels is None or own == "all"):
        raise SceneError(
            "test labels go with training labels of their own; give both and no split, or all"
            " labels together with a split."
        )
    coded = {
        which: _open_labels(array, which, len(tiles), single, crs, transform)
        for which, array in {own: labels, "test": test}.items()
        if array is not None
    }
    for tile, images_of in enumerate(opened):
        _check_axes([*images_of.values(), *(sources[tile] for sources in coded.values())])
    spec = SceneSpec(
        name=name,
        path=Path(name),
        folder=Path(),
        modalities=modalities,
        tiles=(name,) if single else tuple(f"tile_{n + 1}" for n in range(len(tiles))),
        labels=_label_spec(coded, classes, colors) if coded else None,
        split=split,
        align=align_to,
    )
    return spec, InMemory(tuple(opened), coded)


def _tiles(images: Any) -> list[Mapping[str, Any]]:  # noqa: ANN401
    """Return the mapping of every tile."""
    given = list(images) if isinstance(images, Sequence) else [images]
    for tile in given:
        if not isinstance(tile, Mapping):
            raise SceneError(
                f"the images hold {type(tile).__name__} where names and arrays belong; a scene is"
                " {'hsi': array, 'sar': array}, and a list of such mappings has several tiles."
            )
    return given


def without_crs(tile: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """Return the arrays of a tile, and the CRS that a variable without axes beside them holds.

    Such is how xarray itself opens a Dataset that rioxarray has written.
    """
    arrays, crs = {}, None
    for name in tile:
        shape = getattr(tile[name], "shape", None)
        about = getattr(tile[name], "attrs", {}) if shape == () else {}
        found = about.get("crs_wkt") or about.get("spatial_ref")
        if found:
            crs = str(found)
        else:
            arrays[name] = tile[name]
    return arrays, crs


def _affine(numbers: Any) -> Affine:  # noqa: ANN401
    """Return six numbers, or the nine of a matrix, as a transform."""
    try:
        return Affine(*(float(number) for number in list(numbers)[:6]))
    except (TypeError, ValueError):
        raise SceneError(
            f"transform is {numbers!r}; it must be an affine.Affine, or its six numbers a to f."
        ) from None


def _open_images(
    tiles: Sequence[Mapping[str, Any]],
    nodata: Mapping[str, float] | float | None,
    crs: Any | None,  # noqa: ANN401
    transform: Affine | None,
) -> list[dict[str, MemorySource]]:
    if not tiles or not tiles[0]:
        raise SceneError(
            "there is no array; a scene has at least one modality, such as {'hsi': array} with"
            " (bands, rows, columns)."
        )
    names = [str(name) for name in tiles[0]]
    opened = []
    for number, tile in enumerate(tiles):
        if sorted(map(str, tile)) != sorted(names):
            raise SceneError(
                f"tile {number + 1} has the modalities {', '.join(map(str, tile))}, the first has"
                f" {', '.join(names)}; all tiles of a scene have the same: leave the tile out, or"
                " give all."
            )
        where = f" of tile {number + 1}" if len(tiles) > 1 else ""
        values = {str(name): tile[name] for name in tile}
        opened.append(
            {
                name: MemorySource(
                    f"{name}{where}",
                    values[name],
                    nodata.get(name) if isinstance(nodata, Mapping) else nodata,
                    crs,
                    transform,
                )
                for name in names
            }
        )
    return opened


def _check_axes(sources: Sequence[MemorySource]) -> None:
    """Refuse an array of a tile whose last axis is that of the bands, as in pictures.

    It shows by its first two axes, which are as long as rows and columns of another raster that the
    array as it is read has not the size of.
    """
    for source in (source for source in sources if source.bands_first):
        for other in (other for other in sources if other.bands == 1):
            size = (other.height, other.width)
            if size == (source.bands, source.height) != (source.height, source.width):
                raise SceneError(
                    f"{source.path} has shape {(*size, source.width)}, which is read as (bands,"
                    f" rows, columns), beside {size[0]} × {size[1]} (rows × columns) of"
                    f" {other.path}: its last axis seems to be that of the bands; give the array"
                    " as .transpose(2, 0, 1)."
                )


def _modalities(
    sources: Mapping[str, MemorySource],
    roles: Mapping[str, Role],
    units: Mapping[str, Units],
    nodata: Mapping[str, float],
) -> tuple[ModalitySpec, ...]:
    """Return the modalities; without roles the one with most bands is spectral."""
    for what, given in (("roles", roles), ("units", units), ("nodata", nodata)):
        unknown = [name for name in given if name not in sources]
        if unknown:
            raise SceneError(
                f"{what} names {unknown[0]!r}, and the arrays are {', '.join(sources)}; use their"
                " names."
            )
    most = max(sources, key=lambda name: sources[name].bands)
    found = []
    for name in sources:
        usual: Role = "spectral" if name == most and not roles else "auxiliary"
        role = roles.get(name, usual)
        if role not in ("spectral", "auxiliary"):
            raise SceneError(f"the role of {name} is {role!r}; it must be spectral or auxiliary.")
        unit = units.get(name, "auto")
        if unit not in get_args(Units):
            known = ", ".join(get_args(Units))
            raise SceneError(f"the units of {name} are {unit!r}; they must be one of {known}.")
        found.append(ModalitySpec(name=name, path=name, role=role, units=unit))
    return tuple(found)


def _open_labels(
    array: LabelArrays,
    which: str,
    tiles: int,
    single: bool,
    crs: Any | None,  # noqa: ANN401
    transform: Affine | None,
) -> tuple[MemorySource, ...]:
    arrays = [array] if single else list(array)
    if len(arrays) != tiles:
        raise SceneError(
            f"there are {len(arrays)} arrays of {which} labels and {tiles} tiles; every tile has"
            " one, of zeros where nothing is labelled."
        )
    return tuple(
        MemorySource(
            f"{which} labels" + ("" if single else f" of tile {number + 1}"),
            one,
            None,
            crs,
            transform,
        )
        for number, one in enumerate(arrays)
    )


def _label_spec(
    coded: Mapping[str, tuple[MemorySource, ...]],
    classes: Mapping[int, str] | None,
    colors: Mapping[int, str] | None,
) -> LabelSpec:
    """Return the labels' description; without names every code that occurs is a class."""
    if classes is None:
        sources = [source for tiles in coded.values() for source in tiles]
        codes = np.unique(np.concatenate([np.unique(read_codes(source)) for source in sources]))
        if codes.min() < 0:
            raise SceneError(
                f"the labels hold the code {codes.min()}; codes are 1 to {LARGEST_CODE:,}, and 0"
                " where unlabelled: replace it by 0, or by a code."
            )
        classes = {code: f"class {code}" for code in codes.tolist() if code != 0}
    for what, given in (("classes", classes), ("colors", colors)):
        if given is not None and not isinstance(given, Mapping):
            raise SceneError(
                f"{what} is {given!r}; of arrays they go by codes, such as {{1: 'water'}}."
            )
    by_code = {
        key: {_code(code, key): str(text) for code, text in given.items()}
        for key, given in (("classes", classes), ("colors", colors or {}))
    }
    names, shades = named_classes(Fields(by_code, "the label arrays"), "the label arrays")
    train, test, every = (
        LabelFile(f"{which} labels") if which in coded else None
        for which in ("train", "test", "all")
    )
    return LabelSpec(train=train, test=test, all=every, classes=names, colors=shades)


def _code(code: Any, what: str) -> int:  # noqa: ANN401
    """Return the code that an entry of the classes or colours is of."""
    try:
        found = int(code)
        whole = not isinstance(code, bool) and (isinstance(code, str) or found == code)
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole:
        raise SceneError(
            f"{what} has an entry for {code!r}; it goes by codes, such as {{1: 'water'}}: give the"
            " codes first."
        )
    return found
