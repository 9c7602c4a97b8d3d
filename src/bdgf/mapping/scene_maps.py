"""The maps of all tiles of a scene, with everything that lies beside them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bdgf.errors import RunFolderError
from bdgf.mapping.inference import MappedWindow
from bdgf.mapping.journal import Journal
from bdgf.mapping.legend import Legend
from bdgf.mapping.stac import is_dated, write_item
from bdgf.mapping.threads import WriteBehind
from bdgf.mapping.votes import VotesWriter
from bdgf.mapping.writing import MapWriter
from bdgf.progress import Progress
from bdgf.scene.layout import PANEL, Window, WindowGrid, panels_of
from bdgf.scene.scene import Scene
from bdgf.scene.tiles import Tile

Mapped = Iterable[MappedWindow]
"""Classified windows of a tile, in any order."""

Mapper = Callable[[int, Iterable[Window]], Mapped]
"""Classifies windows of a tile, given by its index."""


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
    while the next ones are classified.

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
    journals = []
    for index, tile in enumerate(scene.tiles):
        map_path, confidence_path = paths(index)
        outputs = [map_path, confidence_path, *([votes.path(index)] if votes else [])]
        journal = Journal(
            map_path.with_name(f"{map_path.name}.partial"), f"{origin} {side} {index}"
        )
        journals.append(journal.path)
        if journal.finished and all(path.is_file() for path in outputs):
            # what is cheap is written anew: it may say another date by now
            _describe(scene, tile, legend, outputs, acquired)
            progress.track("map", index + 1, len(scene.tiles))
            continue
        done, pixels = 0, tile.height * tile.width
        with contextlib.ExitStack() as files:
            files.enter_context(journal)
            out = _TileFiles(files, tile, outputs, legend, votes.heads if votes else ())
            for part in journal.parts():
                out.write(part)
                done += part.window.height * part.window.width
            if done:
                progress.say(f"map: goes on at {100 * done / pixels:.1f} % of {tile.name}")
            with WriteBehind(_both(journal.add, out.write)) as behind:
                for part in mapper(index, _left(tile, side, columns, journal)):
                    behind.put(part)
                    done += part.window.height * part.window.width
                    if single:
                        progress.track("map", done, pixels)
            missing = len(WindowGrid(tile.height, tile.width, side, side)) - len(journal.done)
            if missing:  # a map with a hole never takes its name
                raise RunFolderError(
                    f"{missing:,} windows of {tile.name} were not classified; what is finished is"
                    " kept: run the same command again to go on."
                )
        _describe(scene, tile, legend, outputs, acquired)
        if not single:
            journal.close_finished()
            progress.track("map", index + 1, len(scene.tiles))
    for path in journals:
        path.unlink(missing_ok=True)


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


def _both(
    first: Callable[[MappedWindow], None], second: Callable[[MappedWindow], None]
) -> Callable[[MappedWindow], None]:
    def work(part: MappedWindow) -> None:
        first(part)
        second(part)

    return work


def _left(tile: Tile, side: int, columns: int, journal: Journal) -> Iterator[Window]:
    """Yield the windows of a tile that are not in its journal."""
    before = frozenset(journal.done)
    for window in panels_of(tile.height, tile.width, side, columns):
        if (window.row, window.col) not in before:
            yield window
