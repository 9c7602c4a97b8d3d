from __future__ import annotations

import numpy as np
import pytest

from bdgf.report.charts import BOTTOM, HEIGHT, LEFT, TOP, WIDTH, Chart, Line, draw, look_of, thinned
from bdgf.report.charts import RIGHT as MARGIN


def line(x: object, y: object, name: str = "a") -> Line:
    return Line(name, np.array(x, dtype=np.float64), np.array(y, dtype=np.float64))


def points_of(text: str) -> np.ndarray:
    return np.array([[float(n) for n in pair.split(",")] for pair in text.split()])


def test_points_lie_where_their_values_are() -> None:
    drawing = draw(Chart("t", "x", "y", (line([0, 50, 100], [1, 2, 5]),)))
    points = points_of(drawing.lines[0].points)
    np.testing.assert_allclose(points[:, 0], [LEFT, (LEFT + WIDTH - MARGIN) / 2, WIDTH - MARGIN])
    assert ((points[:, 1] >= TOP - 0.1) & (points[:, 1] <= HEIGHT - BOTTOM + 0.1)).all()
    heights = {text: place for place, text in drawing.y_ticks}
    for value, place in zip(("1", "2", "5"), points[:, 1], strict=True):
        if value in heights:
            assert heights[value] == pytest.approx(place, abs=0.1)
    assert {"1", "2", "5"} & heights.keys()
    assert drawing.lines[0].last == "5"


def test_lines_that_cannot_be_drawn_do_no_harm() -> None:
    flat = draw(Chart("t", "x", "y", (line([3], [2]), line([], [], "b"), line([1], [np.nan], "c"))))
    assert [one.name for one in flat.lines] == ["a"]
    assert flat.lines[0].single
    assert np.isfinite(points_of(flat.lines[0].points)).all()
    assert draw(Chart("t", "x", "y", ())).lines == ()
    constant = draw(Chart("t", "x", "y", (line([0, 1], [7, 7]),)))
    assert np.isfinite(points_of(constant.lines[0].points)).all()


def test_many_points_are_averaged_and_the_last_is_kept() -> None:
    x = np.arange(10_000.0)
    y = np.where(x == 9_999, 3.0, x % 2)
    thin = thinned(line(x, y), 100)
    assert len(thin.x) == 100
    np.testing.assert_allclose(thin.y[:-1], 0.5, atol=0.02)
    assert (thin.x[-1], thin.y[-1]) == (9_999, 3.0)
    assert (np.diff(thin.x) > 0).all()


def test_no_two_of_many_lines_look_alike() -> None:
    assert len({look_of(number) for number in range(28)}) == 28


def test_a_line_to_compare_with_tells_no_value():
    ends = np.array([0.0, 1.0])
    lines = (Line("map", ends, ends), Line("even", ends, ends, reference=True))
    assert [line.last for line in draw(Chart("t", "x", "y", lines)).lines] == ["1", ""]
