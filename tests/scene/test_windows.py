from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdgf.scene.windows import (
    PANEL,
    Window,
    WindowGrid,
    by_window,
    in_order,
    panels_of,
    reflect_index,
    shuffled,
    windows_of,
)

SIDES = st.integers(1, 23)


@settings(max_examples=60, deadline=None)
@given(SIDES, SIDES, st.integers(1, 30))
def test_windows_cover_every_pixel_once(height: int, width: int, side: int) -> None:
    covered = np.zeros((height, width), dtype=int)
    found = windows_of(height, width, side)
    for window in found:
        assert window.row % side == 0
        assert window.col % side == 0
        assert 1 <= window.height <= side
        assert 1 <= window.width <= side
        covered[window.slices] += 1
    assert (covered == 1).all()
    assert len(found) == -(-height // side) * -(-width // side)
    assert found == sorted(found, key=lambda w: (w.row, w.col)), "rows of windows, top to bottom"


@settings(max_examples=100, deadline=None)
@given(st.integers(-9, 30), st.integers(-9, 30), st.integers(0, 9), st.integers(0, 9), SIDES, SIDES)
def test_inside_is_what_the_tile_has_of_the_window(
    row: int, col: int, height: int, width: int, tall: int, wide: int
) -> None:
    inside = Window(row, col, height, width).inside(tall, wide)
    rows = [r for r in range(row, row + height) if 0 <= r < tall]
    cols = [c for c in range(col, col + width) if 0 <= c < wide]
    assert (inside.height, inside.width) == (len(rows), len(cols))
    if rows and cols:
        assert (inside.row, inside.col) == (rows[0], cols[0])
    assert 0 <= inside.row <= inside.row + inside.height <= tall
    assert 0 <= inside.col <= inside.col + inside.width <= wide


def test_grow_adds_the_halo_on_every_side() -> None:
    assert Window(5, 7, 3, 4).grow(2) == Window(3, 5, 7, 8)
    assert Window(5, 7, 3, 4).slices == (slice(5, 8), slice(7, 11))


@settings(max_examples=80, deadline=None)
@given(st.integers(-20, 20), st.integers(0, 40), SIDES)
def test_reflection_is_that_of_numpy(start: int, count: int, size: int) -> None:
    reach = 80
    whole = np.pad(np.arange(size), reach, mode="reflect") if size > 1 else np.zeros(161, int)
    expected = whole[start + reach : start + reach + count]
    found = reflect_index(start, count, size)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, expected)


def test_a_window_is_a_value() -> None:
    with pytest.raises(AttributeError):
        Window(0, 0, 1, 1).row = 2  # type: ignore[misc]


@pytest.mark.parametrize(("height", "width", "side"), [(50, 130, 16), (7, 5, 16), (33, 64, 11)])
@pytest.mark.parametrize("panel", [10, 40, 4096])
def test_panels_have_every_window_once(height: int, width: int, side: int, panel: int) -> None:
    found = list(panels_of(height, width, side, panel))
    assert len(found) == len(set(found))
    assert set(found) == set(windows_of(height, width, side))
    if width <= panel // side * side:
        assert found == windows_of(height, width, side)


def test_a_panel_is_left_before_the_next_one_begins() -> None:
    lefts = [window.col // 32 for window in panels_of(100, 96, 16, 40)]
    assert lefts == sorted(lefts)
    assert set(lefts) == {0, 1, 2}


def test_a_panel_is_one_window_wide_where_windows_are_wider() -> None:
    assert all(PANEL % side == 0 for side in (16, 32, 64, 128, 256, 512))
    lefts = [window.col for window in panels_of(40, 50, 16, 10)]
    assert lefts == [col for col in (0, 16, 32, 48) for _ in range(3)]


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


def test_pixels_are_grouped_by_the_windows_that_hold_them() -> None:
    shapes, rng = [(70, 50), (20, 33)], np.random.default_rng(0)
    tiles = rng.integers(2, size=300)
    positions = np.array([(tile, *rng.integers(shapes[tile])) for tile in tiles])
    places, grouped = by_window(positions, 16)
    found = [(tuple(p), g.tolist()) for p, g in zip(places.tolist(), grouped, strict=True)]
    expected = []
    for tile, shape in enumerate(shapes):
        for window in windows_of(*shape, 16):
            inside = positions[:, 0] == tile
            for axis, start in ((1, window.row), (2, window.col)):
                inside &= (positions[:, axis] >= start) & (positions[:, axis] < start + 16)
            if inside.any():
                expected.append(((tile, window.row, window.col), np.flatnonzero(inside).tolist()))
    assert found == expected
    places, grouped = by_window(positions[:0], 16)
    assert len(places) == len(grouped) == 0
