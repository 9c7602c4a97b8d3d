"""A trained run maps another scene of the same sensors."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from bdgf import __version__
from bdgf.cluster import connected
from bdgf.errors import RunFolderError
from bdgf.files import atomic_write_text
from bdgf.mapping.cluster import cluster_mapper
from bdgf.mapping.pretrained import PretrainedMapper
from bdgf.mapping.scene_maps import Mapped, Mapper, write_maps
from bdgf.progress import Progress
from bdgf.runfolder import map_paths, remove_other_maps
from bdgf.scene.layout import Window
from bdgf.scene.scene import Scene
from bdgf.scene.shift import Shift, find_shifts

RECORD = "mapped.json"
"""Says which run has mapped which scene; a folder that holds it may be written to again."""


def map_other(
    mapper: PretrainedMapper,
    learned: Path,
    scene: Scene,
    folder: Path,
    progress: Progress,
    scheduler: str | None = None,
) -> list[Shift]:
    """Map a scene that the run has not seen.

    Its values are prepared with the statistics and components of the run, the features come from
    the run's denoiser, and the classes are those of the run, whatever labels the scene has.

    Args:
        mapper: What the run has learned.
        learned: Where it was read from, for the record.
        scene: The other scene.
        folder: Where map and confidence go, as in a run folder, with ``mapped.json``.
        progress: Receives lines and pixels.
        scheduler: Address of a ``dask.distributed`` scheduler whose workers make the map; None
            makes it here.

    Returns:
        What is far from the training scene, already told.

    Raises:
        RunFolderError: Modalities or bands differ from the run's, or the folder holds other files;
            nothing was changed.
    """
    scene = in_order(scene, [one.name for one in mapper.preparation.fitted])
    prepared, store = mapper.on(scene)
    _check_folder(folder)
    shifts = find_shifts(mapper.preparation, scene, mapper.settings.seed)
    for shift in shifts:
        progress.say(f"warning: {shift.describe()}")
    record = {
        "bdgf": __version__,
        "run": str(learned.resolve()),
        "scene": scene.name,
        "scene_file": str(scene.spec.path.resolve()),
        "notes": list(scene.notes),
        "warnings": [shift.describe() for shift in shifts],
    }
    atomic_write_text(folder / RECORD, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    side = mapper.settings.mapping.tile
    with contextlib.ExitStack() as cluster:
        classify: Mapper
        if scheduler is None:

            def classify(tile: int, windows: Iterable[Window]) -> Mapped:
                return mapper.mapped(prepared, store, tile, windows)

        else:
            client = cluster.enter_context(connected(scheduler))
            classify = cluster_mapper(client, mapper, scene, side)
        write_maps(
            scene,
            lambda tile: map_paths(folder, scene.tiles[tile].name, len(scene.tiles) == 1),
            mapper.classes,
            classify,
            side,
            mapper.origin_of(scene),
            progress,
            mapper.settings.mapping.acquired,
        )
    remove_other_maps(folder, [tile.name for tile in scene.tiles])
    return shifts


def in_order(scene: Scene, names: Sequence[str]) -> Scene:
    """Return a scene with its modalities in another order, itself where they are not the same."""
    spec = scene.spec
    own = [modality.name for modality in spec.modalities]
    if own == list(names) or sorted(own) != sorted(names):
        return scene
    order = [own.index(name) for name in names]
    return Scene.open(
        dataclasses.replace(
            spec,
            modalities=tuple(spec.modalities[index] for index in order),
            align=own[spec.reference],  # the first of the scene file, which it was read by
        )
    )


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"{folder} is a file; name a folder with --to.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / RECORD).is_file():
        raise RunFolderError(
            f"{folder} holds files but no {RECORD}, so it is not the map of another scene; nothing"
            " was written: name an empty or new folder with --to."
        )
