"""The run folder: where a run's files lie, and which stages are finished with which inputs."""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from bdgf import __version__
from bdgf.config import Settings
from bdgf.errors import RunFolderError
from bdgf.files import JSON_ERRORS, atomic_path, atomic_write_text, is_temporary, remove
from bdgf.lock import LOCK
from bdgf.stages import STAGES, plain

_INDEX = "stages.json"


class RunFolder:
    """A run's folder.

    Args:
        path: The folder; it is made when it is not there.
        read: Whether it is only read; it must be a run's then, and need not accept files.

    Raises:
        RunFolderError: It cannot be written, or holds files that are not a run's.
    """

    def __init__(self, path: Path, *, read: bool = False) -> None:
        self.path = path
        self.diffusion = path / "diffusion.safetensors"
        self.preparation = path / "preparation.safetensors"
        self.features = path / "features"
        self.network = path / "network.safetensors"
        self.history = path / "history.jsonl"
        self.metrics = path / "metrics.json"
        self.balance = path / "balance.json"
        self.warnings = path / "warnings.json"
        if read:
            if not is_run_folder(path):
                raise RunFolderError(
                    f"{path} is not a run folder; name one that 'bdgf run' has written."
                )
            self._finished = self._load()
            return
        try:
            path.mkdir(parents=True, exist_ok=True)
            # a run that was killed while it made the folder may have left its first file half
            held = [p for p in path.iterdir() if p.name != LOCK and not is_temporary(p)]
            foreign = bool(held) and not is_run_folder(path)
        except OSError as error:
            raise RunFolderError(
                f"{path} cannot be used as a run folder ({error.strerror}); give a folder that can"
                " be written with --out."
            ) from None
        if foreign:
            raise RunFolderError(
                f"{path} holds files but no {_INDEX}, so it is not a run folder; nothing was"
                " written: give an empty or new folder with --out."
            )
        if not os.access(path, os.W_OK):
            raise RunFolderError(
                f"{path} cannot be written; give a folder that can be written with --out."
            )
        self._finished = self._load()

    def map_paths(self, tile: str, single: bool) -> tuple[Path, Path]:
        """Return the paths of a tile's map and confidence."""
        return map_paths(self.path, tile, single)

    def votes_path(self, tile: str, single: bool) -> Path:
        """Return the path of what every head by itself says of a tile."""
        return self.path / "votes.tif" if single else self.path / "votes" / f"{tile}.tif"

    def finished(self, stage: str, fingerprint: str) -> bool:
        """Tell whether a stage is finished with these inputs and settings."""
        return bool(self._finished.get(stage, {}).get("fingerprint") == fingerprint)

    def was_finished(self, stage: str) -> bool:
        """Tell whether a stage was finished once, with whatever inputs and settings."""
        return stage in self._finished

    def reload(self) -> None:
        """Read again what is finished: another process may have ended since the folder was opened.

        Raises:
            RunFolderError: It cannot be read.
        """
        self._finished = self._load()

    def seconds(self) -> dict[str, float]:
        """Return how long each finished stage took."""
        return {s: float(self._finished[s]["seconds"]) for s in STAGES if s in self._finished}

    def reopen(self, stage: str) -> None:
        """Forget a stage and all that follow it: their outputs are about to change."""
        for name in STAGES[STAGES.index(stage) :]:
            self._finished.pop(name, None)
        self._save()

    def finish(self, stage: str, fingerprint: str, seconds: float) -> None:
        """Record that a stage's outputs are complete."""
        self._finished[stage] = {"fingerprint": fingerprint, "seconds": round(seconds, 2)}
        self._save()

    def take(self, other: RunFolder, stages: Sequence[str], files: Sequence[str]) -> None:
        """Take over finished stages of another run, with their files and its history.

        Args:
            other: The run that has finished them.
            stages: The stages, the first ones of a run.
            files: Names of the files that they have written.
        """
        self.reopen(stages[0])
        for name in (*files, self.history.name):
            with atomic_path(self.path / name) as temporary:
                shutil.copyfile(other.path / name, temporary)
        self._finished.update({stage: other._finished[stage] for stage in stages})
        self._save()

    def write_json(self, path: Path, value: Any) -> None:  # noqa: ANN401
        """Write JSON whole or not at all."""
        atomic_write_text(path, json.dumps(value, indent=2) + "\n")

    def read_json(self, path: Path, stage: str) -> dict[str, Any]:
        """Read a JSON object that a stage has written.

        Raises:
            RunFolderError: It is damaged.
        """
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except (*JSON_ERRORS, TypeError) as error:
            raise RunFolderError(
                f"{path} cannot be read ({error}); delete it and run 'bdgf {stage}' again."
            ) from None

    def write_config(self, settings: Settings, scene: Path, seeds: Mapping[str, int]) -> None:
        """Write the resolved settings, and the environment with the seeds of all that is drawn."""
        resolved = {"scene": str(scene), **plain(settings)}
        atomic_write_text(self.path / "config.yaml", yaml.safe_dump(resolved, sort_keys=False))
        self.write_json(self.path / "environment.json", {**environment(), "seeds": dict(seeds)})

    def scene(self) -> Path | None:
        """Return the scene file of the run in this folder, None before the first."""
        path = self.path / "config.yaml"
        if not path.is_file():
            return None
        try:
            return Path(yaml.safe_load(path.read_text(encoding="utf-8"))["scene"])
        except (*JSON_ERRORS, yaml.YAMLError, TypeError, KeyError):
            return None

    def _load(self) -> dict[str, dict[str, Any]]:
        path = self.path / _INDEX
        if not path.is_file():
            self._finished = {}
            self._save()
            return {}
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            return {str(stage): _finished_stage(of) for stage, of in found.items()}
        except (*JSON_ERRORS, KeyError, TypeError, AttributeError) as error:
            raise RunFolderError(
                f"{path} cannot be read ({error}); delete the folder or give another with --out."
            ) from None

    def _save(self) -> None:
        self.write_json(self.path / _INDEX, self._finished)


def is_run_folder(path: Path) -> bool:
    """Tell whether a folder is a run's."""
    return (path / _INDEX).is_file()


def _finished_stage(values: dict[str, Any]) -> dict[str, Any]:
    """Return what is known of a finished stage, in its form."""
    seconds = float(values["seconds"])
    if not math.isfinite(seconds):
        raise ValueError(f"seconds are {seconds}")
    return {"fingerprint": str(values["fingerprint"]), "seconds": seconds}


def map_paths(folder: Path, tile: str, single: bool) -> tuple[Path, Path]:
    """Return the paths of a tile's map and confidence in any folder.

    Args:
        folder: Where the maps of a scene go.
        tile: Name of the tile.
        single: Whether the scene has no other tile.
    """
    if single:
        return folder / "map.tif", folder / "confidence.tif"
    return folder / "maps" / f"{tile}.tif", folder / "confidence" / f"{tile}.tif"


def remove_other_maps(folder: Path, tiles: Sequence[str]) -> None:
    """Remove the maps in a folder that are of other tiles than a scene's: an earlier scene's.

    A raster without a confidence beside it is none of ours.

    Args:
        folder: Where the maps of the scene are.
        tiles: Names of its tiles.
    """
    known, single = set(tiles), len(tiles) == 1
    gone = [] if single else [folder / "map.tif"]
    gone += [p for p in (folder / "maps").glob("*.tif") if single or p.stem not in known]
    journals = [] if single else [folder / "map.tif.partial"]
    journals += [
        p
        for p in (folder / "maps").glob("*.tif.partial")
        if single or p.name.removesuffix(".tif.partial") not in known
    ]
    for path in journals:
        remove(path)
    for path in gone:
        alone = path.parent == folder
        if not (folder / ("confidence.tif" if alone else f"confidence/{path.name}")).is_file():
            continue
        remove(path)
        for beside in (f"{path.name}.aux.xml", f"{path.stem}.qml", f"{path.stem}.json"):
            remove(path.with_name(beside))
        for kind in ("confidence", "votes"):
            other = folder / f"{kind}.tif" if alone else folder / kind / path.name
            remove(other)
            remove(other.with_name(f"{other.name}.aux.xml"))
    for kind in ("maps", "confidence", "votes"):
        with contextlib.suppress(OSError):  # where it is there and nothing is left in it
            (folder / kind).rmdir()


def environment() -> dict[str, Any]:
    """Return versions and machine, for the record."""
    names = ("torch", "lightning-fabric", "numpy", "scipy", "rasterio", "scikit-learn")
    versions = {name: metadata.version(name) for name in names}
    return {
        "bdgf": __version__,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "packages": versions,
    }
