"""The stages of a run, from scene file to report, on one run folder."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bdgf import checkpoint, processes
from bdgf.cluster import connected, task_compute
from bdgf.compute import keep_freed_memory, set_threads
from bdgf.config import Settings
from bdgf.diffusion.cluster import check_source, cluster_blocks
from bdgf.diffusion.computed import panel_columns
from bdgf.diffusion.external import adopt
from bdgf.diffusion.features import Blocks, extract
from bdgf.diffusion.reduction import REDUCTION
from bdgf.diffusion.stage import pretrain
from bdgf.diffusion.store import INDEX, are_stored, clear
from bdgf.diffusion.transfer import start_signature
from bdgf.errors import RunFolderError, SceneError
from bdgf.evaluation.stage import evaluate
from bdgf.files import remove, remove_leftovers
from bdgf.fusion.fitting import Fitting
from bdgf.history import History
from bdgf.lock import locked
from bdgf.mapping.cluster import cluster_mapper
from bdgf.mapping.inference import map_windows
from bdgf.mapping.pretrained import PretrainedMapper
from bdgf.mapping.scene_maps import Mapper, Votes, date_maps, tile_by_tile, write_maps
from bdgf.progress import Progress
from bdgf.report.page import write_report
from bdgf.report.results import Results
from bdgf.run import Run, fingerprints_of
from bdgf.runfolder import RunFolder, remove_other_maps
from bdgf.scene.cautions import find_cautions
from bdgf.scene.preparation import Preparation
from bdgf.scene.scene import Scene
from bdgf.stages import STAGES, plain

SHARED_STAGES = ("pretrain", "train")
"""Stages that several processes carry out together; the others are the first one's alone."""


BEFORE_MAP = STAGES[: STAGES.index("map")]
"""Stages in which something is learned; those after them use it on any processor."""


class Pipeline(Run):
    """A run whose stages are carried out.

    Args:
        scene: The scene, or the path of its file.
        out: The run folder.
        settings: All settings.
        progress: Receives lines and steps.
        scheduler: Address of a ``dask.distributed`` scheduler whose workers compute the features
            and make the map; None does both here. With one, ``compute.threads`` 0 is one thread, of
            a task and here.

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
        if scheduler is not None:
            check_source(settings)
        self.scheduler = scheduler
        super().__init__(scene, out, settings, progress)
        self.recorded = self.settings
        # what the client computes itself, the components, has the bits of its workers
        set_threads(settings.compute if scheduler is None else task_compute(settings.compute))
        keep_freed_memory()

    def run(self, stages: tuple[str, ...] = STAGES) -> None:
        """Do stages in their order, skipping those that are finished with the same inputs.

        Raises:
            BdgfError: A stage before the first one asked for is not finished, the folder holds the
                run of another scene, another process works on it, or the scene lacks what the
                stages need; nothing was changed.
        """
        with contextlib.ExitStack() as lock:
            with processes.together():
                lock.enter_context(locked(self.folder.path))
            with processes.in_turn():
                self.folder.reload()
                if processes.rank() == 0:
                    remove_leftovers(self.folder.path)
            self._run(stages)

    def _begin(self, stages: tuple[str, ...]) -> None:
        """Check that the stages can be done, before anything changes, and write the settings."""
        if not any(stage in BEFORE_MAP for stage in stages):
            self.recorded = self.go_by_training()
        self._check_scene()
        labelled = any(STAGES.index(stage) >= STAGES.index("train") for stage in stages)
        # before the long stages; a scene without any labels is refused as they are read
        if labelled and not len(self.scene.positions("train")):
            raise SceneError(
                f"{self.scene_path.name} has labels for testing only, and this step needs those"
                " that are trained on: add 'train: ...' to its labels."
            )
        if "pretrain" in stages and not self.finished("pretrain"):
            start_signature(self.settings)  # refuses weights that are gone before anything changes
        clustered = [s for s in stages if s == "map" or (s == "features" and self.guided)]
        if self.scheduler is not None and not all(map(self.finished, clustered)):
            with connected(self.scheduler):  # refuses one that is not there in the same way
                pass
        first = STAGES.index(stages[0])
        for stage in STAGES[:first]:
            if stage == "prepare":  # it takes seconds and belongs to whatever follows
                continue
            if not self.finished(stage):
                raise RunFolderError(
                    f"{self.folder.path}: stage '{stage}' is not finished with these inputs and"
                    f" settings, and '{stages[0]}' needs it; run 'bdgf {stage}' first, or 'bdgf"
                    " run' for all stages."
                )
        if not self.finished("prepare"):
            self._fitted = Preparation.fit(
                self.scene, self.settings.preparation, self.settings.seed
            )
        spec = self.scene.spec
        seeds = {
            "run": self.settings.seed,
            "split": spec.split.seed,
            "thinned_labels": spec.budget_seed,
        }
        self.folder.write_config(self.recorded, self.scene_path, seeds)

    def _run(self, stages: tuple[str, ...]) -> None:
        processes.of_first(partial(self._begin, stages))
        for stage in ("prepare", *(s for s in stages if s != "prepare")):
            if processes.of_first(partial(self.finished, stage)):
                if stage != "features" or not processes.of_first(self._kept_otherwise):
                    if stage == "map":
                        processes.of_first(self._date_maps)
                    self.progress.say(f"{stage}: finished before, nothing changed; kept")
                    continue
                # the same features elsewhere: what follows them stays as it is
            else:
                if self.folder.was_finished(stage):
                    self.progress.say(f"{stage}: inputs, settings or files changed; done again")
                if not self._only_lost(stage):
                    self.folder.reopen(stage)
            start = time.perf_counter()
            work: Callable[[], None] = getattr(self, f"_{stage}")
            try:
                # the other processes help where there is a batch to share, and wait else
                if stage in SHARED_STAGES:
                    work()
                    processes.wait()
                else:
                    processes.of_first(work)
            except BaseException:
                self.tracker.close(success=False)
                raise
            self.folder.finish(stage, self.fingerprints[stage], time.perf_counter() - start)
        processes.wait()  # what is finished is on the disk for all
        self.tracker.close(success=True)

    def _date_maps(self) -> None:
        acquired = self.settings.mapping.acquired
        date_maps(self.scene, self.map_paths, self.legend, acquired)

    def _check_scene(self) -> None:
        """Refuse a folder that holds the run of another scene: its results would be lost."""
        stored = self.folder.scene()
        if stored in (None, self.scene_path) or not self.folder.was_finished("prepare"):
            return
        if not self.folder.finished("prepare", self.fingerprints["prepare"]):
            raise RunFolderError(
                f"{self.folder.path} holds a run of {stored}, not of {self.scene_path}; give"
                " another folder (--out), or one for the map of the other scene ('bdgf map' with"
                " --to)."
            )

    # --- the stages ---

    def _prepare(self) -> None:
        preparation = self._fitted
        tensors = {n: torch.from_numpy(v) for n, v in preparation.to_tensors().items()}
        reference = self.scene.modalities[self.scene.spec.reference].name  # it has the grid
        origin = {
            "preparation": preparation.to_json(),
            "scene": self.scene.name,
            "reference": reference,
            "pixel_metres": self.scene.tiles[0].grid.pixel_metres,
        }
        checkpoint.save_tensors(self.folder.preparation, tensors, origin)
        self.__dict__.pop("prepared", None)
        parts = [f"{m.name} {m.size} channels ({m.role})" for m in preparation.layout.modalities]
        self.progress.say(f"prepared {self.scene.name}: {', '.join(parts)}")

    def _pretrain(self) -> None:
        if not self.guided:
            source = self.settings.features.source
            self.progress.say(f"pre-training: none, features come from '{source}'")
            return
        pretrain(
            self.prepared,
            self.settings,
            self.folder,
            self.origin("pretrain"),
            History(self.folder.history, self.tracker.follow),
            self.progress,
        )

    def _only_lost(self, stage: str) -> bool:
        """Tell whether a finished stage lacks nothing but files that can be made anew alike.

        What follows it stays then: a preparation depends on nothing that is gone, and features
        are those of the denoiser and of the components that are still there.
        """
        if not self.folder.finished(stage, self.fingerprints[stage]):
            return False
        components = self.folder.features / REDUCTION
        return stage == "prepare" or (stage == "features" and self.guided and components.is_file())

    def _kept_otherwise(self) -> bool:
        """Tell whether our features are stored, or computed, against ``features.stored``."""
        wanted = self.settings.features.stored
        stored = are_stored(self.folder.features)
        return self.guided and wanted != "auto" and stored != (wanted == "always")

    def _features(self) -> None:
        s = self.settings
        if s.features.source == "none":
            self.progress.say("features: none, the branches are not guided")
            return
        if self.guided:
            # the same ones are put elsewhere, and stay till then, or some were lost
            known = self._only_lost("features")
            if not known:
                clear(self.folder.features)
            origin = {"source": "diffusion", **self.origin("features")}
            extractor = self.extractor(self.prepared)
            with contextlib.ExitStack() as cluster:
                blocks: Blocks | None = None
                if self.scheduler is not None:
                    client = cluster.enter_context(connected(self.scheduler))
                    blocks = cluster_blocks(client, extractor, s)
                extract(extractor, self.folder.features, origin, self.progress, blocks, known)
        else:
            remove(self.folder.features / INDEX)
            adopt(
                self.prepared,
                s.features.source,
                self.scene_path.parent,
                self.folder.features,
                s.features,
                s.seed,
                self.progress,
            )

    def _warn(self) -> None:
        """Say what may be silently wrong with bands and labels, and keep it for the report."""
        cautions = find_cautions(self.prepared, self.settings.seed)
        for caution in cautions:
            self.progress.say(f"warning: {caution}")
        self.folder.write_json(self.folder.warnings, cautions)

    def _train(self) -> None:
        origin = self.origin("train")
        self._warn()
        fitting = Fitting(
            self.prepared,
            self.store,
            self.settings,
            self.folder.path,
            origin,
            History(self.folder.history, self.tracker.follow),
            self.progress,
        )
        fitting.source.without = self.features_without()
        fitted = fitting.fit()
        recorded = {
            **origin,
            "settings": plain(fitting.settings),
            # what the labels decided in their place; a training on others decides anew
            "asked": {"network.patch_norm": self.settings.network.patch_norm},
            "classes": self._classes(),
            "heads": list(fitted.network.heads),
            "fusion_weights": fitted.fusion_weights,
            "held_out": fitted.held_out,
            "shifts": fitted.shifts,
            "temperature": fitted.temperature,
            "parameters": fitted.parameters,
            "labels": len(fitting.labelled),
        }
        checkpoint.save_tensors(self.folder.network, fitted.network.state_dict(), recorded)
        fitting.clean_up()

    def _classes(self) -> dict[str, list[Any]]:
        """Return the classes as they are kept with the network."""
        scene = self.scene
        return {
            "codes": list(scene.class_codes),
            "names": list(scene.class_names),
            "colors": list(scene.class_colors),
        }

    def _renew_legend(self) -> None:
        """Give the network the legend that holds now: maps of other scenes take it."""
        tensors, origin = checkpoint.load_tensors(self.folder.network, ("classes",))
        classes = self._classes()
        if origin["classes"] != classes:
            remove(self.folder.warnings)  # which name classes; the report tells them anew
            checkpoint.save_tensors(self.folder.network, tensors, {**origin, "classes": classes})

    def _map(self) -> None:
        self._renew_legend()
        store = self.store
        network, weights = self.trained(store)
        side = self.settings.mapping.tile
        with contextlib.ExitStack() as cluster:
            mapper: Mapper
            if self.scheduler is None:
                work = partial(map_windows, network, weights, self.prepared, store)
                mapper = tile_by_tile(work)
            else:
                client = cluster.enter_context(connected(self.scheduler))
                changes = {"compute": self.settings.compute}
                trained = PretrainedMapper.from_run(self.folder.path, changes)
                mapper = cluster_mapper(client, trained, self.scene, side)
            write_maps(
                self.scene,
                self.map_paths,
                self.legend,
                mapper,
                side,
                self._map_origin(),
                self.progress,
                self.settings.mapping.acquired,
                Votes(self.votes_path, network.heads),
                panel_columns(self.prepared, store, side),
            )
        remove_other_maps(self.folder.path, [tile.name for tile in self.scene.tiles])

    def _map_origin(self) -> str:
        """Return what decides the map: a stopped one goes on only with the very same weights."""
        digest = hashlib.sha256(self.fingerprints["map"].encode())
        for path in (self.folder.network, *([self.folder.diffusion] if self.guided else [])):
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def _evaluate(self) -> None:
        self.folder.write_json(self.folder.metrics, evaluate(self))

    def _report(self) -> None:
        if not self.folder.warnings.is_file():
            self._warn()
        write_report(Results(self.scene, self.folder, self.recorded))


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
    opened, folder = Scene.open(scene), RunFolder(out, read=True)
    known = fingerprints_of(opened, out, settings)
    for stage in ("map", "evaluate"):
        if not folder.finished(stage, known[stage]):
            raise RunFolderError(
                f"{out}: stage '{stage}' is not finished with scene and settings as they are now;"
                f" run 'bdgf {stage} {out}' first, which keeps the settings."
            )
    return Results(opened, folder, settings)
