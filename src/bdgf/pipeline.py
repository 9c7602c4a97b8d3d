"""The stages of a run, from scene file to report, on one run folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from bdgf import checkpoint, processes
from bdgf.compute import (
    Precision,
    check_device,
    device_of,
    join_processes,
    keep_freed_memory,
    make_fabric,
    peak_memory,
    place,
    set_threads,
)
from bdgf.config import Settings
from bdgf.diffusion.computed import ComputedFeatures
from bdgf.diffusion.denoiser import Denoiser
from bdgf.diffusion.external import adopt, external_signature
from bdgf.diffusion.features import FeatureExtractor, extract
from bdgf.diffusion.pretraining import Pretraining, build_denoiser
from bdgf.diffusion.reduction import REDUCTION, Reduction
from bdgf.diffusion.reliance import measure_reliance
from bdgf.diffusion.store import INDEX, FeatureStore, are_stored, tile_file
from bdgf.diffusion.transfer import (
    WEIGHTS,
    described,
    start_signature,
    take_over,
    with_absolute_start,
)
from bdgf.errors import RunFolderError
from bdgf.evaluation.accuracy import far_from_training, score_methods
from bdgf.evaluation.confidence import (
    compare_temperatures,
    evaluate_confidence,
    map_log_probabilities,
)
from bdgf.evaluation.missing import evaluate_without
from bdgf.files import remove
from bdgf.fusion.fitting import Fitting, new_network
from bdgf.fusion.network import FusionNetwork
from bdgf.history import History
from bdgf.mapping.cluster import cluster_mapper, connected
from bdgf.mapping.inference import map_windows
from bdgf.mapping.legend import Legend
from bdgf.mapping.pretrained import PretrainedMapper, check_source
from bdgf.mapping.reading import classes_at, confidence_at
from bdgf.mapping.scene_maps import Mapped, Mapper, Votes, write_maps
from bdgf.optimisation import optimise
from bdgf.progress import Progress, Silent
from bdgf.randomness import numpy_generator, torch_generator
from bdgf.report.page import write_report
from bdgf.report.results import Results
from bdgf.runfolder import RunFolder
from bdgf.scene.hidden import SceneWithout
from bdgf.scene.layout import Window
from bdgf.scene.leak import Leak, leakage
from bdgf.scene.preparation import Preparation
from bdgf.scene.prepared import PreparedScene
from bdgf.scene.scene import Scene
from bdgf.stages import STAGES, fingerprints, plain
from bdgf.tracking import Tracker, check_tracker
from bdgf.validation import validate

RELIANCE_CROPS = 64

SHARED_STAGES = ("pretrain", "train")
"""Stages that several processes carry out together; the others are the first one's alone."""


class Pipeline:
    """A run: a scene, settings and a folder.

    Args:
        scene: The scene, or the path of its file.
        out: The run folder.
        settings: All settings.
        progress: Receives lines and steps.
        scheduler: Address of a ``dask.distributed`` scheduler whose workers make the map; None
            makes it here.

    Raises:
        BdgfError: Settings, scene or folder that cannot be used; nothing was changed then.
    """

    def __init__(
        self,
        scene: Path | Scene,
        out: Path,
        settings: Settings,
        progress: Progress,
        scheduler: str | None = None,
    ) -> None:
        validate(settings)
        check_device(settings.compute)
        check_tracker(settings.logger)
        join_processes(settings)
        if scheduler is not None:
            check_source(settings)  # workers make the features themselves
        self.scheduler = scheduler
        self.settings = with_absolute_start(settings)
        self.progress: Progress = progress if processes.rank() == 0 else Silent()
        self.scene = scene if isinstance(scene, Scene) else Scene.open(scene)
        self.scene_path = self.scene.spec.path.resolve()
        self.fingerprints = _fingerprints(self.scene, out, settings)
        with processes.in_turn():
            self.folder = RunFolder(out)
        logger = settings.logger if processes.rank() == 0 else "none"
        self.tracker = Tracker(
            logger, self.folder.path, f"{self.scene.name} {out.name}", plain(settings)
        )
        set_threads(settings.compute)
        keep_freed_memory()

    def run(self, stages: tuple[str, ...] = STAGES) -> None:
        """Do stages in their order, skipping those that are finished with the same inputs.

        Raises:
            BdgfError: A stage before the first one asked for is not finished, the folder holds the
                run of another scene, or the scene lacks what the stages need; nothing was changed.
        """
        if any(STAGES.index(stage) >= STAGES.index("train") for stage in stages):
            self.scene.positions("train")  # refuses a scene without labels before the long stages
        self._check_scene()
        if "pretrain" in stages and not self._finished("pretrain"):
            start_signature(self.settings)  # refuses weights that are gone before anything changes
        first = STAGES.index(stages[0])
        for stage in STAGES[:first]:
            if stage == "prepare":  # it takes seconds and belongs to whatever follows
                continue
            if not self._finished(stage):
                raise RunFolderError(
                    f"{self.folder.path}: stage '{stage}' is not finished with these inputs and"
                    f" settings, and '{stages[0]}' needs it; run 'bdgf {stage}' first, or 'bdgf"
                    " run' for all stages."
                )
        if not self._finished("prepare") and processes.rank() == 0:
            self._fitted = Preparation.fit(
                self.scene, self.settings.preparation, self.settings.seed
            )
        self.folder.write_config(self.settings, self.scene_path)
        for stage in ("prepare", *(s for s in stages if s != "prepare")):
            if processes.agree(self._finished(stage)):
                self.progress.say(f"{stage}: finished before, nothing changed; kept")
                continue
            if self.folder.was_finished(stage):
                self.progress.say(f"{stage}: inputs, settings or files changed; done again")
            self.folder.reopen(stage)
            start = time.perf_counter()
            work: Callable[[], None] = getattr(self, f"_{stage}")
            try:
                # the other processes help where there is a batch to share, and wait else
                if processes.rank() == 0 or stage in SHARED_STAGES:
                    work()
                processes.wait()
            except BaseException:
                self.tracker.close(success=False)
                raise
            self.folder.finish(stage, self.fingerprints[stage], time.perf_counter() - start)
        self.tracker.close(success=True)

    def _finished(self, stage: str) -> bool:
        known = self.folder.finished(stage, self.fingerprints[stage])
        return known and all(path.is_file() for path in self._outputs(stage))

    def _outputs(self, stage: str) -> list[Path]:
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
            tiles = range(len(self.scene.tiles))
            return [p for t in tiles for p in (*self._map_paths(t), self._votes_path(t))]
        return [folder.metrics if stage == "evaluate" else folder.path / "report.html"]

    def _check_scene(self) -> None:
        """Refuse a folder that holds the run of another scene: its results would be lost."""
        stored = self.folder.scene()
        if stored in (None, self.scene_path) or not self.folder.was_finished("prepare"):
            return
        if not self.folder.finished("prepare", self.fingerprints["prepare"]):
            raise RunFolderError(
                f"{self.folder.path} holds a run of {stored}, not of {self.scene_path}; give"
                " another folder with --out."
            )

    # --- what later stages read of earlier ones ---

    @cached_property
    def prepared(self) -> PreparedScene:
        """The scene with its fitted preparation."""
        tensors, origin = checkpoint.load_tensors(self.folder.preparation)
        arrays = {name: value.numpy() for name, value in tensors.items()}
        return PreparedScene(self.scene, Preparation.from_parts(arrays, origin["preparation"]))

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
        tiles = range(self.prepared.tiles)
        names = [tile.name for tile in self.scene.tiles]
        return FeatureStore(folder, names, [self.prepared.shape(t) for t in tiles])

    @property
    def denoiser(self) -> Denoiser:
        """The pre-trained denoiser."""
        s = self.settings
        denoiser = build_denoiser(s.diffusion, self.prepared.layout, s.seed)
        tensors, _ = checkpoint.load_tensors(self.folder.diffusion)
        checkpoint.load_weights(denoiser, tensors, self.folder.diffusion)
        return place(denoiser, device_of(s.compute))

    def _extractor(self, prepared: PreparedScene) -> FeatureExtractor:
        """Return the reader of the denoiser on the scene or on a view of it."""
        s = self.settings
        device = device_of(s.compute)
        return FeatureExtractor(self.denoiser, prepared, s.features, s.diffusion, s.seed, device)

    def features_of(self, view: SceneWithout) -> FeatureStore:
        """Return the guidance features of a view of the scene: our own are made from the view."""
        return self._computed(view) if self.guided else self.store

    def _computed(self, view: PreparedScene) -> ComputedFeatures:
        reduction = Reduction.load(self.folder.features / REDUCTION)
        return ComputedFeatures(self._extractor(view), reduction)

    def _features_without(self) -> dict[int, ComputedFeatures]:
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
        tensors, origin = checkpoint.load_tensors(self.folder.network)
        network = new_network(self.settings, self.prepared, store, self.settings.seed)
        checkpoint.load_weights(network, tensors, self.folder.network)
        temperature = float(origin["temperature"])
        return network.eval(), [float(w) / temperature for w in origin["fusion_weights"]]

    @cached_property
    def leak(self) -> Leak:
        """How near the test pixels lie to the training pixels."""
        return leakage(self.scene, self.settings.network.window)

    # --- the stages ---

    def _prepare(self) -> None:
        preparation = self._fitted
        tensors = {n: torch.from_numpy(v) for n, v in preparation.to_tensors().items()}
        origin = {"preparation": preparation.to_json(), "scene": self.scene.name}
        checkpoint.save_tensors(self.folder.preparation, tensors, origin)
        self.__dict__.pop("prepared", None)
        parts = [f"{m.name} {m.size} channels ({m.role})" for m in preparation.layout.modalities]
        self.progress.say(f"prepared {self.scene.name}: {', '.join(parts)}")

    def _pretrain(self) -> None:
        s = self.settings
        if not self.guided:
            self.progress.say(f"pre-training: none, features come from '{s.features.source}'")
            return
        work = Pretraining(self.prepared, s.diffusion, s.compute, s.seed)
        origin = self._origin("pretrain")
        recorded = {
            **origin,
            "settings": plain(s),
            "modalities": described(self.prepared.layout),
        }
        if s.diffusion.from_run:
            layout = self.prepared.layout
            transfer = take_over([work.model, work.average], layout, s.diffusion.from_run)
            self.progress.say(transfer.describe())
            recorded["from_run"] = transfer.to_json()
        history = History(self.folder.history, self.tracker.follow)
        resumable = self.folder.path / "pretrain.checkpoint.safetensors"
        if s.diffusion.pretrain:
            work.estimate(self.progress)
            precision = self._precision(work)
            fabric = make_fabric(s.compute, precision)
            optimise(work, fabric, resumable, origin, history, self.progress)
        else:
            weights = "the weights taken over" if s.diffusion.from_run else "its random weights"
            self.progress.say(f"pre-training: off, the denoiser keeps {weights} (control)")
            history.restart("pretrain", 0)
            history.save()
        denoiser = work.average
        checkpoint.save_tensors(self.folder.diffusion, denoiser.state_dict(), recorded)
        self._measure_balance(work)
        remove(resumable)

    def _measure_balance(self, work: Pretraining) -> None:
        values, missing = work.crops.draw(
            RELIANCE_CROPS, numpy_generator(self.settings.seed, "reliance")
        )
        work.model.load_state_dict(work.average.state_dict())
        reliance = measure_reliance(
            work.clean_features(work.probe_timestep),
            values,
            missing,
            self.prepared.layout,
            torch_generator(self.settings.seed, "reliance"),
        )
        self.folder.write_json(self.folder.balance, reliance.to_json())
        self.progress.say(reliance.describe())

    def _precision(self, work: Pretraining) -> Precision:
        """Choose the precision once per run: a resumed run must go on in the same."""
        path = self.folder.path / "precision.json"
        origin = self._origin("pretrain")
        found: dict[str, Any] = {}
        if path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
        found = processes.agree(found)
        known = found.get("origin") == origin
        if known and found.get("precision") in ("32-true", "bf16-mixed"):
            return cast(Precision, found["precision"])
        precision = processes.agree(work.precision())
        self.folder.write_json(path, {"precision": precision, "origin": origin})
        return precision

    def _features(self) -> None:
        s = self.settings
        if s.features.source == "none":
            self.progress.say("features: none, the branches are not guided")
            return
        (self.folder.features / "features.json").unlink(missing_ok=True)
        if self.guided:
            origin = {"source": "diffusion", **self._origin("features")}
            extract(self._extractor(self.prepared), self.folder.features, origin, self.progress)
        else:
            adopt(
                self.prepared,
                s.features.source,
                self.scene_path.parent,
                self.folder.features,
                s.features,
                s.seed,
                self.progress,
            )

    def _train(self) -> None:
        origin = self._origin("train")
        fitting = Fitting(
            self.prepared,
            self.store,
            self.settings,
            self.folder.path,
            origin,
            History(self.folder.history, self.tracker.follow),
            self.progress,
        )
        fitting.source.without = self._features_without()
        fitted = fitting.fit()
        recorded = {
            **origin,
            "settings": plain(self.settings),
            "classes": {
                "codes": list(self.scene.class_codes),
                "names": list(self.scene.class_names),
                "colors": list(self.scene.class_colors),
            },
            "heads": list(fitted.network.heads),
            "fusion_weights": fitted.fusion_weights,
            "held_out": fitted.held_out,
            "temperature": fitted.temperature,
            "parameters": fitted.parameters,
        }
        checkpoint.save_tensors(self.folder.network, fitted.network.state_dict(), recorded)
        fitting.clean_up()

    def _map(self) -> None:
        store = self.store
        network, weights = self.trained(store)
        with contextlib.ExitStack() as cluster:
            mapper: Mapper
            if self.scheduler is None:

                def mapper(tile: int, windows: Iterable[Window]) -> Mapped:
                    return map_windows(network, weights, self.prepared, store, tile, windows)

            else:
                client = cluster.enter_context(connected(self.scheduler))
                changes = {"compute": self.settings.compute}
                trained = PretrainedMapper.from_run(self.folder.path, changes)
                mapper = cluster_mapper(client, trained, self.scene, self.settings.mapping.tile)
            write_maps(
                self.scene,
                self._map_paths,
                self._legend(),
                mapper,
                self.settings.mapping.tile,
                self._map_origin(),
                self.progress,
                self.settings.mapping.acquired,
                Votes(self._votes_path, network.heads),
            )

    def _map_origin(self) -> str:
        """Return what decides the map: a stopped one goes on only with the very same weights."""
        digest = hashlib.sha256(self.fingerprints["map"].encode())
        for path in (self.folder.network, *([self.folder.diffusion] if self.guided else [])):
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def _legend(self) -> Legend:
        scene = self.scene
        return Legend.of(scene.class_codes, scene.class_names, scene.class_colors)

    def _map_paths(self, tile: int) -> tuple[Path, Path]:
        single = len(self.scene.tiles) == 1
        return self.folder.map_paths(self.scene.tiles[tile].name, single)

    def _votes_path(self, tile: int) -> Path:
        single = len(self.scene.tiles) == 1
        return self.folder.votes_path(self.scene.tiles[tile].name, single)

    def _evaluate(self) -> None:
        positions = self.scene.positions("test")
        methods: dict[str, Any] = {}
        if len(positions):
            mapped = self.mapped_classes(positions)
            methods = score_methods(self.scene, self.leak, mapped, self.settings, self.progress.say)
            accuracy = methods["BDGF"]["all"]
            self.tracker.follow("test", 0, {name: accuracy[name] for name in ("oa", "aa", "kappa")})
        else:
            self.progress.say("evaluate: the scene has no test pixel, so accuracy is not measured")
        _, origin = checkpoint.load_tensors(self.folder.network)
        metrics = {
            "scene": self.scene.name,
            "seed": self.settings.seed,
            "transductive": (
                "statistics, principal components, pre-training and mutual learning see all pixels"
                " of the scene without their labels"
            ),
            "notes": list(self.scene.notes),
            "classes": dict(
                zip(map(str, self.scene.class_codes), self.scene.class_names, strict=True)
            ),
            "train_pixels": len(self.scene.positions("train")),
            "test_pixels": len(positions),
            "leak": {"window": self.settings.network.window, "inside": self.leak.inside},
            "methods": methods,
            "missing": self._without_each() if len(positions) else {},
            "calibration": self._calibration(origin) if len(positions) else {},
            "heads": origin["heads"],
            "fusion_weights": origin["fusion_weights"],
            "parameters": origin["parameters"],
            "seconds": self.folder.seconds(),
            "peak_memory_mb": round(peak_memory() / 2**20),
        }
        if self.folder.balance.is_file() and self.guided:
            balance = json.loads(self.folder.balance.read_text(encoding="utf-8"))
            metrics["balance"] = balance
            _, denoiser = checkpoint.load_tensors(self.folder.diffusion)
            if "from_run" in denoiser:
                metrics["denoiser_from"] = denoiser["from_run"]
        self.folder.write_json(self.folder.metrics, metrics)

    def _without_each(self) -> dict[str, Any]:
        """Return the accuracies without each modality, nothing where they are not asked for."""
        s = self.settings
        if not s.evaluation.missing_modalities or len(self.prepared.layout.modalities) < 2:
            return {}
        network, weights = self.trained(self.store)
        note = ""
        if not self.guided and s.features.source != "none":
            note = (
                f"the features of {s.features.source} cannot be made without it and are kept, so"
                " they may tell what it saw"
            )
        return evaluate_without(
            self.prepared,
            self.leak,
            network,
            weights,
            self.features_of,
            s.mapping.tile,
            s.seed,
            self.progress,
            note,
        )

    def _calibration(self, origin: dict[str, Any]) -> dict[str, Any]:
        """Return how far the map's confidence can be believed, and what the temperature did."""
        positions, reference = self.scene.positions("test"), self.scene.labels_at("test")
        paths = [self._map_paths(tile)[1] for tile in range(len(self.scene.tiles))]
        found = evaluate_confidence(
            reference,
            self.mapped_classes(positions),
            confidence_at(paths, positions),
            far_from_training(self.leak, positions),
        )
        store = self.store
        network, _ = self.trained(store)
        plain_weights = [float(w) for w in origin["fusion_weights"]]  # at temperature 1
        seen, values = map_log_probabilities(
            network,
            plain_weights,
            self.prepared,
            store,
            self.settings.mapping.tile,
            self.settings.seed,
        )
        return {**found, **compare_temperatures(values, reference[seen], origin["temperature"])}

    def mapped_classes(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the class index of the written map at some pixels, −1 where it has none."""
        paths = [self._map_paths(tile)[0] for tile in range(len(self.scene.tiles))]
        return classes_at(paths, self.scene.class_codes, positions)

    def _report(self) -> None:
        write_report(Results(self.scene, self.folder, self.settings))

    def _origin(self, stage: str) -> dict[str, Any]:
        """What a stage's outputs belong to; plain JSON values."""
        return {
            "stage": stage,
            "fingerprint": self.fingerprints[stage],
            "scene": self.scene.name,
        }


def open_results(out: Path, scene: Path, settings: Settings) -> Results:
    """Open a run that was finished; nothing is computed, on whatever device it was made.

    Args:
        out: The run folder.
        scene: The scene file of the run.
        settings: The settings of the run.

    Raises:
        RunFolderError: Map or evaluation are not finished with this scene and these settings.
        SceneError: The scene cannot be opened.
    """
    opened, folder = Scene.open(scene), RunFolder(out)
    known = _fingerprints(opened, out, settings)
    for stage in ("map", "evaluate"):
        if not folder.finished(stage, known[stage]):
            raise RunFolderError(
                f"{out}: stage '{stage}' is not finished with the scene as it is now; run 'bdgf"
                f" run {scene} --out {out}' first."
            )
    return Results(opened, folder, settings)


def _fingerprints(scene: Scene, out: Path, settings: Settings) -> dict[str, str]:
    """Return what the outputs of every stage of a run depend on."""
    folder = scene.spec.path.resolve().parent
    return fingerprints(
        settings,
        scene.signature("images"),
        scene.signature("labels"),
        external_signature(settings.features.source, folder, scene),
        start_signature(with_absolute_start(settings), out / WEIGHTS),
    )
