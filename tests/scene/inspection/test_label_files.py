"""Label files are chosen by what they are and by their names."""

from __future__ import annotations

import numpy as np
import pytest

from bdgf.scene.inspection.gather import gather
from bdgf.scene.inspection.label_files import (
    Choice,
    LabelSource,
    choose,
    classes,
    ignored,
    label_sources,
)


def source(name, form="raster", counts=(1, 2), names=None, by_name=False, path="x"):
    return LabelSource(
        name, (name,), form, path, counts=dict.fromkeys(counts, 5), names=names or {},
        by_name=by_name, fields={"key": name} if form == "list" else {},
    )  # fmt: skip


def chosen(*sources):
    choice = choose(sources)
    return {which: one.name for which, one in choice.parts.items()}


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (["train", "test"], {"train": "train", "test": "test"}),
        (["train", "val"], {"train": "train", "test": "val"}),
        (["train", "val", "test"], {"train": "train", "test": "test"}),
        (["train", "test", "gt"], {"train": "train", "test": "test"}),
        (["gt"], {"all": "gt"}),
        (["train"], {"all": "train"}),
        (["map", "gt"], {"all": "gt"}),
        ([], {}),
    ],
)
def test_parts_by_name(names, parts):
    assert chosen(*map(source, names)) == parts


def test_masks_of_one_class_come_last():
    assert chosen(source("cloud_mask", counts=[1]), source("gt")) == {"all": "gt"}
    assert chosen(source("cloud_mask", counts=[1])) == {"all": "cloud_mask"}
    assert chosen(source("empty", counts=[])) == {}


def test_lists_need_a_map():
    lists = [source("train_index", "list", []), source("test_index", "list", [])]
    assert chosen(*lists) == {}
    choice = choose([*lists, source("gt")])
    assert choice.map.name == "gt"
    assert choice.parts["train"].name == "train_index"


def test_rasters_go_before_vectors():
    both = [source(n, f) for f in ("vector", "raster") for n in ("train", "test")]
    choice = choose(both)
    assert {one.form for one in choice.parts.values()} == {"raster"}
    assert [one.form for one in choice.left_out] == ["vector", "vector"]


def test_names_of_another_file_with_the_same_codes():
    lender = source("fields", "vector", names={1: "wheat", 2: "maize"})
    assert classes(Choice({"all": source("gt")}, None, (lender,))) == (
        {1: "wheat", 2: "maize"}, {}, "fields",
    )  # fmt: skip
    other = source("gt", counts=[1, 2, 3])
    assert classes(Choice({"all": other}, None, (lender,)))[0] == {1: "", 2: "", 3: ""}


def test_files_that_name_their_classes_share_one_order():
    train = source("train", "vector", names={1: "barley", 2: "wheat"}, by_name=True)
    test = source("test", "vector", names={1: "maize", 2: "wheat"}, by_name=True)
    found = classes(Choice({"train": train, "test": test}, None, ()))[0]
    assert found == {1: "barley", 2: "maize", 3: "wheat"}


def test_names_that_are_not_unique_are_no_names():
    twice = source("gt", names={1: "wheat", 2: "wheat"})
    assert classes(Choice({"all": twice}, None, ()))[0] == {1: "", 2: ""}


def test_codes_of_both_parts():
    parts = {"train": source("train", counts=[1, 4]), "test": source("test", counts=[2])}
    assert list(classes(Choice(parts, None, ()))[0]) == [1, 2, 4]


@pytest.mark.parametrize(
    ("codes", "left_out"),
    [
        ([1, 2, 255], [255]), ([-1, 1, 2], [-1]), ([1, 2, 3], []), ([10, 50, 100], []),
        ([1, 240, 255], [255]), ([253, 254, 255], [254, 255]), ([65535, 3], [65535]),
    ],
)  # fmt: skip
def test_codes_that_mean_no_label(codes, left_out):
    assert ignored(codes) == left_out


def test_the_sources_of_a_folder(write_tif, land, tmp_path):
    write_tif("hsi.tif", land.hsi)
    write_tif("gt.tif", np.where(land.train > 0, land.train, 255).astype(np.uint8))
    (one,) = label_sources(gather([tmp_path]))
    assert one.counts == {code: (land.train == code).sum() for code in (1, 2, 3)}
    assert one.ignore == (255,)
