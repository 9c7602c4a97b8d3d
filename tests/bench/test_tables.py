"""Tables of results that are made up, so that every figure in them is known."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from bdgf.bench.rows import blocks
from bdgf.bench.tables import (
    MEASURES,
    latex,
    markdown,
    paired,
    per_class,
    to_csv,
)
from bdgf.bench.variants import OURS


def row_of(block, method):
    return next(row for row in block.rows if row.method == method)


def test_names_of_methods_end_no_cell(scene, make):
    results = [make(name, 0, 0.2) for name in (OURS, "BDGF, features of a|<b>")]
    found = blocks(results, [scene], lambda _: ())
    assert "| BDGF, features of a\\|&lt;b> |" in markdown(found)
    assert r"features of a\textbar{}\textless{}b\textgreater{} &" in latex(found)


def test_every_accuracy_is_mean_and_deviation_over_the_seeds(block):
    lines = {t.split(" | ")[0].strip("| "): t for t in markdown([block]).splitlines() if "|" in t}
    for row in block.rows:
        cells = [cell.strip(" *") for cell in lines[row.method].strip("|").split("|")][1:]
        assert len(cells) == len(MEASURES) + 2
        for cell, (part, measure, _) in zip(cells, MEASURES, strict=False):
            values = row.values(part, measure)
            assert cell == f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}"
        assert cells[-2:] == ["14 ± 2", "904"]
    names = [title for *_, title in MEASURES]
    assert names == ["OA", "AA", "kappa", "OA far", "AA far", "kappa far"]


def test_published_figures_stand_in_every_table_and_are_compared_with_nothing(block):
    assert "| Other_1 (published) | 50.00 | – | 41.50 |  |  |  |  |  |" in markdown([block])
    assert r"Other\_1 (published) & 50.00 & -- & 41.50 &  &  &  &  &  \\" in latex([block])
    rows = list(csv.DictReader(io.StringIO(to_csv([block]))))
    (beside,) = [row for row in rows if row["method"] == "Other_1 (published)"]
    assert (beside["all_oa"], beside["all_aa"], beside["all_kappa"]) == ("50.0", "", "41.5")
    assert beside["seed"] == beside["recall"] == ""
    assert "Other_1" not in " ".join(paired(block))


def test_recall_per_class_of_all_and_of_far_pixels(block, scene):
    near, far = per_class([block]).split("\n\n**")
    assert "far from training" in far
    row = row_of(block, "RF raw")
    for text, part in ((near, "all"), (far, "far")):
        (line,) = [t for t in text.splitlines() if t.startswith("| RF raw |")]
        cells = [cell.strip() for cell in line.strip("|").split("|")][1:]
        recalls = np.array([r.accuracy[part]["per_class"] for r in row.results], dtype=float)
        expected = [f"{c.mean():.1f} ± {c.std(ddof=1):.1f}" for c in recalls.T]
        assert cells == expected
    rows = list(csv.DictReader(io.StringIO(to_csv([block]))))
    own = [r for r in rows if r["method"] == "RF raw" and r["seed"] == "3"]
    values = row.results[3].accuracy["far"]["per_class"]
    assert [float(r["recall_far"]) for r in own] == pytest.approx(values)
