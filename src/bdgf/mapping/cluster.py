"""Maps by the workers of a cluster: they hand back classes and confidences of windows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bdgf.cluster import Job, Tasks, Work, groups
from bdgf.mapping.journal import encode
from bdgf.mapping.pretrained import PretrainedMapper
from bdgf.mapping.scene_maps import Mapped, Mapper
from bdgf.scene.description import SceneSpec
from bdgf.scene.scene import Scene
from bdgf.scene.windows import Window, WindowGrid

if TYPE_CHECKING:
    from distributed import Client

GROUP = 8
"""Most windows of a task in each direction: neighbours share the features at their borders."""


@dataclass(frozen=True, eq=False)
class MapJob(Job[bytes]):
    """What a worker needs to classify windows of a scene; it returns records of the journal.

    Args:
        mapper: The trained networks.
        scene: The scene.
    """

    mapper: PretrainedMapper
    scene: SceneSpec

    again: ClassVar[str] = "what is finished is kept, and the same command goes on"

    def open(self) -> Work[bytes]:
        """Open the scene and build the networks, in a worker."""
        prepared, store = self.mapper.on(Scene.open(self.scene))

        def classified(tile: int, windows: list[Window]) -> Iterator[bytes]:
            return map(encode, self.mapper.mapped(prepared, store, tile, windows))

        return classified


def cluster_mapper(client: Client, mapper: PretrainedMapper, scene: Scene, side: int) -> Mapper:
    """Return what classifies windows of a scene on a cluster, in whatever order they are finished.

    Args:
        client: Connected to the scheduler.
        mapper: The trained networks.
        scene: The scene; one of files.
        side: Side of the windows.
    """
    job = MapJob(mapper, scene.spec.absolute())
    tasks = Tasks(client, job, mapper.settings.compute)
    total = sum(len(WindowGrid(tile.height, tile.width, side, side)) for tile in scene.tiles)

    def mapped(places: Iterable[tuple[int, Window]]) -> Mapped:
        return tasks.run(groups(places, side, total, tasks.threads, GROUP))

    return mapped
