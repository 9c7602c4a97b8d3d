"""t-SNE of the diffusion features at labelled pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from bdgf.randomness import numpy_generator
from bdgf.report.results import Results
from bdgf.scene.windows import Window

FEWEST = 8
"""Fewest pixels that a projection can tell anything of."""

PERPLEXITY = 30.0
STEPS = 500


@dataclass(frozen=True)
class Projection:
    """Pixels on a plane on which near ones have like features.

    Args:
        points: (n, 2) positions; their unit means nothing.
        classes: (n,) class index of every pixel's label.
    """

    points: NDArray[np.float32]
    classes: NDArray[np.int64]


def project(results: Results) -> Projection | None:
    """Project the features of labelled pixels, drawn at random, by t-SNE.

    Source: L. van der Maaten and G. Hinton, Visualizing Data using t-SNE, JMLR 9, 2008.

    Args:
        results: The run; its settings say how many pixels, its seed decides which.

    Returns:
        The projection; None where there are no features, too few labelled pixels, or all
        features alike.
    """
    scene, count, seed = results.scene, results.settings.report.points, results.settings.seed
    store = results.store
    positions = np.concatenate([scene.positions("train"), scene.positions("test")])
    classes = np.concatenate([scene.labels_at("train"), scene.labels_at("test")])
    if not store.channels or min(count, len(positions)) < FEWEST:
        return None
    generator = numpy_generator(seed, "pixels of the projection")
    chosen = np.sort(generator.permutation(len(positions))[:count])
    values = np.stack(
        [
            store.window(int(tile), Window(int(row), int(col), 1, 1))[:, 0, 0]
            for tile, row, col in positions[chosen]
        ]
    )
    if not values.std(axis=0).any():
        return None
    plane = to_plane(values, int(generator.integers(2**31)), STEPS)
    return Projection(plane, classes[chosen])


def to_plane(values: NDArray[np.floating], seed: int, steps: int) -> NDArray[np.float32]:
    """Return the t-SNE (n, 2) of features (n, F), n at least 2, whatever the number of threads."""
    work = TSNE(
        perplexity=min(PERPLEXITY, (len(values) - 1) / 3),
        init="pca" if values.shape[1] > 1 else "random",
        max_iter=steps,
        random_state=seed,
    )
    with threadpool_limits(limits=1):  # its sums depend on it
        plane: NDArray[np.float32] = work.fit_transform(values).astype(np.float32)
    return plane
