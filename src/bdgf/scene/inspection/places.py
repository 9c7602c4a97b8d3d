"""What looks wrong with where rasters lie: coordinates, axes, sizes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import CRSError
from scipy.ndimage import gaussian_gradient_magnitude

from bdgf.scene.formats.arrays import ArraySource
from bdgf.scene.formats.base import RasterSource
from bdgf.scene.formats.preview import preview
from bdgf.scene.grid import Grid
from bdgf.scene.inspection import words
from bdgf.scene.inspection.findings import Found, Raster, each_tile
from bdgf.scene.inspection.lineup import compared
from bdgf.scene.labels.vector_files import LayerInfo

_SIDE = 400
_BETTER, _ENOUGH = 0.15, 0.25
"""By how much edges must agree better with rows and columns exchanged, and how well at all."""


def place_doubts(found: Found) -> list[str]:
    """Say what looks wrong with coordinates and axes.

    Raises:
        SceneError: A file that cannot be read.
    """
    rasters = found.rasters
    sentences = [sentence for raster in rasters for sentence in _coordinates(raster)]
    sentences += _without_crs(rasters)
    for raster, first, how in compared(found):
        if not how.fits:
            sentences.append(how.text)
        elif _exchanged(raster.source, first.source):
            sentences.append(
                f"{raster.name} fits {first.name} clearly better with rows and columns exchanged:"
                f" look at both with --quicklook; 'axes: {_turned(raster)}' puts it right."
            )
        if raster.sizes and first.sizes:
            sentences += _sizes(raster, first)
    return [*sentences, *_vectors(found)]


def _turned(raster: Raster) -> str:
    source = raster.source
    own = source.axes if isinstance(source, ArraySource) else "HWC"
    return own.translate(str.maketrans("HW", "WH"))


def _vectors(found: Found) -> list[str]:
    """Vector layers that lie elsewhere than the images."""
    reference = found.reference
    if reference is None:
        return []
    grids = [Grid.of(source) for _, source in each_tile(reference.finest)]
    sentences = []
    for vector in found.vectors:
        for layer in vector.layers:
            if layer.extent is None:
                continue
            if not any(grid.placed for grid in grids):
                sentences.append(
                    f"{vector.path.name} holds coordinates, and {reference.name} has none: polygons"
                    " cannot be laid onto it; give the images their georeference."
                )
            elif not any(_meet(layer, grid) for grid in grids):
                sentences.append(
                    f"{vector.path.name} does not meet {reference.finest.name}"
                    f" ({words.extent(grids[0])}): is its CRS right?"
                )
    return sentences


def _meet(layer: LayerInfo, grid: Grid) -> bool:
    """Whether the extents of a layer and of a grid have a part in common; True where unknown."""
    try:
        system = None if layer.crs is None else CRS.from_user_input(layer.crs)
    except CRSError:
        return True
    box = grid.bounds_in(system)
    if box is None or layer.extent is None:
        return True
    left, bottom, right, top = layer.extent
    return left <= box[2] and right >= box[0] and bottom <= box[3] and top >= box[1]


def _coordinates(raster: Raster) -> list[str]:
    """Coordinates that do not go with their system."""
    grid = Grid.of(raster.source)
    if grid.crs is None or grid.bounds is None or grid.pixel is None:
        return []
    left, bottom, right, top = grid.bounds
    if not grid.placed or (grid.crs.is_projected and grid.pixel == (1.0, 1.0) and left == 0):
        return [
            f"{raster.name} names {words.system(grid.crs)}, and its coordinates only count pixels:"
            " give it its transform again, or it cannot be laid onto other files."
        ]
    if grid.crs.is_geographic:
        if max(abs(left), abs(right)) > 360 or max(abs(bottom), abs(top)) > 90:
            if max(abs(bottom), abs(top)) <= 180 and max(abs(left), abs(right)) <= 90:
                why = "longitude and latitude look exchanged"
            else:
                why = "they look like metres: name the projected system that they are in"
            return [
                f"{raster.name} is in degrees by {words.system(grid.crs)}, and its extent is"
                f" {words.extent(grid)}: {why}."
            ]
        return []
    degrees = max(abs(left), abs(right)) <= 180 and max(abs(bottom), abs(top)) <= 90
    if degrees and max(grid.pixel) < 0.05:
        unit = "metres" if words.unit(grid.crs) == "m" else words.unit(grid.crs)
        return [
            f"{raster.name} is in {unit} by {words.system(grid.crs)}, and its coordinates"
            f" ({left:.5g}, {top:.5g}) look like degrees: name EPSG:4326 if they are."
        ]
    return []


def _without_crs(rasters: Sequence[Raster]) -> list[str]:
    """Files without a system among others that have one."""
    placed = [raster for raster in rasters if raster.source.crs is not None]
    silent = [raster for raster in rasters if raster.source.crs is None]
    lying = [raster for raster in silent if Grid.of(raster.source).placed]
    if not placed or not lying:
        return []
    verb = "names" if len(lying) == 1 else "name"
    return [
        f"{words.listed([raster.name for raster in lying])} {verb} no coordinate reference system"
        f" and {'has' if len(lying) == 1 else 'have'} coordinates; they are taken to be in that of"
        f" {placed[0].name}, {words.system(placed[0].source.crs)}."
    ]


def _sizes(raster: Raster, reference: Raster) -> list[str]:
    """Tiles on which a raster has another size than the reference."""
    if raster.tiles is None or raster.tiles is not reference.tiles:
        return []
    factors = {
        name: (own[0] / its[0], own[1] / its[1])
        for name, own, its in zip(raster.tiles.names, raster.sizes, reference.sizes, strict=True)
    }
    usual = factors[raster.tiles.names[0]]
    other = [
        name for name, f in factors.items() if max(abs(f[0] - usual[0]), abs(f[1] - usual[1])) > 0.1
    ]
    if not other:
        return []
    return [
        f"{raster.name} has another size than on the other tiles, compared with {reference.name},"
        f" on {words.plural(len(other), 'tile')} ({words.listed(other, 5)}): leave these tiles out,"
        " or get their files again."
    ]


def _exchanged(source: RasterSource, reference: RasterSource) -> bool:
    """Whether edges in a square image agree much better with those of another when transposed."""
    square = source.height == source.width and reference.height == reference.width
    if not square or Grid.of(source).placed or source.height != reference.height:
        return False
    own, its = _edges(source), _edges(reference)
    if own.shape != its.shape:
        return False
    straight, turned = _agreement(own, its), _agreement(own.T, its)
    return turned > _ENOUGH and turned > straight + _BETTER


def _edges(source: RasterSource) -> NDArray[np.float64]:
    """Strength of the edges (h, w) of a small picture, over all bands."""
    values, valid = preview(source, _SIDE)
    total = np.zeros(values.shape[1:])
    for band, good in zip(values[:: max(1, len(values) // 8)], valid, strict=False):
        low, high = np.percentile(band[good], (2, 98)) if good.any() else (0.0, 1.0)
        scaled = np.clip((band - low) / max(float(high - low), 1e-12), 0.0, 1.0)
        total += gaussian_gradient_magnitude(scaled.astype(np.float64), 1.0)
    return total


def _agreement(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Correlation of two pictures."""
    if not one.std() or not other.std():
        return 0.0
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])
