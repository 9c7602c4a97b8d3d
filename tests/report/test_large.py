"""A scene of several thousand pixels a side: the page shows overviews and stays small."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import yaml
from affine import Affine
from rasterio.enums import Resampling
from rasterio.shutil import copy
from rasterio.vrt import WarpedVRT

from bdgf.presets import replace
from bdgf.report.overview import MOST_SIDE
from bdgf.report.page import write_report
from bdgf.report.results import Results
from bdgf.runfolder import RunFolder
from bdgf.scene.scene import Scene

TIMES = 50
"""So much larger than the run that was carried out: 2000 × 2600 pixels."""


def enlarge(path: Path, target: Path) -> None:
    """Write a raster whose pixels are each ``TIMES`` × ``TIMES`` pixels."""
    with rasterio.open(path) as raster:
        large = {
            "height": raster.height * TIMES,
            "width": raster.width * TIMES,
            "transform": raster.transform @ Affine.scale(1 / TIMES),
            "resampling": Resampling.nearest,
        }
        with WarpedVRT(raster, **large) as view:
            options = {"tiled": True, "compress": "lzw", "bigtiff": "if_safer"}
            copy(view, target, driver="GTiff", **options)
        with rasterio.open(target, "r+") as written:
            written.descriptions = raster.descriptions


@pytest.fixture(scope="module")
def large_results(results: Results, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The finished run as if its scene had many more pixels, all of them different."""
    folder = tmp_path_factory.mktemp("large")
    (folder / "scene").mkdir()
    small = results.scene.spec.path
    shutil.copy(small, folder / "scene")
    values = yaml.safe_load(small.read_text())
    names = [modality["path"] for modality in values["modalities"].values()]
    for name in (*names, "train.tif", "test.tif"):
        enlarge(small.parent / name, folder / "scene" / name)
    run = folder / "run"
    shutil.copytree(results.folder.path, run, ignore=shutil.ignore_patterns("features", "*.html"))
    rng = np.random.default_rng(0)
    for name in ("map.tif", "confidence.tif", "votes.tif"):
        enlarge(results.folder.path / name, run / name)
        with rasterio.open(run / name, "r+") as raster:
            # noise, which no compression makes small
            noisy = raster.read()
            known = noisy > 0
            noisy[known] = (
                rng.random(int(known.sum()), dtype=np.float32)
                if np.issubdtype(noisy.dtype, np.floating)
                else rng.integers(1, 4, int(known.sum()))
            )
            raster.write(noisy)
    settings = replace(results.settings, {"features.source": "none"})
    return Results(Scene.open(folder / "scene"), RunFolder(run), settings)


def test_the_page_of_a_large_scene_stays_small_and_opens(
    large_results: Results, browser: Any
) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    tile = large_results.scene.tiles[0]
    assert (tile.height, tile.width) == (2000, 2600)
    write_report(large_results)
    path = large_results.folder.path / "report.html"
    # one byte of 13 layers for at most MOST_SIDE² cells, in base64
    assert path.stat().st_size < 13 * MOST_SIDE**2 * 4 / 3
    browser.get_log("browser")
    browser.get(path.as_uri())
    ready = "return document.getElementById('viewer').dataset.ready === 'true'"
    WebDriverWait(browser, 60).until(lambda page: page.execute_script(ready))
    assert browser.get_log("browser") == []
    text = browser.find_element("css selector", "main").text
    assert "overviews, of up to 3 × 3 pixels per cell" in text
