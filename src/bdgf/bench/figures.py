"""Figures of a comparison: accuracy over labels, recall per class, maps of the test pixels."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
from matplotlib.patches import Patch
from numpy.typing import NDArray

from bdgf.bench.rows import Block, Row
from bdgf.bench.variants import CONTROLS, OURS, changes_of, variant
from bdgf.drawing import SCREEN, Say, new_figure, plain_text, save
from bdgf.files import file_name
from bdgf.report.figures.pixels import (
    OTHER_COLOR,
    RIGHT_COLOR,
    WRONG_COLOR,
    class_colors,
    false_color,
)
from bdgf.scene.scene import Scene

LINE_COLORS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#000000",
    "#7f7f7f",
)
"""Colours that the colour-blind can tell apart. Source: M. Okabe, K. Ito, Color Universal Design,
2008."""

MARKERS = "osD^vP*X"
REST_COLOR = "#cfcfcf"

MOST_BARS = 6
"""Methods of a bar chart; more bars per class are thinner than they can be read."""

MOST_PANELS = 24
"""Methods whose maps are shown."""

MOST_TILES = 36
"""Tiles of a scene that are shown."""

SIDE = 480
"""Longest side of a map in pixels; of a larger scene one test pixel stands for its neighbours."""

TALLEST = 30.0
"""Inches of all maps below each other; those of a tall, narrow scene are made smaller."""

Image = NDArray[np.uint8]


logger = logging.getLogger(__name__)


def write_figures(found: Sequence[Block], folder: Path, say: Say = logger.warning) -> list[Path]:
    """Draw all figures that the results of a comparison allow.

    Args:
        found: Methods by scene and number of labels.
        folder: Where the PNGs go.
        say: Receives a sentence on signs that no font has.

    Returns:
        The files: for every scene with several numbers of labels ``SCENE.labels.png``; for every
        scene and number of labels ``SCENE.LABELS.recall.png`` and ``SCENE.LABELS.maps.png``.

    Raises:
        RunFolderError: The folder cannot be written.
    """
    written = []
    by_scene: dict[str, list[Block]] = {}
    for block in found:
        by_scene.setdefault(block.scene.name, []).append(block)
    with plain_text(say):
        for name, own in by_scene.items():
            if len(own) > 1:
                written.append(folder / f"{file_name(name)}.labels.png")
                labels_figure(own, written[-1])
            for block in own:
                start = f"{file_name(name)}.{block.labels.split()[0]}"
                written.append(folder / f"{start}.recall.png")
                recall_figure(block, written[-1])
                written.append(folder / f"{start}.maps.png")
                maps_figure(block, written[-1])
    return written


def main_methods(found: Sequence[Block], most: int) -> list[str]:
    """Return the methods that stand out: ours, its controls, then others by their accuracy.

    Args:
        found: Blocks of one scene.
        most: How many at most.

    Returns:
        Names; other methods come before further variants of ours, each kind by the mean of OA and
        AA over all blocks that have it.
    """
    marks: dict[str, list[float]] = {}
    for block in found:
        for row in block.rows:
            marks.setdefault(row.method, []).append(row.mark())
    first = [OURS, *(variant(name) for name in CONTROLS)]

    def order(name: str) -> tuple[int, float]:
        kind = first.index(name) if name in first else len(first)
        return kind + (changes_of(name) is not None and name not in first), -fmean(marks[name])

    return sorted(marks, key=order)[:most]


def labels_figure(found: Sequence[Block], path: Path) -> None:
    """Draw OA and AA over the labels per class, mean ± deviation over seeds, a line per method.

    Of more than eight methods eight stand out by colour and marker; the others are thin and grey,
    without deviations.

    Args:
        found: Blocks of one scene, with several numbers of labels.
        path: PNG to write.

    Raises:
        RunFolderError: The folder cannot be written.
    """

    def budget(block: Block) -> float:
        first = block.rows[0].results[0].cell.budget
        return float("inf") if first is None else first

    ordered = sorted(found, key=budget)
    main = main_methods(found, len(LINE_COLORS))
    methods = list(dict.fromkeys(row.method for block in ordered for row in block.rows))
    rest = [name for name in methods if name not in main]
    figure = new_figure(10.5, 4.6, SCREEN)
    for number, (measure, title) in enumerate((("oa", "OA"), ("aa", "AA"))):
        axes = figure.add_subplot(1, 2, number + 1)
        for name in [*rest, *main]:
            at, means, spreads = [], [], []
            for place, block in enumerate(ordered):
                rows = [row for row in block.rows if row.method == name]
                values = rows[0].values("all", measure) if rows else []
                if values:
                    at.append(place)
                    means.append(fmean(values))
                    spreads.append(stdev(values) if len(values) > 1 else 0.0)
            style: dict[str, Any] = {"color": REST_COLOR, "linewidth": 0.8}
            if name in main:
                rank = main.index(name)
                style = {
                    "color": LINE_COLORS[rank],
                    "marker": MARKERS[rank],
                    "linewidth": 2.2 if name == OURS else 1.3,
                    "markersize": 5,
                    "capsize": 3,
                    "label": name,
                }
            elif name == rest[0]:
                style["label"] = f"{len(rest)} other methods"
            axes.errorbar(at, means, yerr=spreads if name in main else None, **style)
        axes.set_xticks(range(len(ordered)), [block.labels.split()[0] for block in ordered])
        axes.set_xlabel("training pixels per class")
        axes.set_ylabel(f"{title}, %")
        axes.grid(color="#e6e6e6", linewidth=0.6)
        axes.set_axisbelow(True)
    seeds = len(found[0].seeds)
    figure.suptitle(
        f"{found[0].scene.name}: mean and standard deviation of {seeds} seeds"
        if seeds > 1
        else f"{found[0].scene.name}: one seed",
        size=10,
    )
    handles, names = figure.axes[0].get_legend_handles_labels()
    if rest:  # drawn first, so that they lie below, but told last
        handles, names = [*handles[1:], handles[0]], [*names[1:], names[0]]
    figure.legend(handles, names, loc="center right", fontsize=8, frameon=False)
    figure.subplots_adjust(left=0.065, right=0.77, top=0.91, bottom=0.12, wspace=0.22)
    save(figure, path)


def recall_figure(block: Block, path: Path) -> None:
    """Draw the recall of every class as bars, mean ± deviation over seeds, for the main methods.

    Args:
        block: Methods on one scene with one number of labels.
        path: PNG to write.

    Raises:
        RunFolderError: The folder cannot be written.
    """
    main = main_methods([block], MOST_BARS)
    names = block.scene.class_names
    figure = new_figure(max(6.0, 1.6 + 0.17 * len(names) * (len(main) + 1.5)), 4.4, SCREEN)
    axes = figure.add_subplot(1, 1, 1)
    width = 0.86 / len(main)
    for rank, method in enumerate(main):
        row = next(row for row in block.rows if row.method == method)
        recalls = _recalls(row)
        places = np.arange(len(names)) + (rank - 0.5 * (len(main) - 1)) * width
        known = [place for place, values in zip(places, recalls, strict=True) if values]
        means = [fmean(values) for values in recalls if values]
        spreads = [stdev(v) if len(v) > 1 else 0.0 for v in recalls if v]
        axes.bar(
            known,
            means,
            width,
            yerr=spreads,
            color=LINE_COLORS[rank],
            label=method,
            error_kw={"linewidth": 0.8, "ecolor": "#333333"},
        )
    tested = np.bincount(block.scene.labels_at("test"), minlength=len(names))
    axes.set_xticks(
        range(len(names)),
        [f"{name}\n{count:,}" for name, count in zip(names, tested, strict=True)],
        rotation=45,
        ha="right",
        fontsize=8,
    )
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_ylim(0, 105)
    axes.set_ylabel("recall, %")
    axes.set_title(
        f"{block.scene.name}, labels: {block.labels}; below each class its test pixels", size=10
    )
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    figure.legend(loc="lower center", ncols=3, fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0.02 + 0.05 * -(-len(main) // 3), 1, 1))
    save(figure, path)


def maps_figure(block: Block, path: Path) -> None:
    """Draw what every method says of the test pixels, and where it errs, for the first seed.

    Args:
        block: Methods on one scene with one number of labels.
        path: PNG to write.

    Raises:
        RunFolderError: The folder cannot be written.
    """
    scene = block.scene
    canvas = Canvas(scene)
    panels = _maps_panels(block, canvas)
    height, width = canvas.shape
    # a pair of panels per method side by side, two, three or four pairs in a row
    pairs = len(panels) // 2
    across = min(pairs, 2 if width > 1.6 * height else 3 if width > 0.8 * height else 4)
    down = -(-pairs // across)
    panel = 2.3 if across > 2 else 3.2
    tall = 0.95 * panel * height / width + 0.26
    legend = 0.22 * -(-(len(scene.class_names) + 3) // max(1, int(2 * across * panel / 1.6)))
    tall = min(tall, TALLEST / down)
    size = (2 * across * panel, down * tall + legend + 0.75)
    figure = new_figure(*size, SCREEN)
    for number, (title, image) in enumerate(panels):
        axes = figure.add_subplot(down, 2 * across, number + 1)
        axes.imshow(image, interpolation="nearest")
        axes.set_title(title, fontsize=8, pad=2)
        axes.set_xticks([])
        axes.set_yticks([])
    figure.suptitle(_maps_title(block, canvas, len(block.rows) - (pairs - 1)), size=9)
    handles = [
        Patch(facecolor=color, edgecolor="#555555", linewidth=0.5, label=name)
        for name, color in (
            *zip(scene.class_names, scene.class_colors, strict=True),
            ("right", RIGHT_COLOR),
            ("wrong", WRONG_COLOR),
            ("not a test pixel", OTHER_COLOR),
        )
    ]
    figure.legend(
        handles=handles,
        ncols=max(1, int(size[0] / 1.6)),
        loc="lower center",
        fontsize=8,
        frameon=False,
        handlelength=1.2,
    )
    figure.subplots_adjust(
        left=0.01,
        right=0.99,
        top=1 - 0.56 / size[1],
        bottom=(legend + 0.12) / size[1],
        wspace=0.04,
        hspace=0.26 / (tall - 0.26),
    )
    save(figure, path)


class Canvas:
    """Where the test pixels of a scene lie on one picture, its tiles side by side.

    Args:
        scene: The scene.

    Attributes:
        tiles: Indices of the tiles that are shown: those with test pixels, 36 at most.
        left_out: How many tiles with test pixels are not shown.
        step: Pixels of the scene along one side of a pixel of the picture.
        shape: (h, w) of the picture.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.positions = scene.positions("test")
        tested = np.unique(self.positions[:, 0])
        picked = np.unique(np.linspace(0, len(tested) - 1, MOST_TILES).round().astype(int))
        self.tiles = [int(tile) for tile in tested[picked]]
        self.left_out = len(tested) - len(self.tiles)
        tiles = [scene.tiles[tile] for tile in self.tiles]
        cell = max(t.height for t in tiles), max(t.width for t in tiles)
        across = max(1, round((len(tiles) * cell[0] / cell[1]) ** 0.5))
        down = -(-len(tiles) // across)
        gap = 0 if len(tiles) == 1 else 1
        whole = down * cell[0], across * cell[1]
        self.step = max(1, -(-max(whole) // SIDE))
        # a cell is a whole number of pixels of the picture, so that tiles do not run together
        self._cell = tuple(-(-side // self.step) + gap for side in cell)
        self.shape = down * self._cell[0] - gap, across * self._cell[1] - gap
        self._corner = {
            tile: (place // across * self._cell[0], place % across * self._cell[1])
            for place, tile in enumerate(self.tiles)
        }
        shown = np.isin(self.positions[:, 0], self.tiles)
        self._shown = np.flatnonzero(shown)
        corner = np.array([self._corner[int(t)] for t in self.positions[shown, 0]]).reshape(-1, 2)
        self._place = corner + self.positions[shown, 1:] // self.step

    def paint(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return values (n_test,) on the picture (h, w), −1 where there is no test pixel.

        Where several test pixels fall together the last of them is shown, the same for all values.
        """
        found = np.full(self.shape, -1, dtype=np.int64)
        found[self._place[:, 0], self._place[:, 1]] = values[self._shown]
        return found

    def picture(self) -> Image:
        """Return the tiles in false colours, (h, w, 3), white between them."""
        found = np.full((*self.shape, 3), 255, dtype=np.uint8)
        for tile, (row, col) in self._corner.items():
            image = false_color(self.scene, tile, self.step)
            found[row : row + image.shape[0], col : col + image.shape[1]] = image
        return found


def _maps_panels(block: Block, canvas: Canvas) -> list[tuple[str, Image]]:
    """Titles and pictures in pairs: the scene and its test pixels, then map and errors of each."""
    scene = block.scene
    reference = scene.labels_at("test")
    panels = [
        ("False colours", canvas.picture()),
        ("Test pixels", class_colors(scene, canvas.paint(reference))),
    ]
    rows = {row.method: row for row in block.rows}
    for name in main_methods([block], MOST_PANELS):
        for result in rows[name].results:
            if result.cell.seed != block.seeds[0]:
                continue
            right = (result.predicted == reference).astype(np.int64)
            accuracy = result.accuracy["all"]
            title = f"OA {accuracy['oa']:.1f}, AA {accuracy['aa']:.1f}"
            panels.append((name, class_colors(scene, canvas.paint(result.predicted))))
            panels.append((title, _errors(canvas.paint(right))))
    return panels


def _maps_title(block: Block, canvas: Canvas, methods: int) -> str:
    """What the figure shows, and what it does not: tiles and `methods` that are left out."""
    parts = [f"{block.scene.name}, labels: {block.labels}, seed {block.seeds[0]}"]
    if canvas.step > 1:
        parts.append(f"a dot stands for {canvas.step}×{canvas.step} pixels")
    if canvas.left_out:
        parts.append(f"{canvas.left_out} more tiles have test pixels")
    if methods:
        parts.append(f"{methods} more methods are not shown")
    return "; ".join(parts)


def _recalls(row: Row) -> list[list[float]]:
    """Recall of every class over the seeds, empty for a class without test pixels."""
    found = [result.accuracy["all"]["per_class"] for result in row.results]
    return [[r for r in one if r is not None] for one in zip(*found, strict=True)]


def _errors(right: NDArray[np.int64]) -> Image:
    """Colours of (h, w) 1 for right, 0 for wrong and −1 for no test pixel."""
    colors = [tuple(bytes.fromhex(c[1:])) for c in (OTHER_COLOR, WRONG_COLOR, RIGHT_COLOR)]
    found: Image = np.array(colors, dtype=np.uint8)[right + 1]
    return found
