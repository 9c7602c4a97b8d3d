"""Tables of results that are made up, so that every figure in them is known."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest

from bdgf.bench import tables
from bdgf.bench.published import Published
from bdgf.bench.significance import mcnemar, signed_rank
from bdgf.bench.tables import (
    MEASURES,
    blocks,
    latex,
    markdown,
    paired,
    per_class,
    rivals,
    speeds,
    to_csv,
)
from bdgf.bench.variants import EQUAL_TIME, OURS, variant

SEEDS = range(5)
PUBLISHED = Published("x", 0, 0, "Other_1", 50.0, None, 41.5, "a survey")


@pytest.fixture(scope="module")
def make(scene, made_up):
    """Result of a method that is wrong at a share of the pixels of the scene."""
    return lambda *a, **k: made_up(scene, *a, **k)


@pytest.fixture(scope="module")
def block(scene, make):
    results = [
        result
        for seed in SEEDS
        for result in (
            make(OURS, seed, 0.10, train_seconds=4.0, train_steps=100),
            make("RF raw", seed, 0.30),
            make("SVM raw", seed, 0.20),
            make(variant("untrained denoiser"), seed, 0.15),
            make(variant("no masking"), seed, 0.05),
        )
    ]
    (found,) = blocks(results, [scene], lambda _: (PUBLISHED,))
    return found


def test_names_of_methods_end_no_cell(scene, make):
    results = [make(name, 0, 0.2) for name in (OURS, "BDGF, features of a|<b>")]
    found = blocks(results, [scene], lambda _: ())
    assert "| BDGF, features of a\\|&lt;b> |" in markdown(found)
    assert r"features of a\textbar{}\textless{}b\textgreater{} &" in latex(found)


def test_chances_below_all_floats_have_a_bound():
    assert tables._chance(0.0) == "p < 1e-300"
    assert tables._chance(0.0312) == "p 0.03"


def row_of(block, method):
    return next(row for row in block.rows if row.method == method)


def test_our_method_is_compared_with_the_best_other_and_with_the_controls(block, scene):
    found = rivals(block)
    assert [row.method for _, row in found] == ["SVM raw", "BDGF, untrained denoiser"]
    lines = paired(block)
    assert len(lines) == 2
    ours = row_of(block, OURS)
    for (words, other), line in zip(found, lines, strict=True):
        assert f"{OURS} against {words}: " in line
        for measure, title in (("oa", "OA"), ("aa", "AA")):
            a, b = ours.values("all", measure), other.values("all", measure)
            p = signed_rank(np.array(a), np.array(b))
            assert f"{title} {fmean(a) - fmean(b):+.2f} (Wilcoxon p {p:.3f})" in line
        for x, y in zip(ours.results, other.results, strict=True):
            won, lost, p = mcnemar(scene.labels_at("test"), x.predicted, y.predicted)
            assert f"{won}:{lost} (p {p:.1g})" in line
    text = markdown([block])
    assert all(line in text for line in lines)


def test_the_best_in_each_accuracy_may_be_two(scene, make):
    counts = np.bincount(scene.labels_at("test"))
    rare = int(counts.argmin())
    results = [
        make(OURS, 0, 0.2),
        make("RF raw", 0, 0.9, of_class=rare),  # loses one small class, and little OA
        make("SVM raw", 0, 0.95 * counts[rare] / counts.sum() + 0.01),
    ]
    (block,) = blocks(results, [scene], lambda _: ())
    rows = {name: row_of(block, name) for name in ("RF raw", "SVM raw")}
    best = {m: max(rows, key=lambda name: rows[name].values("all", m)) for m in ("oa", "aa")}
    assert best == {"oa": "RF raw", "aa": "SVM raw"}
    assert [words for words, _ in rivals(block)] == [
        "the best other in OA, RF raw",
        "the best other in AA, SVM raw",
    ]
    assert all("too few seeds for Wilcoxon" in line for line in paired(block))


def test_our_method_with_other_features_is_no_rival_of_itself(scene, make):
    ours = "BDGF, features of diffusers UNet"
    results = [
        result
        for seed in SEEDS
        for result in (make(OURS, seed, 0.2), make(ours, seed, 0.1), make("CNN", seed, 0.3))
    ]
    (block,) = blocks(results, [scene], lambda _: ())
    assert [row.method for _, row in rivals(block)] == ["CNN", ours]
    assert f"{OURS} against {ours}: " in "".join(paired(block))


def test_without_our_method_nothing_is_compared(scene, make):
    (block,) = blocks([make("RF raw", 0, 0.2)], [scene], lambda _: ())
    assert paired(block) == []
    (alone,) = blocks([make(OURS, 0, 0.2)], [scene], lambda _: ())
    assert paired(alone) == []


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


def test_how_far_confidence_can_be_believed_is_told(scene, make):
    def measured(ece, surest):
        curve = {"coverage": [0.5, 1.0], "accuracy": [surest, 0.8]}
        return {"count": 9, "ece": ece, "aurc": 0.03, "curve": curve}

    ours = [
        replace(
            make(OURS, seed, 0.1),
            confidence={
                "temperature": 2.0 + seed,
                "before": measured(0.08, 0.98),
                "after": measured(0.02 + 0.02 * seed, 0.99),
            },
        )
        for seed in (0, 1)
    ]
    (block,) = blocks([*ours, make("RF raw", 0, 0.2)], [scene], lambda _: ())
    head, _, line = tables.believed(block)[1:]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert len(cells) == head.count("|") - 1
    assert cells[:3] == [OURS, "2.50 ± 0.71", "8.00 ± 0.00 → 3.00 ± 1.41"]
    # half-way between the points of the curve at 50 % and 100 %
    assert cells[5].split(" → ")[1].startswith(f"{99 - 0.6 * 19:.2f}")
    assert line in markdown([block])
    rows = list(csv.DictReader(io.StringIO(to_csv([block]))))
    told = {(r["method"], r["seed"]): (r["temperature"], r["ece_before"]) for r in rows}
    assert told == {
        (OURS, "0"): ("2.0", "0.08"),
        (OURS, "1"): ("3.0", "0.08"),
        ("RF raw", "0"): ("", ""),
    }
    (simple,) = blocks([make("RF raw", 0, 0.2)], [scene], lambda _: ())
    assert tables.believed(simple) == []


def test_rows_by_other_code_are_told(scene, make):
    results = [replace(make("RF raw", 0, 0.2), code="aaa"), replace(make(OURS, 0, 0.1), code="")]
    (mixed,) = blocks(results, [scene], lambda _: ())
    (line,) = tables.other_code(mixed)
    assert line.endswith("RF raw by aaa; BDGF by an unknown one.")
    assert line in markdown([mixed])
    (same,) = blocks(results[:1], [scene], lambda _: ())
    assert tables.other_code(same) == []


def test_speeds_of_the_trainings_are_told(scene, make, block):
    (line,) = speeds(block)
    assert "BDGF 25.0 ± 0.0 (100 steps)" in line
    assert "RF raw" not in line
    timed = make(variant(EQUAL_TIME), 0, 0.2, train_seconds=5.0, train_steps=10)
    object.__setattr__(timed, "note", "training.steps 10 in place of 40")
    (other,) = blocks([timed], [scene], lambda _: ())
    assert speeds(other)[1].endswith("seed 0: training.steps 10 in place of 40.")
