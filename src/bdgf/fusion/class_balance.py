"""How the classes of labelled pixels are balanced: how often each is drawn, and what it weighs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bdgf.config import Settings
from bdgf.fusion.label_counts import scarcity


def class_balance(
    settings: Settings, classes: NDArray[np.int64], number: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Balance the classes of labelled pixels: by how often each is drawn, and by weights.

    Few labels are drawn so that classes come alike; with more of them they come more as they are,
    and the loss weighs them.

    Args:
        settings: All settings.
        classes: Class of every pixel (n,).
        number: K.

    Returns:
        Probability of each pixel to be drawn (n,), and weight of each class (K,), whose mean over
        what is drawn is 1; 0 for a class without a pixel.
    """
    counts = np.bincount(classes, minlength=number).astype(np.float64)
    present = np.maximum(counts, 1.0)
    sampling = settings.training.class_sampling * scarcity(len(classes))
    pixel = present[classes] ** -sampling
    drawn = np.where(counts > 0, present ** (1.0 - sampling), 0.0)
    power = {"none": 0.0, "sqrt": -0.5, "balanced": -1.0}[settings.training.class_weights]
    # a weight is for how often a class is drawn; smoothing teaches no absent class
    weights = np.where(counts > 0, present ** (power * (1.0 - sampling)), 0.0)
    weights /= (weights * drawn).sum() / drawn.sum()
    return pixel / pixel.sum(), weights
