"""All figures of a run, written into a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.figure import Figure

from bdgf.errors import SettingsError
from bdgf.progress import Progress
from bdgf.report.curves import confidence_charts, pretraining_charts, training_charts
from bdgf.report.figures.maps import Classes, panel_figure
from bdgf.report.figures.panels import Panel, panels_of
from bdgf.report.figures.plots import chart_figure, confusion_figure, projection_figure
from bdgf.report.figures.style import COLUMN, PAGE, check_formats, save, styled
from bdgf.report.overview import tile_overview
from bdgf.report.projection import project
from bdgf.report.results import Results
from bdgf.scene.palette import palette

Colors = Literal["scene", "safe"]
"""Colours of the classes: those of the scene file, or a palette for colour-blind readers."""

MOST_TILES = 24
"""Most tiles in one figure."""

_LARGE, _SMALL = 2100, 400
_PER_ROW, _OVERVIEW_TILES = 6, 5


def write_figures(
    results: Results,
    folder: Path,
    formats: Sequence[str],
    tile: str | None,
    colors: Colors,
    progress: Progress,
) -> list[Path]:
    """Write the figures of a finished run.

    Of a scene of several tiles, pictures show up to ``MOST_TILES`` of them, evenly over those with
    test pixels.

    Args:
        results: The run.
        folder: Where they go; it is made when it is missing, files of the same names are replaced.
        formats: ``png``, ``pdf`` or both.
        tile: Name of the only tile that pictures show; None for all.
        colors: Colours of the classes.
        progress: Told the number of figures.

    Returns:
        The files.

    Raises:
        SettingsError: A format or tile that is not known.
        RunFolderError: The run is damaged, or the folder cannot be written.
        SceneError: A raster of the scene cannot be read.
    """
    check_formats(formats)
    picked = _picked(results, tile)
    scene = results.scene
    fit = scene.class_colors if colors == "scene" else palette(len(scene.class_codes))
    classes: Classes = list(zip(scene.class_names, fit, strict=True))
    written: list[Path] = []
    with styled(progress.say):
        figures = {**_pictures(results, picked, classes), **_plots(results, classes)}
        for number, (name, figure) in enumerate(figures.items()):
            written += save(figure, folder, name, formats)
            progress.track("figures", number + 1, len(figures))
    return written


def _picked(results: Results, tile: str | None) -> list[int]:
    tiles = results.scene.tiles
    names = [one.name for one in tiles]
    if tile is not None:
        if tile not in names:
            few = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
            raise SettingsError(
                f"{tile!r} is no tile of {results.scene.name}, which has {few}; give one of them"
                " with --tile."
            )
        return [names.index(tile)]
    tested = [i for i, one in enumerate(tiles) if len(one.labels("test"))]
    pool = (
        list(range(len(tiles))) if len(tiles) <= MOST_TILES else tested or list(range(len(tiles)))
    )
    # Evenly over the list, which often goes by place: not the first corner only.
    chosen = np.linspace(0, len(pool) - 1, min(MOST_TILES, len(pool))).round().astype(int)
    return [pool[i] for i in chosen]


def _pictures(results: Results, picked: list[int], classes: Classes) -> dict[str, Figure]:
    """Return a figure of every kind of picture, and one of all kinds together."""
    side = _LARGE if len(picked) == 1 else _SMALL
    colors = [color for _, color in classes]
    by_tile = [panels_of(results, tile_overview(results, t, side), colors) for t in picked]
    names = [results.scene.tiles[t].name for t in picked]
    found = {}
    for kind, panel in enumerate(by_tile[0]):
        panels = [tile_panels[kind] for tile_panels in by_tile]
        if len(panels) == 1:
            found[panel.name] = panel_figure([panels], classes, COLUMN)
        else:
            found[panel.name] = panel_figure(_rows(panels, _PER_ROW), classes, PAGE, names)
    if len(by_tile) == 1:
        panels = by_tile[0]
        found["overview"] = panel_figure(_rows(panels, 3), classes, PAGE)
    else:
        # more rows would be too small to see anything
        even = np.linspace(0, len(by_tile) - 1, min(_OVERVIEW_TILES, len(by_tile)))
        some = [int(i) for i in even.round()]
        titles = [
            names[i] if place == 0 else panel.title.split(",")[0]
            for i in some
            for place, panel in enumerate(by_tile[i])
        ]
        found["overview"] = panel_figure([by_tile[i] for i in some], classes, PAGE, titles)
    return found


def _rows(panels: Sequence[Panel], columns: int) -> list[Sequence[Panel]]:
    return [panels[start : start + columns] for start in range(0, len(panels), columns)]


def _plots(results: Results, classes: Classes) -> dict[str, Figure]:
    found: dict[str, Figure] = {}
    modalities = [modality.name for modality in results.scene.modalities]
    charts = {
        "pretraining": pretraining_charts(results.history, modalities),
        "training": training_charts(results.history),
        "confidence_curves": confidence_charts(results.metrics["calibration"]),
    }
    for name, drawn in charts.items():
        if drawn:
            found[name] = chart_figure(drawn)
    if "BDGF" in results.metrics["methods"]:
        confusion = np.array(results.metrics["methods"]["BDGF"]["confusion"], dtype=np.int64)
        totals = np.bincount(results.scene.labels_at("test"), minlength=len(classes))
        found["confusion"] = confusion_figure(confusion, [name for name, _ in classes], totals)
    projection = project(results)
    if projection is not None:
        title = "t-SNE of the diffusion features"
        found["tsne"] = projection_figure(projection, classes, title)
    return found
