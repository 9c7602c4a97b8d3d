"""Results of a comparison by scene, number of labels and method: what tables and figures show."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from bdgf.bench.cells import Result
from bdgf.bench.published import Published
from bdgf.scene.scene import Scene


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
