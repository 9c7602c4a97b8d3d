"""A finished run, as the report and the figures read it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from bdgf.config import Settings
from bdgf.diffusion.store import FeatureStore, are_stored
from bdgf.errors import RunFolderError
from bdgf.evaluation.metrics_file import ENVIRONMENT, TEXT, check_form, check_metrics
from bdgf.files import JSON_ERRORS
from bdgf.history import History
from bdgf.mapping.pretrained import PretrainedMapper
from bdgf.runfolder import RunFolder
from bdgf.scene.preparation import Preparation
from bdgf.scene.scene import Scene

Found = TypeVar("Found")


@dataclass(frozen=True)
class Results:
    """A run folder whose stages up to the evaluation are finished.

    Args:
        scene: The scene.
        folder: The run folder.
        settings: The settings of the run.
    """

    scene: Scene
    folder: RunFolder
    settings: Settings

    @property
    def single(self) -> bool:
        """Whether the scene has one tile."""
        return len(self.scene.tiles) == 1

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """What the evaluation wrote.

        Raises:
            RunFolderError: It is missing or damaged.
        """

        def complete(found: dict[str, Any]) -> dict[str, Any]:
            # runs of earlier versions have no such figures
            whole = {"balance": None, "missing": {}, "calibration": {}, **found}
            check_metrics(whole, len(self.scene.class_codes))
            return whole

        return self._json(self.folder.metrics, "evaluate", complete)

    @cached_property
    def warnings(self) -> list[str]:
        """What may be silently wrong, found before training; none in runs of earlier versions.

        Raises:
            RunFolderError: It is damaged.
        """
        if not self.folder.warnings.is_file():
            return []

        def texts(found: list[str]) -> list[str]:
            check_form(found, [TEXT])
            return found

        return self._json(self.folder.warnings, "train", texts)

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Versions and machine.

        Raises:
            RunFolderError: It is missing or damaged.
        """

        def checked(found: dict[str, Any]) -> dict[str, Any]:
            check_form(found, ENVIRONMENT)
            return found

        return self._json(self.folder.path / "environment.json", "run", checked)

    @cached_property
    def history(self) -> list[dict[str, Any]]:
        """Rows of the history; each names its stage and step.

        Raises:
            RunFolderError: It is damaged.
        """
        return History(self.folder.history).rows

    @cached_property
    def preparation(self) -> Preparation:
        """Statistics of the modalities."""
        return Preparation.load(self.folder.preparation)

    @cached_property
    def store(self) -> FeatureStore:
        """The guidance features."""
        if self.settings.features.source == "diffusion" and not are_stored(self.folder.features):
            changes = {"compute": self.settings.compute}
            return PretrainedMapper.from_run(self.folder.path, changes).on(self.scene)[1]
        folder = None if self.settings.features.source == "none" else self.folder.features
        tiles = self.scene.tiles
        shapes = [(tile.height, tile.width) for tile in tiles]
        return FeatureStore(folder, [tile.name for tile in tiles], shapes)

    def map_paths(self, tile: int) -> tuple[Path, Path]:
        """Return the paths of a tile's map and confidence."""
        return self.folder.map_paths(self.scene.tiles[tile].name, self.single)

    def votes_path(self, tile: int) -> Path:
        """Return the path of a tile's votes."""
        return self.folder.votes_path(self.scene.tiles[tile].name, self.single)

    @staticmethod
    def _json(path: Path, command: str, checked: Callable[[Any], Found]) -> Found:
        """Read JSON; ``checked`` returns it, or says by a ValueError or TypeError what is wrong."""
        try:
            return checked(json.loads(path.read_text(encoding="utf-8")))
        except (*JSON_ERRORS, TypeError) as error:
            raise RunFolderError(
                f"{path} cannot be read ({error}); run 'bdgf {command}' again."
            ) from None
