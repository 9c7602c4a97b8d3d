"""Tiles on one ground, whatever their files call its system."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS

from bdgf.scene.ground import on_ground, share_ground

UTM = CRS.from_epsg(32632)
ESRI = CRS.from_wkt(UTM.to_wkt(morph_to_esri_dialect=True))
PLACE = Affine(10, 0, 5e5, 0, -10, 5e6)


def tiles(first, second):
    """Two tiles, the second three columns to the right of the first."""
    return [
        SimpleNamespace(crs=first, transform=PLACE),
        SimpleNamespace(crs=second, transform=PLACE @ Affine.translation(3, 0)),
    ]


@pytest.mark.parametrize("second", [UTM, ESRI, None], ids=["the same", "ESRI's words", "none"])
def test_one_system_is_one_however_it_is_spelled(second):
    both = tiles(UTM, second)
    assert share_ground(both)
    assert share_ground(both[::-1])
    at = np.array([[0, 5, 4], [1, 5, 1]])
    np.testing.assert_array_equal(on_ground(both, at), [[0, 5, 4], [0, 5, 4]])


def test_other_systems_and_missing_places_are_no_common_ground():
    assert not share_ground(tiles(UTM, CRS.from_epsg(32633)))
    lost = tiles(UTM, UTM)
    lost[1].transform = None
    assert not share_ground(lost)
    assert not share_ground(lost[:1])
