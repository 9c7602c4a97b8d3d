"""Label rasters: codes of a file to indices of classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bdgf.errors import SceneError
from bdgf.scene.formats.base import RasterSource
from bdgf.scene.windows import Window

UNLABELLED = -1
"""Class index of a pixel without a label."""


def read_codes(
    source: RasterSource, window: Window | None = None, ignore: Sequence[int] = ()
) -> NDArray[np.int32]:
    """Read the codes (H, W) of a label raster; 0 where unlabelled, nodata or NaN.

    Args:
        source: The raster.
        window: A window inside it; None reads all of it.
        ignore: Codes that mean unlabelled, too.

    Raises:
        SceneError: Several bands, or values that are not whole numbers or too large for a code.
    """
    if source.bands != 1:
        raise SceneError(
            f"{source.path.name} has {source.bands} bands; labels are one band of class codes: save"
            " that band alone."
        )
    values, valid = source.read(window or Window(0, 0, source.height, source.width))
    # Invalid pixels are 0 already, which is the code of "unlabelled".
    left_out = np.isin(values[0], np.asarray(ignore, dtype=values.dtype))
    found = np.where(left_out, 0, values[0])
    whole = np.rint(found)
    broken = valid[0] & ((whole != found) | (np.abs(whole) > 2**24))
    if broken.any():
        raise SceneError(
            f"{source.path.name} holds the value {found[broken][0]:g}; labels are whole"
            " numbers, 0 where unlabelled: is it a label raster?"
        )
    codes: NDArray[np.int32] = whole.astype(np.int32)
    return codes


def to_indices(
    codes: NDArray[np.int32], class_codes: tuple[int, ...], name: str
) -> NDArray[np.int16]:
    """Turn codes (H, W) into indices 0..K-1 of the classes, -1 where unlabelled.

    Args:
        codes: Class codes.
        class_codes: Code of every class, sorted.
        name: Name of the file in messages.

    Raises:
        SceneError: A code without a class.
    """
    known = np.array((0, *class_codes))
    unknown = codes[~np.isin(codes, known)]
    if unknown.size:
        code = int(unknown.min())
        count = int(np.count_nonzero(unknown == code))
        ways = f"add {code} to classes, or " if code > 0 else ""
        raise SceneError(
            f"{name} has code {code} on {count:,} pixels, and the scene names no class {code}:"
            f" {ways}where it means unlabelled, set those pixels to 0, or add 'ignore: [{code}]' to"
            " the labels of a scene file."
        )
    indices = np.searchsorted(known[1:], codes).astype(np.int16)
    indices[codes == 0] = UNLABELLED
    return indices
