"""Pictures of the modalities, and images and arrays as text that a page can hold."""

from __future__ import annotations

import base64
import io
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from bdgf.report.results import Results
from bdgf.scene.inspection.pictures import Image, color_bands, picture
from bdgf.scene.inspection.roles import kind_of

_LOSSLESS_UP_TO = 40_000
_QUALITY = 88


@dataclass(frozen=True)
class ModalityPicture:
    """A modality of a tile as colours.

    Args:
        name: Name of the modality.
        words: Which bands are shown, and how.
        image: (h, w, 3), white where there are no data; it covers the whole tile.
    """

    name: str
    words: str
    image: Image


def modality_picture(results: Results, tile: int, modality: int) -> ModalityPicture:
    """Draw a modality of a tile; radar that is classified in decibels is shown in decibels.

    Args:
        results: The run.
        tile: Index of the tile.
        modality: Index of the modality in the scene.

    Raises:
        SceneError: The file cannot be read.
    """
    source = results.scene.tiles[tile].sources[modality]
    name = results.scene.modalities[modality].name
    colour = kind_of((name, source.path.stem), False) == "colour"
    bands, words = color_bands(source, colour)
    decibels = bool(results.preparation.fitted[modality].decibel.any())
    words += ", in decibels" if decibels else ""
    return ModalityPicture(name, words, picture(source, bands, decibels))


def image_url(image: Image) -> str:
    """Return an image (h, w, 3) as an address that holds it: PNG where small, else JPEG."""
    small = image.shape[0] * image.shape[1] <= _LOSSLESS_UP_TO
    kind = "png" if small else "jpeg"
    buffer = io.BytesIO()
    Pillow.fromarray(np.ascontiguousarray(image)).save(
        buffer, format=kind, quality=_QUALITY, optimize=True
    )
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def packed(values: NDArray[np.generic]) -> str:
    """Return an array's bytes (row by row, little-endian), deflated, as base64."""
    little = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<")))
    return base64.b64encode(zlib.compress(little.tobytes(), 9)).decode("ascii")
