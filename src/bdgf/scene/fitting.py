"""Fitting of a modality to pixels of the scene: usable bands, decibels, mean and components."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from bdgf.compute import one_blas_thread
from bdgf.errors import SceneError
from bdgf.scene.bands import band_labels
from bdgf.scene.description import ModalitySpec
from bdgf.scene.fitted_modality import FittedModality
from bdgf.scene.formats.base import RasterSource, known_empty
from bdgf.scene.outliers import FILL_VALUES, far_rows, filled_rows, usual_range
from bdgf.scene.radar import decibel_bands, decibels, smallest_intensity
from bdgf.scene.scene import Scene
from bdgf.scene.windows import WindowGrid, in_order, shuffled

logger = logging.getLogger(__name__)

FIRST_DEVIATION = 3.0
"""Standard deviation of the first principal component after preparation."""

_FIT_WINDOW = 256
_WINDOWS_OF_LARGE = 256  # that a sample of a large scene comes from, were they all full
_NEARLY_EMPTY = 0.01
_KEPT = 0.9  # of a modality's pixels that have all of its bands, from which nothing is said


def sample_pixels(
    scene: Scene, modality: int, most: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw raw pixels (n, bands) evenly over all tiles, NaN where a band is not valid.

    Of a large scene not all windows are read: in random order, until there are enough pixels.
    """
    total = sum(tile.height * tile.width for tile in scene.tiles)
    share = min(1.0, most / total)
    if scene.large:
        share = min(1.0, most / (_WINDOWS_OF_LARGE * _FIT_WINDOW**2))
    sample, with_data = _draw(scene, modality, share, most, rng)
    if share < 1.0 and 0 < len(sample) < most // 2:
        # Much of the scene is nodata, which was counted as pixels to draw from.
        sample, _ = _draw(scene, modality, min(1.0, most / with_data), most, rng)
    return sample


def _draw(
    scene: Scene, modality: int, share: float, most: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], int]:
    """Draw a share of the pixels that have data; return them and how many there are."""
    bands = scene.tiles[0].sources[modality].bands
    total = sum(tile.height * tile.width for tile in scene.tiles)
    sample = np.empty((min(most, total), bands), dtype=np.float32)
    seen = taken = 0
    grids = [_fit_windows(tile.sources[modality]) for tile in scene.tiles]
    places = shuffled(grids, rng) if scene.large else in_order(grids)
    for index, window in places:
        tile = scene.tiles[index]
        if scene.large and known_empty(tile.sources[modality], window):
            continue
        values, valid = tile.read(modality, window)
        pixels = np.flatnonzero(valid.any(axis=0))
        seen += pixels.size
        # By running totals: rounding each window would favour or lose the small ones.
        number = min(int(share * seen + 1e-9) - taken, pixels.size, len(sample) - taken)
        if number <= 0:
            continue
        if number < pixels.size:
            pixels = np.sort(rng.choice(pixels, size=number, replace=False))
        chosen = values.reshape(bands, -1)[:, pixels]
        chosen[~valid.reshape(bands, -1)[:, pixels]] = np.nan
        sample[taken : taken + number] = chosen.T
        taken += number
        if scene.large and taken == len(sample):
            break
    return sample[:taken], seen


def _fit_windows(source: RasterSource) -> WindowGrid:
    """Windows that cover a raster once; strips where the file holds whole rows."""
    height, width = source.height, source.width
    if source.block[1] < width or width <= _FIT_WINDOW:
        return WindowGrid(height, width, _FIT_WINDOW, _FIT_WINDOW)
    # A narrower window would unpack every row once per window beside it.
    return WindowGrid(height, width, max(1, _FIT_WINDOW**2 // width), width)


def fit_modality(
    scene: Scene,
    index: int,
    modality: ModalitySpec,
    sample: NDArray[np.float32],
    components: int,
) -> FittedModality:
    """Fit statistics and principal components of one modality.

    Args:
        scene: The scene.
        index: Index of the modality.
        modality: Its description.
        sample: Raw pixels (n, bands), NaN where a band is not valid.
        components: Largest number of principal components.

    Raises:
        SceneError: No usable band or pixel.
    """
    source = scene.tiles[0].sources[index]
    file = scene.spec.display(source.path)
    kept = _usable_bands(sample, modality.name, file)
    sample = _without_fill(sample, kept, source.nodata, modality.name)
    while True:
        values = sample[:, kept]
        values = values[np.isfinite(values).all(axis=1)]
        if len(values) < 2:
            raise SceneError(
                f"modality {modality.name} has no pixel where all of its {kept.size} bands are"
                " valid; bands of one modality share their valid area: split it into several"
                " modalities."
            )
        decibel = decibel_bands(modality, source.path.stem, values)
        floor = np.zeros(kept.size, dtype=np.float32)
        for band in np.flatnonzero(decibel):
            floor[band] = smallest_intensity(values[:, band])
            values[:, band] = decibels(values[:, band], floor[band])
        far = far_rows(values)
        if far.any():
            _tell_far(values, far, kept, modality.name)
            values = values[~far]
        # a band may vary only where another one has no data
        varies = values.max(axis=0) > values.min(axis=0)
        if varies.all():
            break
        kept = kept[_varying(varies, kept, modality.name, file)]
    _tell_lost(sample[:, kept], kept, modality.name)
    mean, covariance = _moments(values)
    if modality.role == "spectral":
        matrix, deviation = _principal_components(covariance, min(components, kept.size))
    else:
        spread = np.sqrt(np.diagonal(covariance))
        matrix, deviation = np.diag(1.0 / spread), np.ones(kept.size)
    return FittedModality(
        name=modality.name,
        role=modality.role,
        bands=source.bands,
        kept=kept,
        decibel=decibel,
        floor=floor,
        mean=mean.astype(np.float32),
        matrix=matrix.astype(np.float32),
        deviation=deviation.astype(np.float32),
        spread=np.sqrt(np.diagonal(covariance)).astype(np.float32),
        labels=band_labels(source),
    )


def _without_fill(
    sample: NDArray[np.float32], kept: NDArray[np.int64], nodata: float | None, name: str
) -> NDArray[np.float32]:
    """Return the pixels without those that hold an undeclared fill value, and warn of these."""
    filled = filled_rows(sample[:, kept], nodata)
    if not filled.any() or filled.all():
        return sample
    rows = sample[filled][:, kept]
    value = float(rows[np.isin(rows, np.array(FILL_VALUES, dtype=np.float32))][0])
    logger.warning(
        "Modality %s has the value %s on %.2g %% of its pixels, which no sensor measures and"
        " nothing declares; they do not count in its statistics, and are mapped all the same: if"
        " it means \"no data\", add 'nodata: %s' to the modality.",
        name,
        f"{value:.9g}",
        100 * filled.mean(),
        f"{value:.9g}",
    )
    return sample[~filled]


def _tell_far(
    values: NDArray[np.float32], far: NDArray[np.bool_], kept: NDArray[np.int64], name: str
) -> None:
    """Warn of pixels that lie far outside of all others, with one band of one of them."""
    low, high = usual_range(values)
    width = np.where(high > low, high - low, np.inf)
    apart = np.maximum(low - values[far], values[far] - high) / width
    row, band = np.unravel_index(int(apart.argmax()), apart.shape)
    logger.warning(
        "%d of %d pixels of modality %s lie far outside of all others (%.6g in band %d, where 99 %%"
        ' are between %.6g and %.6g) and do not count in its statistics; if such values mean "no'
        " data\", declare them with 'nodata' of the modality.",
        far.sum(),
        len(far),
        name,
        values[far][row, band],
        kept[band] + 1,
        low[band],
        high[band],
    )


def _usable_bands(sample: NDArray[np.float32], name: str, file: str) -> NDArray[np.int64]:
    """Bands that vary and have data at more than a hundredth of the pixels with any data."""
    share = np.array([np.isfinite(band).mean() if len(sample) else 0.0 for band in sample.T])
    filled = share > _NEARLY_EMPTY
    if not filled.any():
        raise SceneError(
            f"all bands of modality {name} are nodata or NaN ({file}); a modality needs valid"
            " pixels: check its nodata value, or leave the modality out."
        )
    varies = np.array(
        [
            bool(full) and bool(np.nanmax(band) > np.nanmin(band))
            for full, band in zip(filled, sample.T, strict=True)
        ]
    )
    return _varying(varies, np.arange(varies.size), name, file).astype(np.int64)


def _tell_lost(sample: NDArray[np.float32], kept: NDArray[np.int64], name: str) -> None:
    """Warn of bands without which much of a modality would have data."""
    there = np.isfinite(sample)
    shares, together = there.mean(axis=0), there.all(axis=1).mean()
    if together >= _KEPT * shares.max():
        return
    sparse = [str(band + 1) for band in kept[shares < _KEPT * shares.max()]]
    which = f" (bands {', '.join(sparse[:10])}{', ...' if len(sparse) > 10 else ''})"
    logger.warning(
        "Modality %s has all of its bands at %.1f %% of its pixels only, and some of them at %.1f"
        " %%%s; pixels without one of the bands count as without the modality: leave the sparse"
        " ones out with 'bands: [...]', or make them a modality of their own.",
        name,
        100 * together,
        100 * shares.max(),
        which if sparse else "",
    )


def _varying(
    varies: NDArray[np.bool_], bands: NDArray[np.int64], name: str, file: str
) -> NDArray[np.int64]:
    """Return the places of the bands that vary, and say which are left out.

    Raises:
        SceneError: None does.
    """
    if not varies.any():
        raise SceneError(
            f"all bands of modality {name} are constant ({file}); a modality needs values that"
            " differ: check the file, or leave the modality out."
        )
    dropped = bands[~varies]
    if dropped.size:
        listed = ", ".join(str(band + 1) for band in dropped[:10]) + (
            ", ..." if dropped.size > 10 else ""
        )
        logger.info(
            "%s: %d of %d bands are constant or have no data and are not used (%s).",
            name, dropped.size, varies.size, listed,
        )  # fmt: skip
    return np.flatnonzero(varies)


@one_blas_thread()
def _moments(
    sample: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean (C,) and covariance (C, C) in float64, by chunks so that no float64 copy is made."""
    mean = sample.mean(axis=0, dtype=np.float64)
    covariance = np.zeros((mean.size, mean.size))
    for start in range(0, len(sample), 8192):
        centred = sample[start : start + 8192] - mean
        covariance += centred.T @ centred
    return mean, covariance / (len(sample) - 1)


@one_blas_thread()
def _principal_components(
    covariance: NDArray[np.float64], components: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rotation to components with the common scale (C, C_k), and their deviation (C,)."""
    variance, vectors = np.linalg.eigh(covariance)
    order = np.argsort(variance)[::-1][:components]
    rotation = vectors[:, order].T
    # An eigenvector's sign is arbitrary; the largest loading decides it, for repeatable runs.
    largest = np.abs(rotation).argmax(axis=1)
    rotation *= np.sign(rotation[np.arange(len(rotation)), largest])[:, None]
    spread = np.sqrt(np.maximum(variance[order], 0.0))
    scale = FIRST_DEVIATION / spread[0]
    return rotation * scale, spread * scale
