"""Tables of a comparison: mean ± standard deviation over seeds, as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import numpy as np

from bdgf.bench.cells import Result
from bdgf.bench.elsewhere import is_elsewhere
from bdgf.bench.published import Published
from bdgf.bench.significance import mcnemar, signed_rank
from bdgf.bench.variants import CONTROLS, EQUAL_TIME, OURS, changes_of, variant
from bdgf.evaluation.table import markdown_cell
from bdgf.scene.scene import Scene

MEASURES = (
    ("all", "oa", "OA"),
    ("all", "aa", "AA"),
    ("all", "kappa", "kappa"),
    ("far", "oa", "OA far"),
    ("far", "aa", "AA far"),
    ("far", "kappa", "kappa far"),
)

LEAST_CHANCE = 1e-300
"""Smaller p-values are told by this bound."""


@dataclass(frozen=True)
class Row:
    """A method's results over its seeds.

    Args:
        method: Name of the method.
        results: One per seed, in the order of the seeds.
    """

    method: str
    results: tuple[Result, ...]

    def values(self, part: str, measure: str) -> list[float]:
        """Return an accuracy of every seed, those that are not known left out."""
        found = [result.accuracy[part][measure] for result in self.results]
        return [float(value) for value in found if value is not None]

    def mark(self) -> float:
        """Mean of OA and AA on all test pixels, by which methods are ranked."""
        return fmean(self.values("all", "oa")) + fmean(self.values("all", "aa"))


@dataclass(frozen=True)
class Block:
    """All methods on one scene with one number of labels.

    Args:
        scene: The scene.
        labels: The number of labels in words.
        rows: One per method.
        published: Published figures of the same protocol.
    """

    scene: Scene
    labels: str
    rows: tuple[Row, ...]
    published: tuple[Published, ...] = ()

    @property
    def seeds(self) -> list[int]:
        """Seeds of the rows."""
        return sorted({result.cell.seed for row in self.rows for result in row.results})


def blocks(
    results: Iterable[Result],
    scenes: Sequence[Scene],
    published: Callable[[Scene], tuple[Published, ...]],
) -> list[Block]:
    """Order results by scene and number of labels.

    Args:
        results: Results of cells.
        scenes: The scenes.
        published: Published figures of a scene with all its labels.
    """
    grouped: dict[tuple[str, str], dict[str, list[Result]]] = {}
    for result in results:
        key = (result.cell.name, result.cell.labels)
        grouped.setdefault(key, {}).setdefault(result.cell.method, []).append(result)
    by_name = {scene.name: scene for scene in scenes}
    found = []
    for (name, labels), methods in grouped.items():
        rows = tuple(
            Row(method, tuple(sorted(own, key=lambda r: r.cell.seed)))
            for method, own in methods.items()
        )
        scene = by_name[name]
        beside = published(scene) if labels == "all" else ()
        found.append(Block(scene, labels, rows, beside))
    return found


def markdown(found: Sequence[Block]) -> str:
    """Return all blocks as Markdown, each with the paired tests below it."""
    parts = []
    for block in found:
        head = ["method", *(title for *_, title in MEASURES), "s", "MB"]
        lines = [
            f"**{markdown_cell(block.scene.name)}**, labels: {block.labels}, seeds"
            f" {', '.join(map(str, block.seeds))}",
            "",
            "| " + " | ".join(head) + " |",
            "|---|" + "---:|" * (len(head) - 1),
        ]
        for row, cells in zip(block.rows, _cells(block, "**{}**"), strict=True):
            lines.append("| " + " | ".join([markdown_cell(row.method), *cells]) + " |")
        for one in block.published:
            lines.append("| " + " | ".join([markdown_cell(_published(one)), *_figures(one)]) + " |")
        lines += believed(block)
        # a paragraph each
        told = [*paired(block), *speeds(block), *other_code(block)]
        told += [f"{one.method}, published: {one.source}." for one in block.published]
        for sentence in told:
            lines += ["", sentence]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def latex(found: Sequence[Block]) -> str:
    """Return all blocks as LaTeX tables for the booktabs package."""
    parts = []
    for block in found:
        columns = "l" + "r" * (len(MEASURES) + 2)
        head = ["Method", *(title for *_, title in MEASURES), "s", "MB"]
        lines = [
            r"\begin{table}",
            rf"\caption{{{_escaped(block.scene.name)}, labels: {_escaped(block.labels)}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            " & ".join(head) + r" \\",
            r"\midrule",
        ]
        for row, cells in zip(block.rows, _cells(block, r"\textbf{{{}}}"), strict=True):
            shown = [cell.replace("±", r"$\pm$").replace("–", "--") for cell in cells]
            lines.append(" & ".join([_escaped(row.method), *shown]) + r" \\")
        if block.published:
            lines.append(r"\midrule")
        for one in block.published:
            shown = [cell.replace("–", "--") for cell in _figures(one)]
            lines.append(" & ".join([_escaped(_published(one)), *shown]) + r" \\")
        lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def to_csv(found: Sequence[Block]) -> str:
    """Return a row per cell and class: all accuracies, seconds, memory, and the class's recall.

    Published figures are rows without a seed and without classes.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    measures = [f"{part}_{measure}" for part, measure, _ in MEASURES]
    cost = ["seconds", "memory_mb", "code", *_BELIEVED]
    head = ["scene", "labels", "method", "seed", *measures, *cost]
    writer.writerow([*head, "class_code", "class_name", "recall", "recall_far"])
    for block in found:
        classes = list(zip(block.scene.class_codes, block.scene.class_names, strict=True))
        own_name = _no_formula(block.scene.name)
        for row in block.rows:
            for result in row.results:
                own = [result.accuracy[part][measure] for part, measure, _ in MEASURES]
                start = [own_name, block.labels, _no_formula(row.method), result.cell.seed, *own]
                recalls = result.accuracy["all"]["per_class"]
                start += [result.seconds, result.memory_mb, result.code, *_believed(result)]
                away = result.accuracy["far"]["per_class"]
                for (code, name), *recall in zip(classes, recalls, away, strict=True):
                    writer.writerow([*start, code, _no_formula(name), *recall])
        for one in block.published:
            figures = [one.oa, one.aa, one.kappa, *[None] * (len(MEASURES) - 3)]
            start = [own_name, block.labels, _no_formula(_published(one)), None, *figures]
            writer.writerow([*start, *[None] * (len(cost) + 4)])
    return text.getvalue()


_BELIEVED = ("temperature", "ece_before", "ece_after", "aurc_before", "aurc_after")


def _believed(result: Result) -> list[float | None]:
    """Return the columns of `_BELIEVED`, shares from 0 to 1; empty where nothing is known."""
    found = result.confidence
    if not found.get("after", {}).get("count"):
        return [None] * len(_BELIEVED)
    measures = [found[when][name] for name in ("ece", "aurc") for when in ("before", "after")]
    return [found["temperature"], *measures]


def per_class(found: Sequence[Block]) -> str:
    """Return recall per class of every method as Markdown, mean ± deviation over seeds.

    Each block has two tables: of all test pixels, and of those far from training.
    """
    parts = []
    for block in found:
        names = [markdown_cell(name) for name in block.scene.class_names]
        for part, where in (("all", ""), ("far", ", test pixels far from training")):
            lines = [
                f"**{markdown_cell(block.scene.name)}**, labels: {block.labels}, recall per"
                f" class{where}",
                "",
                "| " + " | ".join(["method", *names]) + " |",
                "|---|" + "---:|" * len(names),
            ]
            for row in block.rows:
                recalls = [result.accuracy[part]["per_class"] for result in row.results]
                cells = [
                    spread([r for r in one if r is not None], 1)
                    for one in zip(*recalls, strict=True)
                ]
                lines.append("| " + " | ".join([markdown_cell(row.method), *cells]) + " |")
            parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


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


def _cells(block: Block, bold: str) -> list[list[str]]:
    """Cells of every row; the best mean of each accuracy is bold."""
    columns = []
    for part, measure, _ in MEASURES:
        found = [row.values(part, measure) for row in block.rows]
        top = max((fmean(values) for values in found if values), default=math.nan)
        texts = [spread(values, 2) for values in found]
        columns.append(
            [
                bold.format(text) if values and fmean(values) == top else text
                for text, values in zip(texts, found, strict=True)
            ]
        )
    columns.append([spread([r.seconds for r in row.results], 0) for row in block.rows])
    columns.append([f"{max(r.memory_mb for r in row.results):.0f}" for row in block.rows])
    return [list(cells) for cells in zip(*columns, strict=True)]


def spread(values: Sequence[float], digits: int) -> str:
    """Mean ± sample standard deviation, the value alone, or a dash where nothing is known."""
    if not values:
        return "–"
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{fmean(values):.{digits}f} ± {stdev(values):.{digits}f}"


def _published(one: Published) -> str:
    return f"{one.method} (published)"


def _figures(one: Published) -> list[str]:
    """Cells of a published row: OA, AA and kappa, nothing in the other columns."""
    shown = [_plain(one.oa), _plain(one.aa), _plain(one.kappa)]
    return [*shown, *[""] * (len(MEASURES) - 3 + 2)]


def _chance(p: float) -> str:
    """Return a p-value in words; those that no float can hold have a bound."""
    return f"p {p:.1g}" if p >= LEAST_CHANCE else f"p < {LEAST_CHANCE:.0e}"


def _plain(value: Any) -> str:  # noqa: ANN401
    return "–" if value is None else f"{value:.2f}"


_LATEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "|": r"\textbar{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


def _escaped(text: str) -> str:
    """Return a text for LaTeX, in which no part of it is a command."""
    return "".join(_LATEX.get(sign, sign) for sign in " ".join(text.split()))


def _no_formula(text: str) -> str:
    """Return a text for CSV that spreadsheets do not take for a formula."""
    return f"'{text}" if text[:1] in tuple("=+-@\t\r") else text
