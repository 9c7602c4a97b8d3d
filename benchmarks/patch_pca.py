"""A ready-made embedding raster without any learning: principal components of patches.

    python benchmarks/patch_pca.py scene.yaml patch_pca.npy

It has the form in which embeddings of satellite images come, an array of values of unit length for
every pixel, and stands in for one in the comparison of features across models: `bdgf bench SCENE
--methods "features of patch PCA" --embeddings "patch PCA=/path/of/patch_pca.npy"`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from bdgf.errors import BdgfError, SceneError
from bdgf.evaluation.pixels import band_features, filled
from bdgf.files import atomic_path
from bdgf.scene.scene import Scene

BANDS, VALUES, SIDE, FITTED = 16, 64, 9, 20_000
"""Components of the pixel's bands; of their patches; side of a patch; patches for the fit."""


def main() -> int:
    """Write the embedding of the scene that the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("scene", type=Path, help="scene file, of one tile")
    parser.add_argument("out", type=Path, help="the .npy file to write")
    parser.add_argument("--seed", type=int, default=0, help="draws the patches for the fit")
    values = parser.parse_args()
    try:
        scene = Scene.open(values.scene)
        if len(scene.tiles) != 1:
            raise SceneError(f"{values.scene} has {len(scene.tiles)} tiles: name a scene of one.")
        found = embedding(scene, values.seed)
        with atomic_path(values.out) as temporary, temporary.open("wb") as file:
            np.save(file, found)
    except BdgfError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    return 0


def embedding(scene: Scene, seed: int) -> NDArray[np.float32]:
    """Return components of the patches of all standardised bands, (64, H, W), of unit length.

    Args:
        scene: A scene of one tile.
        seed: Draws the patches that the components are fitted on.
    """
    height, width = scene.tiles[0].grid.height, scene.tiles[0].grid.width
    rows, cols = np.divmod(np.arange(height * width), width)
    positions = np.stack([np.zeros_like(rows), rows, cols], axis=1)
    bands = StandardScaler().fit_transform(filled(band_features(scene, "raw")(positions)))
    pixel = PCA(min(BANDS, bands.shape[1]), svd_solver="covariance_eigh").fit_transform(bands)
    image = pixel.reshape(height, width, -1)
    image = np.pad(image, ((SIDE // 2,) * 2, (SIDE // 2,) * 2, (0, 0)), mode="reflect")
    patches = np.lib.stride_tricks.sliding_window_view(image, (SIDE, SIDE), axis=(0, 1))
    drawn = np.random.default_rng(seed).permutation(height * width)[:FITTED]
    sample = patches[rows[drawn], cols[drawn]].reshape(len(drawn), -1)
    fitted = PCA(min(VALUES, *sample.shape), svd_solver="covariance_eigh").fit(sample)
    found = np.concatenate([fitted.transform(line.reshape(width, -1)) for line in patches])
    found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
    return np.ascontiguousarray(found.T.reshape(-1, height, width), dtype=np.float32)


if __name__ == "__main__":
    sys.exit(main())
