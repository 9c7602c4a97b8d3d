"""What a scene file says of its labels: files, classes and colours."""

from __future__ import annotations

import re
from collections.abc import Mapping

from bdgf.errors import SceneError
from bdgf.scene.description import LARGEST_CODE, LabelFile, LabelSpec
from bdgf.scene.fields import Fields, check_visible, shown

_COLOR = re.compile(r"#[0-9a-fA-F]{6}")
_ORDERS = ("auto", "row-major", "column-major")
_LABEL_FILES = ("train", "test", "all", "map")


def read_labels(raw: Fields, file: str) -> LabelSpec | None:
    """Return what a scene file says of its labels, None where it has none.

    Args:
        raw: All fields of the file.
        file: Its name, for messages.

    Raises:
        SceneError: A field that cannot be used.
    """
    if raw.values.get("labels") is None:
        return None
    fields = Fields(raw.values["labels"], f"labels of {file}")
    fields.only(
        *_LABEL_FILES, "key", "train_key", "test_key", "column", "classes", "colors", "ignore"
    )
    classes, colors = named_classes(fields, file)
    return LabelSpec(
        classes=classes,
        colors=colors,
        ignore=_ignore(fields, classes),
        **{which: _label_file(fields, which, file) for which in _LABEL_FILES},
    )


def named_classes(fields: Fields, file: str) -> tuple[dict[int, str], dict[int, str]]:
    """Return the names of the classes, sorted by code, and the colours that are given.

    Args:
        fields: What stands under ``classes`` and ``colors``.
        file: What messages call the place they stand in.

    Raises:
        SceneError: Fewer than two classes, a name twice, or a code or colour that cannot be used.
    """
    classes = _by_code(fields, "classes", file)
    if len(classes) < 2:
        raise SceneError(
            f"labels of {file} name {len(classes)} class(es); a map needs at least two: add"
            " 'classes: {1: Forest, 2: Water}' with every code of the label files."
        )
    names = list(classes.values())
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise SceneError(
            f"labels of {file} name more than one class {sorted(twice)[0]!r}; names are unique:"
            " rename one, or give both the same code in the label files."
        )
    colors = _by_code(fields, "colors", file)
    for code, color in colors.items():
        if code not in classes or not _COLOR.fullmatch(color):
            raise SceneError(
                f"colors of {file} gives code {code} the colour {color!r}; it must be a code of"
                " classes with a quoted colour such as '#1b9e77'."
            )
    return dict(sorted(classes.items())), colors


def _label_file(labels: Fields, which: str, file: str) -> LabelFile | None:
    """One label file: a path, or a mapping of its path and how it is read."""
    value = labels.values.get(which)
    if value is None:
        return None
    key = labels.optional_name("key") if which != "map" else None
    if which in ("train", "test"):
        key = labels.optional_name(f"{which}_key") or key
    column = labels.optional_text("column")
    if not isinstance(value, Mapping):
        path = labels.optional_text(which)
        return None if path is None else LabelFile(path, key=key, column=column)
    fields = Fields(value, f"labels {which} of {file}")
    fields.only("path", "key", "axes", "column", "layer", "index_base", "index_order")
    base = fields.values.get("index_base")
    if base not in (None, 0, 1) or isinstance(base, bool):
        raise SceneError(
            f"index_base of {fields.where} is {shown(base)}; it is the number of the first row and"
            " column in a list of pixels: 0 or 1."
        )
    return LabelFile(
        path=fields.text("path"),
        key=fields.optional_name("key") or key,
        axes=fields.axes(),
        column=fields.optional_text("column") or column,
        layer=fields.optional_text("layer"),
        index_base=base,
        index_order=fields.choice("index_order", _ORDERS, "auto"),  # type: ignore[arg-type]
    )


def _ignore(fields: Fields, classes: Mapping[int, str]) -> tuple[int, ...]:
    value = fields.values.get("ignore", [])
    value = value if isinstance(value, list) else [value]
    for code in value:
        if type(code) is not int or code in classes:
            raise SceneError(
                f"ignore of {fields.where} holds {shown(code)}; it lists codes that mean"
                " unlabelled, whole numbers that are no class, such as [-1]."
            )
    return tuple(value)


def _by_code(fields: Fields, key: str, file: str) -> dict[int, str]:
    if fields.values.get(key) is None:
        return {}
    found: dict[int, str] = {}
    for code, value in Fields(fields.values[key], f"{key} of {file}").values.items():
        if isinstance(code, bool) or not isinstance(code, int) or code < 0:
            raise SceneError(f"{key} of {file} has the code {code!r}; codes are whole numbers.")
        if code > LARGEST_CODE:
            raise SceneError(
                f"{key} of {file} has the code {code}; maps hold codes up to {LARGEST_CODE}: give"
                " the class a smaller one in the label files."
            )
        if code == 0:
            raise SceneError(
                f"{key} of {file} uses the code 0, which means unlabelled: give that class another"
                " code in the label files, for example the highest code plus one."
            )
        if not isinstance(value, str) or not value.strip():
            raise SceneError(f"{key} of {file} gives code {code} {shown(value)}: put it in quotes.")
        check_visible(value, f"the text of code {code} in {key} of {file}")
        found[code] = value
    return found
