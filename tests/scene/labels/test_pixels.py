from __future__ import annotations

import numpy as np
import pytest

from bdgf.scene.labels.pixels import TileLabels, joined
from bdgf.scene.windows import Window


@pytest.fixture
def indices() -> np.ndarray:
    return np.random.default_rng(0).integers(-1, 4, (13, 17)).astype(np.int16)


def test_labels_hold_what_the_raster_holds(indices: np.ndarray) -> None:
    labels = TileLabels.of(indices)
    np.testing.assert_array_equal(labels.whole(), indices)
    np.testing.assert_array_equal(labels.positions, np.argwhere(indices >= 0))
    np.testing.assert_array_equal(labels.classes, indices[indices >= 0])
    for window in (Window(0, 0, 13, 17), Window(3, 5, 4, 9), Window(12, 16, 1, 1)):
        np.testing.assert_array_equal(labels.part(window), indices[window.slices])
    assert not len(TileLabels.none(5, 6))
    assert (TileLabels.none(5, 6).whole() == np.full((5, 6), -1)).all()


def test_strips_are_put_together(indices: np.ndarray) -> None:
    strips = [TileLabels.of(indices[row : row + 5]) for row in (0, 5, 10)]
    np.testing.assert_array_equal(joined(13, 17, strips).whole(), indices)
    with pytest.raises(ValueError, match="make no 14"):
        joined(14, 17, strips)


def test_union_keeps_the_first_where_both_have_a_label(indices: np.ndarray) -> None:
    other = np.random.default_rng(1).integers(-1, 4, indices.shape).astype(np.int16)
    both = TileLabels.of(indices).union(TileLabels.of(other))
    np.testing.assert_array_equal(both.whole(), np.where(indices >= 0, indices, other))
    assert (np.diff(both.flat) > 0).all()
