from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from bdgf.evaluation.metrics_file import ENVIRONMENT, check_form, check_metrics
from bdgf.report.results import Results

UNUSED = {"seed", "classes", "denoiser_from", "test_pixels_unmapped"}
"""What the evaluation writes for other readers than the page."""


def places(node: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place of a tree of objects and lists."""
    items: Any = ()
    if isinstance(node, dict):
        items = node.items()
    elif isinstance(node, list):
        items = list(enumerate(node))[:2]
    for key, value in items:
        yield (*before, key)
        yield from places(value, (*before, key))


def changed(values: Any, place: tuple[Any, ...], value: Any) -> Any:
    found = copy.deepcopy(values)
    node = found
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    return found


@pytest.fixture(scope="module")
def written(results: Results) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(results.folder.metrics.read_text())
    return found


def test_what_a_run_writes_has_the_form(
    results: Results, single_results: Results, tiles_results: Results
) -> None:
    for one in (results, single_results, tiles_results):
        assert one.metrics["scene"] == one.scene.name
        check_form(one.environment, ENVIRONMENT)


def test_a_value_of_no_known_kind_is_refused_wherever_it_stands(written: dict[str, Any]) -> None:
    tried, let_in = 0, []
    for place in places(written):
        # of the calibration the page draws the curves and shows some of the numbers
        drawn = place[0] != "calibration" or place[1:2] in (("curve",), ("bins",))
        unread = place[0] in UNUSED or place[1:3] == ("bins", "count") or place[2:] == ("seconds",)
        if unread or not drawn:
            continue
        for strange in ({1}, True, 10**400):
            try:
                check_metrics(changed(written, place, strange), 3)
                let_in.append(place)
            except ValueError:
                tried += 1
    assert let_in == []
    assert tried > 100


def test_a_missing_value_is_named(written: dict[str, Any]) -> None:
    for place in (("scene",), ("leak", "window"), ("methods", "BDGF", "far", "oa"),
                  ("methods", "BDGF"), ("balance", "reliance"), ("calibration", "after"),
                  ("calibration", "after", "ece")):  # fmt: skip
        lacking = copy.deepcopy(written)
        node = lacking
        for key in place[:-1]:
            node = node[key]
        del node[place[-1]]
        with pytest.raises(ValueError, match=rf"{'.'.join(place)} is missing"):
            check_metrics(lacking, 3)


def test_numbers_of_parts_must_fit(written: dict[str, Any]) -> None:
    for place, value, message in (
        (("methods", "BDGF", "confusion"), [[1, 2], [3, 4]], "of the 3 classes"),
        (("methods", "BDGF", "confusion", 1), [1], "of the 3 classes"),
        (("methods", "BDGF", "all", "per_class"), [1.0], "of the 3 classes"),
        (("fusion_weights",), [], "not as many as heads"),
        (("calibration", "curve", "coverage"), [], "no points"),
        (("calibration", "bins", "confidence"), [None] * 15, "no points"),
        (("calibration", "bins", "confidence", 0), 1.5, "is not a share"),
        (("balance", "explained_r2"), {}, r"explained_r2\.\w+ is missing"),
        (("methods", "BDGF", "note"), 3, "note is not a text"),
    ):
        with pytest.raises(ValueError, match=message):
            check_metrics(changed(written, place, value), 3)
    with pytest.raises(ValueError, match="of the 4 classes"):
        check_metrics(written, 4)
