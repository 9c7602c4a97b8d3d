"""Reading back the maps that were written."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from bdgf.errors import RunFolderError

_STRIP = 256  # rows: those of a block


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn failures of GDAL while a raster of the run is read into an error of ours.

    Only what opens or reads the raster belongs inside: all that GDAL fails at is taken for it.

    Raises:
        RunFolderError: The raster is missing or damaged.
    """
    try:
        yield
    except RasterioError as error:
        raise RunFolderError(
            f"{path} cannot be read ({error}); delete it and run 'bdgf map' again."
        ) from None


def open_raster(path: Path) -> Any:  # noqa: ANN401
    """Open a raster of the run, for a ``with`` statement.

    Raises:
        RunFolderError: It is missing or damaged.
    """
    with reading(path), warnings.catch_warnings():
        # scenes without coordinates are no fault
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(path)


def read_map(path: Path, class_codes: Sequence[int]) -> NDArray[np.int64]:
    """Read the class index of every pixel of a map.

    Args:
        path: A map that ``MapWriter`` wrote.
        class_codes: (K,) code of every class in the file.

    Returns:
        (H, W) class indices, −1 where there is no class.

    Raises:
        RunFolderError: The map is missing or damaged, or holds a code that is no class.
    """
    return class_indices(_read(path), class_codes, path)


def class_indices(
    codes: NDArray[np.generic], class_codes: Sequence[int], path: Path
) -> NDArray[np.int64]:
    """Return the class index of every code, −1 where it is 0.

    Args:
        codes: Class codes of any shape.
        class_codes: (K,) code of every class in the file.
        path: The file that they are from.

    Raises:
        RunFolderError: A code that is no class.
    """
    index_of = np.full(np.iinfo(np.uint16).max + 1, -2, dtype=np.int64)
    index_of[0] = -1
    index_of[list(class_codes)] = np.arange(len(class_codes))
    if codes.dtype in (np.uint8, np.uint16):  # as they are written, without copies of a large map
        indices: NDArray[np.int64] = index_of[codes]
        if (indices == -2).any():
            _refuse_code(codes, indices, path)
        return indices
    # a damaged file may be of another type, whose values no table has room for
    with np.errstate(invalid="ignore"):
        values = codes.astype(np.int64)
    known = (values >= 0) & (values < len(index_of)) & (values == codes)
    found = np.where(known, index_of[np.where(known, values, 0)], -2)
    if (found == -2).any():
        _refuse_code(codes, found, path)
    return found


def _refuse_code(codes: NDArray[np.generic], found: NDArray[np.int64], path: Path) -> NoReturn:
    strange = codes[found == -2].flat[0]
    raise RunFolderError(
        f"{path} holds the code {strange}, which is no class of the scene; run 'bdgf map' again."
    )


def classes_at(
    paths: Sequence[Path], class_codes: Sequence[int], positions: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Read the class index of some pixels, −1 where there is no class.

    Args:
        paths: The map of every tile.
        class_codes: (K,) code of every class in the files.
        positions: (n, 3) tile, row and column.

    Raises:
        RunFolderError: A map is missing or damaged, or holds a code that is no class.
    """
    found = np.empty(len(positions), dtype=np.int64)
    for tile, path in enumerate(paths):
        here = positions[:, 0] == tile
        if here.any():
            codes = _read_at(path, positions[here, 1:])
            found[here] = class_indices(codes, class_codes, path)
    return found


def read_confidence(path: Path) -> NDArray[np.float32]:
    """Read a confidence raster, (H, W), NaN where there is no class.

    Raises:
        RunFolderError: It is missing or damaged, or holds what is no probability.
    """
    return checked_confidence(_read(path), path)


def checked_confidence(values: NDArray[np.generic], path: Path) -> NDArray[np.float32]:
    """Return confidence that was read, after a look at whether it can be one.

    Args:
        values: Confidence of any shape, NaN where there is no class.
        path: The file that they are from.

    Raises:
        RunFolderError: A value that is no probability: the file was damaged.
    """
    found = values.astype(np.float32)
    # a softmax in float32 may exceed 1 by its rounding
    strange = (found < 0) | (found > 1 + 1e-5)
    if strange.any():
        raise RunFolderError(
            f"{path} holds the confidence {found[strange].flat[0]:g}; probabilities lie between 0"
            " and 1, so the file is damaged: run 'bdgf map' again."
        )
    return found


def confidence_at(paths: Sequence[Path], positions: NDArray[np.int64]) -> NDArray[np.float32]:
    """Read the confidence of some pixels, (n,), NaN where there is no class.

    Args:
        paths: The confidence raster of every tile.
        positions: (n, 3) tile, row and column.

    Raises:
        RunFolderError: A raster is missing or damaged, or holds what is no probability.
    """
    found = np.empty(len(positions), dtype=np.float32)
    for tile, path in enumerate(paths):
        here = positions[:, 0] == tile
        if here.any():
            found[here] = checked_confidence(_read_at(path, positions[here, 1:]), path)
    return found


def read_strips(
    path: Path, rows: int, size: tuple[int, int] | None = None
) -> Iterator[NDArray[np.generic]]:
    """Yield a raster of the run from top to bottom, so that a large one is never whole in memory.

    Args:
        path: Map, confidence or votes.
        rows: Rows of a strip; the last one may have fewer.
        size: (H, W) that it must have, None for any.

    Yields:
        (bands, h, W), h at most ``rows``.

    Raises:
        RunFolderError: The raster is missing or damaged, or has another size.
    """
    with open_raster(path) as source:
        if size is not None and source.shape != size:
            raise RunFolderError(_other_size(path, source.shape, size))
        for row in range(0, source.height, rows):
            height = min(rows, source.height - row)
            with reading(path):
                part = source.read(window=Window(0, row, source.width, height))
            yield part


def _read_at(path: Path, pixels: NDArray[np.int64]) -> NDArray[np.generic]:
    """Read some pixels (n, 2), strip by strip, so that a large raster is never whole in memory."""
    with open_raster(path) as source:
        least = (int(pixels[:, 0].max()) + 1, int(pixels[:, 1].max()) + 1)
        if source.height < least[0] or source.width < least[1]:
            raise RunFolderError(_other_size(path, source.shape, least))
        found = np.empty(len(pixels), dtype=source.dtypes[0])
        strip = pixels[:, 0] // _STRIP
        for number in np.unique(strip):
            here = strip == number
            rows, cols = pixels[here, 0], pixels[here, 1]
            row, col = int(rows.min()), int(cols.min())
            size = (int(cols.max()) - col + 1, int(rows.max()) - row + 1)
            with reading(path):
                part = source.read(1, window=Window(col, row, *size))
            found[here] = part[rows - row, cols - col]
        return found


def _other_size(path: Path, found: tuple[int, int], needed: tuple[int, int]) -> str:
    return (
        f"{path} has {found[0]} × {found[1]} pixels, its tile at least {needed[0]} × {needed[1]};"
        " run 'bdgf map' again."
    )


def _read(path: Path) -> NDArray[np.generic]:
    with open_raster(path) as source, reading(path):
        found: NDArray[np.generic] = source.read(1)
    return found
