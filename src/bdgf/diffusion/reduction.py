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
from bdgf.errors import RunFolderError

REDUCTION = "reduction.safetensors"
"""The components' file in the folder of the features."""


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

    def apply(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Project features, (g, h, w) -> (k, h, w)."""
        flat = features.reshape(len(features), -1).astype(np.float64)
        projected = self.matrix.T @ (flat - self.mean[:, None])
        found: NDArray[np.float32] = projected.reshape(-1, *features.shape[1:]).astype(np.float32)
        return found


class Reduction:
    """The components of all three levels: what turns a denoiser's features into guidance.

    Args:
        projections: Of every level, coarse to fine.
    """

    def __init__(self, projections: Sequence[Projection]) -> None:
        self.projections = tuple(projections)

    @property
    def levels(self) -> list[list[int]]:
        """Channels of every level, coarse to fine."""
        starts = np.cumsum([0, *(p.matrix.shape[1] for p in self.projections)]).tolist()
        return [list(range(a, b)) for a, b in pairwise(starts)]

    def apply(self, levels: Sequence[Tensor]) -> NDArray[np.float32]:
        """Project and join the levels, three of (g_l, h, w) -> (k_1 + k_2 + k_3, h, w)."""
        pairs = zip(self.projections, levels, strict=True)
        return np.concatenate([p.apply(level.cpu().numpy()) for p, level in pairs])

    def save(self, path: Path) -> None:
        """Write the components as plain tensors."""
        tensors = {}
        for index, one in enumerate(self.projections):
            tensors[f"{index}.mean"] = torch.from_numpy(one.mean)
            tensors[f"{index}.matrix"] = torch.from_numpy(one.matrix)
        explained = [projection.explained for projection in self.projections]
        checkpoint.save_tensors(path, tensors, {"explained": explained})

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
        except (KeyError, TypeError) as error:
            raise RunFolderError(
                f"{path} does not hold the components of features ({error}); run 'bdgf features'"
                " again."
            ) from None
        return cls(found)
