"""How far the values of a scene are from those of the scene that a run was trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bdgf.scene.fitted_modality import FittedModality
from bdgf.scene.fitting import sample_pixels
from bdgf.scene.preparation import Preparation
from bdgf.scene.radar import decibels
from bdgf.scene.scene import Scene

FAR = 2.0
"""Standard deviations between two means from which a band counts as far."""

WIDER = 3.0
"""Factor between two standard deviations from which a band counts as far."""

_PIXELS = 50_000
_LISTED = 3


@dataclass(frozen=True)
class Shift:
    """The bands of one modality whose values are far from those that a run was trained on.

    Args:
        modality: Name of the modality.
        bands: Numbers of the far bands, from 1 on, the farthest first; none where the scene has no
            valid pixel of the modality.
        distance: Standard deviations (of the training scene) between the means of each.
        ratio: Standard deviation of each over that of the training scene.
        of: Number of bands that are used.
        empty: Numbers of the used bands without a valid pixel, from 1 on.
    """

    modality: str
    bands: tuple[int, ...]
    distance: tuple[float, ...]
    ratio: tuple[float, ...]
    of: int
    empty: tuple[int, ...] = ()

    def describe(self) -> str:
        """Say it in one sentence."""
        if self.empty and len(self.empty) < self.of:
            more = f", and {len(self.empty) - _LISTED} more" if len(self.empty) > _LISTED else ""
            return (
                f"the run uses band {', '.join(map(str, self.empty[:_LISTED]))}{more} of modality"
                f" {self.modality}, which has no valid pixel in this scene; the scene is mapped as"
                " one from which that sensor is missing"
            )
        if not self.bands:
            return (
                f"modality {self.modality} has no valid pixel in this scene; it is mapped as one"
                " from which that sensor is missing"
            )
        listed = []
        for band, distance, ratio in zip(self.bands, self.distance, self.ratio, strict=True):
            own = f" (its own is {ratio:.2g} times)" if not 1 / WIDER < ratio < WIDER else ""
            listed.append(f"band {band} by {distance:+.1f} standard deviations{own}")
        more = f", and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
        return (
            f"{len(self.bands)} of {self.of} bands of modality {self.modality} are far from the"
            f" training scene: {', '.join(listed[:_LISTED])}{more}; check units and sensor, and do"
            " not trust the map without test labels"
        )


def find_shifts(preparation: Preparation, scene: Scene, seed: int) -> list[Shift]:
    """Compare a scene with the statistics of the training scene, band by band.

    Args:
        preparation: Statistics of the training scene; the modalities of both are the same.
        scene: The other scene, of which a sample of pixels is read.
        seed: Seed of the draw of pixels.

    Returns:
        The modalities with bands whose mean differs by ``FAR`` standard deviations or more, or
        whose own standard deviation by a factor of ``WIDER``.
    """
    found = []
    for index, fitted in enumerate(preparation.fitted):
        rng = np.random.default_rng([seed, index])
        sample = sample_pixels(scene, index, _PIXELS, rng)[:, fitted.kept]
        whole = np.isfinite(sample)
        empty = tuple(int(fitted.kept[b]) + 1 for b in np.flatnonzero(~whole.any(axis=0)))
        sample = sample[whole.all(axis=1)]
        if len(sample) < 2:
            found.append(Shift(fitted.name, (), (), (), len(fitted.kept), empty))
            continue
        for band in np.flatnonzero(fitted.decibel):
            sample[:, band] = decibels(sample[:, band], fitted.floor[band])
        spread = np.maximum(band_spread(fitted), 1e-12)
        distance = (sample.mean(axis=0, dtype=np.float64) - fitted.mean) / spread
        ratio = sample.std(axis=0, dtype=np.float64) / spread
        far = (np.abs(distance) >= FAR) | (ratio >= WIDER) | (ratio <= 1 / WIDER)
        if far.any():
            score = np.maximum(np.abs(distance) / FAR, np.abs(np.log(ratio + 1e-9)) / np.log(WIDER))
            order = [int(b) for b in np.argsort(-score, kind="stable") if far[b]]
            found.append(
                Shift(
                    fitted.name,
                    tuple(int(fitted.kept[b]) + 1 for b in order),
                    tuple(float(distance[b]) for b in order),
                    tuple(float(ratio[b]) for b in order),
                    len(fitted.kept),
                )
            )
    return found


def band_spread(fitted: FittedModality) -> NDArray[np.float64]:
    """Return the standard deviation (C_k,) of the kept bands in the training scene.

    Where it was not stored it is put together from the components, which leave a little out.
    """
    if fitted.spread is not None:
        return fitted.spread.astype(np.float64)
    # channels are a rotation of the bands times a scale, and each has its standard deviation
    matrix = fitted.matrix.astype(np.float64)
    scale = np.linalg.norm(matrix, axis=1, keepdims=True)
    own = fitted.deviation.astype(np.float64)[:, None] / scale
    return np.asarray(np.sqrt((((matrix / scale) * own) ** 2).sum(axis=0)))
