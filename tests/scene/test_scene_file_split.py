"""The split in a scene file: every form is read, and labels that it does not fit are named."""

from __future__ import annotations

import pytest

from bdgf.errors import SceneError

MINIMAL = "name: a\nmodalities:\n  hsi: {path: hsi.tif, role: spectral}\n"
LABELS = "labels: {train: t.tif, test: u.tif, classes: {1: water, 2: forest}}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("given", ("given", 20, 0)),
        ("{random: 12 per class}", ("random", 12, 0)),
        ("{random: 12}", ("random", 12, 0)),
        ("{random: {per_class: 5, seed: 3}}", ("random", 5, 3)),
    ],
)
def test_split_forms(load, text, expected):
    split = load(MINIMAL + LABELS + f"split: {text}\n").split
    assert (split.kind, split.per_class, split.seed) == expected


def test_blocks_split(load):
    split = load(MINIMAL + LABELS + "split: {blocks: {size: 16, guard: 4, train_share: 0.3}}").split
    assert (split.kind, split.size, split.guard, split.train_share) == ("blocks", 16, 4, 0.3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL + "split: given\n", "has a split and no labels"),
        (MINIMAL + LABELS.replace("train: t.tif, test: u.tif, ", ""), "name no train file"),
        (MINIMAL + LABELS.replace("train: t.tif, test", "all"), "no split divides them"),
        (MINIMAL + LABELS.replace("train", "all") + "split: {random: 5}\n", "all beside train"),
        (MINIMAL + LABELS + "split: {random: some}\n", "random: 20 per class"),
        (MINIMAL + LABELS + "split: {random: 0}\n", "must be at least 1"),
        (MINIMAL + LABELS + "split: {kfold: 3}\n", "it must be given"),
        (MINIMAL + LABELS + "split: {blocks: {sise: 3}}\n", "did you mean size"),
        (MINIMAL + LABELS + "split: {blocks: {train_share: 2}}\n", "from 0.01 to 0.99"),
        (MINIMAL + LABELS + "split: {blocks: {size: 2.5}}\n", "whole number"),
    ],
)
def test_bad_field_is_named(load, text, message):
    with pytest.raises(SceneError, match=message):
        load(text)
