"""Opening everything that paths hold, and measuring it on a bounded number of values."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bdgf.errors import SceneError
from bdgf.scene.alignment import agree
from bdgf.scene.formats.arrays import ArrayInfo, ArraySource
from bdgf.scene.formats.companions import read_beside
from bdgf.scene.formats.location import Location, locate
from bdgf.scene.formats.numpy_files import NpyReader
from bdgf.scene.formats.opening import (
    ARRAY_SUFFIXES,
    contents,
    open_source,
    raster_keys,
    read_array,
)
from bdgf.scene.inspection import roles
from bdgf.scene.inspection.findings import Found, Group, PixelList, Raster, Vector
from bdgf.scene.inspection.statistics import MOST_VALUES, measure, merge
from bdgf.scene.inspection.tiles import TileSet, find_tiles, mosaic
from bdgf.scene.labels.index_lists import is_index_list
from bdgf.scene.labels.reading import ROI_SUFFIXES
from bdgf.scene.labels.roi import read_roi
from bdgf.scene.labels.vector_files import VECTOR_SUFFIXES, describe_vector

SCENE_SUFFIXES = (".yaml", ".yml")
RASTER_SUFFIXES = (
    *(".tif", ".tiff", ".vrt", ".jp2", ".nc", ".pix"),
    *(".img", ".dat", ".bsq", ".bil", ".bip", ".raw"),
    *ARRAY_SUFFIXES,
)
"""Endings of the files of a folder that are opened; a file that is named may have any."""

MOST_FILES = 200
"""Most single files of a folder that are opened."""

_HEAD = 4096
_SPECTRUM = re.compile(r"wave|lambda|band|fwhm|freq|(?<![a-z])(nm|wl|um|gain|offset)(?![a-z])")
_FEWEST_LISTED, _FEWEST_SINGLE = 8, 20
"""Fewest pixels of a list, and of one that is a single column, which may be anything."""

_DIFFERENT = 0.9
_DEPTH = 4
_MOST_MEASURED = 12


def gather(paths: Sequence[str | Path], scenes: bool = True) -> Found:
    """Open everything that paths name, and measure it on a bounded number of values.

    Args:
        paths: Files, addresses, and folders: of a folder with a ``scene.yaml`` the scene, of any
            other the files in it, or the tiles below it.
        scenes: Whether scene files are wanted; else they are passed over.

    Raises:
        SceneError: A path that is not there, a named file that cannot be read, or a folder in
            which nothing can be.
    """
    found = Found()
    rasters: list[Raster] = []
    places = list(dict.fromkeys(locate(path) for path in paths))
    files = [place for place in places if isinstance(place, Path) and place.is_file()]
    beside = set[Path]().union(*map(read_beside, files))
    for place in places:
        if place in beside:
            continue  # a header and its values, both named, are one raster
        if not isinstance(place, Path):
            rasters += _open(place, found)
        elif place.is_dir():
            rasters += _open_folder(place, found, scenes)
        elif not place.exists():
            raise SceneError(f"{place} does not exist; name files or folders that are there.")
        elif place.suffix.lower() in SCENE_SUFFIXES:
            found.scenes += [place] if scenes else []
        else:
            rasters += _open(place, found)
    found.groups = _grouped(_agreed(rasters))
    return found


def _open_folder(folder: Path, found: Found, scenes: bool) -> list[Raster]:
    if scenes and (folder / "scene.yaml").is_file():
        found.scenes.append(folder / "scene.yaml")
        return []
    found.folders.append(folder)
    own = [path for path in sorted(folder.iterdir()) if _may_be_opened(path)]
    below = [path for path in sorted(folder.glob("*/*")) if _may_be_opened(path)]
    tiles = find_tiles(folder, [path for path in (*own, *below) if not _is_vector(path)])
    rasters: list[Raster] = []
    if tiles is None:
        tiles = _mosaic(folder, own)
    if tiles is not None:
        found.tiles.append(tiles)
        rasters += _open_tiles(tiles)
        taken = set(tiles.files())
        own = [path for path in own if path not in taken]
    elif not own:
        levels = ("/".join("*" * level) for level in range(2, _DEPTH + 1))
        deep = (path for level in levels for path in folder.glob(level))
        own = sorted(path for path in deep if _may_be_opened(path))
    found.left_out += max(0, len(own) - MOST_FILES)
    if not own and tiles is None:
        raise SceneError(
            f"{folder} holds no raster ({', '.join(RASTER_SUFFIXES)}) and no scene.yaml; name the"
            " files or another folder."
        )
    for path in own[:MOST_FILES]:
        try:
            rasters += _open(path, found)
        except SceneError as error:
            found.unreadable.append((path, str(error)))
    return rasters


def _mosaic(folder: Path, files: Sequence[Path]) -> TileSet | None:
    """Recognise images of one sensor side by side."""
    images = [path for path in files if not _is_vector(path)]
    plain = all(path.suffix.lower() not in ARRAY_SUFFIXES for path in images)
    if not 2 <= len(images) <= MOST_FILES or not plain:
        return None
    try:
        return mosaic(folder, [open_source(path) for path in images])
    except SceneError:
        return None  # what cannot be opened is said when it is opened by itself


def _is_vector(path: Path) -> bool:
    return path.suffix.lower() in VECTOR_SUFFIXES


def _may_be_opened(path: Path) -> bool:
    if path.name.startswith(".") or path.suffix.lower() == ".hdr" or not path.is_file():
        return False
    if path.suffix.lower() in RASTER_SUFFIXES or _is_vector(path) or _is_roi(path):
        return True
    # ENVI files have any ending, or none; their header tells.
    return path.with_name(f"{path.name}.hdr").is_file()


def _is_roi(path: Path) -> bool:
    """Whether a text file holds regions of interest of ENVI."""
    if path.suffix.lower() not in ROI_SUFFIXES:
        return False
    try:
        with path.open("rb") as file:
            return b"roi name" in file.read(_HEAD).lower()
    except OSError:
        return False


def _open(path: Location, found: Found) -> list[Raster]:
    """Open every raster of a file; several arrays of one file are several rasters."""
    if isinstance(path, Path) and _is_vector(path):
        found.vectors.append(Vector(path, tuple(describe_vector(path))))
        return []
    if isinstance(path, Path) and _is_roi(path):
        found.rois.append((path, read_roi(path)))
        return []
    if isinstance(path, Path) and path.suffix.lower() == ".npy":
        info = NpyReader(path).info
        if _is_list(path, None, info):
            found.lists.append(PixelList(path, None, info.shape))
            return []
    arrays = contents(path)
    if arrays is None:
        return [_measured(path, None)]
    found.arrays[path] = arrays
    lists = []
    if isinstance(path, Path) and path.suffix.lower() in ARRAY_SUFFIXES:
        lists = [key for key, info in arrays.items() if _is_list(path, key, info)]
        found.lists += [PixelList(path, key, arrays[key].shape) for key in lists]
    return [_measured(path, key) for key in raster_keys(arrays) if key not in lists]


def _is_list(path: Path, key: str | None, info: ArrayInfo) -> bool:
    """Whether an array lists positions of pixels: whole numbers in one to three columns."""
    shape = info.shape
    single = len(shape) == 1 or min(shape, default=0) == 1
    fewest = _FEWEST_SINGLE if single else _FEWEST_LISTED
    if not info.numeric or max(shape, default=0) < fewest or math.prod(shape) > MOST_VALUES:
        return False
    if _SPECTRUM.search(roles.words(key or path.stem)) or not is_index_list(shape, 0, 0):
        return False
    values = read_array(path, key)
    with np.errstate(invalid="ignore"):
        whole = bool((values == np.rint(values)).all()) and int(values.min()) >= 0
    if not whole:
        return False
    # Every pixel is listed once; labels of single pixels, as one column, repeat their codes.
    places = values.T if values.ndim == 2 and values.shape[0] <= 2 else values
    places = places[:, :2] if places.ndim == 2 else places
    return len(np.unique(places, axis=0)) >= _DIFFERENT * len(places)


def _measured(path: Location, key: str | None) -> Raster:
    statistics = measure(open_source(path, key))
    # Opened anew: what a source keeps of its file's values is let go.
    return Raster(open_source(path, key), statistics)


def _agreed(rasters: Sequence[Raster]) -> list[Raster]:
    """Read the axes of arrays in the order by which they fit the other rasters."""
    shapes = [(raster.source.height, raster.source.width) for raster in rasters]
    found = []
    for number, raster in enumerate(rasters):
        source = agree(raster.source, [*shapes[:number], *shapes[number + 1 :]])
        if isinstance(source, ArraySource) and source is not raster.source:
            raster = Raster(source, measure(source), axes=source.axes)
        found.append(raster)
    return found


def _open_tiles(tiles: TileSet) -> list[Raster]:
    """Open the files of tiles; images are measured on some tiles, labels on all."""
    rasters = []
    for template in tiles.templates:
        path = tiles.file(template, tiles.names[0])
        arrays = contents(path)
        for key in [None] if arrays is None else raster_keys(arrays):
            sources = [open_source(tiles.file(template, name), key) for name in tiles.names]
            first = Raster(sources[0], measure(sources[0]), tiles, template)
            step = 1 if first.kind == "labels" else -(-len(sources) // _MOST_MEASURED)
            bands = sources[0].bands
            odd = [n for n, s in zip(tiles.names, sources, strict=True) if s.bands != bands]
            parts = {tiles.names[0]: first.statistics}
            for name, source in list(zip(tiles.names, sources, strict=True))[step::step]:
                if source.bands == bands:
                    parts[name] = measure(source)
            rasters.append(
                Raster(
                    open_source(path, key),
                    merge(list(parts.values())),
                    tiles,
                    template,
                    tuple((source.height, source.width) for source in sources),
                    tuple(odd),
                    tuple((name, part.percentiles()[1]) for name, part in parts.items()),
                )
            )
    return rasters


def _grouped(rasters: Sequence[Raster]) -> list[Group]:
    """Put the bands of a satellite's image together, and name every modality."""
    keyed: dict[object, list[tuple[str, int, Raster]]] = {}
    for number, raster in enumerate(rasters):
        band = roles.band_of(_stem(raster)) if raster.source.bands == 1 else None
        if band is None or raster.source.key is not None:
            keyed[number] = [("", 0, raster)]
        else:
            place = raster.template.rpartition("/")[0] or str(raster.source.path).rpartition("/")[0]
            keyed.setdefault((place, band[0]), []).append((band[1], band[2], raster))
    taken: set[str] = set()
    return [Group(*_named(members, taken)) for members in keyed.values()]


def _stem(raster: Raster) -> str:
    return raster.template.rpartition("/")[2].rpartition(".")[0] or raster.source.path.stem


def _named(
    members: Sequence[tuple[str, int, Raster]], taken: set[str]
) -> tuple[tuple[Raster, ...], str]:
    if len(members) == 1:
        raster = members[0][2]
        return (raster,), _unique(roles.short_name(raster.texts), taken)
    # The same band at several resolutions: the finest.
    finest: dict[str, tuple[int, Raster]] = {}
    for band, metres, raster in members:
        if band not in finest or metres < finest[band][0]:
            finest[band] = (metres, raster)
    ordered = sorted(finest, key=roles.band_order)
    name = "s2" if {"B8A", "B02"} & set(finest) and len(finest) > 2 else "bands"
    return tuple(finest[band][1] for band in ordered), _unique(name, taken)


def _unique(name: str, taken: set[str]) -> str:
    found, number = name, 2
    while found in taken:
        found, number = f"{name}_{number}", number + 1
    taken.add(found)
    return found
