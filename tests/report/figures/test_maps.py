from __future__ import annotations

import io
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

from bdgf.report.figures.ground import Ground
from bdgf.report.figures.maps import panel_figure
from bdgf.report.figures.panels import Key, Panel
from bdgf.report.figures.style import styled

CLASSES = [(f"class {i}", f"#{40 * i:02x}{255 - 40 * i:02x}80") for i in range(6)]
GROUND = Ground(5.0, 5.0, 0.0)


def panel(height: int, width: int, key: Key = "classes", ground: Ground | None = GROUND) -> Panel:
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[:, : width // 2] = (255, 0, 0)
    return Panel("map", "Map", image, (height, width), key, ground)


def pixels(figure: Figure) -> np.ndarray:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    buffer.seek(0)
    return np.round(matplotlib.image.imread(buffer)[..., :3] * 255).astype(int)


def bars(figure: Figure) -> list[Any]:
    return [a for axes in figure.axes for a in axes.artists if isinstance(a, AnchoredSizeBar)]


@pytest.mark.parametrize(("height", "width"), [(40, 40), (12, 300), (300, 14)])
def test_the_picture_and_its_legend_are_whole(height: int, width: int) -> None:
    with styled():
        figure = panel_figure([[panel(height, width)]], CLASSES, 3.5)
        shown = pixels(figure)
    assert shown.shape[0] <= 1000
    assert (shown == (255, 0, 0)).all(axis=2).sum() > 200
    for _, color in CLASSES:
        rgb = [int(color[at : at + 2], 16) for at in (1, 3, 5)]
        assert (np.abs(shown - rgb).max(axis=2) <= 2).sum() > 20, "every class is in the legend"
    assert (shown[0] == 255).all(), "nothing touches the edge"
    assert (shown[-1] == 255).all()


def test_scale_and_north_only_where_the_place_is_known() -> None:
    with styled():
        assert len(bars(panel_figure([[panel(40, 40)]], CLASSES, 3.5))) == 1
        assert not bars(panel_figure([[panel(40, 40, ground=None)]], CLASSES, 3.5))


def test_the_scale_bar_has_the_length_that_it_says() -> None:
    with styled():
        figure = panel_figure([[panel(40, 40)]], CLASSES, 3.5)
        figure.draw_without_rendering()
        axes = figure.axes[0]
        bar = bars(figure)[0].size_bar.get_children()[0]
    # 40 pixels of 5 m: the longest round length under 200 m / 3.5 is 50 m, a quarter of the width
    drawn = bar.get_window_extent().width
    assert drawn == pytest.approx(axes.get_window_extent().width * 50 / 200, rel=0.01)


def test_pixels_that_are_not_square_are_drawn_so() -> None:
    with styled():
        narrow = panel_figure([[panel(40, 40, ground=Ground(5.0, 10.0, 0.0))]], CLASSES, 3.5)
        narrow.draw_without_rendering()
        box = narrow.axes[0].get_window_extent()
    assert box.height == pytest.approx(2 * box.width, rel=0.02)


def test_many_small_panels_share_one_arrow() -> None:
    rows = [[panel(20, 20) for _ in range(6)] for _ in range(4)]
    with styled():
        figure = panel_figure(rows, CLASSES, 7.2, [f"tile {i}" for i in range(24)])
    letters = [t.get_text() for axes in figure.axes for t in axes.texts]
    assert letters == ["N"]
    assert [axes.get_title() for axes in figure.axes] == [f"tile {i}" for i in range(24)]
