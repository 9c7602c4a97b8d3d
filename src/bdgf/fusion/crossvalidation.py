"""Fusion weights from spatially grouped cross-validation on the training pixels.

Neighbouring pixels resemble each other, so whole blocks of the scene (or whole tiles) are held out
together; a branch whose large window helps only by overlap gains nothing from it. The weight of a
branch is exp(mean(OA, AA) / temperature), normalised [C].
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold
from torch import Tensor

from bdgf.fusion.training import Labelled

BLOCKS = (64, 32, 16, 8, 4, 2, 1)


def spatial_folds(labelled: Labelled, folds: int, seed: int) -> NDArray[np.int64]:
    """Assign labelled pixels to folds by blocks of the scene.

    The blocks are the largest squares that leave every class of more than one pixel in at least two
    blocks, or failing that the most such classes.

    Args:
        labelled: Pixels to assign.
        folds: Number of folds.
        seed: Seed of the assignment.

    Returns:
        Fold of every pixel, (n,), from 0 to folds − 1.
    """
    best, most = np.arange(len(labelled)), -1
    for side in BLOCKS:
        blocks = labelled.positions.copy()
        blocks[:, 1:] //= side
        _, groups = np.unique(blocks, axis=0, return_inverse=True)
        groups = groups.reshape(-1)
        spread = sum(
            len(np.unique(groups[labelled.classes == k])) >= folds
            for k in np.unique(labelled.classes)
        )
        enough = len(np.unique(groups)) >= folds
        if enough and spread > most:
            best, most = groups, spread
        if enough and spread == len(np.unique(labelled.classes)):
            break
    fold = np.zeros(len(labelled), dtype=np.int64)
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    if len(np.unique(best)) < folds:
        return np.arange(len(labelled)) % folds
    parts = splitter.split(np.zeros(len(labelled)), labelled.classes, best)
    for index, (_, held_out) in enumerate(parts):
        fold[held_out] = index
    return fold


def weights_from(
    log_probabilities: Tensor, classes: NDArray[np.int64], temperature: float
) -> tuple[list[float], list[float]]:
    """Return the fusion weights and mean(OA, AA) of every head in percent.

    Args:
        log_probabilities: Of held-out pixels, (n, heads, K).
        classes: Their class indices, (n,).
        temperature: Percentage points that multiply a weight by e.
    """
    predicted = log_probabilities.argmax(-1).numpy()  # (n, heads)
    marks = []
    for head in range(predicted.shape[1]):
        right = predicted[:, head] == classes
        recalls = [right[classes == k].mean() for k in np.unique(classes)]
        marks.append(50.0 * (float(right.mean()) + float(np.mean(recalls))))
    weights = torch.softmax(torch.tensor(marks, dtype=torch.float64) / temperature, 0)
    return weights.tolist(), marks
