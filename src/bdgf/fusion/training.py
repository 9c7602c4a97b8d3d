"""Training of the guided branches on labelled and unlabelled pixels of a scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from bdgf import processes
from bdgf.compute import exact, to_device
from bdgf.config import Settings
from bdgf.fusion.averaging import WeightAverage
from bdgf.fusion.class_balance import class_balance
from bdgf.fusion.consistency import TaughtClasses, Teacher, consistency_loss, fused_teaching
from bdgf.fusion.label_counts import consistency_weight, guidance_dropout, steps_for
from bdgf.fusion.losses import smoothed_nll
from bdgf.fusion.mutual import mutual_losses, unlabelled_agreement
from bdgf.fusion.network import FusionNetwork, fused_log_probabilities
from bdgf.fusion.patch_source import Patches, PatchSource
from bdgf.optimisation import Course
from bdgf.randomness import numpy_generator, torch_generator
from bdgf.scene.layout import ChannelLayout
from bdgf.scene.prepared import PreparedScene
from bdgf.scene.sampling import draw_blocks
from bdgf.scene.windows import Window


@dataclass(frozen=True)
class Labelled:
    """Labelled pixels.

    Args:
        positions: (n, 3) tile, row and column.
        classes: (n,) class index from 0 to K − 1.
    """

    positions: NDArray[np.int64]
    classes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.classes)

    def select(self, keep: NDArray[np.bool_]) -> Labelled:
        """Return the labelled pixels where ``keep`` (n,) is true."""
        return Labelled(self.positions[keep], self.classes[keep])


class UnlabelledPixels:
    """Draws pixels of the scene, labelled or not, in proportion to the tiles' valid area.

    Those of a large scene come from some windows that are drawn from all over it.

    Args:
        prepared: The scene.
        seed: Seed of the windows of a large scene.
    """

    def __init__(self, prepared: PreparedScene, seed: int = 0) -> None:
        self.prepared, self.seed = prepared, seed
        self.pool: NDArray[np.int64] | None = None

    def settle(self, count: int, windows: int) -> NDArray[np.int64]:
        """Draw from a few pixels alone from now on, and return them, (n, 3), each once.

        Args:
            count: How many to draw; some may be the same.
            windows: Most windows of a large scene that they come from.
        """
        drawn = self.draw(count, numpy_generator(self.seed, "unlabelled pool"), windows)
        self.pool = np.unique(drawn, axis=0)
        return self.pool

    @cached_property
    def _places(self) -> tuple[list[tuple[int, Window]], list[NDArray[np.int64]]]:
        """Windows of the scene, and their valid pixels as flat indices."""
        prepared = self.prepared
        if prepared.scene.large:
            samples = draw_blocks(prepared, self.seed)
            flat = [np.flatnonzero(sample.valid) for sample in samples]
            return [(sample.tile, sample.window) for sample in samples], flat
        tiles = range(prepared.tiles)
        whole = [(tile, Window(0, 0, *prepared.shape(tile))) for tile in tiles]
        return whole, [np.flatnonzero(prepared.valid(tile)) for tile in tiles]

    def draw(
        self, count: int, generator: np.random.Generator, windows: int | None = None
    ) -> NDArray[np.int64]:
        """Return positions, (count, 3).

        Args:
            count: How many.
            generator: Draws them.
            windows: Most windows of a large scene that they come from; None for all there are.
        """
        if self.pool is not None:
            return self.pool[generator.integers(len(self.pool), size=count)]
        places, flat = self._places
        area = np.array([len(pixels) for pixels in flat], dtype=np.float64)
        if windows is not None and self.prepared.scene.large:
            area[generator.permutation(np.flatnonzero(area))[windows:]] = 0.0
        drawn = generator.choice(len(flat), size=count, p=area / area.sum())
        if windows is not None:
            drawn.sort()  # those of a window one after the other
        found = np.empty((count, 3), dtype=np.int64)
        for i, place in enumerate(drawn):
            tile, window = places[place]
            row, col = divmod(int(flat[place][generator.integers(len(flat[place]))]), window.width)
            found[i] = tile, window.row + row, window.col + col
        return found


class FusionTraining:
    """One training: its network and the loss of a step.

    It is the work that ``bdgf.optimisation.optimise`` carries through.

    Args:
        network: With its initial weights, on its device.
        source: Gathers patches.
        labelled: Pixels to learn from.
        unlabelled: Pixels for mutual learning without labels.
        settings: All settings.
        layout: Channels of the modalities.
        classes: K.
        name: Stage in the history; also keeps the draws of different trainings apart.
        share: Share of the usual steps.
        trust: How far each head is trusted, summing to 1: its share in the fusion, and in the
            consensus that the heads learn from. None while that is not known: all heads alike, and
            no mutual learning.
    """

    def __init__(
        self,
        network: FusionNetwork,
        source: PatchSource,
        labelled: Labelled,
        unlabelled: UnlabelledPixels,
        settings: Settings,
        layout: ChannelLayout,
        classes: int,
        name: str = "train",
        share: float = 1.0,
        trust: Sequence[float] | None = None,
    ) -> None:
        self.model: FusionNetwork = network
        self.average = WeightAverage(network, settings.training.ema)
        t = settings.training
        self.consistency = consistency_weight(settings, len(labelled))
        self.guidance_dropout = guidance_dropout(settings, len(labelled))
        self.teacher = Teacher(network, t.consistency_decay) if self.consistency else None
        self.source, self.labelled, self.unlabelled = source, labelled, unlabelled
        self.settings, self.layout, self.seed = settings, layout, settings.seed
        self.device = next(network.parameters()).device
        self.owner = torch.tensor(layout.modality_of_channel, device=self.device)  # (C,)
        heads = len(network.heads)
        # what the teacher said in a step counts from the next on
        self.taught = TaughtClasses(heads, classes, t.consistency_balance, self.device)
        self._last_taught: Tensor  # what the last step taught
        self.mutual = trust is not None and heads > 1
        self.learns_unlabelled = self.mutual and settings.mutual.unlabelled
        self.trust = torch.tensor(list(trust or [1.0 / heads] * heads), device=self.device)
        deviation = torch.from_numpy(source.prepared.preparation.deviation)
        self.noise = t.noise * deviation.to(self.device)  # (C,)
        self.course = Course(
            name=name,
            steps=max(1, round(steps_for(settings, len(labelled)) * share)),
            learning_rate=t.learning_rate,
            weight_decay=t.weight_decay,
            warmup=t.warmup,
            clip_norm=t.clip_norm,
            checkpoint_every=t.checkpoint_every,
        )
        self.pixel_share, weights = class_balance(settings, labelled.classes, classes)
        self.class_weights = torch.from_numpy(weights).float().to(self.device)
        self.auxiliary = np.setdiff1d(np.arange(len(layout.modalities)), layout.spectral)
        self.hideable = source.hideable(labelled.positions)

    def loss(self, model: torch.nn.Module, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return L = CE(fused) + Σ_b CE_b + w(λ_1 L_ent + λ_2 L_sim + λ_3 L_con), and its parts."""
        t, mutual = self.settings.training, self.settings.mutual
        draws = numpy_generator(self.seed, self.course.name, step)
        # 1. labelled and unlabelled patches in one batch
        chosen = draws.choice(len(self.labelled), size=t.batch, p=self.pixel_share)
        positions, patches, kept, shares = self._batch(chosen, step, draws)
        output = model(*patches, kept)
        logits = processes.gathered(output.logits[..., 0, 0].float(), shares)
        embedding = processes.gathered(output.embedding[..., 0, 0].float(), shares)
        # 2. cross-entropy of the fusion and of every branch
        own = logits[: t.batch]  # (B, heads, K)
        supervised = self._supervised(own, self.labelled.classes[chosen])
        parts = {"supervised": supervised.detach()}
        # 3. consistency on unlabelled pixels, ramped
        ramp = min(1.0, (step + 1) / max(1.0, mutual.ramp * self.course.steps))
        total = supervised
        if self.teacher is not None:
            taught = self._taught(self.teacher, positions[t.batch :], draws)
            self._last_taught = taught
            consistency = consistency_loss(
                logits[t.batch :], taught, t.consistency_sure, self.taught.weights()
            )
            parts["consistency"] = consistency.detach()
            total = total + ramp * self.consistency * consistency
        # 4. mutual learning, ramped
        if self.mutual:
            learned, told = self._mutual(own, logits[t.batch :], embedding)
            parts |= told
            total = total + ramp * learned
        return total, parts

    def _batch(
        self, chosen: NDArray[np.int64], step: int, draws: np.random.Generator
    ) -> tuple[NDArray[np.int64], Patches, Tensor | None, list[NDArray[np.int64]]]:
        """Gather the chosen labelled and new unlabelled pixels, turned, with noise and dropouts.

        Returns:
            Positions of the whole batch (B, 3); this process's patches of it, and the channels that
            they keep; the rows of the batch by process.
        """
        positions, sizes = self.labelled.positions[chosen], [len(chosen)]
        if self.learns_unlabelled or self.teacher is not None:
            sizes.append(self.settings.training.unlabelled_pixels)
            positions = np.concatenate([positions, self.unlabelled.draw(sizes[1], draws)])
        batch = len(positions)
        orientation = torch.from_numpy(draws.integers(8, size=batch))
        hidden = np.full(batch, -1, dtype=np.int64)
        hidden[: len(chosen)] = self._hidden(self.hideable[chosen], draws)
        shares = processes.shares(sizes)
        rows = shares[processes.rank()]
        patches = self.source.gather(positions[rows], orientation[rows], hidden[rows])
        noise = torch_generator(self.seed, self.course.name, step, device=self.device)
        patches = self._disturbed(patches, noise, rows, batch)
        patches = self._unguided(patches, draws, rows, batch)
        return positions, patches, self._kept(draws, rows, batch), shares

    def _supervised(self, logits: Tensor, classes: NDArray[np.int64]) -> Tensor:
        """Return the cross-entropy of the fusion and of every head, (B, heads, K), summed."""
        target = to_device(torch.from_numpy(classes), self.device)
        smoothing = self.settings.training.label_smoothing
        fused = fused_log_probabilities(logits[..., None, None], self.trust)[..., 0, 0]
        total = smoothed_nll(fused, target, self.class_weights, smoothing)
        for head in range(logits.shape[1]):
            total = total + F.cross_entropy(
                logits[:, head], target, weight=self.class_weights, label_smoothing=smoothing
            )
        return total

    def _mutual(
        self, own: Tensor, free: Tensor, embedding: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of mutual learning, and its parts.

        Args:
            own: Logits of labelled samples, (B, heads, K).
            free: Logits of unlabelled samples, (U, heads, K).
            embedding: (B + U, heads, D), labelled samples first.
        """
        mutual, labelled = self.settings.mutual, len(own)
        aligned = mutual_losses(own, embedding[:labelled], mutual.divergence)
        parts: dict[str, Tensor] = {}
        learned = (
            mutual.entropy_weight * aligned.entropy + mutual.similarity_weight * aligned.similarity
        )
        if self.learns_unlabelled:
            alike = mutual_losses(free, embedding[labelled:], 0.0)
            agreement = unlabelled_agreement(free, self.trust)
            learned = learned + mutual.unlabelled_weight * (
                agreement
                + mutual.entropy_weight * alike.entropy
                + mutual.similarity_weight * alike.similarity
            )
            parts["agreement"] = agreement.detach()
        parts["entropy"] = aligned.entropy.detach()
        parts["similarity"] = aligned.similarity.detach()
        return learned, parts

    def _taught(
        self, teacher: Teacher, positions: NDArray[np.int64], draws: np.random.Generator
    ) -> Tensor:
        """Return what each head is taught, (B, heads, K), of pixels (B, 3), turned anew."""
        orientation = torch.from_numpy(draws.integers(8, size=len(positions)))
        shares = processes.shares([len(positions)])
        rows = shares[processes.rank()]
        seen = self.source.gather(positions[rows], orientation[rows]).to(self.device)
        taught = processes.gathered(teacher.probabilities(seen), shares)
        if self.settings.training.consistency_teacher == "fusion":
            return fused_teaching(taught, self.trust)
        return taught

    def _hidden(self, hideable: NDArray[np.bool_], draws: np.random.Generator) -> NDArray[np.int64]:
        """Draw the auxiliary modality that is hidden from each sample (B,), −1 for none.

        One at most: its guidance is computed without it, and a sample that lacks two would need
        features for every pair.
        """
        count, auxiliary = len(hideable), self.auxiliary
        if not len(auxiliary) or not self.layout.spectral:
            return np.full(count, -1, dtype=np.int64)
        which = auxiliary[draws.integers(len(auxiliary), size=count)]
        drawn = draws.random(count) < self.settings.training.modality_dropout
        return np.where(drawn & hideable, which, -1)

    def _disturbed(
        self,
        patches: Patches,
        noise: torch.Generator,
        rows: NDArray[np.int64],
        batch: int,
    ) -> Patches:
        """Add noise to these rows of a batch, as drawn for all of it."""
        t = self.settings.training
        values, missing, guidance = patches.to(self.device)
        channels = values.shape[1]
        if t.noise:
            drawn = torch.randn(
                batch, *values.shape[2:], channels, generator=noise, device=self.device
            )
            if len(rows) < batch:
                drawn = drawn[to_device(torch.from_numpy(rows), self.device)]
            values = values + (drawn * self.noise).permute(0, 3, 1, 2)
        # what is missing stays exactly zero, whatever noise was added
        values = values * (1.0 - missing[:, self.owner])
        return Patches(values, missing, guidance)

    def _unguided(
        self,
        patches: Patches,
        draws: np.random.Generator,
        rows: NDArray[np.int64],
        batch: int,
    ) -> Patches:
        """Take their guidance from some of these rows of a batch: zero at all levels."""
        if not self.guidance_dropout or not any(level.shape[1] for level in patches.guidance):
            return patches
        keep = (draws.random(batch)[rows] >= self.guidance_dropout).astype(np.float32)
        kept = to_device(torch.from_numpy(keep), self.device)[:, None, None, None]
        return patches._replace(guidance=[level * kept for level in patches.guidance])

    def _kept(
        self, draws: np.random.Generator, rows: NDArray[np.int64], batch: int
    ) -> Tensor | None:
        """Return 0 for the channels that these rows of a batch lose, (rows, C); None for none."""
        dropout, channels = self.settings.training.channel_dropout, self.source.channels
        if not dropout or channels < 2:
            return None
        keep = draws.random((batch, channels))[rows] >= dropout
        return to_device(torch.from_numpy(keep.astype(np.float32)), self.device)

    def after_step(self, step: int, parts: dict[str, Tensor]) -> dict[str, float]:
        """Move the averages, and take that of the weights after the last step."""
        if self.teacher is not None:
            self.teacher.average.update(step)
            self.taught.update(self._last_taught, self.settings.training.consistency_sure)
        if self.average.decay:
            self.average.update(step)
            if step + 1 == self.course.steps:
                self.average.adopt()
        return {}

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the averaged weights, the teacher's and what it has taught, where there are."""
        if self.teacher is None:
            return dict(self.average.tensors), {}
        teacher = {f"teacher.{n}": w for n, w in self.teacher.average.tensors.items()}
        return {**self.average.tensors, **teacher, "taught": self.taught.state()}, {}

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Put back what ``state`` returned."""
        self.average.restore(tensors)
        if self.teacher is not None:
            names = self.teacher.average.tensors
            self.teacher.average.restore({n: tensors[f"teacher.{n}"] for n in names})
            self.taught.restore(tensors["taught"])


@torch.inference_mode()
@exact()
def head_log_probabilities(
    network: FusionNetwork, source: PatchSource, positions: NDArray[np.int64], batch: int = 512
) -> Tensor:
    """Return the log-probabilities of every head at some pixels, (n, heads, K)."""
    device = next(network.parameters()).device
    network.eval()
    found = []
    for start in range(0, len(positions), batch):
        output = network(*source.gather(positions[start : start + batch]).to(device))
        found.append(output.logits[..., 0, 0].float().log_softmax(-1).cpu())
    network.train()
    return torch.cat(found)
