"""What the viewer of the page needs: pictures and overviews of every shown tile, for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray

from bdgf.report.overview import TileOverview
from bdgf.report.pictures import image_url, modality_picture, packed
from bdgf.report.results import Results
from bdgf.scene.grid import crs_name
from bdgf.scene.palette import palette

HEAT = "cividis"
"""Colours of the confidence: as bright to colour-blind readers as to others."""


def viewer_data(results: Results, overviews: Sequence[TileOverview]) -> dict[str, Any]:
    """Return plain values for the viewer.

    Arrays are bytes, deflated, in base64. Class indices are stored plus one, 0 for none; a
    confidence p is 1 + round(254 p), 0 for none.

    Args:
        results: The run.
        overviews: Of the tiles that are shown.

    Raises:
        SceneError: A raster of the scene cannot be read.
    """
    scene = results.scene
    wide = len(scene.class_codes) > 254
    heat = matplotlib.colormaps[HEAT](np.arange(256), bytes=True)[:, :3]
    safe = palette(len(scene.class_codes))
    classes = zip(scene.class_codes, scene.class_names, scene.class_colors, safe, strict=True)
    tiles = [_tile(results, overview, wide) for overview in overviews]
    return {
        "classes": [
            {"code": code, "name": name, "own": own, "safe": fit}
            for code, name, own, fit in classes
        ],
        "modalities": [modality.name for modality in scene.modalities],
        "heads": list(results.metrics["heads"]),
        "heat": heat.ravel().tolist(),
        "wide": wide,
        "tiles": tiles,
    }


def _tile(results: Results, overview: TileOverview, wide: bool) -> dict[str, Any]:
    tile = results.scene.tiles[overview.tile]
    rows, cols = overview.classes.shape
    pictures = [
        modality_picture(results, overview.tile, index)
        for index in range(len(results.scene.modalities))
    ]
    dtype = np.uint16 if wide else np.uint8

    def indices(values: NDArray[np.int32]) -> str:
        return packed((values + 1).astype(dtype))

    known = np.nan_to_num(overview.confidence, nan=0.0)
    sure = np.where(overview.classes >= 0, 1 + np.rint(254 * known), 0).astype(np.uint8)
    metres = tile.grid.pixel_metres
    t = tile.transform
    return {
        "name": tile.name,
        "height": tile.height,
        "width": tile.width,
        "rows": rows,
        "cols": cols,
        "step": overview.step,
        "wrong": int((~overview.test_right).sum()),
        "tested": len(overview.test_right),
        "place": list(t)[:6] if t is not None and tile.grid.placed else None,
        "crs": crs_name(tile.crs),
        "metres": None if metres is None else metres[0],
        "tall": 1.0 if metres is None or not min(metres) > 0 else metres[1] / metres[0],
        "pictures": [
            {"words": picture.words, "url": image_url(picture.image)} for picture in pictures
        ],
        "data": {
            "classes": indices(overview.classes),
            "confidence": packed(sure),
            "votes": indices(overview.votes),
            "train": indices(overview.train),
            "test": indices(overview.test),
            "verdict": packed(overview.verdict),
        },
    }
