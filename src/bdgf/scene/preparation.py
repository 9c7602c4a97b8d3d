"""Raw bands to the channels that the networks see: decibels, principal components, one scale.

Everything is fitted on valid pixels of the whole scene, labelled or not, so results on the same
scene are transductive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdgf import checkpoint
from bdgf.config import PreparationSettings
from bdgf.errors import RunFolderError
from bdgf.scene.bands import band_labels, other_order
from bdgf.scene.description import Role
from bdgf.scene.fitted_modality import ARRAYS, FittedModality, check_shapes
from bdgf.scene.fitting import fit_modality, sample_pixels
from bdgf.scene.layout import ChannelLayout, ModalityChannels
from bdgf.scene.scene import Scene

_SMALLEST_SPREAD = 1e-3


class Preparation:
    """Fitted statistics of a scene's modalities.

    Attributes:
        fitted: The modalities in the scene's order.
        clip: How far from the mean channels may be, see ``FittedModality.limits``.
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
            fitted.append(fit_modality(scene, index, modality, sample, settings.components))
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
            for name in (*ARRAYS, *(() if one.spread is None else ("spread",)))
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
                arrays = {name: tensors[f"preparation.{index}.{name}"] for name in ARRAYS}
                one = FittedModality(
                    name=str(entry["name"]),
                    role=entry["role"],
                    bands=int(entry["bands"]),
                    spread=tensors.get(f"preparation.{index}.spread"),
                    labels=tuple(map(str, entry.get("labels", ()))),
                    **arrays,
                )
                check_shapes(one)
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


def _listed(modalities: list[tuple[str, Role, int]]) -> str:
    return ", ".join(f"{name} ({role}, {bands} bands)" for name, role, bands in modalities)


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
