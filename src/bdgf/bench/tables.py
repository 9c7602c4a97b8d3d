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
from bdgf.bench.published import Published
from bdgf.bench.significance import mcnemar, signed_rank
from bdgf.bench.variants import OURS, variant
from bdgf.scene.scene import Scene

MEASURES = (
    ("all", "oa", "OA"),
    ("all", "aa", "AA"),
    ("all", "kappa", "kappa"),
    ("far", "oa", "OA far"),
    ("far", "aa", "AA far"),
)


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
            f"**{block.scene.name}**, labels: {block.labels}, seeds"
            f" {', '.join(map(str, block.seeds))}",
            "",
            "| " + " | ".join(head) + " |",
            "|---|" + "---:|" * (len(head) - 1),
        ]
        for row, cells in zip(block.rows, _cells(block, "**{}**"), strict=True):
            lines.append("| " + " | ".join([row.method, *cells]) + " |")
        for one in block.published:
            cells = [_plain(one.oa), _plain(one.aa), _plain(one.kappa), "", "", "", ""]
            lines.append("| " + " | ".join([f"{one.method} (published)", *cells]) + " |")
        lines += ["", *paired(block)]
        lines += [f"{one.method}, published: {one.source}." for one in block.published]
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
        lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def to_csv(found: Sequence[Block]) -> str:
    """Return every cell as a row: all accuracies, recall per class, seconds and memory."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    measures = [f"{part}_{measure}" for part, measure, _ in MEASURES]
    cost = ["seconds", "memory_mb"]
    head = ["scene", "labels", "method", "seed", *measures, *cost]
    writer.writerow([*head, "class_code", "class_name", "recall"])
    for block in found:
        classes = list(zip(block.scene.class_codes, block.scene.class_names, strict=True))
        for row in block.rows:
            for result in row.results:
                own = [result.accuracy[part][measure] for part, measure, _ in MEASURES]
                start = [block.scene.name, block.labels, row.method, result.cell.seed, *own]
                recalls = result.accuracy["all"]["per_class"]
                start += [result.seconds, result.memory_mb]
                for (code, name), recall in zip(classes, recalls, strict=True):
                    writer.writerow([*start, code, name, recall])
    return text.getvalue()


def per_class(found: Sequence[Block]) -> str:
    """Return recall per class of every method as Markdown, mean ± deviation over seeds."""
    parts = []
    for block in found:
        names = [_column(name) for name in block.scene.class_names]
        lines = [
            f"**{block.scene.name}**, labels: {block.labels}, recall per class",
            "",
            "| " + " | ".join(["method", *names]) + " |",
            "|---|" + "---:|" * len(names),
        ]
        for row in block.rows:
            recalls = [result.accuracy["all"]["per_class"] for result in row.results]
            cells = [
                spread([r for r in one if r is not None], 1) for one in zip(*recalls, strict=True)
            ]
            lines.append("| " + " | ".join([row.method, *cells]) + " |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def paired(block: Block) -> list[str]:
    """Compare our method with the best other one on the same pixels and seeds, in sentences."""
    ours = next((row for row in block.rows if row.method == OURS), None)
    others = [row for row in block.rows if not row.method.startswith(variant(""))]
    others = [row for row in others if row is not ours]
    if ours is None or not others:
        return []
    lines = []
    for measure, title in (("oa", "OA"), ("aa", "AA")):
        best = max(others, key=lambda row: fmean(row.values("all", measure)))
        a, b = ours.values("all", measure), best.values("all", measure)
        text = f"{title} against the best other, {best.method}: {fmean(a) - fmean(b):+.2f}"
        seeds = [r.cell.seed for r in ours.results] == [r.cell.seed for r in best.results]
        if seeds:
            p = signed_rank(np.array(a), np.array(b))
            wilcoxon = "too few seeds for Wilcoxon" if p is None else f"Wilcoxon p {p:.3f}"
            text += f" ({wilcoxon})"
        lines.append(text + ".")
        if measure == "oa" and seeds:
            reference = block.scene.labels_at("test")
            tests = [
                mcnemar(reference, x.predicted, y.predicted)
                for x, y in zip(ours.results, best.results, strict=True)
            ]
            told = ", ".join(f"{won}:{lost} (p {p:.1g})" for won, lost, p in tests)
            lines.append(f"McNemar per seed, pixels only one of them has right: {told}.")
    return lines


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


def _plain(value: Any) -> str:  # noqa: ANN401
    return "–" if value is None else f"{value:.2f}"


def _column(text: str) -> str:
    return text.replace("|", "\\|")


def _escaped(text: str) -> str:
    for sign in "&%$#_{}":
        text = text.replace(sign, f"\\{sign}")
    return text
