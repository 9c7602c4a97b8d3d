from __future__ import annotations

import numpy as np

from bdgf.report.figures.pixels import class_colors, false_color, rgb
from bdgf.report.results import Results


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
