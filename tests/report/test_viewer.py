from __future__ import annotations

import base64
import json
import zlib
from typing import Any

import numpy as np

from bdgf.report.overview import tile_overview
from bdgf.report.results import Results
from bdgf.report.viewer import viewer_data
from bdgf.scene.palette import palette


def unpacked(tile: dict[str, Any], name: str) -> np.ndarray:
    raw = zlib.decompress(base64.b64decode(tile["data"][name]))
    return np.frombuffer(raw, dtype=np.uint8).reshape(-1, tile["rows"], tile["cols"])


def test_the_page_gets_what_the_overview_has(results: Results) -> None:
    overview = tile_overview(results, 0)
    data = viewer_data(results, [overview])
    assert json.loads(json.dumps(data)) == data, "plain values only"
    assert [one["name"] for one in data["classes"]] == list(results.scene.class_names)
    assert [one["safe"] for one in data["classes"]] == list(palette(3))
    assert [one["own"] for one in data["classes"]] == list(results.scene.class_colors)
    tile = data["tiles"][0]
    np.testing.assert_array_equal(unpacked(tile, "classes")[0], overview.classes + 1)
    np.testing.assert_array_equal(unpacked(tile, "votes"), overview.votes + 1)
    sure = unpacked(tile, "confidence")[0].astype(float)
    known = overview.classes >= 0
    np.testing.assert_allclose((sure[known] - 1) / 254, overview.confidence[known], atol=0.002)
    assert (sure[~known] == 0).all()
    assert tile["tested"] == results.metrics["test_pixels"]
    grid = results.scene.tiles[0].grid
    assert grid.pixel_metres is not None
    assert tile["metres"] == grid.pixel_metres[0]
    assert tile["tall"] == 1
    assert tile["place"] == list(grid.transform)[:6]
