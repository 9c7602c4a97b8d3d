"""The maps of all tiles of a scene, with everything that lies beside them."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bdgf.errors import RunFolderError
from bdgf.mapping.inference import MappedWindow
from bdgf.mapping.journal import Journal, decode, encode
from bdgf.mapping.legend import Legend
from bdgf.mapping.stac import is_dated, write_item
from bdgf.mapping.threads import WriteBehind
from bdgf.mapping.votes import VotesWriter
from bdgf.mapping.writing import MapWriter
from bdgf.progress import Progress
from bdgf.scene.scene import Scene
from bdgf.scene.tiles import Tile
from bdgf.scene.windows import PANEL, Window, WindowGrid, panels_of

Mapped = Iterable[tuple[int, Window, MappedWindow | bytes]]
"""Index of the tile, window, and its classes or their record of the journal, in any order."""

Mapper = Callable[[Iterable[tuple[int, Window]]], Mapped]
"""Classifies windows of all tiles, given one tile after another by its index."""


def tile_by_tile(work: Callable[[int, Iterable[Window]], Iterable[MappedWindow]]) -> Mapper:
    """Return what classifies the windows of each tile by itself, in their order.

    Args:
        work: Classifies windows of a tile, given by its index.
    """

    def mapped(places: Iterable[tuple[int, Window]]) -> Mapped:
        for tile, group in itertools.groupby(places, key=lambda place: place[0]):
            for part in work(tile, (window for _, window in group)):
                yield tile, part.window, part

    return mapped


@dataclass(frozen=True)
class Votes:
    """Where the votes of the heads go.

    Args:
        path: Gives the path of a tile's votes.
        heads: Names of the heads.
    """

    path: Callable[[int], Path]
    heads: Sequence[str]


def write_maps(
    scene: Scene,
    paths: Callable[[int], tuple[Path, Path]],
    legend: Legend,
    mapper: Mapper,
    side: int,
    origin: str,
    progress: Progress,
    acquired: str = "",
    votes: Votes | None = None,
    columns: int = PANEL,
) -> None:
    """Write map, confidence, legend and STAC item of every tile, and the votes where asked for.

    A map that was stopped goes on from its journal, ``MAP.tif.partial`` beside the map, and comes
    out the same. Memory does not grow with the tiles: windows are written by a thread of its own
    while the next ones are classified, those of later tiles to their journals alone until the turn
    of their tile comes.

    Args:
        scene: The scene that is mapped.
        paths: Gives the paths of a tile's map and confidence.
        legend: Classes of the map; those of the scene may be others, or none.
        mapper: Classifies windows.
        side: Side of the windows in pixels.
        origin: What decides the classes; a journal of another origin is begun again.
        progress: Receives pixels of one tile, or tiles.
        acquired: When the rasters were taken (ISO 8601), empty where it is not known.
        votes: Where the votes of the heads go, None for nowhere.
        columns: Columns of the panels in which windows are handed to the mapper.

    Raises:
        RunFolderError: The folder cannot be written, the disk is full, or the mapper left windows
            out.
    """
    single = len(scene.tiles) == 1
    outputs, journals = [], []
    for index in range(len(scene.tiles)):
        map_path, confidence_path = paths(index)
        outputs.append([map_path, confidence_path, *([votes.path(index)] if votes else [])])
        partial = map_path.with_name(f"{map_path.name}.partial")
        journals.append(Journal(partial, f"{origin} {side} {index}"))

    def finished(index: int) -> bool:
        return journals[index].finished and all(path.is_file() for path in outputs[index])

    def left() -> Iterator[tuple[int, Window]]:
        for index, tile in enumerate(scene.tiles):
            if finished(index):
                continue
            before = journals[index].before
            for window in panels_of(tile.height, tile.width, side, columns):
                if (window.row, window.col) not in before:
                    yield index, window

    results = iter(mapper(left()))
    for index, tile in enumerate(scene.tiles):
        known = finished(index)
        if not known:
            _write_tile(
                scene, index, outputs[index], legend, votes, journals, results, side, progress
            )
        # what is cheap is written anew: it may say another date by now
        _describe(scene, tile, legend, outputs[index], acquired)
        if not single:
            if not known:
                journals[index].close_finished()
            progress.track("map", index + 1, len(scene.tiles))
    for journal in journals:
        journal.path.unlink(missing_ok=True)


def _write_tile(
    scene: Scene,
    index: int,
    outputs: Sequence[Path],
    legend: Legend,
    votes: Votes | None,
    journals: Sequence[Journal],
    results: Iterator[tuple[int, Window, MappedWindow | bytes]],
    side: int,
    progress: Progress,
) -> None:
    """Write the rasters of a tile, from its journal and from what is classified till it is whole.

    Raises:
        RunFolderError: The folder cannot be written, the disk is full, or nothing is classified any
            more while windows of the tile are missing.
    """
    single = len(scene.tiles) == 1
    tile, journal = scene.tiles[index], journals[index]
    grid = WindowGrid(tile.height, tile.width, side, side)
    done, before, pixels = 0, 0, tile.height * tile.width
    with contextlib.ExitStack() as files:
        out = _TileFiles(files, tile, outputs, legend, votes.heads if votes else ())
        for known in journal.parts():
            out.write(known)
            size = known.window.height * known.window.width
            done += size
            before += size * ((known.window.row, known.window.col) in journal.before)
        if before:
            progress.say(f"map: goes on at {100 * before / pixels:.1f} % of {tile.name}")

        def write(found: tuple[int, MappedWindow | bytes]) -> None:
            of, part = found
            record = part if isinstance(part, bytes) else encode(part)
            journals[of].add(record)
            if of == index:
                out.write(decode(record) if isinstance(part, bytes) else part)

        left = len(grid) - len(journal.done)
        with WriteBehind(write) as behind:
            while left and (found := next(results, None)) is not None:
                of, window, part = found
                behind.put((of, part))
                if of == index:
                    left -= 1
                    done += window.height * window.width
                    if single:
                        progress.track("map", done, pixels)
        missing = len(grid) - len(journal.done)
        if missing:  # a map with a hole never takes its name
            raise RunFolderError(
                f"{missing:,} windows of {tile.name} were not classified; what is finished is kept:"
                " run the same command again to go on."
            )


def date_maps(
    scene: Scene, paths: Callable[[int], tuple[Path, Path]], legend: Legend, acquired: str
) -> None:
    """Write the STAC items of finished maps anew where they say another time.

    Args:
        scene: The scene that was mapped.
        paths: Gives the paths of a tile's map and confidence.
        legend: Classes of the map.
        acquired: When the rasters were taken (ISO 8601), empty where it is not known.
    """
    for index, tile in enumerate(scene.tiles):
        outputs = paths(index)
        if not is_dated(_item(outputs), acquired):
            _describe(scene, tile, legend, outputs, acquired)


def _item(outputs: Sequence[Path]) -> Path:
    return outputs[0].with_suffix(".json")


def _describe(
    scene: Scene, tile: Tile, legend: Legend, outputs: Sequence[Path], acquired: str
) -> None:
    """Write the STAC item of a tile's map."""
    name = scene.name if len(scene.tiles) == 1 else f"{scene.name}-{tile.name}"
    assets = {"map": outputs[0], "confidence": outputs[1]}
    write_item(_item(outputs), name, tile, legend, assets, acquired)


class _TileFiles:
    """The open rasters of one tile.

    Args:
        files: Closes them.
        tile: The tile.
        paths: Of the map, the confidence, and the votes where there are any.
        legend: Classes of the map.
        heads: Names of the heads.
    """

    def __init__(
        self,
        files: contextlib.ExitStack,
        tile: Tile,
        paths: Sequence[Path],
        legend: Legend,
        heads: Sequence[str],
    ) -> None:
        self.map = files.enter_context(
            MapWriter(paths[0], paths[1], tile, legend.codes, legend.names, legend.colors)
        )
        self.votes: VotesWriter | None = None
        if len(paths) > 2:
            self.votes = files.enter_context(VotesWriter(paths[2], tile, legend.codes, heads))

    def write(self, part: MappedWindow) -> None:
        """Write a window, unless it is empty: what is never written has no data."""
        if part.empty:
            return
        self.map.write(part.window, part.classes, part.confidence)
        if self.votes is not None:
            self.votes.write(part.window, part.votes)
