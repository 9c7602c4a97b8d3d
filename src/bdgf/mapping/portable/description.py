"""What a user of an exported mapper has to know, as JSON."""

from __future__ import annotations

import math
from typing import Any

from bdgf import __version__
from bdgf.diffusion.denoiser import STRIDE
from bdgf.mapping.legend import Legend
from bdgf.scene.description import ModalitySpec
from bdgf.scene.fitted_modality import FittedModality
from bdgf.scene.formats.base import RasterSource
from bdgf.scene.preparation import Preparation
from bdgf.scene.scene import Scene

FORMAT = 2


def describe(
    preparation: Preparation,
    scene: Scene,
    legend: Legend,
    halo: int,
    smallest: int,
    features: int = 0,
) -> dict[str, Any]:
    """Return the description of an exported mapper.

    Args:
        preparation: Statistics of the run.
        scene: The scene that the run was trained on.
        legend: Classes of the maps.
        halo: Pixels that are not right at a cut.
        smallest: Smallest side of a tile.
        features: Number of diffusion features, 0 where nothing guides the branches.
    """
    first, modalities = 0, []
    for fitted, modality, source in zip(
        preparation.fitted, scene.modalities, scene.tiles[0].sources, strict=True
    ):
        modalities.append(_modality(fitted, modality, source, first))
        first += fitted.bands
    size = scene.tiles[0].grid.pixel_metres
    crs = scene.tiles[0].crs
    return {
        "format": FORMAT,
        "bdgf": __version__,
        "scene": scene.name,
        "input": {
            "name": "values",
            "type": "float32",
            "shape": [first, "rows", "columns"],
            "meaning": "raw values of all modalities, in the order of 'modalities'; NaN where a"
            " band is not valid",
        },
        "output": {
            "name": "log_probabilities",
            "type": "float32",
            "shape": ["classes", "rows", "columns"],
            "meaning": "natural logarithm of the probabilities; NaN where there is no class",
        },
        "features": None
        if not features
        else {
            "name": "features",
            "type": "float16",
            "shape": [features, "rows", "columns"],
            "meaning": "diffusion features that guide the branches, a second output",
        },
        "modalities": modalities,
        "classes": [
            {"code": code, "name": name, "color": color}
            for code, name, color in zip(legend.codes, legend.names, legend.colors, strict=True)
        ],
        "no_data": 0,
        "halo": halo,
        "stride": STRIDE,
        "smallest_side": smallest,
        "pixel_size_m": None if size is None else [round(value, 6) for value in size],
        "crs": None if crs is None else crs.to_string(),
    }


def _modality(
    fitted: FittedModality, modality: ModalitySpec, source: RasterSource, first: int
) -> dict[str, Any]:
    wavelengths = list(source.wavelengths)
    nodata = modality.nodata if modality.nodata is not None else source.nodata
    return {
        "name": fitted.name,
        "role": fitted.role,
        "bands": fitted.bands,
        "first_band": first,
        # bands of a raster that has more than those that the scene uses
        "read": list(modality.bands or range(1, fitted.bands + 1)),
        "band_names": list(source.band_names),
        "wavelengths_nm": wavelengths if any(wavelengths) else None,
        "used_bands": [int(band) + 1 for band in fitted.kept],
        "units": modality.units,
        "brought_to_decibels": [int(band) + 1 for band in fitted.kept[fitted.decibel]],
        "nodata": None if nodata is None or not math.isfinite(nodata) else float(nodata),
        # whether GDAL's own masks of the files count beside it
        "masked": source.masked,
    }
