"""From labelled pixels to a trained network and its fusion weights."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bdgf import checkpoint, processes
from bdgf.compute import device_of, make_fabric
from bdgf.config import Settings
from bdgf.diffusion.store import FeatureStore, Room
from bdgf.errors import SceneError
from bdgf.files import remove
from bdgf.fusion.crossvalidation import (
    Trust,
    patch_leads,
    spatial_folds,
    trust_before,
    trust_from,
)
from bdgf.fusion.label_counts import (
    consistency_weight,
    few_per_class,
    steps_for,
    thinned,
    with_patch_norm,
)
from bdgf.fusion.network import Ensemble, FusionNetwork, build_network
from bdgf.fusion.patch_source import PatchSource
from bdgf.fusion.training import FusionTraining, Labelled, UnlabelledPixels, head_log_probabilities
from bdgf.history import History
from bdgf.optimisation import optimise
from bdgf.progress import Progress
from bdgf.randomness import numpy_generator
from bdgf.scene.prepared import PreparedScene

SCENE_PIXELS = 2000
"""Pixels drawn from all over the scene to compare the heads of a fold on."""
POOL_PIXELS, LEAST_POOL = 4096, 512
"""Unlabelled pixels to learn from of a scene that does not lie in memory as a whole; with room for
less than the second number they are read anew at every step."""
SCENE_WINDOWS = 32
"""Windows that they come from where the scene is large: features may be computed for each."""


@dataclass(frozen=True)
class Fitted:
    """A trained network.

    Args:
        network: With its final weights.
        fusion_weights: Weight of every head, summing to 1.
        held_out: Mean of OA and AA of every head in cross-validation, empty without it.
        shifts: By how many points each head agrees more with the others on the scene than on the
            held-out pixels, empty without cross-validation.
        temperature: By which the fused log-probabilities are divided to be calibrated; of the
            held-out predictions, 1 without any.
    """

    network: FusionNetwork
    fusion_weights: list[float]
    held_out: list[float]
    shifts: list[float]
    temperature: float

    @property
    def parameters(self) -> int:
        """Number of the network's weights."""
        return sum(p.numel() for p in self.network.parameters())


def new_network(
    settings: Settings,
    prepared: PreparedScene,
    store: FeatureStore,
    seed: int,
    members: int | None = None,
) -> FusionNetwork:
    """Return a network with random weights on the device that the settings name.

    Args:
        settings: All settings.
        prepared: The scene.
        store: Its guidance features.
        seed: Of the weights.
        members: Networks whose mean it is; None for as many as the settings say.
    """
    classes = len(prepared.scene.class_codes)
    own = settings.network if members is None else replace(settings.network, members=members)
    network = build_network(own, prepared.layout, store.level_channels, classes, seed)
    return network.to(device_of(settings.compute))


class Fitting:
    """Training on all labelled pixels, after cross-validation for the fusion weights.

    Args:
        prepared: The scene, with labels.
        store: Its guidance features.
        settings: All settings; those in use, ``settings`` of this, say how the patch is normalised.
        folder: Where resumable checkpoints, and patches that have no room in memory, are kept while
            it runs.
        origin: Inputs and settings that the checkpoints belong to.
        history: Receives the losses.
        progress: Receives lines and steps.
    """

    def __init__(
        self,
        prepared: PreparedScene,
        store: FeatureStore,
        settings: Settings,
        folder: Path,
        origin: dict[str, Any],
        history: History,
        progress: Progress,
    ) -> None:
        self.prepared, self.store = prepared, store
        self.folder, self.origin, self.history, self.progress = folder, origin, history, progress
        scene = prepared.scene
        found = Labelled(scene.positions("train"), scene.labels_at("train"))
        # a pixel without a spectral value has nothing to learn from, whatever its label
        present = prepared.valid_at(found.positions)
        self.labelled = found.select(present)
        self.ground = scene.ground_positions("train")[present]
        self.settings = with_patch_norm(settings, self.labelled.classes)
        if not present.all():
            progress.say(f"training: {(~present).sum()} labelled pixels have no data, left out")
        if not present.any():
            raise SceneError(
                f"none of the {len(present)} training pixels of {scene.name} has a spectral value;"
                " check the nodata value of the image and the place of the labels."
            )
        self.source = PatchSource(prepared, store, settings.network.window)
        self.unlabelled = UnlabelledPixels(prepared, settings.seed)
        self._keep_patches()

    def fit(self) -> Fitted:
        """Train to the last step, resuming what was killed."""
        s = self.settings
        network = new_network(s, self.prepared, self.store, s.seed)
        heads = len(network.heads)
        few = few_per_class(self.labelled.classes)
        leads = patch_leads(network.heads, s.training.patch_lead) if few else None
        before = trust_before(leads or [0.0] * heads, s.training.fusion_temperature)
        counts = np.bincount(self.labelled.classes, minlength=len(self.prepared.scene.class_codes))
        each = f" for each of {s.network.members} members" if s.network.members > 1 else ""
        self.progress.say(
            f"training: {sum(p.numel() for p in network.parameters()) / 1e6:.2f} M parameters,"
            f" {steps_for(s, len(self.labelled))} steps{each} of {s.training.batch} of"
            f" {len(self.labelled)} labelled pixels ({counts.min()} to {counts.max()} per class)"
        )
        self.history.keep("train member", map(_member_stage, range(2, s.network.members + 1)))
        found = self._cross_validate(leads) if s.training.fold_pixels else None
        trust = processes.agree(found or before)  # processors differ in rounding
        if not s.training.fold_pixels:
            self.history.keep("train fold", ())
        elif found is None:
            self.progress.say(
                "cross-validation: nothing can be held out, as no class has labels in two folds;"
                " it weighs no heads and the confidence is not scaled"
            )
        else:
            parts = zip(network.heads, trust.weights, trust.marks, trust.shifts, strict=True)
            told = ", ".join(f"{n} {w:.2f} ({m:.1f} {d:+.1f})" for n, w, m, d in parts)
            self.progress.say(
                "fusion weights (held-out mean of OA and AA, and by how much the head agrees more"
                f" with the others on the scene): {told}"
            )
        if isinstance(network, Ensemble):
            self._train_members(network, trust.weights)
        else:
            work = self._training(network, self.labelled, "train", 1.0, trust.weights)
            self._optimise(work, "train")
        return Fitted(network, trust.weights, trust.marks, trust.shifts, trust.temperature)

    def clean_up(self) -> None:
        """Remove what was kept for a restart; call it once the result is stored."""
        remove(self._checkpoint("train"))
        for pattern in ("fold*.safetensors", "member*.safetensors"):
            for path in self.folder.glob(pattern):
                remove(path)

    def _keep_patches(self) -> None:
        """Read patches that would be read one by one once: in memory, else in a file."""
        room, large = self.source.room(), self.prepared.scene.large
        if room is None:
            return
        fewest = len(self.labelled) // 2  # labels of a fold's training
        asked = consistency_weight(self.settings, fewest) or self.settings.mutual.unlabelled
        pool, folder = POOL_PIXELS if asked else 0, None
        if room - len(self.labelled) < min(pool, LEAST_POOL):
            # a scene that is looked at whole has its unlabelled pixels at hand
            pool = pool if large else 0
            needed = (len(self.labelled) + pool) * self.source.patch_bytes
            disk = Room(processes.count() * needed, shutil.disk_usage(self.folder).free)
            if processes.agree(disk.enough):
                folder = self.folder
                self.progress.say(f"training: patches are read once, to a file; {disk.describe()}")
            elif len(self.labelled) <= room:
                pool = 0  # the labels fit, unlabelled pixels are read as they are drawn
            elif large:
                self._thin_out(room - min(pool, room // 2), disk)
            else:
                self.progress.say(f"training: patches are read at every step; {disk.describe()}")
                return
        if folder is None:
            pool = min(pool, room - len(self.labelled))
        kept = self.labelled.positions
        if pool:
            kept = np.concatenate([kept, self.unlabelled.settle(pool, SCENE_WINDOWS)])
        self.source.keep(kept, folder)

    def _thin_out(self, most: int, disk: Room) -> None:
        """Go on with so many labelled pixels, drawn class by class."""
        draws = numpy_generator(self.settings.seed, "labels that fit")
        chosen = thinned(self.labelled.classes, most, draws)
        self.progress.say(
            f"training: {most} of {len(chosen)} labelled pixels, drawn class by class, as the"
            f" patches of all have no room; {disk.describe()}"
        )
        self.labelled, self.ground = self.labelled.select(chosen), self.ground[chosen]
        # a restart with more room, and so with other labels, does not go on from this
        self.origin = {**self.origin, "labels": most}

    def _train_members(self, ensemble: Ensemble, weights: Sequence[float]) -> None:
        """Train the members one after the other; those that a killed run had finished are kept."""
        for number, member in enumerate(ensemble.networks(), start=1):
            path, file = self.folder / f"member{number}.safetensors", f"member{number}"
            known = processes.of_first(partial(self._finished_member, path))
            if known is not None:
                checkpoint.load_weights(member, known, path)
                continue
            name = "train" if number == 1 else _member_stage(number)
            self._optimise(self._training(member, self.labelled, name, 1.0, weights), file)
            checkpoint.save_tensors(path, member.state_dict(), self.origin)
            remove(self._checkpoint(file))

    def _finished_member(self, path: Path) -> dict[str, Tensor] | None:
        """Return the weights of a member that a killed run had finished."""
        if not path.is_file():
            return None
        tensors, found = checkpoint.load_tensors(path)
        return tensors if found == self.origin else None

    def _training(
        self,
        network: FusionNetwork,
        labelled: Labelled,
        name: str,
        share: float,
        trust: Sequence[float] | None,
    ) -> FusionTraining:
        return FusionTraining(
            network,
            self.source,
            labelled,
            self.unlabelled,
            self.settings,
            self.prepared.layout,
            len(self.prepared.scene.class_codes),
            name,
            share,
            trust,
        )

    def _optimise(self, work: FusionTraining, file: str) -> None:
        fabric = make_fabric(self.settings.compute, "32-true")
        path = self._checkpoint(file)
        optimise(work, fabric, path, self.origin, self.history, self.progress)

    def _checkpoint(self, file: str) -> Path:
        return self.folder / f"{file}.checkpoint.safetensors"

    def _fold_path(self, fold: int) -> Path:
        return self.folder / f"fold{fold + 1}.safetensors"

    def _cross_validate(self, leads: Sequence[float] | None = None) -> Trust | None:
        """Train on all folds but one, predict that one, and weigh the heads by the outcome.

        ``leads`` are the points by which heads are taken to be better before, None for none.

        With many labels the first folds hold out enough of them. Where no class has a label beside
        those of its fold nothing can be held out, and nothing is returned.
        """
        s, labelled = self.settings, self.labelled
        folds = spatial_folds(self.ground, labelled.classes, s.training.folds, s.seed)
        drawn = self._scene_pixels()
        held_out: list[Tensor] = []
        scene: list[Tensor] = []
        classes: list[NDArray[np.int64]] = []
        stages: list[str] = []
        for fold in range(s.training.folds):
            inside = labelled.select(folds != fold)
            # of a class that is not trained here, what is held out says nothing
            known_classes = np.isin(labelled.classes, inside.classes)
            outside = labelled.select((folds == fold) & known_classes)
            if not len(inside) or not len(outside):
                continue
            if sum(map(len, classes)) >= s.training.fold_pixels:
                break
            known = processes.of_first(partial(self._finished_fold, fold))
            if known is None:
                network = new_network(s, self.prepared, self.store, s.seed + 1 + fold, members=1)
                name = _fold_stage(fold)
                # without mutual learning: the marks are to say what each head is worth
                work = self._training(network, inside, name, s.training.fold_steps, None)
                self._optimise(work, f"fold{fold + 1}")
                known = {
                    "held_out": head_log_probabilities(network, self.source, outside.positions),
                    "scene": head_log_probabilities(network, self.source, drawn),
                }
                checkpoint.save_tensors(self._fold_path(fold), known, self.origin)
            remove(self._checkpoint(f"fold{fold + 1}"))
            stages.append(_fold_stage(fold))
            held_out.append(known["held_out"])
            scene.append(known["scene"])
            classes.append(outside.classes)
        self.history.keep("train fold", stages)  # earlier settings may have left others
        if not held_out:
            return None
        return trust_from(
            torch.cat(held_out),
            np.concatenate(classes),
            torch.cat(scene),
            s.training.fusion_temperature,
            leads,
            s.training.fusion == "cv",
        )

    def _scene_pixels(self) -> NDArray[np.int64]:
        """Draw pixels from all over the scene, (n, 3), on which the heads of a fold are compared.

        Training pixels are not among them, unless there are no others: a head that has learned
        them by heart would agree there with all that have.
        """
        draws = numpy_generator(self.settings.seed, "agreement")
        drawn = self.unlabelled.draw(SCENE_PIXELS, draws, SCENE_WINDOWS)
        place = np.array([1 << 42, 1 << 21, 1])  # one number for tile, row and column
        new = ~np.isin(drawn @ place, self.labelled.positions @ place)
        return drawn[new] if new.any() else drawn

    def _finished_fold(self, fold: int) -> dict[str, Tensor] | None:
        """Return the predictions of a fold that a killed run had finished."""
        path = self._fold_path(fold)
        if not path.is_file():
            return None
        tensors, found = checkpoint.load_tensors(path)
        return tensors if found == self.origin and "scene" in tensors else None


def _fold_stage(fold: int) -> str:
    return f"train fold {fold + 1}"


def _member_stage(number: int) -> str:
    return f"train member {number}"
