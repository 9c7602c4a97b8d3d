"""Scenes for the tests of methods and their accuracy."""

from __future__ import annotations

import pytest

from bdgf.scene.scene import Scene
from bdgf.scene.synthetic.generate import SyntheticSpec, make_scene


@pytest.fixture(scope="session")
def scene(tmp_path_factory):
    spec = SyntheticSpec(57, 70, bands=6, classes=5, nodata_share=0.08)
    return Scene.open(make_scene(tmp_path_factory.mktemp("one"), spec))


@pytest.fixture(scope="session")
def tiles(tmp_path_factory):
    spec = SyntheticSpec(19, 22, bands=4, classes=4, tiles=6)
    return Scene.open(make_scene(tmp_path_factory.mktemp("tiles"), spec))
