"""What turns a denoiser's features into guidance: principal components of every level."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bdgf import checkpoint
from bdgf.compute import one_blas_thread
from bdgf.errors import RunFolderError

REDUCTION = "reduction.safetensors"
"""The components' file in the folder of the features."""

DECODER_LEVELS = ("coarse", "middle", "fine")
"""Names of the denoiser's levels, at strides 4, 2 and 1; "none" stands for no level."""

LARGEST_HALF = float(np.finfo(np.float16).max)
"""Largest number that the features, stored in half precision, can have."""


class Projection:
    """Principal components of one level, not whitened, the first with standard deviation 1.

    Args:
        mean: (g,) of the features.
        matrix: From features to components, (g, k).
        explained: Share of the features' variance that the components keep.
    """

    def __init__(
        self, mean: NDArray[np.float64], matrix: NDArray[np.float64], explained: float
    ) -> None:
        self.mean, self.matrix, self.explained = mean, matrix, explained

    @classmethod
    @one_blas_thread()
    def fit(cls, sample: NDArray[np.float32], components: int) -> Projection:
        """Fit the components.

        Args:
            sample: Features of sampled pixels, (n, g).
            components: Largest number of components kept.
        """
        data = sample.astype(np.float64)
        mean = data.mean(0)
        covariance = np.cov(data - mean, rowvar=False).reshape(data.shape[1], -1)
        variance, vectors = np.linalg.eigh(covariance)
        order = np.argsort(variance)[::-1][:components]
        vectors = vectors[:, order]
        largest = np.abs(vectors).argmax(0)
        vectors = vectors * np.sign(vectors[largest, np.arange(len(order))])
        matrix = vectors / np.sqrt(max(float(variance.max()), 1e-12))
        return cls(mean, matrix, float(variance[order].sum() / max(float(variance.sum()), 1e-12)))

    def apply(self, features: Tensor) -> Tensor:
        """Project features, (g, h, w) -> (k, h, w), no larger than a half-precision number.

        On the device of the features, from which the components alone are then read.
        """
        # by the threads of the denoiser: those of NumPy's library would wait beside them, spinning
        flat = features.reshape(len(features), -1).double()
        across, mean = (
            torch.from_numpy(one).to(features.device) for one in (self.matrix.T, self.mean)
        )
        projected = torch.addmm(-(across @ mean)[:, None], across, flat)
        projected = projected.clamp_(-LARGEST_HALF, LARGEST_HALF).float()
        return projected.view(-1, *features.shape[1:])


class Reduction:
    """The components of the levels in use: what turns a denoiser's features into guidance.

    Args:
        projections: Of every decoder level in use, coarse to fine.
        guides: Name of the decoder level that guides each of the branches' levels, or "none".
    """

    def __init__(
        self, projections: Sequence[Projection], guides: Sequence[str] = DECODER_LEVELS
    ) -> None:
        self.projections, self.guides = tuple(projections), tuple(guides)

    @property
    def levels(self) -> list[list[int]]:
        """Channels of every guidance level, coarse to fine; one decoder level may guide several."""
        starts = np.cumsum([0, *(p.matrix.shape[1] for p in self.projections)]).tolist()
        channels = [list(range(a, b)) for a, b in pairwise(starts)]
        of = dict(zip(levels_in_use(self.guides), channels, strict=True))
        return [
            list(of[DECODER_LEVELS.index(name)]) if name in DECODER_LEVELS else []
            for name in self.guides
        ]

    @property
    def channels(self) -> int:
        """Components of all decoder levels in use."""
        return sum(p.matrix.shape[1] for p in self.projections)

    def apply(self, levels: Sequence[Tensor]) -> NDArray[np.float32]:
        """Project and join the levels in use, of three (g_l, h, w) -> (k_1 + ..., h, w)."""
        pairs = zip(self.projections, levels_in_use(self.guides), strict=True)
        found = torch.cat([p.apply(levels[index]) for p, index in pairs])
        joined: NDArray[np.float32] = found.cpu().numpy()
        return joined

    def save(self, path: Path) -> None:
        """Write the components as plain tensors."""
        tensors = {}
        for index, one in enumerate(self.projections):
            tensors[f"{index}.mean"] = torch.from_numpy(one.mean)
            tensors[f"{index}.matrix"] = torch.from_numpy(one.matrix)
        explained = [projection.explained for projection in self.projections]
        origin = {"explained": explained, "guides": list(self.guides)}
        checkpoint.save_tensors(path, tensors, origin)

    @classmethod
    def load(cls, path: Path) -> Reduction:
        """Read what ``save`` wrote.

        Raises:
            RunFolderError: The file is missing or damaged.
        """
        tensors, origin = checkpoint.load_tensors(path)
        try:
            found = [
                Projection(
                    tensors[f"{index}.mean"].numpy(), tensors[f"{index}.matrix"].numpy(), share
                )
                for index, share in enumerate(origin["explained"])
            ]
            return cls(found, origin.get("guides", DECODER_LEVELS))
        except (KeyError, TypeError) as error:
            raise RunFolderError(
                f"{path} does not hold the components of features ({error}); run 'bdgf features'"
                " again."
            ) from None


def levels_in_use(guides: Sequence[str]) -> list[int]:
    """Return the indices of the decoder levels that guide some level, coarse to fine."""
    return [index for index, name in enumerate(DECODER_LEVELS) if name in guides]
