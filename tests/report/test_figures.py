"""Figures are drawn for scenes of any shape, and show what they say."""

from __future__ import annotations

import matplotlib.image
import numpy as np
import pytest

from bdgf.report.figures import RIGHT_COLOR, TileMap, false_color, map_figure, mosaic_figure
from bdgf.scene.scene import Scene
from bdgf.scene.synthetic.generate import SyntheticSpec, make_scene


def _perfect(scene, tile=0):
    place = scene.tiles[tile]
    classes = np.maximum(place.test, place.train).astype(np.int64)
    return TileMap(tile, classes, np.where(classes >= 0, 0.8, np.nan))


def _pixels(path):
    return np.round(matplotlib.image.imread(path)[..., :3] * 255).astype(np.uint8)


def _share(image, color):
    rgb = tuple(int(color[i : i + 2], 16) for i in (1, 3, 5))
    return float((image == rgb).all(axis=2).mean())


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    spec = SyntheticSpec(60, 50, bands=40, classes=14, nodata_share=0.1)
    return Scene.open(make_scene(tmp_path_factory.mktemp("scene"), spec))


def test_map_figure_shows_classes_and_errors(scene, tmp_path):
    map_figure(scene, _perfect(scene), tmp_path / "right.png")
    image = _pixels(tmp_path / "right.png")
    assert all(_share(image, color) > 0.0003 for color in scene.class_colors)
    wrong = _perfect(scene)
    shifted = np.where(wrong.classes >= 0, (wrong.classes + 1) % 14, -1)
    map_figure(scene, TileMap(0, shifted, wrong.confidence), tmp_path / "wrong.png")
    assert _share(image, RIGHT_COLOR) > 20 * _share(_pixels(tmp_path / "wrong.png"), RIGHT_COLOR)


def test_same_map_gives_the_same_bytes(scene, tmp_path):
    for name in ("a", "b"):
        map_figure(scene, _perfect(scene), tmp_path / f"{name}.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(("height", "width", "bands"), [(20, 20, 1), (12, 90, 3), (90, 14, 4)])
def test_odd_shapes(tmp_path, height, width, bands):
    spec = SyntheticSpec(height, width, bands=bands, classes=2, sar=False, dsm=False)
    scene = Scene.open(make_scene(tmp_path, spec))
    map_figure(scene, _perfect(scene), tmp_path / "map.png")
    image = _pixels(tmp_path / "map.png")
    assert max(image.shape[:2]) < 4000
    assert all(_share(image, color) > 0.001 for color in scene.class_colors)


def test_mosaic_of_more_tiles_than_fit(tmp_path):
    spec = SyntheticSpec(14, 14, bands=3, classes=3, tiles=60, sar=False)
    scene = Scene.open(make_scene(tmp_path, spec))
    mosaic_figure(scene, [_perfect(scene, i) for i in range(60)], tmp_path / "mosaic.png")
    image = _pixels(tmp_path / "mosaic.png")
    assert _share(image, RIGHT_COLOR) > 0.1
    mosaic_figure(scene, [_perfect(scene, 0)], tmp_path / "one.png")
    assert _pixels(tmp_path / "one.png").shape[0] < image.shape[0]


def test_false_colour_is_white_where_no_data_is(scene):
    image = false_color(scene, 0)
    assert image.shape == (60, 50, 3)
    assert (image[0, 0] == 255).all()
    assert image[20:, 20:].std() > 20
    assert false_color(scene, 0, step=7).shape == (9, 8, 3)
