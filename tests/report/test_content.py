from __future__ import annotations

import numpy as np
import pytest

from bdgf.report.content import class_rows, confusion_rows, method_rows, modality_rows
from bdgf.report.overview import tile_overview
from bdgf.report.results import Results


def accuracies(oa: float | None) -> dict[str, object]:
    part = {"oa": oa, "aa": oa, "kappa": oa}
    return {"all": part, "far": {**part, "oa": None}}


def test_the_best_of_a_column_is_marked_where_there_is_one() -> None:
    rows = method_rows({"a": accuracies(50.0), "b": accuracies(70.0), "c": accuracies(None)})
    assert [[cell["best"] for cell in row["cells"]] for row in rows] == [
        [False] * 5, [True, True, True, False, True], [False] * 5,
    ]  # fmt: skip


def test_classes_have_the_accuracies_that_the_confusion_gives(results: Results) -> None:
    overview = tile_overview(results, 0)
    rows = class_rows(results, [overview])
    scene = results.scene
    assert [row["name"] for row in rows] == list(scene.class_names)
    assert sum(row["train"] for row in rows) == results.metrics["train_pixels"]
    assert sum(row["test"] for row in rows) == results.metrics["test_pixels"]
    assert sum(row["area"] for row in rows) == pytest.approx(100)
    reference = scene.tiles[0].test
    for index, row in enumerate(rows):
        truth, said = reference == index, (overview.classes == index) & (reference >= 0)
        both = (truth & said).sum()
        assert row["recall"] == pytest.approx(100 * both / truth.sum())
        if said.any():
            assert row["precision"] == pytest.approx(100 * both / said.sum())
        assert row["f1"] == pytest.approx(200 * both / (truth.sum() + said.sum()))
        assert len(row["others"]) == len(results.metrics["methods"]) - 1


def test_every_row_of_the_confusion_has_all_test_pixels_of_its_class(results: Results) -> None:
    counts = np.bincount(results.scene.labels_at("test"))
    for row in confusion_rows(results):
        assert sum(cell["count"] for cell in row["cells"]) == counts[row["index"]]
        assert sum(cell["share"] for cell in row["cells"]) == pytest.approx(1)


def test_a_run_without_test_labels_has_no_accuracies(single_results: Results) -> None:
    assert confusion_rows(single_results) == []
    rows = class_rows(single_results, [tile_overview(single_results, 0)])
    assert {(row["test"], row["recall"], row["f1"]) for row in rows} == {(0, None, None)}


def test_modalities_say_what_the_preparation_made_of_them(results: Results) -> None:
    rows = {row["name"]: row for row in modality_rows(results)}
    assert rows["hsi"]["bands"] == 6
    assert rows["sar"]["decibels"] == rows["sar"]["bands"] == 2
    assert rows["dsm"]["channels"] == 1
