"""What is known of one modality after fitting, and how its raw bands become channels by it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bdgf.compute import one_blas_thread
from bdgf.scene.description import Role
from bdgf.scene.radar import decibels

WIDEST = 3.0
"""Times as many of their own deviations a component may be from its mean as a band."""

LEAST_DEVIATION = 1e-3
"""Deviation of a component, as a part of that of the first, below which it counts as this."""

ARRAYS = ("kept", "decibel", "floor", "mean", "matrix", "deviation")
"""Arrays that every fitted modality has."""


@dataclass(frozen=True)
class FittedModality:
    """What is known of one modality after fitting.

    Args:
        name: Name of the modality.
        role: spectral or auxiliary.
        bands: Number of bands of its rasters.
        kept: Bands (C_k,) that are used.
        decibel: Which of them (C_k,) are brought to decibels.
        floor: Smallest value (C_k,) before the logarithm.
        mean: Mean (C_k,) after decibels.
        matrix: From kept bands to channels (C, C_k), scale included.
        deviation: Standard deviation (C,) of the channels.
        spread: Standard deviation (C_k,) of the kept bands, after decibels; None in preparations
            that were stored without it.
        labels: What tells its bands apart, names or wavelengths; empty where nothing does.
    """

    name: str
    role: Role
    bands: int
    kept: NDArray[np.int64]
    decibel: NDArray[np.bool_]
    floor: NDArray[np.float32]
    mean: NDArray[np.float32]
    matrix: NDArray[np.float32]
    deviation: NDArray[np.float32]
    spread: NDArray[np.float32] | None = None
    labels: tuple[str, ...] = ()

    @property
    def channels(self) -> int:
        """C, number of channels that the modality has after preparation."""
        return len(self.matrix)

    def limits(self, clip: float) -> NDArray[np.float32]:
        """Return how far from the mean each channel (C,) may be.

        A value that no sensor measured would else be seen from every window that it lies in.

        Args:
            clip: Standard deviations of a band of an auxiliary modality, and of the first component
                of a spectral one, which none of its components passes. The others may be three
                times as many of their own from the mean: they hold what is rare.
        """
        if self.role == "auxiliary":
            return np.full(self.channels, clip, dtype=np.float32)
        first = self.deviation.max()
        own = np.maximum(self.deviation, np.float32(LEAST_DEVIATION) * first)
        return np.asarray(np.minimum(clip * first, WIDEST * clip * own), dtype=np.float32)

    def transform(
        self, values: NDArray[np.float32], valid: NDArray[np.bool_], clip: float
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Prepare raw values (bands, h, w).

        Returns:
            Channels (C, h, w), 0 at missing pixels, and missing (h, w).
        """
        height, width = values.shape[1:]
        missing = ~valid[self.kept].all(axis=0).ravel()
        flat = values[self.kept].reshape(len(self.kept), -1)
        for band in np.flatnonzero(self.decibel):
            flat[band] = decibels(flat[band], self.floor[band])
        flat -= self.mean[:, None]
        with np.errstate(over="ignore", invalid="ignore"):
            if self.role == "spectral":
                with one_blas_thread():
                    out = self.matrix @ flat
            else:
                # A diagonal matrix; written as a product per band it stays exact per pixel.
                out = flat * np.diagonal(self.matrix)[:, None]
        missing |= ~np.isfinite(out).all(axis=0)
        limits = self.limits(clip)[:, None]
        np.clip(out, -limits, limits, out=out)
        if missing.any():
            out[:, missing] = 0.0
        return out.reshape(-1, height, width), missing.reshape(height, width)


def check_shapes(one: FittedModality) -> None:
    """Check that the arrays of a modality fit together.

    Raises:
        ValueError: They do not.
    """
    kept, channels = one.kept.shape, one.matrix.shape[:1]
    if len(kept) != 1 or 0 in kept + channels:
        raise ValueError(f"kept of {one.name} has shape {kept}")
    expected = {
        "kept": kept,
        "decibel": kept,
        "floor": kept,
        "mean": kept,
        "matrix": channels + kept,
        "deviation": channels,
    }
    if one.spread is not None:
        expected["spread"] = kept
    for name, shape in expected.items():
        found = getattr(one, name).shape
        if found != shape:
            raise ValueError(f"{name} of {one.name} has shape {found}, not {shape}")
    if one.kept.min() < 0 or one.kept.max() >= one.bands:
        raise ValueError(f"kept of {one.name} names bands beyond {one.bands}")
    if one.role == "auxiliary" and channels != kept:
        raise ValueError(f"matrix of {one.name} is not square")
