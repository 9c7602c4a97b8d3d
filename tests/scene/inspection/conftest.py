"""Small images of one landscape, as different sensors see it."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from scipy.ndimage import gaussian_filter

PLACE = {"crs": "EPSG:32632", "transform": Affine(2, 0, 5e5, 0, -2, 5e6)}


class Landscape:
    """Bands, radar, heights and labels of one landscape of 40 × 45 pixels."""

    def __init__(self, height=40, width=45, seed=0):
        rng = np.random.default_rng(seed)
        fields = gaussian_filter(rng.normal(size=(3, height, width)), (0, 3, 3))
        self.classes = (1 + fields.argmax(axis=0)).astype(np.uint8)
        spectra = rng.uniform(300, 3000, size=(4, 8))
        noise = rng.normal(0, 30, size=(8, height, width))
        self.hsi = (spectra[self.classes].transpose(2, 0, 1) + noise).astype(np.float32)
        speckle = rng.gamma(1.0, size=(2, height, width))
        self.sar = (np.array([0.0, 0.02, 0.2, 0.6])[self.classes] * speckle).astype(np.float32)
        heights = np.array([0.0, 401.0, 409.0, 421.0])[self.classes]
        self.dsm = (heights + rng.normal(0, 1, size=(height, width))).astype(np.float32)
        drawn = rng.random((height, width))
        self.train = np.where(drawn < 0.1, self.classes, 0).astype(np.uint8)
        self.test = np.where(drawn > 0.6, self.classes, 0).astype(np.uint8)


@pytest.fixture
def land():
    """The landscape."""
    return Landscape()


@pytest.fixture
def place():
    """Coordinates of it, for `write_tif`."""
    return dict(PLACE)
