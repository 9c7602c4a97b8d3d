import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from bdgf.scene.synthetic.landscape import LandTile, SyntheticSpec, _labelled, _members


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_parcel_that_is_all_edge_keeps_its_innermost_pixels(seed):
    rng = np.random.default_rng(seed)
    # strips of one to four pixels, at the tile's border as well
    rows = np.repeat(np.arange(40), rng.integers(1, 5, 40))[:50]
    cols = np.repeat(np.arange(40), rng.integers(1, 5, 40))[:45]
    number = np.unique(rows[:, None] * 40 + cols, return_inverse=True)[1].reshape(50, 45)
    tile = LandTile("t", number, True, True, np.zeros(number.max() + 1, np.int64))
    found = _labelled(SyntheticSpec(height=50, width=45), tile)
    edge = np.zeros(number.shape, bool)
    edge[1:] |= number[1:] != number[:-1]
    edge[:, 1:] |= number[:, 1:] != number[:, :-1]
    expected = ~edge
    thin = np.setdiff1d(number, number[expected])
    assert len(thin)
    for parcel in thin:
        inside = distance_transform_edt(number == parcel)
        expected |= inside == inside.max()
    np.testing.assert_array_equal(found, expected)


def test_members_are_every_parcels_open_pixels():
    rng = np.random.default_rng(0)
    number = rng.integers(6, size=(9, 7))
    number[number == 3] = 4  # a number without a pixel
    number[0, 0] = 6
    open_ = rng.random((9, 7)) < 0.7
    members = _members(number, open_)
    assert len(members) == 7
    for parcel, pixels in enumerate(members):
        np.testing.assert_array_equal(
            pixels, np.flatnonzero((number == parcel).ravel() & open_.ravel())
        )
