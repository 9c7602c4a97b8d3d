"""What a run has learned, apart from the scene it was learned on: it maps any scene of its sensors.

Its state is settings, names and tensors: it pickles, and goes to a folder of safetensors and JSON.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bdgf import __version__, checkpoint, processes
from bdgf.compute import check_device, device_of
from bdgf.config import Settings
from bdgf.diffusion.computed import AROUND, ComputedFeatures, panel_columns, rows_together
from bdgf.diffusion.denoiser import Denoiser
from bdgf.diffusion.features import OWN_SOURCES, WINDOW, FeatureExtractor
from bdgf.diffusion.pretraining import load_denoiser
from bdgf.diffusion.reduction import REDUCTION, Reduction
from bdgf.diffusion.store import FeatureStore
from bdgf.errors import RunFolderError, SettingsError
from bdgf.files import JSON_ERRORS, atomic_path, is_temporary, remove, remove_leftovers, writable
from bdgf.fusion.network import FusionNetwork, build_network
from bdgf.lock import LOCK, locked
from bdgf.mapping.inference import MappedWindow, map_windows, window_log_probabilities
from bdgf.mapping.legend import Legend
from bdgf.presets import flat, from_values, replace
from bdgf.scene.preparation import Preparation
from bdgf.scene.prepared import PreparedScene
from bdgf.scene.scene import Scene
from bdgf.scene.windows import PANEL, Window, panels_of
from bdgf.stages import plain
from bdgf.validation import validate

DESCRIPTION = "config.json"
"""Settings and classes, in the folder that ``save`` writes."""

Part: TypeAlias = tuple[dict[str, Tensor], dict[str, Any]]
"""Tensors, and the JSON of where they come from."""

_CACHE_BYTES = 512 << 20
"""Most memory for prepared values and features together, of a scene that is mapped."""


def _pixels_kept(scene: Scene, side: int, bytes_of_each: int) -> int:
    """Return how many pixels a map keeps in memory: some rows of a panel, however high a tile.

    Args:
        scene: The scene.
        side: Side of the map's windows.
        bytes_of_each: Bytes of a pixel, of prepared values and features.
    """
    columns = max(min(tile.width, PANEL + AROUND) for tile in scene.tiles)
    wanted = rows_together(side) * -(-columns // WINDOW) * WINDOW
    return min(wanted, _CACHE_BYTES // bytes_of_each)


def check_source(settings: Settings) -> None:
    """Check that features can be made for a scene that was not seen in training.

    Raises:
        SettingsError: They come from files of another model, which belong to one scene.
    """
    if settings.features.source not in OWN_SOURCES:
        raise SettingsError(
            f"features.source is {settings.features.source!r}, files that belong to one scene; a"
            " mapper of any scene needs 'diffusion' or 'none': use a run folder with 'bdgf run'"
            " for features of another model."
        )


class PretrainedMapper:
    """A trained run without its scene.

    The features of a scene are computed where the map needs them, and are those that the stage
    ``features`` writes, to the last bit.

    Args:
        settings: All settings of the run.
        classes: The classes.
        parts: Tensors and origin by part: preparation, network, and with diffusion features
            diffusion.
        reduction: Components of the diffusion features, None where nothing guides the branches.

    Raises:
        SettingsError: Settings that cannot be used here.
    """

    def __init__(
        self,
        settings: Settings,
        classes: Legend,
        parts: Mapping[str, Part],
        reduction: Reduction | None,
    ) -> None:
        validate(settings)
        check_device(settings.compute)
        check_source(settings)
        self.settings, self.classes, self.reduction = settings, classes, reduction
        self.parts = dict(parts)

    # --- from and to folders ---

    @classmethod
    def from_run(cls, folder: Path, changes: Mapping[str, Any] | None = None) -> PretrainedMapper:
        """Read the mapper from a run folder whose stage ``train`` is finished.

        Args:
            folder: The run folder.
            changes: Settings that replace the run's, by dotted names.

        Raises:
            RunFolderError: A file is missing or damaged, or the run is not trained.
            SettingsError: The run's features are those of another model.
        """
        path = folder / "stages.json"
        if not path.is_file():
            raise RunFolderError(
                f"{folder} is not a run folder; name one that 'bdgf run' or 'bdgf train' has"
                " written."
            )
        try:
            finished = json.loads(path.read_text(encoding="utf-8"))
            trained = "train" in finished
        except (*JSON_ERRORS, TypeError) as error:
            raise _unreadable(path, error) from None
        if not trained:
            # its files may be there all the same, of settings that no longer go together
            raise RunFolderError(
                f"{folder} holds a run that is not trained; finish it with 'bdgf train {folder}'."
            )
        # the settings that the network was trained with: those of the folder may be newer
        origin = checkpoint.load_tensors(folder / "network.safetensors")[1]
        # and when its scene was taken says nothing of another
        changes = {"mapping.acquired": "", **flat(dict(changes or {}))}
        settings = _settings(origin.get("settings"), folder / "network.safetensors", changes)
        parts = _read_parts(settings, folder)
        classes = _classes(parts["network"][1].get("classes"), folder)
        return cls(settings, classes, parts, _reduction(settings, folder / "features"))

    @classmethod
    def load(cls, folder: Path, changes: Mapping[str, Any] | None = None) -> PretrainedMapper:
        """Read what ``save`` wrote, or the run in a run folder.

        Args:
            folder: The folder.
            changes: Settings that replace the stored ones, by dotted names, such as
                ``{"compute.accelerator": "cpu"}``; those of the networks belong to their weights.

        Raises:
            RunFolderError: A file is missing or damaged.
            SettingsError: A setting that cannot work.
        """
        path = folder / DESCRIPTION
        if not path.is_file():
            if (folder / "stages.json").is_file():
                return cls.from_run(folder, changes)
            raise RunFolderError(
                f"{folder} holds neither {DESCRIPTION} nor a run; name a folder that"
                " save_pretrained wrote, or a run folder."
            )
        try:
            description = json.loads(path.read_text(encoding="utf-8"))
            values, classes = description["settings"], description["classes"]
        except (*JSON_ERRORS, KeyError, TypeError) as error:
            raise _unreadable(path, error) from None
        settings = _settings(values, path, changes)
        parts = _read_parts(settings, folder)
        return cls(settings, _classes(classes, folder), parts, _reduction(settings, folder))

    def save(self, folder: Path) -> None:
        """Write the mapper to a folder, whole or not at all: safetensors for each part, and JSON.

        Of several processes of one job the first writes, and the others wait.

        Raises:
            RunFolderError: The folder cannot be written, or holds a run or other files.
        """
        processes.of_first(lambda: self._save(folder))

    def _save(self, folder: Path) -> None:
        kept = [*folder.iterdir()] if folder.is_dir() else []
        others = any(path.name != LOCK and not is_temporary(path) for path in kept)
        if others and not (folder / DESCRIPTION).is_file():
            raise RunFolderError(
                f"{folder} holds files but no {DESCRIPTION}; nothing was written: give an empty or"
                " new folder."
            )
        description = {
            "bdgf": __version__,
            "classes": {name: list(values) for name, values in vars(self.classes).items()},
            "settings": plain(self.settings),
        }
        # All are written before the first takes its name, the description's last: parts of two
        # saves never stand together.
        with writable(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as files:
            files.enter_context(locked(folder))
            remove_leftovers(folder)
            about = files.enter_context(atomic_path(folder / DESCRIPTION))
            about.write_bytes(f"{json.dumps(description, indent=2)}\n".encode())
            for name, (tensors, origin) in self.parts.items():
                part = files.enter_context(atomic_path(folder / f"{name}.safetensors"))
                checkpoint.save_tensors(part, tensors, origin)
            if self.reduction is not None:
                self.reduction.save(files.enter_context(atomic_path(folder / REDUCTION)))
            remove(folder / DESCRIPTION)

    def changed(self, changes: Mapping[str, Any]) -> PretrainedMapper:
        """Return the same with some settings replaced, by dotted names.

        Raises:
            SettingsError: A setting that cannot work.
        """
        return PretrainedMapper(
            replace(self.settings, dict(changes)), self.classes, self.parts, self.reduction
        )

    def __getstate__(self) -> dict[str, Any]:
        """Return settings, classes and tensors alone: modules are built again."""
        return {name: self.__dict__[name] for name in ("settings", "classes", "parts", "reduction")}

    # --- what it is made of ---

    @cached_property
    def preparation(self) -> Preparation:
        """Statistics and components of the training scene."""
        tensors, origin = self.parts["preparation"]
        arrays = {name: value.numpy() for name, value in tensors.items()}
        return Preparation.from_parts(arrays, origin["preparation"])

    @property
    def reference(self) -> str | None:
        """Name of the modality with the grid of the training scene, None where that is not kept."""
        found = self.parts["preparation"][1].get("reference")
        return None if found is None else str(found)

    @property
    def pixel_metres(self) -> tuple[float, float] | None:
        """Size of the pixels of the training scene, None where it is not known."""
        found = self.parts["preparation"][1].get("pixel_metres")
        return None if found is None else (float(found[0]), float(found[1]))

    @cached_property
    def denoiser(self) -> Denoiser | None:
        """The pre-trained denoiser, None where nothing guides the branches."""
        if "diffusion" not in self.parts:
            return None
        weights, layout = self.parts["diffusion"][0], self.preparation.layout
        return load_denoiser(self.settings, layout, weights, Path("diffusion")).eval()

    @cached_property
    def network(self) -> FusionNetwork:
        """The trained network."""
        s = self.settings
        channels = [len(x) for x in self.reduction.levels] if self.reduction else [0, 0, 0]
        layout = self.preparation.layout
        network = build_network(s.network, layout, channels, len(self.classes.codes), s.seed)
        checkpoint.load_weights(network, self.parts["network"][0], Path("network"))
        return network.to(device_of(s.compute)).eval()

    @property
    def asked(self) -> dict[str, Any]:
        """What was asked for where ``settings`` have what the labels decided, by dotted names."""
        return dict(self.parts["network"][1].get("asked", {}))

    @property
    def weights(self) -> list[float]:
        """Weight of every head in the fusion, over the temperature."""
        _, origin = self.parts["network"]
        temperature = float(origin.get("temperature", 1.0))
        return [float(weight) / temperature for weight in origin["fusion_weights"]]

    @property
    def fusion_weights(self) -> dict[str, float]:
        """Weight of every head by its name, summing to 1."""
        _, origin = self.parts["network"]
        pairs = zip(origin["heads"], origin["fusion_weights"], strict=True)
        return {str(name): float(weight) for name, weight in pairs}

    # --- what it does ---

    def on(self, scene: Scene) -> tuple[PreparedScene, FeatureStore]:
        """Return a scene as the networks see it, and its guidance features.

        Raises:
            RunFolderError: Modalities or bands are not those of the training scene.
        """
        s, layout = self.settings, self.preparation.layout
        each = 4 * layout.channels + len(layout.modalities)
        of_features = 0 if self.reduction is None else 2 * self.reduction.channels
        kept = _pixels_kept(scene, s.mapping.tile, each + of_features)
        prepared = PreparedScene(scene, self.preparation, kept * each)
        if self.denoiser is None or self.reduction is None:
            shapes = prepared.shapes
            return prepared, FeatureStore(None, [tile.name for tile in scene.tiles], shapes)
        extractor = FeatureExtractor(
            self.denoiser, prepared, s.features, s.diffusion, s.seed, device_of(s.compute)
        )
        return prepared, ComputedFeatures(extractor, self.reduction, kept * of_features)

    def log_probabilities(
        self, prepared: PreparedScene, store: FeatureStore, tile: int, window: Window
    ) -> Tensor:
        """Return the log-probabilities (K, h, w) of a window of what ``on`` returned."""
        return window_log_probabilities(self.network, self.weights, prepared, store, tile, window)

    def mapped(
        self,
        prepared: PreparedScene,
        store: FeatureStore,
        tile: int,
        windows: Iterable[Window] | None = None,
    ) -> Iterator[MappedWindow]:
        """Yield classified windows of a tile of what ``on`` returned, as ``bdgf map`` does.

        Args:
            prepared: The scene.
            store: Its guidance features.
            tile: Index of the tile.
            windows: Windows inside the tile; None takes all.
        """
        if windows is None:
            windows = self._windows(prepared, store, tile)
        return map_windows(self.network, self.weights, prepared, store, tile, windows)

    def _windows(self, prepared: PreparedScene, store: FeatureStore, tile: int) -> Iterator[Window]:
        side = self.settings.mapping.tile
        columns = panel_columns(prepared, store, side)
        return panels_of(*prepared.shape(tile), side, columns)

    def origin_of(self, scene: Scene) -> str:
        """Return a digest of all that decides the map of a scene: weights, components, rasters."""
        digest = hashlib.sha256(f"{__version__}\n{scene.signature('images')}".encode())
        parts = {name: tensors for name, (tensors, _) in self.parts.items()}
        if self.reduction is not None:
            parts["reduction"] = {
                f"{number}.{name}": torch.from_numpy(values)
                for number, one in enumerate(self.reduction.projections)
                for name, values in (("mean", one.mean), ("matrix", one.matrix))
            }
        for part, tensors in sorted(parts.items()):
            for name, values in sorted(tensors.items()):
                digest.update(f"\n{part}.{name} {tuple(values.shape)}".encode())
                digest.update(values.contiguous().numpy().tobytes())
        digest.update(json.dumps(self.parts["network"][1], sort_keys=True).encode())
        return digest.hexdigest()

    def windows(
        self, scene: Scene
    ) -> Iterator[tuple[int, Window, NDArray[np.float32], NDArray[np.bool_]]]:
        """Yield the log-probabilities of a whole scene, window by window.

        Args:
            scene: A scene with the modalities of the training scene; labels are not needed.

        Yields:
            Index of the tile; the window; log-probability of every class (K, h, w), which means
            nothing where there is no data; where there is data (h, w).

        Raises:
            RunFolderError: Modalities or bands are not those of the training scene.
        """
        prepared, store = self.on(scene)
        for tile in range(prepared.tiles):
            for window in self._windows(prepared, store, tile):
                present = prepared.valid_in(tile, window)
                if present.any():
                    scores = self.log_probabilities(prepared, store, tile, window).numpy()
                else:
                    shape = (len(self.classes.codes), window.height, window.width)
                    scores = np.zeros(shape, dtype=np.float32)
                yield tile, window, scores, present


def _read_parts(settings: Settings, folder: Path) -> dict[str, Part]:
    check_source(settings)
    guided = settings.features.source == "diffusion"
    names = ("preparation", *(["diffusion"] if guided else []), "network")
    needs = {"preparation": ("preparation",), "network": ("heads", "fusion_weights")}
    return {
        name: checkpoint.load_tensors(folder / f"{name}.safetensors", needs.get(name, ()))
        for name in names
    }


def _reduction(settings: Settings, folder: Path) -> Reduction | None:
    if settings.features.source != "diffusion":
        return None
    return Reduction.load(folder / REDUCTION)


def _settings(
    values: Any,  # noqa: ANN401
    path: Path,
    changes: Mapping[str, Any] | None,
) -> Settings:
    try:
        settings = from_values(values)
        validate(settings)
    except (TypeError, AttributeError, SettingsError) as error:
        raise _unreadable(path, error) from None
    return replace(settings, dict(changes or {}))


def _classes(record: Any, folder: Path) -> Legend:  # noqa: ANN401
    try:
        names = [str(name) for name in record["names"]]
        return Legend.of(record["codes"], names, [str(color) for color in record["colors"]])
    except (KeyError, TypeError, ValueError) as error:
        raise RunFolderError(
            f"{folder} does not say which classes its network has ({error}); train it again, in a"
            " new folder."
        ) from None


def _unreadable(path: Path, error: Exception) -> RunFolderError:
    text = " ".join(str(error).split())
    return RunFolderError(
        f"{path} cannot be read as the settings of a trained run ({text}); name another folder, or"
        " train again."
    )
