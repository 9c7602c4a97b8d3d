from __future__ import annotations

import numpy as np
import pytest

from bdgf.scene.hidden import SceneWithout
from bdgf.scene.prepared import PreparedScene
from bdgf.scene.windows import Window

WINDOWS = [Window(0, 0, 45, 51), Window(7, 9, 5, 6), Window(-4, 40, 20, 30)]


@pytest.mark.parametrize("edge", ["missing", "reflect"])
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("hidden", [0, 1, 2])
def test_only_the_hidden_modality_is_gone(
    prepared: PreparedScene, hidden: int, window: Window, edge: str
) -> None:
    before = prepared.window(0, window, edge)
    values, missing = SceneWithout(prepared, hidden).window(0, window, edge)
    owner = np.array(prepared.layout.modality_of_channel)
    assert not values[owner == hidden].any()
    assert missing[hidden].all()
    np.testing.assert_array_equal(values[owner != hidden], before[0][owner != hidden])
    rest = [m for m in range(3) if m != hidden]
    np.testing.assert_array_equal(missing[rest], before[1][rest])
    again = prepared.window(0, window, edge)
    np.testing.assert_array_equal(again[0], before[0], err_msg="the scene itself stays whole")
    np.testing.assert_array_equal(again[1], before[1])


def test_a_view_that_hides_nothing_is_the_scene(prepared: PreparedScene) -> None:
    view = SceneWithout(prepared, None)
    for window in WINDOWS:
        for one, other in zip(
            view.window(0, window, "missing"), prepared.window(0, window, "missing"), strict=True
        ):
            np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(view.valid(0), prepared.valid(0))


def test_valid_asks_the_spectral_modalities_that_are_left_or_else_any(
    prepared: PreparedScene, prepared_tiles: PreparedScene
) -> None:
    _, missing = prepared.window(0, Window(0, 0, 45, 51), "missing")
    assert missing[0].any()
    np.testing.assert_array_equal(SceneWithout(prepared, 1).valid(0), ~missing[0])
    np.testing.assert_array_equal(SceneWithout(prepared, 0).valid(0), ~missing[1:].all(0))
    assert (~missing[1:].all(0) & missing[0]).any(), "the scene tells the two rules apart"
    for tile in range(prepared_tiles.tiles):
        shape = prepared_tiles.shape(tile)
        assert SceneWithout(prepared_tiles, 2).valid(tile).shape == shape
