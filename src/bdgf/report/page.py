"""The page of a run: one self-contained HTML file that opens from disk."""

from __future__ import annotations

import base64
import functools
import hashlib
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from bdgf.files import atomic_write_text
from bdgf.report.charts import BOX, Chart, draw
from bdgf.report.content import class_rows, confusion_rows, method_rows, modality_rows
from bdgf.report.curves import confidence_charts, pretraining_charts, training_charts
from bdgf.report.overview import TileOverview, shown_tiles, tile_overview
from bdgf.report.projection import Projection, project
from bdgf.report.results import Results
from bdgf.report.viewer import viewer_data
from bdgf.scene.palette import palette

SCRIPTS = ("layers.js", "view.js", "controls.js", "page.js")
"""The parts of the page's script, in their order."""

_TEMPLATES = "templates"
_UNSEEN_SIDE = 64
_SPREAD = (340, 300)


def write_report(results: Results) -> None:
    """Write ``report.html`` into the folder of a run whose other stages are finished.

    Raises:
        RunFolderError: A file of an earlier stage is missing or damaged.
    """
    shown = set(shown_tiles(results))
    # of a tile that is not shown only the numbers are used
    sides = [{} if t in shown else {"most_side": _UNSEEN_SIDE} for t in _tiles(results)]
    overviews = [tile_overview(results, t, **side) for t, side in enumerate(sides)]
    text = render(results, overviews, shown)
    atomic_write_text(results.folder.path / "report.html", text)


def _tiles(results: Results) -> range:
    return range(len(results.scene.tiles))


@functools.cache
def _environment() -> jinja2.Environment:
    """The templates, compiled once in a process."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bdgf.report", _TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    return environment


def render(results: Results, overviews: list[TileOverview], shown: set[int]) -> str:
    """Return the page of a run.

    Args:
        results: The run.
        overviews: Of all tiles of the scene.
        shown: The tiles whose overviews go into the page.

    Raises:
        RunFolderError: A file of the run is missing or damaged.
        SceneError: A raster of the scene cannot be read.
    """
    names = [modality.name for modality in results.scene.modalities]
    script = "\n".join(_source(name) for name in SCRIPTS)
    template = _environment().get_template("report.html.j2")
    return template.render(
        metrics=results.metrics,
        warnings=results.warnings,
        environment=results.environment,
        seed=results.settings.seed,
        pixels=sum(tile.height * tile.width for tile in results.scene.tiles),
        tiles=len(results.scene.tiles),
        left_out=len(overviews) - len(shown),
        coarse=max(one.step for one in overviews if one.tile in shown),
        methods=method_rows(results.metrics["methods"]),
        without=method_rows(results.metrics["missing"]),
        classes=class_rows(results, overviews),
        confusion=confusion_rows(results),
        modalities=modality_rows(results),
        colors=palette(len(results.scene.class_codes)),
        split=results.scene.spec.split.kind,
        confidence=_drawings(confidence_charts(results.metrics["calibration"])),
        pretraining=_drawings(pretraining_charts(results.history, names)),
        training=_drawings(training_charts(results.history)),
        box=BOX,
        projection=_spread(project(results), len(results.scene.class_codes)),
        projection_size=_SPREAD,
        data=viewer_data(results, [one for one in overviews if one.tile in shown]),
        settings=(results.folder.path / "config.yaml").read_text(encoding="utf-8"),
        # The package's own files; nothing of a run goes in here.
        style=Markup(_source("report.css")),
        script=Markup(script),
        script_digest=_digest(script),
    )


def _drawings(charts: list[Chart]) -> list[Any]:
    return [draw(chart) for chart in charts]


def _spread(projection: Projection | None, classes: int) -> list[list[tuple[float, float]]]:
    """Return the points of every class on the drawing, nothing without a projection."""
    if projection is None:
        return []
    low, high = projection.points.min(axis=0), projection.points.max(axis=0)
    size = (high - low).clip(min=1e-9)
    placed = 10 + (projection.points - low) / size * [_SPREAD[0] - 20, _SPREAD[1] - 20]
    return [
        [(round(float(x), 1), round(float(y), 1)) for x, y in placed[projection.classes == index]]
        for index in range(classes)
    ]


def _source(name: str) -> str:
    text = resources.files("bdgf.report").joinpath(_TEMPLATES, name).read_text(encoding="utf-8")
    return text.strip()


def _digest(script: str) -> str:
    """Return the digest by which the page's policy lets this script run, and no other."""
    found = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return f"sha256-{found}"


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"
