"""What a run has learned, apart from the scene it was learned on: it maps any scene of its sensors.

Its state is settings, names and tensors: it pickles, and goes to a folder of safetensors and JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor

from bdgf import __version__, checkpoint
from bdgf.compute import check_device, device_of, place
from bdgf.config import Settings, from_values, replace
from bdgf.diffusion.computed import ComputedFeatures
from bdgf.diffusion.denoiser import Denoiser
from bdgf.diffusion.features import FeatureExtractor
from bdgf.diffusion.pretraining import build_denoiser
from bdgf.diffusion.reduction import REDUCTION, Reduction
from bdgf.diffusion.store import FeatureStore
from bdgf.errors import RunFolderError, SettingsError
from bdgf.files import atomic_write_text
from bdgf.fusion.network import FusionNetwork, build_network
from bdgf.mapping.inference import window_log_probabilities
from bdgf.scene.layout import Window, windows_of
from bdgf.scene.preparation import Preparation
from bdgf.scene.prepared import PreparedScene
from bdgf.scene.scene import Scene
from bdgf.stages import plain
from bdgf.validation import validate

DESCRIPTION = "config.json"
"""Settings and classes, in the folder that ``save`` writes."""

Part: TypeAlias = tuple[dict[str, Tensor], dict[str, Any]]
"""Tensors, and the JSON of where they come from."""

_IN_RUN = {
    "preparation": "preparation.safetensors",
    "diffusion": "diffusion.safetensors",
    "reduction": f"features/{REDUCTION}",
    "network": "network.safetensors",
}
_SOURCES = ("diffusion", "none")


@dataclass(frozen=True)
class MapClass:
    """A class of a map.

    Args:
        code: Its number in maps and labels.
        name: Its name.
        color: ``#rrggbb``.
    """

    code: int
    name: str
    color: str


def class_records(scene: Scene) -> list[dict[str, Any]]:
    """Return the classes of a scene as JSON values, in the order of their indices."""
    found = zip(scene.class_codes, scene.class_names, scene.class_colors, strict=True)
    return [{"code": code, "name": name, "color": color} for code, name, color in found]


def check_source(settings: Settings) -> None:
    """Check that features can be made for a scene that was not seen in training.

    Raises:
        SettingsError: They come from files of another model, which belong to one scene.
    """
    if settings.features.source not in _SOURCES:
        raise SettingsError(
            f"features.source is {settings.features.source!r}, files that belong to one scene; a"
            " mapper of any scene needs 'diffusion' or 'none': use a run folder with 'bdgf run'"
            " for features of another model."
        )


class TrainedMapper:
    """A trained run without its scene.

    The features of a scene are computed where the map needs them, and are those that the stage
    ``features`` writes, to the last bit.

    Args:
        settings: All settings of the run.
        classes: The classes, in the order of the network's outputs.
        parts: Tensors and origin by part: preparation, network, and for diffusion features
            diffusion and reduction.

    Raises:
        RunFolderError: A part is missing.
        SettingsError: Settings that cannot be used here.
    """

    def __init__(
        self, settings: Settings, classes: tuple[MapClass, ...], parts: Mapping[str, Part]
    ) -> None:
        validate(settings)
        check_device(settings.compute)
        check_source(settings)
        self.settings = settings
        self.classes = classes
        self.parts = dict(parts)
        missing = [name for name in _names(settings) if name not in self.parts]
        if missing:
            raise RunFolderError(f"the trained mapper has no {missing[0]}; train it again.")

    # --- from and to folders ---

    @classmethod
    def from_run(cls, folder: Path, changes: Mapping[str, Any] | None = None) -> TrainedMapper:
        """Read the mapper from a run folder whose stage ``train`` is finished.

        Args:
            folder: The run folder.
            changes: Settings that replace the run's, by dotted names.

        Raises:
            RunFolderError: A file is missing or damaged.
            SettingsError: The run's features are those of another model.
        """
        path = folder / "config.yaml"
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
            values.pop("scene", None)
        except (OSError, yaml.YAMLError, AttributeError, UnicodeDecodeError) as error:
            raise _unreadable(path, error) from None
        settings = _settings(values, path, changes)
        parts = _read_parts(settings, {name: folder / file for name, file in _IN_RUN.items()})
        return cls(settings, _classes(parts["network"][1].get("classes"), folder), parts)

    @classmethod
    def load(cls, folder: Path, changes: Mapping[str, Any] | None = None) -> TrainedMapper:
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
            if (folder / "config.yaml").is_file():
                return cls.from_run(folder, changes)
            raise RunFolderError(
                f"{folder} holds neither {DESCRIPTION} nor a run; name a folder that"
                " save_pretrained wrote, or a run folder."
            )
        try:
            description = json.loads(path.read_text(encoding="utf-8"))
            values, classes = description["settings"], description["classes"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _unreadable(path, error) from None
        settings = _settings(values, path, changes)
        files = {name: folder / f"{name}.safetensors" for name in _IN_RUN}
        return cls(settings, _classes(classes, folder), _read_parts(settings, files))

    def save(self, folder: Path) -> None:
        """Write the mapper to a folder: one safetensors file per part, and JSON.

        Raises:
            RunFolderError: The folder cannot be written, or holds a run or other files.
        """
        if folder.is_dir() and any(folder.iterdir()) and not (folder / DESCRIPTION).is_file():
            raise RunFolderError(
                f"{folder} holds files but no {DESCRIPTION}; nothing was written: give an empty or"
                " new folder."
            )
        for name in _names(self.settings):
            tensors, origin = self.parts[name]
            checkpoint.save_tensors(folder / f"{name}.safetensors", tensors, origin)
        description = {
            "bdgf": __version__,
            "classes": [vars(one) for one in self.classes],
            "settings": plain(self.settings),
        }
        atomic_write_text(folder / DESCRIPTION, json.dumps(description, indent=2) + "\n")

    def __getstate__(self) -> dict[str, Any]:
        """Return settings, classes and tensors alone: modules are built again."""
        return {name: self.__dict__[name] for name in ("settings", "classes", "parts")}

    # --- what it is made of ---

    @cached_property
    def preparation(self) -> Preparation:
        """Statistics and components of the training scene."""
        tensors, origin = self.parts["preparation"]
        arrays = {name: value.numpy() for name, value in tensors.items()}
        return Preparation.from_parts(arrays, origin["preparation"])

    @cached_property
    def reduction(self) -> Reduction:
        """Components of the diffusion features."""
        return Reduction.from_parts(*self.parts["reduction"])

    @cached_property
    def denoiser(self) -> Denoiser:
        """The pre-trained denoiser."""
        s = self.settings
        denoiser = build_denoiser(s.diffusion, self.preparation.layout, s.seed)
        checkpoint.load_weights(denoiser, self.parts["diffusion"][0], Path("diffusion"))
        return place(denoiser, device_of(s.compute))

    @cached_property
    def network(self) -> FusionNetwork:
        """The trained branches."""
        s = self.settings
        guided = s.features.source == "diffusion"
        channels = [len(level) for level in self.reduction.levels] if guided else [0, 0, 0]
        layout = self.preparation.layout
        network = build_network(s.network, layout, channels, len(self.classes), s.seed)
        checkpoint.load_weights(network, self.parts["network"][0], Path("network"))
        return network.to(device_of(s.compute)).eval()

    @property
    def fusion_weights(self) -> list[float]:
        """Weight of every head, in the order of the network's heads."""
        return [float(weight) for weight in self.parts["network"][1]["fusion_weights"]]

    # --- what it does ---

    def view(self, scene: Scene) -> tuple[PreparedScene, FeatureStore]:
        """Return a scene as the networks see it, and its guidance features.

        Raises:
            RunFolderError: Modalities or bands are not those of the training scene.
        """
        prepared = PreparedScene(scene, self.preparation)
        s = self.settings
        if s.features.source == "none":
            shapes = [prepared.shape(tile) for tile in range(prepared.tiles)]
            return prepared, FeatureStore(None, [tile.name for tile in scene.tiles], shapes)
        extractor = FeatureExtractor(
            self.denoiser, prepared, s.features, s.diffusion, s.seed, device_of(s.compute)
        )
        return prepared, ComputedFeatures(extractor, self.reduction)

    def log_probabilities(
        self, scene: Scene
    ) -> Iterator[tuple[int, Window, NDArray[np.float32], NDArray[np.bool_]]]:
        """Yield the log-probabilities of a scene, window by window.

        Args:
            scene: A scene with the modalities of the training scene; labels are not needed.

        Yields:
            Index of the tile; the window; log-probability of every class (K, h, w), which means
            nothing where there is no data; where there is data (h, w).

        Raises:
            RunFolderError: Modalities or bands are not those of the training scene.
        """
        prepared, store = self.view(scene)
        for tile in range(prepared.tiles):
            valid = prepared.valid(tile)
            for window in windows_of(*prepared.shape(tile), self.settings.mapping.tile):
                present = valid[window.slices]
                if present.any():
                    fused = window_log_probabilities(
                        self.network, self.fusion_weights, prepared, store, tile, window
                    )
                else:
                    fused = torch.zeros(len(self.classes), window.height, window.width)
                yield tile, window, fused.numpy(), present


def _names(settings: Settings) -> tuple[str, ...]:
    """Return the parts that a mapper with these settings has."""
    guided = settings.features.source == "diffusion"
    return tuple(_IN_RUN) if guided else ("preparation", "network")


def _read_parts(settings: Settings, files: Mapping[str, Path]) -> dict[str, Part]:
    check_source(settings)
    return {name: checkpoint.load_tensors(files[name]) for name in _names(settings)}


def _settings(
    values: Any,  # noqa: ANN401
    path: Path,
    changes: Mapping[str, Any] | None,
) -> Settings:
    try:
        settings = from_values(values)
        validate(settings)
    except (TypeError, AttributeError) as error:
        raise _unreadable(path, error) from None
    return replace(settings, dict(changes or {}))


def _classes(records: Any, folder: Path) -> tuple[MapClass, ...]:  # noqa: ANN401
    try:
        return tuple(MapClass(int(r["code"]), str(r["name"]), str(r["color"])) for r in records)
    except (KeyError, TypeError, ValueError) as error:
        raise RunFolderError(
            f"{folder} does not say which classes its network has ({error}); train it again with"
            " this version."
        ) from None


def _unreadable(path: Path, error: Exception) -> RunFolderError:
    text = " ".join(str(error).split())
    return RunFolderError(
        f"{path} cannot be read as the settings of a trained run ({text}); name another folder, or"
        " train again."
    )
