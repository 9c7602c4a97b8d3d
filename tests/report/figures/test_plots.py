from __future__ import annotations

import numpy as np
import pytest

from bdgf.report.charts import Chart, Line
from bdgf.report.figures.plots import chart_figure, confusion_figure, projection_figure
from bdgf.report.figures.style import styled
from bdgf.report.projection import Projection


def test_lines_have_their_values_and_names() -> None:
    x = np.arange(5.0)
    chart = Chart("Loss", "step", "", (Line("a", x, x**2), Line("b", x[:1], x[:1])))
    with styled():
        figure = chart_figure([chart, chart, chart])
    assert len(figure.axes) == 3
    lines = figure.axes[0].lines
    np.testing.assert_array_equal(lines[0].get_ydata(), x**2)
    assert lines[1].get_marker() == "o", "a single point is seen"
    assert figure.axes[0].get_legend() is not None
    looks = {(line.get_color(), line.get_linestyle()) for line in lines}
    assert len(looks) == 2


@pytest.mark.parametrize("classes", [2, 7, 40])
def test_confusion_is_shaded_by_the_share_of_the_row(classes: int) -> None:
    rng = np.random.default_rng(0)
    confusion = rng.integers(0, 50, (classes, classes))
    confusion[1] = 0
    names = [f"class {i}" for i in range(classes)]
    with styled():
        figure = confusion_figure(confusion, names, confusion.sum(1))
        figure.draw_without_rendering()
    axes = figure.axes[0]
    shown = axes.images[0].get_array()
    np.testing.assert_allclose(shown[0], 100 * confusion[0] / confusion[0].sum())
    np.testing.assert_array_equal(shown[1], 0)
    assert [label.get_text() for label in axes.get_yticklabels()] == names
    written = {text.get_text() for text in axes.texts}
    if classes <= 16:
        assert str(confusion[0, 0]) in written
    box = axes.get_tightbbox()
    assert box.x0 >= -1, "names are not cut off"
    assert box.y0 >= -1


def test_test_pixels_without_a_class_are_in_the_confusion_matrix() -> None:
    confusion = np.array([[50, 0], [0, 0]])
    with styled():
        figure = confusion_figure(confusion, ["a", "b"], np.array([100, 7]))
        figure.draw_without_rendering()
    axes = figure.axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), [[50, 0, 50], [0, 0, 100]])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "none"]


def test_every_class_has_a_mark_and_its_points() -> None:
    rng = np.random.default_rng(0)
    projection = Projection(rng.normal(size=(50, 2)), np.arange(50) % 5)
    classes = [(f"class {i}", f"#{50 * i:02x}8080") for i in range(6)]
    with styled():
        figure = projection_figure(projection, classes, "t-SNE")
    groups = figure.axes[0].collections
    assert [len(group.get_offsets()) for group in groups] == [10] * 5
    assert [text.get_text() for text in figure.legends[0].texts] == [f"class {i}" for i in range(5)]
