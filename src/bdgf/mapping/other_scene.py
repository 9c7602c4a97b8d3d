"""A trained run maps another scene of the same sensors."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path

from bdgf.cluster import connected
from bdgf.diffusion.computed import panel_columns
from bdgf.errors import SceneError
from bdgf.files import absolute
from bdgf.mapping.cluster import cluster_mapper
from bdgf.mapping.folder import map_folder
from bdgf.mapping.pretrained import PretrainedMapper
from bdgf.mapping.scene_maps import Mapper, tile_by_tile, write_maps
from bdgf.progress import Progress
from bdgf.runfolder import map_paths
from bdgf.scene.scene import Scene
from bdgf.scene.value_shift import Shift, find_shifts

SCALES = 1.25
"""Ratio between the pixel sizes of two scenes from which it is told."""


def mappable(mapper: PretrainedMapper, scene: Scene) -> list[Shift]:
    """Check that a scene has the bands that a run uses, and return what is far from its own scene.

    Args:
        mapper: What the run has learned.
        scene: The other scene, with the same modalities in the same order.

    Raises:
        SceneError: No pixel of the scene has a spectral value that the run could use.
        RunFolderError: Modalities or bands differ from the run's.
    """
    mapper.preparation.check_fits(scene)
    shifts = find_shifts(mapper.preparation, scene, mapper.settings.seed)
    lost = {shift.modality for shift in shifts if not shift.bands}
    spectral = {one.name for one in mapper.preparation.fitted if one.role == "spectral"}
    if spectral and spectral <= lost and not scene.large:  # of a large scene a part is looked at
        told = "; ".join(s.describe() for s in shifts if s.modality in spectral)
        raise SceneError(
            f"no pixel of {scene.name} can be mapped: {told}. Give a scene with these bands."
        )
    return shifts


def other_scale(mapper: PretrainedMapper, scene: Scene) -> list[str]:
    """Say it where the pixels of a scene are larger or smaller than those of the training."""
    learned, own = mapper.pixel_metres, scene.tiles[0].grid.pixel_metres
    if learned is None or own is None:
        return []
    ratio = max(max(a, b) / min(a, b) for a, b in zip(learned, own, strict=True))
    if ratio < SCALES:
        return []
    sizes = [" × ".join(f"{side:.3g}" for side in size) for size in (own, learned)]
    return [
        f"pixels of this scene are {sizes[0]} m, those of the training {sizes[1]} m: patches and"
        " features show another extent than the network has learned"
    ]


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
        SceneError: No pixel of the scene has a spectral value that the run could use.
        RunFolderError: Modalities or bands differ from the run's, or the folder holds other files
            or is in use; nothing was changed.
    """
    scene = scene.in_order([one.name for one in mapper.preparation.fitted], mapper.reference)
    shifts = mappable(mapper, scene)
    prepared, store = mapper.on(scene)
    warnings = [shift.describe() for shift in shifts] + other_scale(mapper, scene)
    for warning in warnings:
        progress.say(f"warning: {warning}")
    record = {
        "run": str(learned.resolve()),
        "scene": scene.name,
        "scene_file": str(absolute(scene.spec.path)),
        "notes": list(scene.notes),
        "warnings": warnings,
    }
    side = mapper.settings.mapping.tile
    with contextlib.ExitStack() as held:
        held.enter_context(map_folder(folder, [tile.name for tile in scene.tiles], record))
        classify: Mapper
        if scheduler is None:
            classify = tile_by_tile(partial(mapper.mapped, prepared, store))
        else:
            client = held.enter_context(connected(scheduler))
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
            columns=panel_columns(prepared, store, side),
        )
    return shifts
