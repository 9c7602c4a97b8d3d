"""The form of ``metrics.json``: what the page and the figures rely on, checked when it is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Kind(NamedTuple):
    """A kind of value.

    Args:
        name: With its article, for messages.
        holds: Tells whether a value is of it.
    """

    name: str
    holds: Callable[[Any], bool]


def _is_number(value: object) -> bool:
    # whole numbers beyond are not the same in every program that reads JSON
    return type(value) is float or (type(value) is int and abs(value) <= 2**53)


ANY = "*"
"""Stands for every name of an object."""

TEXT = Kind("a text", lambda value: isinstance(value, str))
NUMBER = Kind("a number", _is_number)
MAYBE = Kind("a number or null", lambda value: value is None or _is_number(value))
COUNT = Kind("a count", lambda value: type(value) is int and 0 <= value <= 2**53)
SHARE = Kind(
    "a share from 0 to 1 or null",
    lambda value: value is None or (_is_number(value) and 0 <= value <= 1),
)

_ACCURACY = {"oa": MAYBE, "aa": MAYBE, "kappa": MAYBE, "per_class": [MAYBE], "count": COUNT}
_METHOD = {"all": _ACCURACY, "far": _ACCURACY, "confusion": [[COUNT]]}
_FORM = {
    "scene": TEXT,
    "transductive": TEXT,
    "notes": [TEXT],
    "train_pixels": COUNT,
    "test_pixels": COUNT,
    "leak": {"window": NUMBER, "inside": NUMBER},
    "methods": {ANY: _METHOD},
    "missing": {ANY: _METHOD},
    "calibration": {},
    "heads": [TEXT],
    "fusion_weights": [NUMBER],
    "parameters": COUNT,
    "seconds": {ANY: NUMBER},
    "peak_memory_mb": NUMBER,
}
_BALANCE = {
    "reliance": {ANY: MAYBE},
    "explained_r2": {ANY: NUMBER},
    "balance_spectral_over_auxiliary": MAYBE,
}
_DRAWN = {"curve": ("coverage", "accuracy"), "bins": ("confidence", "accuracy")}

ENVIRONMENT = {
    "bdgf": TEXT,
    "python": TEXT,
    "platform": TEXT,
    "cores": MAYBE,
    "packages": {ANY: TEXT},
}
"""Form of ``environment.json``."""


def check_metrics(found: Any, classes: int) -> None:  # noqa: ANN401
    """Check the content of ``metrics.json``.

    Args:
        found: What the file holds.
        classes: K of the scene.

    Raises:
        ValueError: Names the first value that is missing or is not what it must be.
    """
    check_form(found, _FORM)
    for group in ("methods", "missing"):
        for name, method in found[group].items():
            lists = [method["confusion"], *method["confusion"]]
            lists += [method[part]["per_class"] for part in ("all", "far")]
            if any(len(values) != classes for values in lists):
                raise ValueError(f"{group}.{name} is not of the {classes} classes of the scene")
            if not isinstance(method.get("note", ""), str):
                raise ValueError(f"{group}.{name}.note is not a text")
    if found["methods"] and "BDGF" not in found["methods"]:
        raise ValueError("methods.BDGF is missing")
    if len(found["heads"]) != len(found["fusion_weights"]):
        raise ValueError("fusion_weights are not as many as heads")
    _check_calibration(found["calibration"])
    if found["balance"] is not None:
        _check_balance(found["balance"])


def _check_balance(found: Any) -> None:  # noqa: ANN401
    check_form(found, _BALANCE, "balance")
    lacking = found["reliance"].keys() - found["explained_r2"].keys()
    if lacking:
        raise ValueError(f"balance.explained_r2.{min(lacking)} is missing")


def _check_calibration(found: dict[str, Any]) -> None:
    if "ece" in found:
        check_form(found["ece"], NUMBER, "calibration.ece")
    if "temperature" in found:
        check_form(found, {"temperature": NUMBER, "before": {}, "after": {}}, "calibration")
        if "ece" in found["before"]:
            both = {"before": {"ece": NUMBER}, "after": {"ece": NUMBER}}
            check_form(found, both, "calibration")
        for name in ("before", "after"):
            _check_drawn(found[name], f"calibration.{name}")
    _check_drawn(found, "calibration")


def _check_drawn(found: dict[str, Any], place: str) -> None:
    for name, (x, y) in _DRAWN.items():
        drawn = found.get(name)
        if drawn:
            check_form(drawn, {x: [SHARE], y: [SHARE]}, f"{place}.{name}")
            if len(drawn[x]) != len(drawn[y]) or set(drawn[x]) <= {None}:
                raise ValueError(f"{place}.{name} has no points")


def check_form(found: Any, form: Any, place: str = "") -> None:  # noqa: ANN401
    """Check a value and what is in it.

    Args:
        found: The value.
        form: A kind; a list of the form that every item must have; or the forms of an object's
            values by their names, of which none may be missing.
        place: Where the value stands, for the message.

    Raises:
        ValueError: Names the first value that is missing or is not what it must be.
    """
    words = place or "the whole"
    if isinstance(form, Kind):
        if not form.holds(found):
            raise ValueError(f"{words} is not {form.name}")
    elif isinstance(form, list):
        if not isinstance(found, list):
            raise ValueError(f"{words} is not a list")
        for index, value in enumerate(found):
            check_form(value, form[0], f"{place}[{index}]")
    else:
        if not isinstance(found, dict):
            raise ValueError(f"{words} is not an object")
        before = f"{place}." if place else ""
        for name in found if ANY in form else form:
            if name not in found:
                raise ValueError(f"{before}{name} is missing")
            check_form(found[name], form.get(name, form.get(ANY)), f"{before}{name}")
