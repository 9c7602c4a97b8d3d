"""What stands below a table: paired tests, speeds, how far confidence can be believed."""

from __future__ import annotations

from statistics import fmean
from typing import Any

import numpy as np

from bdgf.bench.cross_model.sources import is_elsewhere
from bdgf.bench.rows import Block, Row
from bdgf.bench.significance import mcnemar, signed_rank
from bdgf.bench.variants import CONTROLS, EQUAL_TIME, OURS, changes_of, variant
from bdgf.evaluation.table import markdown_cell, spread

LEAST_CHANCE = 1e-300
"""Smaller p-values are told by this bound."""


def rivals(block: Block) -> list[tuple[str, Row]]:
    """Return what our method is compared with: the best others, and its controls.

    Returns:
        What each is, in words, and its row. Others are all methods that are no variant of ours;
        the best in OA and the best in AA may be two. With features or a denoiser from elsewhere
        the method is still ours: each of these stands for itself.
    """
    others = [
        row
        for row in block.rows
        if row.method != OURS and changes_of(row.method) is None and not is_elsewhere(row.method)
    ]
    found = []
    if others:
        best = [max(others, key=lambda row: fmean(row.values("all", m))) for m in ("oa", "aa")]
        if best[0] is best[1]:
            found.append((f"the best other, {best[0].method}", best[0]))
        else:
            found.append((f"the best other in OA, {best[0].method}", best[0]))
            found.append((f"the best other in AA, {best[1].method}", best[1]))
    controls = {variant(name): name for name in CONTROLS}
    found += [
        (f"the control '{controls[row.method]}'", row)
        for row in block.rows
        if row.method in controls
    ]
    return found + [(row.method, row) for row in block.rows if is_elsewhere(row.method)]


def paired(block: Block) -> list[str]:
    """Compare our method with others on the same pixels and seeds, in sentences.

    With each of `rivals`: the differences of OA and AA with Wilcoxon's test over the seeds, and
    McNemar's test for every seed.
    """
    ours = next((row for row in block.rows if row.method == OURS), None)
    if ours is None:
        return []
    reference = block.scene.labels_at("test")
    lines = []
    for words, other in rivals(block):
        same = [r.cell.seed for r in ours.results] == [r.cell.seed for r in other.results]
        parts = []
        for measure, title in (("oa", "OA"), ("aa", "AA")):
            a, b = ours.values("all", measure), other.values("all", measure)
            text = f"{title} {fmean(a) - fmean(b):+.2f}"
            if same:
                p = signed_rank(np.array(a), np.array(b))
                text += " (too few seeds for Wilcoxon)" if p is None else f" (Wilcoxon p {p:.3f})"
            parts.append(text)
        line = f"{OURS} against {markdown_cell(words)}: {', '.join(parts)}."
        if same:
            tests = [
                mcnemar(reference, x.predicted, y.predicted)
                for x, y in zip(ours.results, other.results, strict=True)
            ]
            told = ", ".join(f"{won}:{lost} ({_chance(p)})" for won, lost, p in tests)
            line += f" McNemar per seed, pixels only one of the two has right: {told}."
        lines.append(line)
    return lines


def speeds(block: Block) -> list[str]:
    """Tell the steps per second of the trainings, in one sentence, and what cells have to note."""
    found = []
    for row in block.rows:
        costs = [r.cost for r in row.results if r.cost.get("train_seconds")]
        values = [cost["train_steps"] / cost["train_seconds"] for cost in costs]
        if values:
            steps = fmean([cost["train_steps"] for cost in costs])
            found.append(f"{markdown_cell(row.method)} {spread(values, 1)} ({steps:.0f} steps)")
    lines = []
    if found:
        lines.append(
            f"Steps per second of the training, cross-validation included: {'; '.join(found)}."
        )
    for row in block.rows:
        if row.method == variant(EQUAL_TIME):
            told = "; ".join(f"seed {r.cell.seed}: {r.note}" for r in row.results)
            lines.append(f"{row.method}, {told}.")
    return lines


COVERAGES = (0.5, 0.8, 0.9)
"""Shares of the most confident test pixels whose accuracy is told."""


def confidences(row: Row) -> dict[str, list[float]]:
    """Return the temperature and the measures of a row's confidence, those of every seed.

    Returns:
        By their names: ``temperature``; and, each as a pair of before and after temperature
        scaling, the expected calibration error and the area under risk-coverage in percent, and
        the accuracy in percent of the most confident pixels; nothing where nothing is known.
    """
    known = [r.confidence for r in row.results if r.confidence.get("after", {}).get("count")]
    found: dict[str, list[float]] = {}
    if not known:
        return found
    found["temperature"] = [one["temperature"] for one in known]
    for when in ("before", "after"):
        for measure in ("ece", "aurc"):
            found[f"{measure} {when}"] = [100 * one[when][measure] for one in known]
        for share in COVERAGES:
            found[f"{share:.0%} {when}"] = [100 * _accuracy_at(one[when], share) for one in known]
    return found


def _accuracy_at(measured: dict[str, Any], share: float) -> float:
    curve = measured["curve"]
    return float(np.interp(share, curve["coverage"], curve["accuracy"]))


def believed(block: Block) -> list[str]:
    """Return lines of a table: how far the confidence of our maps can be believed."""
    rows = [(row.method, confidences(row)) for row in block.rows]
    shares = [f"{share:.0%}" for share in COVERAGES]
    titles = ["ECE", "AURC", *(f"accuracy, surest {share}" for share in shares)]
    lines = [
        "",
        "| confidence, before → after the temperature | temperature | " + " | ".join(titles) + " |",
        "|---|" + "---:|" * (1 + len(titles)),
    ]
    for method, found in rows:
        if found:
            cells = [
                " → ".join(spread(found[f"{name} {when}"], 2) for when in ("before", "after"))
                for name in ("ece", "aurc", *shares)
            ]
            start = [markdown_cell(method), spread(found["temperature"], 2)]
            lines.append("| " + " | ".join([*start, *cells]) + " |")
    return lines if any(found for _, found in rows) else []


def other_code(block: Block) -> list[str]:
    """Tell in a sentence which rows are by which code, where not all are by the same."""
    by_code: dict[str, list[str]] = {}
    for row in block.rows:
        for code in sorted({result.code for result in row.results}):
            by_code.setdefault(code, []).append(row.method)
    if len(by_code) < 2:
        return []
    told = [
        f"{', '.join(dict.fromkeys(map(markdown_cell, methods)))} by {code or 'an unknown one'}"
        for code, methods in by_code.items()
    ]
    return [f"The rows are of different code, by its digest: {'; '.join(told)}."]


def _chance(p: float) -> str:
    """Return a p-value in words; those that no float can hold have a bound."""
    return f"p {p:.1g}" if p >= LEAST_CHANCE else f"p < {LEAST_CHANCE:.0e}"
