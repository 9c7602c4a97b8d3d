"""The maps of all tiles of a scene, with everything that lies beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bdgf.mapping.legend import Legend
from bdgf.mapping.stac import write_item
from bdgf.mapping.writing import MapWriter
from bdgf.progress import Progress
from bdgf.scene.layout import Window
from bdgf.scene.scene import Scene

Mapped = Iterable[tuple[Window, NDArray[np.int64], NDArray[np.float32]]]
"""Windows of a tile with class indices (h, w), -1 for none, and confidences (h, w)."""


def write_maps(
    scene: Scene,
    paths: Callable[[int], tuple[Path, Path]],
    legend: Legend,
    mapped: Callable[[int], Mapped],
    progress: Progress,
    acquired: str = "",
) -> None:
    """Write map, confidence, legend and STAC item of every tile.

    Args:
        scene: The scene that is mapped.
        paths: Gives the paths of a tile's map and confidence.
        legend: Classes of the map; those of the scene may be others, or none.
        mapped: Gives the classified windows of a tile.
        progress: Receives pixels of one tile, or tiles.
        acquired: When the rasters were taken (ISO 8601), empty where it is not known.

    Raises:
        RunFolderError: The folder cannot be written, or the disk is full.
    """
    single = len(scene.tiles) == 1
    for index, tile in enumerate(scene.tiles):
        map_path, confidence_path = paths(index)
        done, pixels = 0, tile.height * tile.width
        with MapWriter(
            map_path, confidence_path, tile, legend.codes, legend.names, legend.colors
        ) as writer:
            for window, classes, confidence in mapped(index):
                writer.write(window, classes, confidence)
                done += window.height * window.width
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
