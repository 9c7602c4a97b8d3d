"""Fusion weights from spatially grouped cross-validation on the training pixels.

Neighbouring pixels resemble each other, so whole blocks of the scene (or whole tiles) are held out
together; a branch whose large window helps only by overlap gains nothing from it. The training
pixels of a scene are not a sample of it, though: they lie inside of fields, in a few places. What a
head loses beyond them shows, without any label, in how much less it agrees with the other heads
there (agreement on the line: Baek et al., 2022). The weight of a head is exp(worth / temperature),
normalised, where the worth is the held-out mean of OA and AA moved by that difference [C]. With few
labels the folds say little, and what is known of the heads beforehand counts beside them [M].
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold
from torch import Tensor

from bdgf.fusion.base import PATCH_HEADS
from bdgf.fusion.temperature import fit_temperature

BLOCKS = (256, 128, 64, 32, 16, 8, 4, 2, 1)
ENOUGH_CLASSES = 0.8

DOUBTS = 10.0
"""Pixels that the temperature takes to be as sure as they say, beside those held out."""


def spatial_folds(
    positions: NDArray[np.int64], classes: NDArray[np.int64], folds: int, seed: int
) -> NDArray[np.int64]:
    """Assign labelled pixels to folds by blocks of the ground.

    The blocks are the largest squares of which there are twice as many as folds and that have four
    fifths of the classes in more than one block; failing that, those with the most such classes.
    Larger blocks keep neighbours together, but a class in a single block is never learned and
    tested at once.

    Args:
        positions: (n, 3) tile, row and column, as ``Scene.ground_positions`` gives them.
        classes: (n,) class indices.
        folds: Number of folds.
        seed: Seed of the assignment.

    Returns:
        Fold of every pixel, (n,), from 0 to folds − 1.
    """
    best, most = np.arange(len(classes)), -1.0
    for side in BLOCKS:
        blocks = positions.copy()
        blocks[:, 1:] //= side
        _, groups = np.unique(blocks, axis=0, return_inverse=True)
        groups = groups.reshape(-1)
        if groups.max() + 1 < folds:
            continue
        spread = [len(np.unique(groups[classes == k])) > 1 for k in np.unique(classes)]
        share = float(np.mean(spread)) if groups.max() + 1 >= 2 * folds else 0.0
        if share > most:
            best, most = groups, share
        if share >= ENOUGH_CLASSES:
            break
    fold = np.zeros(len(classes), dtype=np.int64)
    for turn, index in enumerate(np.unique(classes)):
        # without blocks the folds take pixels of each class by turns
        own = np.flatnonzero(classes == index)
        fold[own] = (np.arange(len(own)) + turn) % folds
    if len(np.unique(best)) < folds or np.bincount(classes).max() < folds:
        return fold
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # a class of fewer pixels than folds cannot be in all of them; that is no fault
        warnings.simplefilter("ignore", UserWarning)
        parts = list(splitter.split(np.zeros(len(classes)), classes, best))
    for index, (_, held_out) in enumerate(parts):
        fold[held_out] = index
    return fold


LEAD_PIXELS = 100.0
"""Held-out pixels that say as much as what is known of the heads beforehand."""


@dataclass(frozen=True)
class Trust:
    """What cross-validation says of the heads.

    Args:
        weights: Weight of every head in the fusion, summing to 1.
        marks: Mean of OA and AA of every head in percent, of held-out labelled pixels.
        shifts: Percentage points by which each head agrees more with the others on the scene's
            pixels than on the held-out ones.
        temperature: Divides the fused log-probabilities, so that they are calibrated; at least 1.
    """

    weights: list[float]
    marks: list[float]
    shifts: list[float]
    temperature: float


def patch_leads(heads: Sequence[str], points: float) -> list[float]:
    """Return how many points each head is taken to be ahead of the others before any is measured.

    With few labels per class the heads that see the patch as a whole are the better ones.

    Args:
        heads: Names of the heads.
        points: Lead of those heads.
    """
    return [points if name in PATCH_HEADS else 0.0 for name in heads]


def trust_before(leads: Sequence[float], temperature: float) -> Trust:
    """Return how far the heads are trusted where nothing was held out.

    Args:
        leads: Points by which each head is taken to be better.
        temperature: As in `trust_from`.
    """
    weights = torch.softmax(torch.tensor(leads, dtype=torch.float64) / temperature, 0)
    return Trust(weights.tolist(), [], [], 1.0)


def trust_from(
    held_out: Tensor,
    classes: NDArray[np.int64],
    scene: Tensor,
    temperature: float,
    leads: Sequence[float] | None = None,
    weighed: bool = True,
) -> Trust:
    """Return the fusion weights, what they come from, and the fusion's temperature.

    The weights come from accuracies, not from likelihoods: weights that maximise the held-out
    likelihood (stacking) gained nothing, and lost where the heads learn from each other.

    The temperature makes the fusion less certain or leaves it alone: held-out pixels of a few
    blocks that are all right are no evidence that the scene is, and a handful that are wrong is
    little evidence that everything is.

    Args:
        held_out: Log-probabilities of held-out pixels, (n, heads, K).
        classes: Their class indices, (n,).
        scene: Log-probabilities of pixels from all over the scene by the same networks,
            (m, heads, K).
        temperature: Percentage points that multiply a weight by e.
        leads: Points by which each head is taken to be better before, where labels are few: as
            much as ``LEAD_PIXELS`` held-out pixels say. None where they are not.
        weighed: Whether the held-out pixels weigh the heads; else only the leads do.
    """
    predicted = held_out.argmax(-1).numpy()  # (n, heads)
    marks = []
    for head in range(predicted.shape[1]):
        right = predicted[:, head] == classes
        recalls = [right[classes == k].mean() for k in np.unique(classes)]
        marks.append(50.0 * (float(right.mean()) + float(np.mean(recalls))))
    shifts = agreement(scene) - agreement(held_out)
    worth = (torch.tensor(marks, dtype=torch.float64) + shifts) * float(weighed)
    if leads is not None:
        before = torch.tensor(leads, dtype=torch.float64)
        told = len(classes) / (len(classes) + LEAD_PIXELS) if weighed else 0.0
        worth = torch.lerp(before, worth, told)
    weights = torch.softmax(worth / temperature, 0)
    fused = (held_out.double() * weights[:, None]).sum(1)  # (n, K)
    softened = max(1.0, fit_temperature(fused, classes, DOUBTS))
    return Trust(weights.tolist(), marks, shifts.tolist(), softened)


def agreement(log_probabilities: Tensor) -> Tensor:
    """Return on how many pixels in percent each head says what the mean of the others says.

    Args:
        log_probabilities: (n, heads, K), n at least 1.

    Returns:
        (heads,), float64; 100 for a head that has no others.
    """
    heads = log_probabilities.shape[1]
    if heads == 1:
        return torch.full((1,), 100.0, dtype=torch.float64)
    total = log_probabilities.double().sum(1)  # (n, K)
    found = torch.empty(heads, dtype=torch.float64)
    for head in range(heads):
        own = log_probabilities[:, head]
        others = (total - own) / (heads - 1)
        found[head] = 100.0 * (own.argmax(-1) == others.argmax(-1)).double().mean()
    return found
