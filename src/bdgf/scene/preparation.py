"""Raw bands to the channels that the networks see: decibels, principal components, one scale.

Everything is fitted on valid pixels of the whole scene, labelled or not, so results on the same
scene are transductive.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdgf import checkpoint
from bdgf.compute import one_blas_thread
from bdgf.config import PreparationSettings
from bdgf.errors import RunFolderError, SceneError
from bdgf.scene.bands import band_labels, other_order
from bdgf.scene.description import ModalitySpec, Role
from bdgf.scene.formats.base import RasterSource, known_empty
from bdgf.scene.layout import ChannelLayout, ModalityChannels, WindowGrid, in_order, shuffled
from bdgf.scene.radar import decibel_bands, decibels, smallest_intensity
from bdgf.scene.scene import Scene

logger = logging.getLogger(__name__)

FIRST_DEVIATION = 3.0
"""Standard deviation of the first principal component after preparation."""

_FIT_WINDOW = 256
_WINDOWS_OF_LARGE = 256  # that a sample of a large scene comes from, were they all full
_NEARLY_EMPTY = 0.01
_KEPT = 0.9  # of a modality's pixels that have all of its bands, from which nothing is said
_SMALLEST_SPREAD = 1e-3
_FIELDS = ("kept", "decibel", "floor", "mean", "matrix", "deviation")


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
                np.clip(out, -clip, clip, out=out)
        missing |= ~np.isfinite(out).all(axis=0)
        if missing.any():
            out[:, missing] = 0.0
        return out.reshape(-1, height, width), missing.reshape(height, width)


class Preparation:
    """Fitted statistics of a scene's modalities.

    Attributes:
        fitted: The modalities in the scene's order.
        clip: Largest distance from the mean, in standard deviations, of auxiliary channels.
        order: Index into ``fitted`` of every modality of ``layout``, spectral ones first.
        layout: Which channels belong to which modality.
        diffusion_scale: Factor (C,) that brings prepared channels to the denoiser's scale.
    """

    def __init__(self, fitted: Sequence[FittedModality], clip: float) -> None:
        self.fitted = tuple(fitted)
        self.clip = clip
        self.order: tuple[int, ...] = tuple(
            sorted(range(len(self.fitted)), key=lambda i: self.fitted[i].role != "spectral")
        )
        channels, start = [], 0
        for one in (self.fitted[i] for i in self.order):
            channels.append(ModalityChannels(one.name, one.role, start, start + one.channels))
            start += one.channels
        self.layout = ChannelLayout(tuple(channels))
        self.diffusion_scale: NDArray[np.float32] = np.concatenate(
            [_diffusion_scale(self.fitted[i]) for i in self.order]
        )

    @property
    def deviation(self) -> NDArray[np.float32]:
        """Standard deviation (C,) of every prepared channel, in the order of ``layout``."""
        return np.concatenate([self.fitted[i].deviation for i in self.order])

    @classmethod
    def fit(cls, scene: Scene, settings: PreparationSettings, seed: int) -> Preparation:
        """Fit statistics and principal components on valid pixels of all tiles.

        Spectral modalities are centred and rotated to their principal components; all components
        are divided by one common factor, so that the first has a standard deviation of 3. Dividing
        each by its own would lift noise components to full weight. Auxiliary bands are centred and
        divided by their standard deviation.

        Args:
            scene: The scene, read by windows.
            settings: Number of components and of pixels.
            seed: Seed of the draw of pixels.

        Raises:
            SceneError: A modality without a usable band or pixel.
        """
        fitted = []
        for index, modality in enumerate(scene.modalities):
            rng = np.random.default_rng([seed, index])
            sample = sample_pixels(scene, index, settings.fit_pixels, rng)
            fitted.append(_fit_modality(scene, index, modality, sample, settings.components))
        return cls(fitted, settings.clip)

    def transform(
        self, values: Sequence[NDArray[np.float32]], valid: Sequence[NDArray[np.bool_]]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Prepare raw values.

        Args:
            values: Per modality, in the scene's order, raw values (bands, h, w).
            valid: Per modality, whether they are valid (bands, h, w).

        Returns:
            Prepared channels (C, h, w), finite, 0 at missing pixels, and missing (M, h, w), both in
            the order of ``layout``. A pixel is missing from a modality where one of its used bands
            is.
        """
        height, width = values[0].shape[1:]
        prepared = np.empty((self.layout.channels, height, width), dtype=np.float32)
        missing = np.empty((len(self.fitted), height, width), dtype=bool)
        for place, (index, part) in enumerate(zip(self.order, self.layout.modalities, strict=True)):
            prepared[part.start : part.stop], missing[place] = self.fitted[index].transform(
                values[index], valid[index], self.clip
            )
        return prepared, missing

    def check_fits(self, scene: Scene) -> None:
        """Check that a scene has the modalities that this was fitted on.

        Raises:
            RunFolderError: Modalities or bands differ, or the same bands have another order.
        """
        ours = [(one.name, one.role, one.bands) for one in self.fitted]
        theirs = [
            (modality.name, modality.role, source.bands)
            for modality, source in zip(scene.modalities, scene.tiles[0].sources, strict=True)
        ]
        if ours != theirs:
            raise RunFolderError(
                f"the run was made for {_listed(ours)}, and {scene.name} has {_listed(theirs)}. A"
                " run fits scenes with the same modalities and bands: name another run folder."
            )
        for one, source in zip(self.fitted, scene.tiles[0].sources, strict=True):
            order = other_order(one.labels, band_labels(source))
            if order is not None:
                raise RunFolderError(
                    f"{scene.name} has the bands of modality {one.name} in the order {order}, as"
                    " the run has them: put them in that order, by 'bands' in the scene file."
                )

    def to_tensors(self) -> dict[str, NDArray[Any]]:
        """Return all arrays by name; `from_parts` rebuilds the preparation."""
        return {
            f"preparation.{index}.{name}": np.ascontiguousarray(getattr(one, name))
            for index, one in enumerate(self.fitted)
            for name in (*_FIELDS, *(() if one.spread is None else ("spread",)))
        }

    def to_json(self) -> dict[str, Any]:
        """Return all that is not an array, for JSON."""
        return {
            "clip": self.clip,
            "modalities": [
                {
                    "name": one.name,
                    "role": one.role,
                    "bands": one.bands,
                    "labels": list(one.labels),
                }
                for one in self.fitted
            ],
        }

    @classmethod
    def load(cls, path: Path) -> Preparation:
        """Read the preparation of a run.

        Raises:
            RunFolderError: The file is missing, damaged, or not one of ours.
        """
        tensors, origin = checkpoint.load_tensors(path, ("preparation",))
        arrays = {name: value.numpy() for name, value in tensors.items()}
        return cls.from_parts(arrays, origin["preparation"])

    @classmethod
    def from_parts(
        cls, tensors: Mapping[str, NDArray[Any]], description: Mapping[str, Any]
    ) -> Preparation:
        """Rebuild a preparation from what `to_tensors` and `to_json` returned.

        Raises:
            RunFolderError: Something is missing, or shapes do not fit together.
        """
        fitted = []
        try:
            for index, entry in enumerate(description["modalities"]):
                if entry["role"] not in ("spectral", "auxiliary"):
                    raise ValueError(f"role {entry['role']!r}")
                arrays = {name: tensors[f"preparation.{index}.{name}"] for name in _FIELDS}
                one = FittedModality(
                    name=str(entry["name"]),
                    role=entry["role"],
                    bands=int(entry["bands"]),
                    spread=tensors.get(f"preparation.{index}.spread"),
                    labels=tuple(map(str, entry.get("labels", ()))),
                    **arrays,
                )
                _check_shapes(one)
                fitted.append(one)
            clip = float(description["clip"])
            if not fitted:
                raise ValueError("no modality")
        except (KeyError, TypeError, ValueError) as error:
            raise RunFolderError(
                f"the stored preparation cannot be used ({error}): the run folder is damaged or of"
                " another version, make the run again in a new folder."
            ) from error
        return cls(fitted, clip)


def _check_shapes(one: FittedModality) -> None:
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


def _listed(modalities: list[tuple[str, Role, int]]) -> str:
    return ", ".join(f"{name} ({role}, {bands} bands)" for name, role, bands in modalities)


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


def _fit_modality(
    scene: Scene,
    index: int,
    modality: ModalitySpec,
    sample: NDArray[np.float32],
    components: int,
) -> FittedModality:
    source = scene.tiles[0].sources[index]
    file = scene.spec.display(source.path)
    kept = _usable_bands(sample, modality.name, file)
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


def _diffusion_scale(one: FittedModality) -> NDArray[np.float32]:
    """Factor (C,) to the denoiser's scale: components divided by the root of their spread.

    Half-way to whitening: the first component has a standard deviation of 1, and noise components
    stay small without vanishing from the noise-prediction loss.
    """
    if one.role == "auxiliary":
        return np.ones(one.channels, dtype=np.float32)
    first = one.deviation[0]
    spread = np.maximum(one.deviation, _SMALLEST_SPREAD * first)
    return np.asarray(1.0 / np.sqrt(spread * first), dtype=np.float32)
