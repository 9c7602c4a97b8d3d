"""Folders that hold the same files for many places: the tiles of one scene."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bdgf.scene.description import TILE
from bdgf.scene.formats.base import RasterSource
from bdgf.scene.grid import Bounds, Grid
from bdgf.scene.inspection.roles import kind_of

_MOST_SHARED = 0.2
_MOST_OF = 0.9
"""Share of the tiles that a file must be there for to count as one of theirs."""


@dataclass(frozen=True)
class TileSet:
    """Files that are there for every one of several tiles.

    Args:
        folder: Folder that the templates start from.
        names: Names of the tiles that have all files.
        templates: Path of every file below the folder, with ``{tile}``.
        incomplete: Names of the tiles that lack a file; they are left out.
    """

    folder: Path
    names: tuple[str, ...]
    templates: tuple[str, ...]
    incomplete: tuple[str, ...] = ()

    def file(self, template: str, tile: str) -> Path:
        """Return the file of a tile."""
        return self.folder / template.replace(TILE, tile)

    def files(self) -> list[Path]:
        """Return the files of all tiles."""
        return [self.file(template, tile) for template in self.templates for tile in self.names]


def find_tiles(folder: Path, files: Iterable[Path]) -> TileSet | None:
    """Recognise tiles: a folder for each, the same names in a folder per sensor, or name_sensor.

    Args:
        folder: The folder that is inspected.
        files: The rasters in it and in the folders below it.

    Returns:
        The tiles, None where the files are those of one place.
    """
    relative = sorted(file.relative_to(folder) for file in files)
    deep = [path for path in relative if len(path.parts) == 2]
    flat = [path for path in relative if len(path.parts) == 1]
    found = _folder_per_tile(deep) or _folder_per_sensor(deep) or _one_folder(flat)
    if found is None:
        return None
    names, templates, incomplete = found
    return TileSet(folder, tuple(names), tuple(templates), tuple(incomplete))


def mosaic(folder: Path, sources: Sequence[RasterSource]) -> TileSet | None:
    """Recognise images of one sensor side by side: same bands, type and pixels, other places.

    Args:
        folder: Their folder.
        sources: The rasters, all of the folder's.
    """
    grids = [Grid.of(source) for source in sources]
    alike = {(s.bands, str(s.dtype), str(s.crs), s.path.suffix) for s in sources}
    pixels = {tuple(round(side, 9) for side in grid.pixel or ()) for grid in grids}
    if len(sources) < 2 or len(alike) > 1 or len(pixels) > 1 or sources[0].bands < 3:
        return None
    boxes = [grid.bounds for grid in grids if grid.placed]
    if len(boxes) < len(sources) or any(source.key for source in sources):
        return None
    for number, one in enumerate(boxes):
        for other in boxes[number + 1 :]:
            if one is None or other is None or _shared(one, other) > _MOST_SHARED:
                return None
    names = sorted(source.path.stem for source in sources)
    return TileSet(folder, tuple(names), (f"{TILE}{sources[0].path.suffix}",))


def _shared(one: Bounds, other: Bounds) -> float:
    """Share of the smaller of two rectangles that lies in both."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    if across <= 0 or down <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return across * down / min(areas)


_Tiles = tuple[list[str], list[str], list[str]]


def _folder_per_tile(paths: Sequence[Path]) -> _Tiles | None:
    """Recognise plot_1/hsi.tif, plot_1/labels.tif, plot_2/hsi.tif, ..."""
    inside: dict[str, set[str]] = {}
    for path in paths:
        inside.setdefault(path.parts[0], set()).add(path.name)
    found = _complete(inside)
    if found is None:
        return None
    names, shared, incomplete = found
    return names, [f"{TILE}/{name}" for name in shared], incomplete


def _folder_per_sensor(paths: Sequence[Path]) -> _Tiles | None:
    """Recognise hsi/a.tif, hsi/b.tif, labels/a.tif, ... also with the sensor in every name."""
    folders: dict[str, list[Path]] = {}
    for path in paths:
        folders.setdefault(path.parts[0], []).append(path)
    for strip in (False, True):
        inside: dict[str, set[str]] = {}
        for folder, members in folders.items():
            if len(members) < 2 or len({m.suffix for m in members}) > 1:
                continue
            stems = [member.stem for member in members]
            before, after = _affixes(stems) if strip else ("", "")
            template = f"{folder}/{before}{TILE}{after}{members[0].suffix}"
            for stem in stems:
                tile = stem[len(before) : len(stem) - len(after)]
                inside.setdefault(tile, set()).add(template)
        found = _complete(inside)
        if found is not None and len(found[1]) > 1:
            return found
    return None


def _one_folder(paths: Sequence[Path]) -> _Tiles | None:
    """Recognise a_hsi.tif, a_labels.tif, b_hsi.tif, ..."""
    inside: dict[str, set[str]] = {}
    for path in paths:
        tile, underscore, sensor = path.stem.rpartition("_")
        if underscore and tile and kind_of([sensor], True):
            inside.setdefault(tile, set()).add(f"{TILE}_{sensor}{path.suffix}")
    found = _complete(inside)
    if found is None or len(found[1]) < 2 or any(kind_of([tile], False) for tile in found[0]):
        return None
    return found


def _complete(inside: dict[str, set[str]]) -> _Tiles | None:
    """Return tiles with all shared files, the shared files, and the tiles that lack some."""
    counts = Counter(name for names in inside.values() for name in names)
    if not counts or max(counts.values()) < 2:
        return None
    enough = _MOST_OF * max(counts.values())
    shared = sorted(name for name, count in counts.items() if count >= enough)
    names = [tile for tile, files in inside.items() if files.issuperset(shared)]
    if len(names) < 2:
        return None
    partly = [tile for tile, files in inside.items() if tile not in names and files & set(shared)]
    return sorted(names), shared, sorted(partly)


def _affixes(stems: Sequence[str]) -> tuple[str, str]:
    """Return what all names begin and end with, up to a separator."""
    before = _shared_start(stems)
    after = _shared_start([stem[::-1] for stem in stems])[::-1]
    return before[: before.rfind("_") + 1], after[after.find("_") :] if "_" in after else ""


def _shared_start(texts: Sequence[str]) -> str:
    first, last = min(texts), max(texts)
    same = 0
    while same < min(len(first), len(last)) and first[same] == last[same]:
        same += 1
    return first[:same]
