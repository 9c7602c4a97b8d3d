"""What goes by the number of labels: steps, consistency, guidance dropout, normalisation, room."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bdgf.config import Settings
from bdgf.presets import replace

LABELS_OF_STEPS = 1000
MOST_STEPS = 8.0
FEW_LABELS, ENOUGH_LABELS = 1000, 4000
"""Labelled pixels between which what is for few labels falls to nothing, and what is for many comes
in."""

LEAST_OF_CLASS = 1000
"""Labelled pixels of a class that stay where not all of them fit."""

FEW_PER_CLASS = 30
"""Labelled pixels per class below which heads of the patch are normalised over the batch, and lead
the others."""


def steps_for(settings: Settings, labels: int) -> int:
    """Return the optimiser steps for a number of labelled pixels: more labels, more steps."""
    factor = min(MOST_STEPS, max(1.0, labels / LABELS_OF_STEPS))
    return max(1, round(settings.training.steps * factor))


def scarcity(labels: int) -> float:
    """Return how scarce a number of labelled pixels is: 1 for few, 0 for enough of them."""
    return min(1.0, max(0.0, (ENOUGH_LABELS - labels) / (ENOUGH_LABELS - FEW_LABELS)))


def consistency_weight(settings: Settings, labels: int) -> float:
    """Return the weight of the consistency for a number of labelled pixels.

    It falls to nothing where labels are enough to learn from them alone.
    """
    return settings.training.consistency * scarcity(labels)


def guidance_dropout(settings: Settings, labels: int) -> float:
    """Return how often a sample is not guided in training, for a number of labelled pixels.

    Where labels are scarce, consistency teaches on pixels from all over the scene; where it does
    not any more, this keeps the network from learning the places of the labels by their features.
    """
    return settings.training.guidance_dropout * (1.0 - scarcity(labels))


def with_patch_norm(settings: Settings, classes: NDArray[np.int64]) -> Settings:
    """Return the settings with the normalisation of the patch that the labels ask for.

    Args:
        settings: All settings; those that say which stay as they are.
        classes: Class of every labelled pixel (n,).
    """
    if settings.network.patch_norm != "auto":
        return settings
    norm = "batch" if few_per_class(classes) else "pixel"
    return replace(settings, {"network.patch_norm": norm})


def few_per_class(classes: NDArray[np.int64]) -> bool:
    """Tell whether labelled pixels (n,) are few for the classes that they are of, in the mean."""
    return len(classes) < FEW_PER_CLASS * len(np.unique(classes))


def thinned(
    classes: NDArray[np.int64], most: int, generator: np.random.Generator
) -> NDArray[np.bool_]:
    """Draw some of the labelled pixels: the same share of each class, but all of a small one.

    Args:
        classes: Class of every pixel (n,).
        most: How many are drawn.
        generator: Draws them.

    Returns:
        (n,) those that are drawn.
    """
    mixed = generator.permutation(len(classes))
    order = mixed[np.argsort(classes[mixed], kind="stable")]
    counts = np.bincount(classes)
    rank = np.empty(len(classes), dtype=np.int64)  # of a pixel within its class
    rank[order] = np.arange(len(classes)) - np.repeat(np.cumsum(counts) - counts, counts)
    share = np.maximum(rank - LEAST_OF_CLASS, 0) / counts[classes]
    found = np.zeros(len(classes), dtype=bool)
    found[np.lexsort((rank, share))[:most]] = True
    return found
