"""Tables of a comparison: mean ± standard deviation over seeds, as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from bdgf.bench.cells import Result
from bdgf.bench.published import Published
from bdgf.bench.remarks import believed, other_code, paired, speeds
from bdgf.bench.rows import Block
from bdgf.evaluation.table import markdown_cell, spread

MEASURES = (
    ("all", "oa", "OA"),
    ("all", "aa", "AA"),
    ("all", "kappa", "kappa"),
    ("far", "oa", "OA far"),
    ("far", "aa", "AA far"),
    ("far", "kappa", "kappa far"),
)


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


def _published(one: Published) -> str:
    return f"{one.method} (published)"


def _figures(one: Published) -> list[str]:
    """Cells of a published row: OA, AA and kappa, nothing in the other columns."""
    shown = [_plain(one.oa), _plain(one.aa), _plain(one.kappa)]
    return [*shown, *[""] * (len(MEASURES) - 3 + 2)]


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
