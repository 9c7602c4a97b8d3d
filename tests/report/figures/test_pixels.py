from __future__ import annotations

from importlib.resources import files

import numpy as np

from bdgf.report.figures.pixels import (
    OTHER_COLOR,
    RIGHT_COLOR,
    WRONG_COLOR,
    class_colors,
    false_color,
    rgb,
)
from bdgf.report.results import Results
from bdgf.scene.palette import palette


def test_false_colours_are_white_where_no_data_is(results: Results) -> None:
    image = false_color(results.scene, 0)
    tile = results.scene.tiles[0]
    assert image.shape == (tile.height, tile.width, 3)
    assert (image[0, 0] == 255).all()
    assert image[20:, 20:].std() > 20
    assert false_color(results.scene, 0, step=7).shape == (6, 8, 3)


def test_classes_have_their_colours(results: Results) -> None:
    colors = results.scene.class_colors
    found = class_colors(results.scene, np.array([[-1, 0, 2]]))
    np.testing.assert_array_equal(found[0], [(255, 255, 255), rgb(colors[0]), rgb(colors[2])])


def test_right_and_wrong_look_like_no_class_and_the_same_in_figure_and_viewer() -> None:
    ours = (RIGHT_COLOR, WRONG_COLOR, OTHER_COLOR)
    assert not {c.lower() for c in ours} & {c.lower() for c in palette(24)}
    templates = files("bdgf.report") / "templates"
    script = (templates / "layers.js").read_text(encoding="utf-8")
    style = (templates / "report.css").read_text(encoding="utf-8")
    for name, color in zip(("RIGHT", "WRONG", "UNTESTED"), ours, strict=True):
        code = ", ".join(f"0x{part:02x}" for part in rgb(color))
        assert f"{name} = [{code}]" in script
    assert f"--right: {RIGHT_COLOR.lower()}; --wrong: {WRONG_COLOR.lower()};" in style
