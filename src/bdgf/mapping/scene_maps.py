"""The maps of all tiles of a scene, with everything that lies beside them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bdgf.mapping.inference import MappedWindow
from bdgf.mapping.legend import Legend
from bdgf.mapping.stac import write_item
from bdgf.mapping.votes import VotesWriter
from bdgf.mapping.writing import MapWriter
from bdgf.progress import Progress
from bdgf.scene.scene import Scene

Mapped = Iterable[MappedWindow]
"""The classified windows of a tile."""


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
    mapped: Callable[[int], Mapped],
    progress: Progress,
    acquired: str = "",
    votes: Votes | None = None,
) -> None:
    """Write map, confidence, legend and STAC item of every tile, and the votes where asked for.

    Args:
        scene: The scene that is mapped.
        paths: Gives the paths of a tile's map and confidence.
        legend: Classes of the map; those of the scene may be others, or none.
        mapped: Gives the classified windows of a tile.
        progress: Receives pixels of one tile, or tiles.
        acquired: When the rasters were taken (ISO 8601), empty where it is not known.
        votes: Where the votes of the heads go, None for nowhere.

    Raises:
        RunFolderError: The folder cannot be written, or the disk is full.
    """
    single = len(scene.tiles) == 1
    for index, tile in enumerate(scene.tiles):
        map_path, confidence_path = paths(index)
        done, pixels = 0, tile.height * tile.width
        with contextlib.ExitStack() as files:
            writer = files.enter_context(
                MapWriter(
                    map_path, confidence_path, tile, legend.codes, legend.names, legend.colors
                )
            )
            ballots = votes and files.enter_context(
                VotesWriter(votes.path(index), tile, legend.codes, votes.heads)
            )
            for part in mapped(index):
                writer.write(part.window, part.classes, part.confidence)
                if ballots:
                    ballots.write(part.window, part.votes)
                done += part.window.height * part.window.width
                if single:
                    progress.track("map", done, pixels)
        write_item(
            map_path.with_suffix(".json"),
            scene.name if single else f"{scene.name}-{tile.name}",
            tile,
            legend,
            {"map": map_path, "confidence": confidence_path},
            acquired,
        )
        if not single:
            progress.track("map", index + 1, len(scene.tiles))
