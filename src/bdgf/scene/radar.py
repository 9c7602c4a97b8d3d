"""Radar intensity: whether values are linear, and how they become decibels."""

from __future__ import annotations

import logging
import re

import numpy as np
from numpy.typing import NDArray

from bdgf.scene.description import ModalitySpec
from bdgf.scene.outliers import far_rows

logger = logging.getLogger(__name__)

SKEW = 1.2
"""Mean over median from which values are linear: 1.0 for decibels and other symmetric values, 1.4
for speckle of one look, more for a scene of dark and bright surfaces."""

BELOW_ZERO = 0.001
"""Share of an intensity's pixels that may lie below zero."""

_RADAR = re.compile(
    r"(?<![a-z0-9])(sar|s1[ab]?|sentinel[-_ ]?1[ab]?|radar|vv|vh|hh|hv|sigma0|gamma0|palsar\d?"
    r"|terrasar[-_]?x?)(?![a-z0-9])"
)


def looks_like_radar(*texts: str) -> bool:
    """Whether a name or a file name suggests synthetic aperture radar."""
    # Underscores part words in file names, as in data_SAR_HR.
    return any(_RADAR.search(text.lower().replace("_", " ")) for text in texts)


def decibel_bands(
    modality: ModalitySpec, stem: str, sample: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Decide which bands (C,) are linear intensity that is to be brought to decibels.

    Args:
        modality: What the scene file says; its ``units`` decide unless they are auto.
        stem: Name of the file without its ending.
        sample: Valid raw pixels (n, C).
    """
    bands = sample.shape[1]
    if modality.units in ("db", "none"):
        return np.zeros(bands, dtype=bool)
    if modality.units == "linear":
        return np.ones(bands, dtype=bool)
    if modality.role != "auxiliary" or not looks_like_radar(modality.name, stem):
        return np.zeros(bands, dtype=bool)
    linear = linear_bands(sample)
    logger.info(
        "%s: %s ('units: linear' or 'units: none' in the scene file decides otherwise).",
        modality.name,
        f"{int(linear.sum())} of {bands} bands look like linear radar intensity and are brought"
        " to decibels"
        if linear.any()
        else "looks like radar that is not in linear units, values stay as they are",
    )
    return linear


def linear_bands(sample: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Tell which bands (C,) of radar look like linear intensity, by valid pixels (n, C).

    Cross terms of polarimetric data have signs and are no intensity: each band by itself. A few
    values below zero are intensity less its noise, or resampled; a single one far below all others
    is no intensity at all and says nothing. The skew is judged together, because bands of one
    sensor are in the same units.
    """
    sample = sample[~far_rows(sample)]
    if not len(sample):
        return np.zeros(sample.shape[1], dtype=bool)
    positive = (sample < 0).mean(axis=0) <= BELOW_ZERO
    skew = sample.mean(axis=0, dtype=np.float64) / np.maximum(np.median(sample, axis=0), 1e-30)
    return np.asarray(positive & (positive.any() and np.median(skew[positive]) > SKEW))


def smallest_intensity(values: NDArray[np.float32]) -> float:
    """Smallest intensity that counts: half the thousandth part of the positive values."""
    positive = values[values > 0]
    if not positive.size:
        return 1e-10
    return max(0.5 * float(np.quantile(positive, 0.001)), 1e-30)


def decibels(values: NDArray[np.float32], floor: float) -> NDArray[np.float32]:
    """10 log10 of intensities; zeros and negative noise become ``floor``."""
    return np.asarray(10.0 * np.log10(np.maximum(values, np.float32(floor))), dtype=np.float32)
