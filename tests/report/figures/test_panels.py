from __future__ import annotations

import numpy as np

from bdgf.report.figures.panels import panels_of
from bdgf.report.figures.pixels import RIGHT_COLOR, WRONG_COLOR, rgb
from bdgf.report.overview import RIGHT, WRONG, tile_overview
from bdgf.report.results import Results


def test_panels_show_what_they_say(results: Results) -> None:
    overview = tile_overview(results, 0)
    colors = results.scene.class_colors
    panels = {panel.name: panel for panel in panels_of(results, overview, colors)}
    assert list(panels) == [
        "modality_hsi", "modality_sar", "modality_dsm", "map", "confidence", "errors",
    ]  # fmt: skip
    for index, color in enumerate(colors):
        shown = (panels["map"].image == rgb(color)).all(axis=2)
        np.testing.assert_array_equal(shown, overview.classes == index)
    empty = overview.classes < 0
    assert empty.any()
    for name in ("map", "confidence", "modality_hsi"):
        assert (panels[name].image[empty] == 255).all(), name
    for verdict, color in ((RIGHT, RIGHT_COLOR), (WRONG, WRONG_COLOR)):
        shown = (panels["errors"].image == rgb(color)).all(axis=2)
        np.testing.assert_array_equal(shown, overview.verdict == verdict)
    wrong = 100 * float((~overview.test_right).mean())
    assert f"{wrong:.1f} %" in panels["errors"].title
    brightness = panels["confidence"].image.sum(axis=2)[~empty]
    order = np.argsort(overview.confidence[~empty])
    assert brightness[order[-1]] > brightness[order[0]], "bright is sure"
    assert panels["map"].ground is not None


def test_without_test_pixels_there_are_no_errors(single_results: Results) -> None:
    overview = tile_overview(single_results, 0)
    panels = panels_of(single_results, overview, single_results.scene.class_colors)
    assert "errors" not in [panel.name for panel in panels]
