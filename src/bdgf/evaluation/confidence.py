"""How far the confidence of a map can be believed, on its test pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bdgf.diffusion.store import FeatureStore
from bdgf.evaluation.calibration import (
    area_under_risk_coverage,
    brier_score,
    coverage_curve,
    expected_calibration_error,
    negative_log_likelihood,
    reliability,
)
from bdgf.evaluation.missing import windows_with
from bdgf.fusion.network import FusionNetwork
from bdgf.fusion.temperature import scaled
from bdgf.mapping.inference import window_log_probabilities
from bdgf.scene.prepared import PreparedScene

MOST_PIXELS = 1_000_000
"""Pixels of the windows whose probabilities of all classes are looked at."""


def map_log_probabilities(
    network: FusionNetwork,
    weights: Sequence[float],
    prepared: PreparedScene,
    store: FeatureStore,
    side: int,
    seed: int,
    most_pixels: int = MOST_PIXELS,
) -> tuple[NDArray[np.int64], Tensor]:
    """Return the log-probabilities of all classes at the mapped test pixels, at temperature 1.

    Args:
        network: The trained branches.
        weights: Fusion weight of every head.
        prepared: The scene.
        store: Its guidance features.
        side: Side of the windows that the map was computed in.
        seed: Seed of the draw of windows.
        most_pixels: Windows are drawn until they have this many pixels together.

    Returns:
        Indices (n,) of pixels in ``scene.positions("test")``, and their log-probabilities (n, K).
    """
    network.eval()
    positions = prepared.scene.positions("test")
    shapes = prepared.shapes
    valid = prepared.valid_at(positions)
    indices = [np.zeros(0, dtype=np.int64)]
    values = [torch.zeros(0, len(prepared.scene.class_codes))]
    for tile, window, inside in windows_with(positions, shapes, side, most_pixels, seed):
        chosen = inside[valid[inside]]
        if not len(chosen):
            continue
        fused = window_log_probabilities(network, weights, prepared, store, tile, window)
        rows, cols = positions[chosen, 1] - window.row, positions[chosen, 2] - window.col
        indices.append(chosen)
        values.append(fused[:, torch.from_numpy(rows), torch.from_numpy(cols)].T)
    return np.concatenate(indices), torch.cat(values)


def describe_confidence(
    confidence: NDArray[np.floating], right: NDArray[np.bool_]
) -> dict[str, Any]:
    """Return the measures of some pixels' confidence, as plain values; nothing for no pixel.

    Args:
        confidence: Probability of the predicted class (n,).
        right: Whether it is the reference's (n,).
    """
    if not len(confidence):
        return {"count": 0}
    return {
        "count": len(confidence),
        "ece": expected_calibration_error(confidence, right),
        "adaptive_ece": expected_calibration_error(confidence, right, adaptive=True),
        "aurc": area_under_risk_coverage(confidence, right),
        "mean_confidence": float(np.mean(confidence, dtype=np.float64)),
        "accuracy": float(np.mean(right)),
    }


def evaluate_confidence(
    reference: NDArray[np.int64],
    predicted: NDArray[np.int64],
    confidence: NDArray[np.floating],
    far: NDArray[np.bool_],
) -> dict[str, Any]:
    """Measure the map's own confidence on the test pixels that it has a class for.

    Args:
        reference: Class indices (n,).
        predicted: The map's, −1 for none.
        confidence: The map's, NaN for none.
        far: Pixels farther than a patch from training.

    Returns:
        Plain values, shares from 0 to 1: ``count``, ``ece`` (15 bins of equal width),
        ``adaptive_ece`` (15 bins of as many pixels), ``aurc``, ``mean_confidence`` and
        ``accuracy``; ``curve`` with the accuracy over 20 steps of coverage; ``bins`` of the
        reliability; ``far`` with the same measures of the pixels far from training; and the
        number of ``unmapped`` pixels.
    """
    known = (predicted >= 0) & np.isfinite(confidence)
    right = predicted == reference
    found = describe_confidence(confidence[known], right[known])
    found["unmapped"] = int((~known).sum())
    found["far"] = describe_confidence(confidence[known & far], right[known & far])
    if found["count"]:
        found["curve"] = _curve(confidence[known], right[known])
        bins = reliability(confidence[known], right[known])
        found["bins"] = {
            "count": bins.pixels.tolist(),
            "confidence": _plain(bins.confidence),
            "accuracy": _plain(bins.accuracy),
        }
    return found


def compare_temperatures(
    log_probabilities: Tensor, reference: NDArray[np.int64], temperature: float
) -> dict[str, Any]:
    """Measure the confidence before and after temperature scaling, on the same pixels.

    Args:
        log_probabilities: At temperature 1, (n, K).
        reference: Class indices (n,).
        temperature: What the map's confidence is scaled by.

    Returns:
        ``temperature``; ``before`` and ``after`` with the measures of `describe_confidence`, the
        ``curve`` of `evaluate_confidence`, and ``brier`` and ``nll`` of all classes'
        probabilities.
    """
    found: dict[str, Any] = {"temperature": float(temperature)}
    for name, value in (("before", 1.0), ("after", temperature)):
        p = scaled(log_probabilities, value).exp().numpy()
        classes = p.argmax(1) if len(p) else np.zeros(0, dtype=np.int64)
        confidence = p.max(1) if len(p) else np.zeros(0)
        found[name] = describe_confidence(confidence, classes == reference)
        if len(p):
            found[name]["curve"] = _curve(confidence, classes == reference)
            found[name]["brier"] = brier_score(p, reference)
            found[name]["nll"] = negative_log_likelihood(p, reference)
    return found


def _curve(
    confidence: NDArray[np.floating], right: NDArray[np.bool_]
) -> dict[str, list[float | None]]:
    coverage, accuracy = coverage_curve(confidence, right)
    return {"coverage": _plain(coverage), "accuracy": _plain(accuracy)}


def _plain(values: NDArray[np.float64]) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]
