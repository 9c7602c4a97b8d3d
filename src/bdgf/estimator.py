"""`BDGFClassifier`: the whole method as a scikit-learn estimator of scenes and arrays."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from bdgf import config, presets, processes
from bdgf.diffusion.computed import panel_columns
from bdgf.errors import SceneError, SettingsError
from bdgf.history import History
from bdgf.mapping.folder import map_folder
from bdgf.mapping.other_scene import mappable, other_scale
from bdgf.mapping.pretrained import PretrainedMapper, check_source
from bdgf.mapping.scene_maps import tile_by_tile, write_maps
from bdgf.pipeline import Pipeline
from bdgf.progress import Progress
from bdgf.runfolder import RunFolder, map_paths
from bdgf.scene.from_arrays import Images, LabelArrays, without_crs
from bdgf.scene.scene import Scene
from bdgf.validation import validate

logger = logging.getLogger(__name__)

AnyScene = Scene | str | Path | Images
"""A scene, the path of a scene file, or arrays by modality, of one tile or of several."""

AnyArray = TypeVar("AnyArray", bound=NDArray[Any])

TRAINING = ("pretrain", "features", "train")
"""The stages that `BDGFClassifier.fit` carries out, after the preparation."""


class BDGFClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # sklearn has no types
    """Land-cover classifier of whole scenes by balanced diffusion-guided fusion.

    It follows scikit-learn's conventions: the constructor only stores its arguments, ``fit`` checks
    them and returns the estimator, what was learned ends in ``_``, ``get_params``, ``set_params``
    and ``clone`` work as elsewhere. A scene stands where other estimators have a table, because a
    pixel is decided with its neighbourhood and pre-training sees unlabelled pixels too.

    What is learned is tensors and settings. It can be pickled; `save_pretrained` writes it as
    safetensors and JSON, which never run code when they are read.

    Args:
        preset: quick, standard or full: decides the effort: steps, and whether folds weigh the
            heads.
        settings: Settings that replace the preset's, by dotted names as on the command line, such
            as ``{"training.steps": 400}``; or all of them as `bdgf.config.Settings`, and then
            ``preset`` and ``random_state`` do not count.
        random_state: Seed of everything that is drawn.
        folder: Run folder in which ``fit`` works. What is finished there is not done again, so a
            fit that was killed goes on; what other settings left there, or changed values, is done
            anew, and the run of another scene file is refused. None works in a temporary folder,
            which holds checkpoints and features while ``fit`` runs and is removed at its end.
        verbose: Draw progress; otherwise it goes to the logger ``bdgf`` at level INFO.

    Attributes:
        classes_: (K,) class codes, sorted, as in the labels.
        class_names_: Name of every class.
        fusion_weights_: Weight of every head by its name.
        history_: Rows of the curves of pre-training and training, as in ``history.jsonl``.
        mapper_: The trained networks, `bdgf.mapping.pretrained.PretrainedMapper`.

    Example:
        >>> model = BDGFClassifier(preset="quick")
        >>> codes = model.fit({"hsi": hsi, "sar": sar}, labels).predict({"hsi": hsi, "sar": sar})
    """

    def __init__(
        self,
        *,
        preset: str = "standard",
        settings: Mapping[str, Any] | config.Settings | None = None,
        random_state: int = 0,
        folder: str | Path | None = None,
        verbose: bool = False,
    ) -> None:
        self.preset = preset
        self.settings = settings
        self.random_state = random_state
        self.folder = folder
        self.verbose = verbose

    # --- learning ---

    def fit(self, X: AnyScene, y: LabelArrays = None) -> Self:
        """Pre-train on all pixels and train on the labelled ones.

        Args:
            X: A scene with labels, the path of a scene file, or arrays (C, H, W) by modality as
                `Scene.from_arrays` takes them; the one with most bands is then spectral, and a
                `Scene` made by hand says more.
            y: With arrays, class codes (H, W), 0 where unlabelled; for several tiles a list.

        Returns:
            The estimator itself.

        Raises:
            BdgfError: Settings, scene or folder that cannot be used.
        """
        settings = self.resolved_settings()
        check_source(settings)
        if settings.logger == "tensorboard" and self.folder is None:
            raise SettingsError(
                "logger is tensorboard, whose files lie in the run folder, and the temporary one"
                " is removed after fit; name a folder."
            )
        scene = _scene(X, y)
        if not scene.has_labels:
            raise SceneError(
                "fit needs labels: give class codes (H, W) as y, 0 where unlabelled, or a scene"
                " with labels."
            )
        with self._run_folder(settings) as folder, self._progress() as progress:
            Pipeline(scene, folder, settings, progress).run(TRAINING)
            self.mapper_ = PretrainedMapper.from_run(folder)
            self.history_ = History(RunFolder(folder).history).rows
        self._adopt()
        return self

    def resolved_settings(self) -> config.Settings:
        """Return all settings that the parameters stand for.

        Raises:
            SettingsError: A preset or a name that is not known, or a value that cannot work.
        """
        if isinstance(self.settings, config.Settings):
            validate(self.settings)
            return self.settings
        if self.random_state is None:
            raise SettingsError(
                "random_state is None; it is the seed of everything that is drawn, a whole number"
                " from 0 on, so that the same call gives the same map."
            )
        changes = {"seed": self.random_state, **presets.flat(dict(self.settings or {}))}
        settings = presets.replace(presets.preset(self.preset), changes)
        validate(settings)
        return settings

    # --- mapping ---

    def predict(self, X: AnyScene) -> NDArray[np.int64] | list[NDArray[np.int64]]:
        """Return the class code of every pixel, 0 where there is no data.

        Args:
            X: The scene it was fitted on, or any other with the same modalities and bands.

        Returns:
            (H, W); of several tiles a list.

        Raises:
            NotFittedError: ``fit`` was not called.
            BdgfError: The scene cannot be read, or has other modalities.
        """
        scene = self._fitting(X)
        maps = [np.zeros((t.height, t.width), dtype=np.int64) for t in scene.tiles]
        prepared, store = self.mapper_.on(scene)
        for tile, found in enumerate(maps):
            for part in self.mapper_.mapped(prepared, store, tile):
                known = part.classes >= 0
                found[part.window.slices] = np.where(known, self.classes_[part.classes], 0)
        return _single(X, maps)

    def predict_proba(self, X: AnyScene) -> NDArray[np.float32] | list[NDArray[np.float32]]:
        """Return the probability of every class at every pixel, NaN where there is no data.

        Args:
            X: As for `predict`.

        Returns:
            (K, H, W), classes in the order of ``classes_``; of several tiles a list.

        Raises:
            NotFittedError: ``fit`` was not called.
            BdgfError: The scene cannot be read, or has other modalities.
        """
        scene = self._fitting(X)
        classes = len(self.classes_)
        maps = [np.empty((classes, t.height, t.width), dtype=np.float32) for t in scene.tiles]
        for tile, window, scores, present in self.mapper_.windows(scene):
            maps[tile][(slice(None), *window.slices)] = np.where(present, np.exp(scores), np.nan)
        return _single(X, maps)

    def write_map(self, X: AnyScene, folder: str | Path, acquired: str = "") -> list[Path]:
        """Write the map and its confidence as GeoTIFFs, window by window.

        Of several processes of one job the first does it, and the others wait.

        Args:
            X: As for `predict`; its coordinates and CRS are the map's.
            folder: A new or empty folder, or one that holds maps written so, which are replaced;
                gets ``map.tif`` and ``confidence.tif``; of several tiles ``maps/TILE.tif`` and
                ``confidence/TILE.tif``; with attribute table, style and STAC item beside the maps.
            acquired: When X was taken (ISO 8601), for the STAC item; the present time where it is
                not known. The setting ``mapping.acquired`` is of the scene of the training.

        Returns:
            Paths of the maps.

        Raises:
            NotFittedError: ``fit`` was not called.
            BdgfError: The scene cannot be read, or the folder holds other files, is in use or
                cannot be written, or the time is none of ISO 8601; nothing was changed.
        """
        scene, folder = self._fitting(X), Path(folder)
        validate(presets.replace(self.mapper_.settings, {"mapping.acquired": acquired}))
        names = [tile.name for tile in scene.tiles]
        paths = [map_paths(folder, name, len(names) == 1) for name in names]
        processes.of_first(lambda: self._write_map(scene, folder, paths, acquired))
        return [path for path, _ in paths]

    def _write_map(
        self, scene: Scene, folder: Path, paths: list[tuple[Path, Path]], acquired: str
    ) -> None:
        prepared, store = self.mapper_.on(scene)
        side = self.mapper_.settings.mapping.tile
        names = [tile.name for tile in scene.tiles]
        record = {"scene": scene.name, "notes": list(scene.notes)}
        with map_folder(folder, names, record), self._progress() as progress:
            write_maps(
                scene,
                paths.__getitem__,
                self.mapper_.classes,
                tile_by_tile(partial(self.mapper_.mapped, prepared, store)),
                side,
                self.mapper_.origin_of(scene),
                progress,
                acquired,
                columns=panel_columns(prepared, store, side),
            )

    def score(self, X: AnyScene, y: LabelArrays = None) -> float:
        """Return the overall accuracy, from 0 to 1, on labelled pixels.

        Args:
            X: As for `predict`.
            y: With arrays, class codes (H, W), 0 where unlabelled; a scene has its own test pixels.

        Raises:
            NotFittedError: ``fit`` was not called.
            BdgfError: There is no labelled pixel, or the scene cannot be used.
        """
        roles = self._roles(X)
        names = dict(zip(self.classes_.tolist(), self.class_names_, strict=True))
        scene = _scene(X, y, roles, None if y is None else names, align_to=self.mapper_.reference)
        # labels of arrays are all of one part; those of a scene have a part for testing
        part: Literal["train", "test"] = "test" if y is None else "train"
        positions = scene.positions(part)
        if not len(positions):
            raise SceneError(f"{scene.name} has no test pixel to score; give labels as y.")
        codes = np.array(scene.class_codes)[scene.labels_at(part)]
        found = self.predict(scene)
        maps = found if isinstance(found, list) else [found]
        mapped = np.array([maps[tile][row, col] for tile, row, col in positions])
        return float((mapped == codes).mean())

    # --- keeping ---

    def save_pretrained(self, folder: str | Path) -> None:
        """Write what was learned: safetensors for the tensors, JSON for settings and classes.

        Args:
            folder: A new or empty folder, or one that holds an earlier save.

        Raises:
            NotFittedError: ``fit`` was not called.
            RunFolderError: The folder cannot be written, or holds other files.
        """
        check_is_fitted(self)
        self.mapper_.save(Path(folder))

    @classmethod
    def from_pretrained(cls, folder: str | Path, settings: Mapping[str, Any] | None = None) -> Self:
        """Return the fitted classifier of a folder that `save_pretrained` wrote, or of a run.

        Args:
            folder: Such a folder, or a run folder of the command line with a trained network.
            settings: Settings that replace the stored ones, by dotted names, such as
                ``{"compute.accelerator": "cpu"}``.

        Raises:
            RunFolderError: A file is missing or damaged.
            SettingsError: A setting that cannot work.
        """
        mapper = PretrainedMapper.load(Path(folder), settings)
        asked = presets.replace(mapper.settings, mapper.asked)
        found = cls(settings=asked, random_state=asked.seed)
        found.mapper_ = mapper
        found.history_ = []
        found._adopt()
        return found

    # --- inside ---

    def _adopt(self) -> None:
        """Set the attributes that say what the mapper knows."""
        self.classes_ = np.array(self.mapper_.classes.codes, dtype=np.int64)
        self.class_names_ = list(self.mapper_.classes.names)
        self.fusion_weights_ = self.mapper_.fusion_weights

    def _fitting(self, X: AnyScene) -> Scene:
        """Return the scene to be mapped, its arrays in the order of the training scene's."""
        check_is_fitted(self)
        scene = _scene(X, None, self._roles(X), align_to=self.mapper_.reference)
        names = [one.name for one in self.mapper_.preparation.fitted]
        scene = scene.in_order(names, self.mapper_.reference)
        shifts = [shift.describe() for shift in mappable(self.mapper_, scene)]
        for warning in shifts + other_scale(self.mapper_, scene):
            logger.warning("%s", warning)
        return scene

    def _roles(self, X: AnyScene) -> dict[str, Any] | None:
        """Return the roles of the modalities, None for what is no array."""
        check_is_fitted(self)
        if isinstance(X, Scene | str | Path):
            return None
        return {one.name: one.role for one in self.mapper_.preparation.fitted}

    @contextlib.contextmanager
    def _run_folder(self, settings: config.Settings) -> Iterator[Path]:
        if self.folder is not None:
            yield Path(self.folder)
            return
        if processes.count() > 1:
            raise SettingsError(
                f"there are {processes.count()} processes and no folder; what one of them learns"
                " the others read: give BDGFClassifier a folder that all see."
            )
        with tempfile.TemporaryDirectory(prefix="bdgf-", ignore_cleanup_errors=True) as temporary:
            yield Path(temporary)

    @contextlib.contextmanager
    def _progress(self) -> Iterator[Progress]:
        if not self.verbose:
            yield _Logged()
            return
        from rich.console import Console

        from bdgf.console import ConsoleProgress

        with ConsoleProgress(Console()) as progress:
            yield progress


class _Logged:
    """Progress that goes to the log."""

    def say(self, text: str) -> None:
        logger.info("%s", text)

    def track(self, name: str, done: int, total: int, info: str = "") -> None:
        if done >= total:
            logger.info("%s: %d of %d steps%s", name, done, total, f", {info}" if info else "")


def _scene(
    X: AnyScene,
    y: LabelArrays,
    roles: dict[str, Any] | None = None,
    classes: dict[int, str] | None = None,
    align_to: str | None = None,
) -> Scene:
    """Return the scene that was given, opened or made of arrays on the grid of one of them."""
    if isinstance(X, Scene | str | Path):
        if y is not None:
            raise SceneError(
                "labels are given beside a scene, which has its own: leave y out, or give arrays by"
                " modality instead of the scene."
            )
        return X if isinstance(X, Scene) else Scene.open(X)
    if not isinstance(X, Mapping | list | tuple):
        raise SceneError(
            f"X is a {type(X).__name__}; it must be a Scene, the path of a scene file, or arrays by"
            " modality, such as {'hsi': (bands, rows, columns)}."
        )
    images: Images = X
    if roles is not None:
        tiles = [X] if isinstance(X, Mapping) else X
        found = [_ordered(tile, roles) for tile in tiles]
        images = found[0] if isinstance(X, Mapping) else found
    return Scene.from_arrays(images, y, roles=roles, classes=classes, align_to=align_to)


def _ordered(tile: Mapping[str, Any], roles: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arrays of a tile in the order of the training scene's modalities.

    The CRS of a Dataset, a variable without axes, comes along.
    """
    named = {str(name): tile[name] for name in tile}
    arrays, _ = without_crs(named)
    if len(named) < len(tile) or sorted(arrays) != sorted(roles):
        theirs = [str(name) for name in tile if str(name) in arrays]
        raise SceneError(
            f"X has the modalities {', '.join(theirs)}, and the classifier was fitted on"
            f" {', '.join(roles)}; give the same ones."
        )
    placed = {name: value for name, value in named.items() if name not in arrays}
    return {name: arrays[name] for name in roles} | placed


def _single(X: AnyScene, maps: list[AnyArray]) -> AnyArray | list[AnyArray]:
    """Return the only map, or the list where there are several tiles or a list was given."""
    return maps if len(maps) > 1 or isinstance(X, list | tuple) else maps[0]
