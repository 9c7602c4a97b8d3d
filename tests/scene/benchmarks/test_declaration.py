from __future__ import annotations

import numpy as np

from bdgf.scene.benchmarks.declaration import counted, drawn, random_split
from bdgf.scene.description import SplitSpec
from bdgf.scene.splits import split_labels


def test_counted_numbers_the_classes_from_one():
    assert counted(5, 7) == {1: 5, 2: 7}


def test_drawn_are_the_numbers_that_the_random_split_draws():
    counts = counted(90, 41, 40, 39, 3, 2)
    labels = np.repeat(np.arange(6), list(counts.values())).astype(np.int16).reshape(5, -1)
    train, test = split_labels([labels], SplitSpec("random", per_class=20))
    expected = drawn(counts, 20)
    for part, numbers in zip((train, test), expected, strict=True):
        found = np.bincount(part[0][part[0] >= 0], minlength=6)
        assert dict(enumerate(found.tolist(), start=1)) == numbers


def test_random_split_is_one_of_the_scene_file():
    assert random_split(40) == {"random": {"per_class": 40, "seed": 0}}
