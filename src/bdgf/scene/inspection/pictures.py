"""Small pictures of rasters and of the labels on them, at bounded cost."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from bdgf.errors import SceneError
from bdgf.scene.alignment import align
from bdgf.scene.formats.base import RasterSource
from bdgf.scene.formats.opening import read_array
from bdgf.scene.formats.preview import preview
from bdgf.scene.formats.selection import BandSelection
from bdgf.scene.grid import Grid
from bdgf.scene.inspection.label_files import LabelSource
from bdgf.scene.labels.index_lists import index_codes
from bdgf.scene.labels.roi import roi_codes
from bdgf.scene.labels.vector import VectorLabels
from bdgf.scene.windows import windows_of

Image = NDArray[np.uint8]
"""Red, green and blue (h, w, 3)."""

MOST_SIDE = 1200
"""Most rows and columns of a picture."""

WHITE = 255
_MOST_PIXELS = 25_000_000
_ALL_BANDS = 16
_SIDE = 1024
_VISIBLE = (650.0, 550.0, 450.0)
_NEAR = 60.0
_NAMED = re.compile(r"B0?([234])(?![0-9A])", re.IGNORECASE)


def color_bands(source: RasterSource, colour: bool = False) -> tuple[list[int], str]:
    """Choose the bands that are shown as red, green and blue, or one that is shown in grey.

    Args:
        source: The raster.
        colour: Whether it is a camera's image, whose bands are red, green and blue.

    Returns:
        Numbers of the bands from 1, and what they are in words.
    """
    if source.bands == 1:
        return [1], "one band"
    waves = np.array([np.nan if w is None else w for w in source.wavelengths], dtype=np.float64)
    if np.isfinite(waves).any():
        nearest = [int(np.nanargmin(np.abs(waves - wave))) for wave in _VISIBLE]
        close = np.abs(waves[nearest] - np.array(_VISIBLE)).max() <= _NEAR
        if close and len(set(nearest)) == 3:
            shown = ", ".join(f"{waves[band]:.0f}" for band in nearest)
            return [band + 1 for band in nearest], f"{shown} nm as red, green, blue"
    named = {m.group(1): i for i, n in enumerate(source.band_names, 1) if (m := _NAMED.match(n))}
    if {"2", "3", "4"} <= named.keys():
        return [named["4"], named["3"], named["2"]], "bands B4, B3, B2 as red, green, blue"
    if colour or source.bands == 3:
        chosen = [1, 2, 3]
    elif source.bands == 2:
        chosen = [1, 2, 1]
    elif source.bands == 4:
        chosen = [3, 2, 1]
    elif source.bands > 30:
        # 0.4 to 2.5 um: near infrared, red and green, clear of the water bands.
        chosen = [round(share * (source.bands - 1)) + 1 for share in (0.25, 0.12, 0.06)]
    else:
        chosen = [round(share * (source.bands - 1)) + 1 for share in (0.6, 0.25, 0.15)]
    if source.bands == 2:
        return chosen, "band 1 magenta, band 2 green"
    listed = ", ".join(map(str, chosen))
    return chosen, f"bands {listed} as red, green, blue"


def picture(source: RasterSource, bands: Sequence[int], decibels: bool = False) -> Image:
    """Draw bands of a raster, each stretched between its 2nd and 98th percentile.

    Args:
        source: The raster.
        bands: Numbers (from 1) of three bands, or of one that is shown in grey.
        decibels: Whether values are linear intensity that is shown in decibels.

    Raises:
        SceneError: The file cannot be read.
    """
    whole = source.bands <= _ALL_BANDS or source.height * source.width > _MOST_PIXELS
    values, valid = preview(
        source if whole else BandSelection(source, tuple(dict.fromkeys(bands))), MOST_SIDE
    )
    order = bands if whole else [list(dict.fromkeys(bands)).index(band) + 1 for band in bands]
    chosen = [band - 1 for band in order]
    return stretched(values[chosen], valid[chosen], decibels)


def stretched(
    values: NDArray[np.float32], valid: NDArray[np.bool_], decibels: bool = False
) -> Image:
    """Return values (1 or 3, h, w) as colours; pixels without data are white."""
    known = valid.all(axis=0)
    image = np.zeros((*known.shape, len(values)))
    for channel, band in enumerate(values.astype(np.float64)):
        if decibels:
            band = 10 * np.log10(np.maximum(band, 1e-10))
        low, high = np.percentile(band[known], (2, 98)) if known.any() else (0.0, 1.0)
        if high <= low and known.any():
            low, high = float(band[known].min()), float(band[known].max())
        image[..., channel] = (band - low) / max(float(high - low), 1e-12)
    colors: Image = (np.clip(image, 0.0, 1.0) * 255).astype(np.uint8)
    colors = np.repeat(colors, 3, axis=2) if len(values) == 1 else colors
    colors[~known] = WHITE
    return colors


def label_codes(
    one: LabelSource,
    image: RasterSource,
    size: tuple[int, int],
    classes: Mapping[int, str],
    labels: RasterSource | None = None,
    codes: RasterSource | None = None,
) -> NDArray[np.int32]:
    """Return the codes of labels (h, w) on a picture of an image; 0 where there is none.

    Where several pixels are one of the picture's, any of their labels is shown: few labelled pixels
    would vanish otherwise.

    Args:
        one: The labels.
        image: The image.
        size: Rows and columns of the picture.
        classes: Names of the classes by code.
        labels: The raster of these labels for the image's tile; None takes the first tile's.
        codes: The map that a list of pixels picks from.

    Raises:
        SceneError: The labels do not fit, or a file cannot be read.
    """
    grid = Grid.of(image)
    if one.form == "raster" and one.raster is not None:
        source = labels or one.raster.source
        source, _ = align(
            source, grid, name=one.name, reference=image.path.name, categorical=True, multiples=True
        )
        return thinned(source, size)
    if one.form == "vector" and isinstance(one.path, Path):
        drawn = VectorLabels(one.path, one.fields.get("column"), one.fields.get("layer"), classes)
        return drawn.codes(_smaller(grid, size))
    if grid.height * grid.width > 4 * _MOST_PIXELS:
        raise SceneError(f"{one.name} is not drawn on {image.path.name}, which is too large.")
    if one.form == "roi" and isinstance(one.path, Path):
        return reduced(roi_codes(one.path, grid, classes), size)
    whole = None if codes is None else thinned(codes, (codes.height, codes.width))
    listed = read_array(Path(str(one.path)), one.fields.get("key"))
    placed, _ = index_codes(listed, None, whole, (grid.height, grid.width), one.name)
    return reduced(placed, size)


def thinned(source: RasterSource, size: tuple[int, int]) -> NDArray[np.int32]:
    """Return the codes of a label raster in a picture of another size."""
    if source.height * source.width > _MOST_PIXELS:
        values, _ = preview(source, max(size))
        rows = np.arange(size[0]) * values.shape[1] // size[0]
        cols = np.arange(size[1]) * values.shape[2] // size[1]
        shown: NDArray[np.int32] = np.rint(values[0][np.ix_(rows, cols)]).astype(np.int32)
        return shown
    found = np.zeros(size, dtype=np.int32)
    for window in windows_of(source.height, source.width, _SIDE):
        values, _ = source.read(window)
        rows, cols = np.nonzero(values[0])
        at = (
            (rows + window.row) * size[0] // source.height,
            (cols + window.col) * size[1] // source.width,
        )
        found[at] = np.rint(values[0][rows, cols]).astype(np.int32)
    return found


def reduced(codes: NDArray[np.int32], size: tuple[int, int]) -> NDArray[np.int32]:
    """Return codes (H, W) at a smaller size (h, w), of which no labelled pixel is lost."""
    found = np.zeros(size, dtype=np.int32)
    rows, cols = np.nonzero(codes)
    found[rows * size[0] // codes.shape[0], cols * size[1] // codes.shape[1]] = codes[rows, cols]
    return found


def _smaller(grid: Grid, size: tuple[int, int]) -> Grid:
    """Return the same place with other numbers of rows and columns."""
    if grid.transform is None:
        return Grid(*size, None, grid.crs)
    down, across = grid.height / size[0], grid.width / size[1]
    t = grid.transform
    scaled = Affine(t.a * across, t.b * down, t.c, t.d * across, t.e * down, t.f)
    return Grid(*size, scaled, grid.crs)
