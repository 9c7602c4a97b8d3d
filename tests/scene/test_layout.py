from __future__ import annotations

import numpy as np
import pytest

from bdgf.scene import layout
from bdgf.scene.layout import WindowGrid, in_order, panels_of, shuffled, windows_of


@pytest.mark.parametrize(("height", "width", "side"), [(50, 130, 16), (7, 5, 16), (33, 64, 11)])
@pytest.mark.parametrize("panel", [10, 40, 4096])
def test_panels_have_every_window_once(
    monkeypatch: pytest.MonkeyPatch, height: int, width: int, side: int, panel: int
) -> None:
    monkeypatch.setattr(layout, "PANEL", panel)
    found = list(panels_of(height, width, side))
    assert len(found) == len(set(found))
    assert set(found) == set(windows_of(height, width, side))
    if width <= panel // side * side:
        assert found == windows_of(height, width, side)


def test_a_panel_is_left_before_the_next_one_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "PANEL", 32)
    lefts = [window.col // 32 for window in panels_of(100, 96, 16)]
    assert lefts == sorted(lefts)
    assert set(lefts) == {0, 1, 2}


def test_windows_of_a_grid_are_made_when_asked_for() -> None:
    assert list(WindowGrid(50, 130, 16, 16)) == windows_of(50, 130, 16)
    strips = WindowGrid(50, 130, 7, 130)
    assert len(strips) == 8
    assert sum(window.height for window in strips) == 50
    assert strips[2:4] == [strips[2], strips[3]]
    with pytest.raises(IndexError):
        strips[8]
    assert len(WindowGrid(10**6, 10**6, 128, 128)) == 7813**2  # and no memory is used


def test_shuffled_windows_are_all_windows() -> None:
    grids = [WindowGrid(50, 130, 16, 16), WindowGrid(5, 9, 16, 16), WindowGrid(40, 20, 8, 20)]
    drawn = list(shuffled(grids, np.random.default_rng(0)))
    assert sorted(drawn, key=str) == sorted(in_order(grids), key=str)
    assert drawn != list(in_order(grids))
    assert drawn == list(shuffled(grids, np.random.default_rng(0)))
