"""Maps by the workers of a cluster: they hand back classes and confidences of windows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bdgf.cluster import Job, Tasks, groups
from bdgf.mapping.inference import classify
from bdgf.mapping.journal import decode, encode
from bdgf.mapping.pretrained import PretrainedMapper
from bdgf.mapping.scene_maps import Mapped, Mapper
from bdgf.scene.description import SceneSpec
from bdgf.scene.layout import Window
from bdgf.scene.scene import Scene

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

    def open(self) -> Callable[[int, Window], bytes]:
        """Open the scene and build the networks, in a worker."""
        prepared, store = self.mapper.on(Scene.open(self.scene))
        network, weights = self.mapper.network, self.mapper.weights

        def classified(tile: int, window: Window) -> bytes:
            present = prepared.valid_in(tile, window)
            return encode(classify(network, weights, prepared, store, tile, window, present))

        return classified


def cluster_mapper(client: Client, mapper: PretrainedMapper, scene: Scene, side: int) -> Mapper:
    """Return what classifies windows of a scene on a cluster, in whatever order they are finished.

    Args:
        client: Connected to the scheduler.
        mapper: The trained networks.
        scene: The scene; one of files.
        side: Side of the windows.
    """
    tasks = Tasks(client, MapJob(mapper, scene.spec.absolute()))

    def mapped(tile: int, windows: Iterable[Window]) -> Mapped:
        grouped = groups(list(windows), side, tasks.threads, GROUP)
        for _, _, record in tasks.run((tile, group) for group in grouped):
            yield decode(record)

    return mapped
