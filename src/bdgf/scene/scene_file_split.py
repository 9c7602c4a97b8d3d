"""What a scene file says of its split: how labelled pixels are divided."""

from __future__ import annotations

import re
from collections.abc import Mapping

from bdgf.errors import SceneError
from bdgf.scene.description import LabelSpec, SplitSpec
from bdgf.scene.fields import Fields, shown

_PER_CLASS = re.compile(r"(\d+)(\s+per\s+class)?")


def read_split(raw: Fields, labels: LabelSpec | None, file: str) -> SplitSpec:
    """Return how a scene file divides its labels.

    Args:
        raw: All fields of the file.
        labels: Its labels.
        file: Its name, for messages.

    Raises:
        SceneError: A split that cannot be used, or that the labels do not fit.
    """
    value = raw.values.get("split")
    if value is None:
        only_all = labels is not None and labels.train is None and labels.all is not None
        if only_all:
            raise SceneError(
                f"labels of {file} are in one file, and no split divides them: add"
                " 'split: {random: 20 per class}' or 'split: {blocks: {size: 32, guard: 8}}'."
            )
        value = "given"
    split = _split_kind(value, file)
    if labels is None and raw.values.get("split") is not None:
        raise SceneError(f"{file} has a split and no labels; add labels, or remove the split.")
    if labels is None:
        return split
    if split.kind == "given" and labels.train is None and labels.test is None:
        raise SceneError(
            f"labels of {file} name no train file and no test file: add 'train: ...', or"
            " divide all labels with 'split: {random: 20 per class}'."
        )
    if (
        split.kind != "given"
        and labels.train is None
        and labels.test is None
        and labels.all is None
    ):
        raise SceneError(f"labels of {file} name no file; add 'all: ...' with the label raster.")
    if labels.all is not None and (labels.train is not None or labels.test is not None):
        raise SceneError(
            f"labels of {file} name all beside train or test; give either one file that a split"
            " divides, or the two."
        )
    return split


def _split_kind(value: object, file: str) -> SplitSpec:
    if value == "given":
        return SplitSpec()
    rule = "it must be given, {random: 20 per class} or {blocks: {size: 32, guard: 8}}."
    if not isinstance(value, Mapping) or len(value) != 1:
        raise SceneError(f"split of {file} is {shown(value)}; {rule}")
    kind, options = next(iter(value.items()))
    where = f"split {kind} of {file}"
    if kind == "random":
        if not isinstance(options, Mapping):
            match = _PER_CLASS.fullmatch(str(options).strip())
            if match is None:
                raise SceneError(f"split of {file} is {shown(value)}; {rule}")
            options = {"per_class": int(match.group(1))}
        fields = Fields(options, where)
        fields.only("per_class", "seed")
        return SplitSpec(
            "random", per_class=fields.whole("per_class", 20, 1), seed=fields.whole("seed", 0, 0)
        )
    if kind == "blocks":
        fields = Fields(options, where)
        fields.only("size", "guard", "train_share", "seed")
        return SplitSpec(
            "blocks",
            size=fields.whole("size", 32, 1),
            guard=fields.whole("guard", 8, 0),
            train_share=fields.number("train_share", 0.5, 0.01, 0.99),
            seed=fields.whole("seed", 0, 0),
        )
    raise SceneError(f"split of {file} is {shown(value)}; {rule}")
