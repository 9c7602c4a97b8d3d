"""A finished run as a mapper of other scenes: all that its folder holds, without its own scene."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from bdgf import __version__, checkpoint, config
from bdgf.compute import device_of, place
from bdgf.config import Settings
from bdgf.diffusion.computed import ComputedFeatures
from bdgf.diffusion.denoiser import Denoiser
from bdgf.diffusion.features import FeatureExtractor
from bdgf.diffusion.pretraining import build_denoiser
from bdgf.diffusion.reduction import REDUCTION, Reduction
from bdgf.diffusion.store import FeatureStore
from bdgf.errors import RunFolderError
from bdgf.fusion.network import FusionNetwork, build_network
from bdgf.mapping.inference import map_windows, window_log_probabilities
from bdgf.mapping.legend import Legend
from bdgf.mapping.scene_maps import Mapped
from bdgf.runfolder import RunFolder
from bdgf.scene.layout import Window
from bdgf.scene.preparation import Preparation
from bdgf.scene.prepared import PreparedScene
from bdgf.scene.scene import Scene

Member = tuple[FusionNetwork, list[float]]
"""A trained network, and the fusion weight of each of its heads."""


class TrainedRun:
    """What a finished run has learned.

    Args:
        path: The run folder.

    Attributes:
        folder: The run folder.
        settings: The settings that it was trained with.
        preparation: Statistics and principal components of the scene that it was trained on.

    Raises:
        RunFolderError: The folder holds no run that is trained, or is damaged, or its features
            come from another model.
    """

    def __init__(self, path: Path) -> None:
        if not (path / "stages.json").is_file():
            raise RunFolderError(
                f"{path} is not a run folder; name one that 'bdgf run' or 'bdgf train' has written."
            )
        self.folder = RunFolder(path)
        if not self.folder.was_finished("train"):
            raise RunFolderError(
                f"{path} holds a run that is not trained yet; finish it with 'bdgf train {path}'."
            )
        self._weights, self._origin = checkpoint.load_tensors(self.folder.network)
        self.settings: Settings = config.from_values(self._recorded("settings"))
        source = self.settings.features.source
        if source not in ("diffusion", "none"):
            raise RunFolderError(
                f"the features that guide {path} come from {source}, another model that the run"
                " does not hold; train with --features.source diffusion (or none) to use it"
                " without its scene."
            )
        tensors, origin = checkpoint.load_tensors(self.folder.preparation)
        arrays = {name: value.numpy() for name, value in tensors.items()}
        self.preparation = Preparation.from_parts(arrays, origin["preparation"])

    def _recorded(self, name: str) -> Any:  # noqa: ANN401
        if name not in self._origin:
            raise RunFolderError(
                f"{self.folder.network} does not say its {name}; it is of another version: train"
                " again in a new folder."
            )
        return self._origin[name]

    @cached_property
    def legend(self) -> Legend:
        """The classes that it was trained for.

        Raises:
            SceneError: An older run, which does not hold them, and whose scene is gone.
        """
        found = self._origin.get("classes")
        if found is not None:
            return Legend.of(found["codes"], found["names"], found["colors"])
        path = self.folder.scene()
        if path is None:
            raise RunFolderError(f"{self.folder.path} does not say what scene it was trained on.")
        scene = Scene.open(path)
        return Legend.of(scene.class_codes, scene.class_names, scene.class_colors)

    @cached_property
    def denoiser(self) -> Denoiser | None:
        """The pre-trained denoiser, None where nothing guides the branches."""
        if self.settings.features.source == "none":
            return None
        denoiser = build_denoiser(
            self.settings.diffusion, self.preparation.layout, self.settings.seed
        )
        tensors, _ = checkpoint.load_tensors(self.folder.diffusion)
        checkpoint.load_weights(denoiser, tensors, self.folder.diffusion)
        return place(denoiser, device_of(self.settings.compute)).eval()

    @cached_property
    def reduction(self) -> Reduction | None:
        """The components of the denoiser's features, None where nothing guides the branches."""
        if self.settings.features.source == "none":
            return None
        return Reduction.load(self.folder.features / REDUCTION)

    @cached_property
    def members(self) -> list[Member]:
        """The trained networks, whose log-probabilities are averaged."""
        levels = [len(level) for level in self.reduction.levels] if self.reduction else [0, 0, 0]
        network = build_network(
            self.settings.network,
            self.preparation.layout,
            levels,
            len(self.legend.codes),
            self.settings.seed,
        )
        checkpoint.load_weights(network, self._weights, self.folder.network)
        temperature = float(self._recorded("temperature"))
        weights = [float(weight) / temperature for weight in self._recorded("fusion_weights")]
        return [(network.to(device_of(self.settings.compute)).eval(), weights)]

    def on(self, scene: Scene, settings: Settings) -> tuple[PreparedScene, FeatureStore]:
        """Prepare a scene as the run's own was, and give its guidance features.

        Args:
            scene: Any scene of the same modalities.
            settings: Of which only the device counts.

        Returns:
            The scene, prepared with the statistics and components of the run; its features, which
            are computed where they are read.

        Raises:
            RunFolderError: Its modalities or bands differ from those that the run was made for.
        """
        prepared = PreparedScene(scene, self.preparation)
        if self.denoiser is None or self.reduction is None:
            shapes = [prepared.shape(tile) for tile in range(prepared.tiles)]
            return prepared, FeatureStore(None, [tile.name for tile in scene.tiles], shapes)
        run = self.settings
        device = device_of(settings.compute)
        extractor = FeatureExtractor(
            self.denoiser, prepared, run.features, run.diffusion, run.seed, device
        )
        return prepared, ComputedFeatures(extractor, self.reduction)

    def log_probabilities(
        self, prepared: PreparedScene, store: FeatureStore, tile: int, window: Window
    ) -> Tensor:
        """Return the log-probabilities (K, h, w) of a window, as ``bdgf map`` computes them."""
        network, weights = self.members[0]
        return window_log_probabilities(network, weights, prepared, store, tile, window)

    def mapped(
        self,
        prepared: PreparedScene,
        store: FeatureStore,
        tile: int,
        windows: Iterable[Window],
    ) -> Mapped:
        """Return classified windows of a tile, as ``bdgf map`` computes them."""
        network, weights = self.members[0]
        return map_windows(network, weights, prepared, store, tile, windows)

    def origin_of(self, scene: Scene) -> str:
        """Return a digest of all that decides the map of a scene: weights, components, rasters."""
        digest = hashlib.sha256(f"{__version__}\n{scene.signature('images')}".encode())
        for name in (self.folder.network, self.folder.preparation):
            digest.update(name.read_bytes())
        if self.settings.features.source != "none":
            digest.update(self.folder.diffusion.read_bytes())
            digest.update((self.folder.features / REDUCTION).read_bytes())
        return digest.hexdigest()
