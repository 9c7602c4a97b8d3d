"""A run: its scene, settings and folder, and what its finished stages have left there."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdgf import checkpoint, presets, processes
from bdgf.compute import check_device, device_of, join_processes
from bdgf.config import Settings
from bdgf.diffusion.computed import ComputedFeatures
from bdgf.diffusion.denoiser import Denoiser
from bdgf.diffusion.external import external_signature
from bdgf.diffusion.features import FeatureExtractor
from bdgf.diffusion.pretraining import load_denoiser
from bdgf.diffusion.reduction import REDUCTION, Reduction
from bdgf.diffusion.store import INDEX, FeatureStore, are_stored, tile_file
from bdgf.diffusion.transfer import WEIGHTS, start_signature, with_absolute_start
from bdgf.errors import SettingsError
from bdgf.files import absolute
from bdgf.fusion.fitting import new_network
from bdgf.fusion.network import FusionNetwork
from bdgf.mapping.legend import Legend
from bdgf.mapping.reading import classes_at
from bdgf.mapping.stac import has_item
from bdgf.progress import Progress, Silent
from bdgf.runfolder import RunFolder
from bdgf.scene.hidden import SceneWithout
from bdgf.scene.leak import Leak, leakage
from bdgf.scene.preparation import Preparation
from bdgf.scene.prepared import PreparedScene
from bdgf.scene.scene import Scene
from bdgf.stages import fingerprints, plain
from bdgf.tracking import Tracker, check_tracker
from bdgf.validation import validate


class Run:
    """A scene, settings and a folder.

    Args:
        scene: The scene, or the path of its file.
        out: The run folder.
        settings: All settings.
        progress: Receives lines and steps.

    Raises:
        BdgfError: Settings, scene or folder that cannot be used; nothing was changed then.
    """

    def __init__(
        self, scene: Path | Scene, out: Path, settings: Settings, progress: Progress
    ) -> None:
        validate(settings)
        join_processes(settings)
        check_device(settings.compute)
        self.settings = with_absolute_start(settings)
        self.progress: Progress = progress if processes.rank() == 0 else Silent()
        with processes.together():
            if processes.rank() == 0:
                check_tracker(settings.logger)
            self.scene = scene if isinstance(scene, Scene) else Scene.open(scene)
        self.scene_path = absolute(self.scene.spec.path)
        self.fingerprints = processes.of_first(lambda: fingerprints_of(self.scene, out, settings))
        with processes.in_turn():
            self.folder = RunFolder(out)
        logger = settings.logger if processes.rank() == 0 else "none"
        self.tracker = Tracker(
            logger, self.folder.path, f"{self.scene.name} {out.name}", plain(settings)
        )

    def go_by_training(self) -> Settings:
        """Count what was learned on another processor, or with another precision, as finished.

        What has been learned can be used on any; only learning itself belongs to where it is done.

        Returns:
            The settings to be kept for the run: those of the training where they count.
        """
        if self.finished("train") or not self.folder.network.is_file():
            return self.settings
        learned = checkpoint.load_tensors(self.folder.network)[1].get("settings", {})
        compute = {
            f"compute.{name}": value
            for name, value in learned.get("compute", {}).items()
            if name != "threads"
        }
        try:
            settings = presets.replace(self.settings, compute)
        except SettingsError:  # of another version
            return self.settings
        found = fingerprints_of(self.scene, self.folder.path, settings)
        if not self.folder.finished("train", found["train"]):
            return self.settings
        self.fingerprints = found
        return settings

    def finished(self, stage: str) -> bool:
        """Tell whether a stage is finished with these inputs and settings."""
        known = self.folder.finished(stage, self.fingerprints[stage])
        return known and all(path.is_file() for path in self.outputs(stage))

    def outputs(self, stage: str) -> list[Path]:
        """Return the files without which a stage is not finished."""
        folder = self.folder
        if stage == "prepare":
            return [folder.preparation]
        if stage == "pretrain":
            return [folder.diffusion, folder.balance] if self.guided else []
        if stage == "features":
            if self.settings.features.source == "none":
                return []
            stored = are_stored(folder.features)
            names = [tile_file(tile.name) for tile in self.scene.tiles] if stored else []
            own = [REDUCTION] if self.guided else []
            return [folder.features / name for name in (INDEX, *own, *names)]
        if stage == "train":
            return [folder.network]
        if stage == "map":
            found: list[Path] = []
            for index, tile in enumerate(self.scene.tiles):
                path, confidence = self.map_paths(index)
                found += [path, confidence, self.votes_path(index)]
                found += [path.with_name(f"{path.name}.aux.xml"), path.with_suffix(".qml")]
                item = path.with_suffix(".json")
                # is it there? To tell whether it should be takes a millisecond for each tile
                found += [item] if not item.is_file() and has_item(tile) else []
            return found
        return [folder.metrics if stage == "evaluate" else folder.path / "report.html"]

    def origin(self, stage: str) -> dict[str, Any]:
        """What a stage's outputs belong to; plain JSON values."""
        return {
            "stage": stage,
            "fingerprint": self.fingerprints[stage],
            "scene": self.scene.name,
        }

    # --- what later stages read of earlier ones ---

    @cached_property
    def prepared(self) -> PreparedScene:
        """The scene with its fitted preparation."""
        return PreparedScene(self.scene, Preparation.load(self.folder.preparation))

    @property
    def guided(self) -> bool:
        """Whether our own denoiser gives the features."""
        return self.settings.features.source == "diffusion"

    @property
    def store(self) -> FeatureStore:
        """The guidance features."""
        if self.guided and not are_stored(self.folder.features):
            return self._computed(self.prepared)
        folder = None if self.settings.features.source == "none" else self.folder.features
        names = [tile.name for tile in self.scene.tiles]
        return FeatureStore(folder, names, self.prepared.shapes)

    @property
    def denoiser(self) -> Denoiser:
        """The pre-trained denoiser."""
        path = self.folder.diffusion
        tensors, _ = checkpoint.load_tensors(path)
        return load_denoiser(self.settings, self.prepared.layout, tensors, path)

    def extractor(self, prepared: PreparedScene) -> FeatureExtractor:
        """Return the reader of the denoiser on the scene or on a view of it."""
        s = self.settings
        device = device_of(s.compute)
        return FeatureExtractor(self.denoiser, prepared, s.features, s.diffusion, s.seed, device)

    def features_of(self, view: SceneWithout) -> FeatureStore:
        """Return the guidance features of a view of the scene: our own are made from the view."""
        return self._computed(view) if self.guided else self.store

    def _computed(self, view: PreparedScene) -> ComputedFeatures:
        reduction = Reduction.load(self.folder.features / REDUCTION)
        return ComputedFeatures(self.extractor(view), reduction)

    def features_without(self) -> dict[int, ComputedFeatures]:
        """Return our features without each modality that training hides."""
        layout = self.prepared.layout
        if not self.guided or not layout.spectral or not self.settings.training.modality_dropout:
            return {}
        return {
            index: self._computed(SceneWithout(self.prepared, index))
            for index in range(len(layout.modalities))
            if index not in layout.spectral
        }

    def trained(self, store: FeatureStore) -> tuple[FusionNetwork, list[float]]:
        """Return the trained network and the weights of its heads, over the temperature."""
        needs = ("settings", "temperature", "fusion_weights")
        tensors, origin = checkpoint.load_tensors(self.folder.network, needs)
        # it depends on the labels
        norm = origin["settings"].get("network", {}).get("patch_norm", "pixel")
        settings = presets.replace(self.settings, {"network.patch_norm": norm})
        network = new_network(settings, self.prepared, store, settings.seed)
        checkpoint.load_weights(network, tensors, self.folder.network)
        temperature = float(origin["temperature"])
        return network.eval(), [float(w) / temperature for w in origin["fusion_weights"]]

    @cached_property
    def leak(self) -> Leak:
        """How near the test pixels lie to the training pixels."""
        return leakage(self.scene, self.settings.network.window)

    @property
    def legend(self) -> Legend:
        """The classes of the map."""
        scene = self.scene
        return Legend.of(scene.class_codes, scene.class_names, scene.class_colors)

    def map_paths(self, tile: int) -> tuple[Path, Path]:
        """Return the paths of a tile's map and confidence."""
        single = len(self.scene.tiles) == 1
        return self.folder.map_paths(self.scene.tiles[tile].name, single)

    def votes_path(self, tile: int) -> Path:
        """Return the path of a tile's votes."""
        single = len(self.scene.tiles) == 1
        return self.folder.votes_path(self.scene.tiles[tile].name, single)

    def mapped_classes(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the class index of the written map at some pixels, −1 where it has none."""
        paths = [self.map_paths(tile)[0] for tile in range(len(self.scene.tiles))]
        return classes_at(paths, self.scene.class_codes, positions)


def fingerprints_of(scene: Scene, out: Path, settings: Settings) -> dict[str, str]:
    """Return what the outputs of every stage of a run depend on."""
    folder = absolute(scene.spec.path).parent
    images = scene.signature("images")
    agreed = [tile.agreed_axes for tile in scene.tiles]
    if any(agreed):  # other labels may turn the image, whose files are the same
        images += repr(agreed)
    return fingerprints(
        settings,
        images,
        scene.signature("labels"),
        external_signature(settings.features.source, folder, scene),
        start_signature(with_absolute_start(settings), out / WEIGHTS),
        repr((scene.name, scene.class_names, scene.class_colors)),
    )
