"""A trained run maps another scene of the same sensors."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from bdgf import __version__
from bdgf.config import Settings
from bdgf.errors import RunFolderError
from bdgf.files import atomic_write_text
from bdgf.mapping.cluster import cluster_mapper, connected
from bdgf.mapping.pretrained import PretrainedMapper
from bdgf.mapping.scene_maps import Mapped, Mapper, write_maps
from bdgf.mapping.trained import TrainedRun
from bdgf.progress import Progress
from bdgf.scene.layout import Window
from bdgf.scene.scene import Scene
from bdgf.scene.shift import Shift, find_shifts

RECORD = "mapped.json"
"""Says which run has mapped which scene; a folder that holds it may be written to again."""


def map_other(
    run: TrainedRun,
    scene: Scene,
    folder: Path,
    settings: Settings,
    progress: Progress,
    scheduler: str | None = None,
) -> list[Shift]:
    """Map a scene that the run has not seen.

    Its values are prepared with the statistics and components of the run, the features come from
    the run's denoiser, and the classes are those of the run, whatever labels the scene has.

    Args:
        run: The trained run.
        scene: The other scene.
        folder: Where map and confidence go, as in a run folder, with ``mapped.json``.
        settings: Of which the mapping's and the device count.
        progress: Receives lines and pixels.
        scheduler: Address of a ``dask.distributed`` scheduler whose workers make the map; None
            makes it here.

    Returns:
        What is far from the training scene, already told.

    Raises:
        RunFolderError: Modalities or bands differ from the run's, or the folder holds other files;
            nothing was changed.
    """
    scene = in_order(scene, [one.name for one in run.preparation.fitted])
    prepared, store = run.on(scene, settings)
    _check_folder(folder)
    shifts = find_shifts(run.preparation, scene, run.settings.seed)
    for shift in shifts:
        progress.say(f"warning: {shift.describe()}")
    single = len(scene.tiles) == 1

    def paths(tile: int) -> tuple[Path, Path]:
        name = scene.tiles[tile].name
        if single:
            return folder / "map.tif", folder / "confidence.tif"
        return folder / "maps" / f"{name}.tif", folder / "confidence" / f"{name}.tif"

    record = {
        "bdgf": __version__,
        "run": str(run.folder.path.resolve()),
        "scene": scene.name,
        "scene_file": str(scene.spec.path.resolve()),
        "notes": list(scene.notes),
        "warnings": [shift.describe() for shift in shifts],
    }
    atomic_write_text(folder / RECORD, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    side = settings.mapping.tile
    with contextlib.ExitStack() as cluster:
        mapper: Mapper
        if scheduler is None:

            def mapper(tile: int, windows: Iterable[Window]) -> Mapped:
                return run.mapped(prepared, store, tile, windows)

        else:
            client = cluster.enter_context(connected(scheduler))
            changes = {"compute": settings.compute}
            trained = PretrainedMapper.from_run(run.folder.path, changes)
            mapper = cluster_mapper(client, trained, scene, side)
        write_maps(
            scene,
            paths,
            run.legend,
            mapper,
            side,
            run.origin_of(scene),
            progress,
            settings.mapping.acquired,
        )
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
