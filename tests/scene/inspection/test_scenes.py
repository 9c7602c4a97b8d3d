"""The text about a scene file."""

from __future__ import annotations

import numpy as np

from bdgf.scene.inspection.describe import describe
from bdgf.scene.inspection.gather import gather


def test_classes_and_leak(write_scene, land):
    train, test = np.zeros((2, 40, 45), int)
    train[0, :14], train[1, 0] = 1, 2
    test[3, :6], test[30, 20:24] = 1, 2
    path = write_scene({"hsi": land.hsi, "dsm": land.dsm}, train, test)
    text = describe(gather([path]))
    rows = [line.split() for line in text.splitlines()]
    assert ["1", "water", "14", "6"] in rows
    assert ["2", "forest", "1", "4"] in rows
    assert "60.0 % of the test pixels" in text
    (row,) = [row for row in rows if row[:1] == ["dsm"]]
    assert row[1:5] == ["auxiliary", "1", "float32", "none"]
    assert row[6] == f"{np.median(land.dsm):.4g}"
    assert "fewer than 10 pixels of class forest (1)" in " ".join(text.split())
    assert describe(gather([path.parent])) == text


def test_faults_of_images_are_told(write_scene, land):
    land.dsm[:5] = -9999
    text = " ".join(describe(gather([write_scene({"hsi": land.hsi, "dsm": land.dsm})])).split())
    assert "no labels" in text
    assert "dsm has the value -9999" in text


def test_what_was_put_right_is_told(write_scene, write_tif, land, place):
    from affine import Affine

    path = write_scene({"hsi": land.hsi, "dsm": land.dsm}, georeferenced=place)
    fine = {**place, "transform": Affine(1, 0, 5e5, 0, -1, 5e6)}
    write_tif("dsm.tif", land.dsm.repeat(2, 0).repeat(2, 1), **fine)
    assert "mean of the pixels covered" in " ".join(describe(gather([path])).split())
