"""Diffusion features by the workers of a cluster: they hand back blocks, the client writes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bdgf.cluster import Job, Tasks, Work, groups
from bdgf.compute import device_of
from bdgf.config import Settings
from bdgf.diffusion.features import OWN_SOURCES, WINDOW, Block, Blocks, FeatureExtractor, grids_of
from bdgf.diffusion.pretraining import load_denoiser
from bdgf.diffusion.reduction import Reduction
from bdgf.errors import SettingsError
from bdgf.scene.description import SceneSpec
from bdgf.scene.preparation import Preparation
from bdgf.scene.prepared import PreparedScene
from bdgf.scene.scene import Scene
from bdgf.scene.windows import in_order

if TYPE_CHECKING:
    from distributed import Client

GROUP = 2
"""Most blocks of a task in each direction: neighbours share what is read of the scene. What a task
hands back, by default 19 MB, waits in memory until the client has written it."""

_CACHE_BYTES = 256 << 20
"""Most memory for prepared values in a worker."""


@dataclass(frozen=True, eq=False)
class FeatureJob(Job[NDArray[np.float16]]):
    """What a worker needs to compute blocks of features.

    Args:
        scene: The scene.
        preparation: Its statistics and components.
        weights: Tensors of the denoiser.
        reduction: Components of the levels, as the client has fitted them.
        settings: All settings.
    """

    scene: SceneSpec
    preparation: Preparation
    weights: Mapping[str, Tensor]
    reduction: Reduction
    settings: Settings

    again: ClassVar[str] = "the same command computes all features again"

    def open(self) -> Work[NDArray[np.float16]]:
        """Open the scene and build the denoiser, in a worker."""
        s = self.settings
        prepared = PreparedScene(Scene.open(self.scene), self.preparation, _CACHE_BYTES)
        denoiser = load_denoiser(s, prepared.layout, self.weights, Path("diffusion"))
        device = device_of(s.compute)
        extractor = FeatureExtractor(denoiser, prepared, s.features, s.diffusion, s.seed, device)
        return lambda tile, windows: (extractor.block(self.reduction, tile, w) for w in windows)


def cluster_blocks(client: Client, extractor: FeatureExtractor, settings: Settings) -> Blocks:
    """Return what computes the features of a scene on a cluster, in whatever order they come.

    Args:
        client: Connected to the scheduler.
        extractor: Reads the denoiser here; its scene is one of files.
        settings: All settings.
    """
    prepared = extractor.prepared

    def blocks(reduction: Reduction) -> Iterator[Block]:
        weights = {name: value.cpu() for name, value in extractor.denoiser.state_dict().items()}
        job = FeatureJob(
            prepared.scene.spec.absolute(), prepared.preparation, weights, reduction, settings
        )
        tasks, grids = Tasks(client, job, settings.compute), grids_of(prepared)
        total = sum(map(len, grids))
        return tasks.run(groups(in_order(grids), WINDOW, total, tasks.threads, GROUP))

    return blocks


def check_source(settings: Settings) -> None:
    """Check that workers can compute the features.

    Raises:
        SettingsError: They come from files of another model.
    """
    if settings.features.source not in OWN_SOURCES:
        raise SettingsError(
            f"features.source is {settings.features.source!r}, files of another model that belong"
            " to one scene, and workers compute their features themselves; leave --scheduler out."
        )
