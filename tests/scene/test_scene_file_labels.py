"""Labels in a scene file: every field is checked, and messages name the way out."""

from __future__ import annotations

import numpy as np
import pytest

from bdgf.errors import SceneError
from bdgf.scene.scene_file import load_scene_file

MINIMAL = "name: a\nmodalities:\n  hsi: {path: hsi.tif, role: spectral}\n"
LABELS = "labels: {train: t.tif, test: u.tif, classes: {1: water, 2: forest}}\n"


def test_a_code_that_no_map_can_hold_is_refused(write_scene) -> None:
    labels = {"train": "train.tif", "classes": {65_535: "a", 65_536: "b"}}
    images = {"hsi": np.zeros((2, 4, 4), dtype=np.uint8)}
    path = write_scene(images, train=np.zeros((4, 4)), changes={"labels": labels})
    with pytest.raises(SceneError, match="65536; maps hold codes up to 65535"):
        load_scene_file(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL + LABELS.replace("{1:", "{0:"), "0, which means unlabelled"),
        (MINIMAL + LABELS.replace("forest", "water"), "more than one class 'water'"),
        (MINIMAL + LABELS.replace("2: forest", "2: no"), "put it in quotes"),
        (MINIMAL + LABELS.replace(", 2: forest", ""), "at least two"),
        (MINIMAL + LABELS.replace("1: w", "x: w"), "codes are whole numbers"),
        (MINIMAL + LABELS.replace("t.tif", "{key: a}"), "labels train of scene.yaml has no path"),
        (MINIMAL + LABELS.replace("t.tif", "{path: t.tif, base: 1}"), "unknown field 'base'"),
        (MINIMAL + LABELS.replace("t.tif", "{path: t.tif, index_base: 2}"), "0 or 1"),
        (MINIMAL + LABELS.replace("{train", "{ignore: [1], train"), "whole numbers that are no"),
    ],
)
def test_bad_field_is_named(load, text, message):
    with pytest.raises(SceneError, match=message):
        load(text)
