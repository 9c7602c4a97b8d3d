"""What stands below tables of results that are made up, so that every figure in them is known."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from statistics import fmean

import numpy as np

from bdgf.bench import remarks
from bdgf.bench.remarks import believed, other_code, paired, rivals, speeds
from bdgf.bench.rows import blocks
from bdgf.bench.significance import mcnemar, signed_rank
from bdgf.bench.tables import markdown, to_csv
from bdgf.bench.variants import EQUAL_TIME, OURS, variant


def row_of(block, method):
    return next(row for row in block.rows if row.method == method)


def test_chances_below_all_floats_have_a_bound():
    assert remarks._chance(0.0) == "p < 1e-300"
    assert remarks._chance(0.0312) == "p 0.03"


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
        for seed in range(5)
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
    head, _, line = believed(block)[1:]
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
    assert believed(simple) == []


def test_rows_by_other_code_are_told(scene, make):
    results = [replace(make("RF raw", 0, 0.2), code="aaa"), replace(make(OURS, 0, 0.1), code="")]
    (mixed,) = blocks(results, [scene], lambda _: ())
    (line,) = other_code(mixed)
    assert line.endswith("RF raw by aaa; BDGF by an unknown one.")
    assert line in markdown([mixed])
    (same,) = blocks(results[:1], [scene], lambda _: ())
    assert other_code(same) == []


def test_speeds_of_the_trainings_are_told(scene, make, block):
    (line,) = speeds(block)
    assert "BDGF 25.0 ± 0.0 (100 steps)" in line
    assert "RF raw" not in line
    timed = make(variant(EQUAL_TIME), 0, 0.2, train_seconds=5.0, train_steps=10)
    object.__setattr__(timed, "note", "training.steps 10 in place of 40")
    (other,) = blocks([timed], [scene], lambda _: ())
    assert speeds(other)[1].endswith("seed 0: training.steps 10 in place of 40.")
