"""Labels as lists of pixel positions, as benchmark ``.mat`` files hold their official splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bdgf.errors import SceneError

Order = Literal["auto", "row-major", "column-major"]
"""How a linear index runs through the image: along rows, along columns (MATLAB), or as found."""


@dataclass(frozen=True, eq=False)
class _Reading:
    """One way to read a list: positions (n,) that all lie inside the grid, and its words."""

    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    words: str
    options: str
    exchanged: bool = False


def is_index_list(shape: tuple[int, ...], height: int, width: int) -> bool:
    """Whether an array's shape says a list of pixels rather than a map of the scene.

    Lists are (n, 2), (2, n), (n, 3) and the linear (n,), (n, 1), (1, n), with columns before rows
    where both would do: (2, 3) are two pixels with codes. An array of the scene's own size is a
    map, also when it is transposed.

    Args:
        shape: Shape of the array.
        height: H, number of rows of the scene.
        width: W, number of columns of the scene.
    """
    if len(shape) == 1:
        return True
    if len(shape) != 2 or sorted(shape) == sorted((height, width)):
        return False
    return shape[1] in (1, 2, 3) or shape[0] in (1, 2)


def index_codes(
    array: NDArray[Any],
    base: int | None,
    codes: NDArray[np.int32] | None,
    grid_shape: tuple[int, int],
    name: str,
    order: Order = "auto",
    ignore: Sequence[int] = (),
) -> tuple[NDArray[np.int32], str]:
    """Place the codes of a map, or of a list's third column, at the listed pixels.

    Two columns (or two rows) are row and column of every pixel, three columns are row, column and
    code, one column or row is the linear index. What is not told is found: a 0 in the list says
    that it counts from 0, a value equal to H or W that it counts from 1; otherwise it is read so
    that every listed pixel has a label in the map. Columns in the order (column, row) are noticed
    where the values fit in no other way, or no other way gives every pixel a label.

    Args:
        array: The list; see `is_index_list`.
        base: 0 or 1, what the first row and column (or the first pixel) is called; None finds it.
        codes: Map (H, W) of codes to pick from, 0 where unlabelled; not used for three columns.
        grid_shape: H and W of the scene.
        name: Name of the list in messages.
        order: How linear indices run through the image.
        ignore: Codes of the third column that mean unlabelled.

    Returns:
        Codes (H, W), 0 at every pixel that is not listed, and how the list was read, in words.

    Raises:
        SceneError: Positions that are not whole numbers or lie outside the scene, one pixel with
            two codes, no map where the list has no codes, or a list that can be read in two ways.
    """
    values = _whole(array, name)
    listed_codes: NDArray[np.int64] | None = None
    if values.ndim == 2 and values.shape[1] == 3:
        values, listed_codes = values[:, :2], values[:, 2]
        listed_codes = np.where(np.isin(listed_codes, ignore), 0, listed_codes)
        _check_codes(listed_codes, name)
    elif codes is None:
        raise SceneError(
            f"{name} lists pixels without classes; a list needs the map that has the class of every"
            " pixel: name the label map beside it, or add the codes as a third column."
        )
    if codes is not None and codes.shape != grid_shape:
        raise SceneError(
            f"the label map of {name} has {codes.shape[0]} × {codes.shape[1]} pixels (rows ×"
            f" columns), the scene {grid_shape[0]} × {grid_shape[1]}; the two must be the same:"
            " name the map of this scene."
        )
    map_of = None if listed_codes is not None else codes
    readings = _readings(values, base, grid_shape, order)
    if not any(_credible(reading, map_of) for reading in readings):
        raise SceneError(_misfit(values, base, grid_shape, name))
    reading = _choose(readings, map_of, name)
    placed = np.zeros(grid_shape, dtype=np.int32)
    at = reading.rows, reading.cols
    if listed_codes is not None:
        placed[at] = listed_codes
        differ = placed[at] != listed_codes
        if differ.any():
            row, col = reading.rows[differ][0], reading.cols[differ][0]
            raise SceneError(
                f"{name} gives {_count(differ)} entries a pixel that it lists with another code,"
                f" the first at row {row}, column {col} (from 0); a pixel has one class: correct"
                " the list."
            )
    elif codes is not None:
        placed[at] = codes[at]
    return placed, _note(reading, placed, name)


def _whole(array: NDArray[Any], name: str) -> NDArray[np.int64]:
    """Return a list as whole numbers: (n,) linear, (n, 2) or (n, 3)."""
    shape = array.shape
    is_list = array.ndim == 1 or (array.ndim == 2 and (shape[1] in (1, 2, 3) or shape[0] in (1, 2)))
    if array.dtype.kind not in "iuf" or not is_list:
        raise SceneError(
            f"{name} is an array of {array.dtype} with shape {shape}; a list of pixels holds whole"
            " numbers in the shape (n, 2), (2, n), (n, 3) or (n,): name another array."
        )
    broken = ~np.isfinite(array) | (np.abs(array.astype(np.float64)) > 2**40)
    if array.dtype.kind == "f":
        broken |= array != np.rint(array)
    if broken.any():
        raise SceneError(
            f"{name} holds the value {array[broken][0]:g}; positions of pixels are whole numbers:"
            " is it a list of pixels?"
        )
    values = array.astype(np.int64)
    if array.ndim == 1 or shape[1] == 1 or (shape[0] == 1 and shape[1] > 3):
        return values.reshape(-1)
    return values if shape[1] in (2, 3) else values.T


def _check_codes(codes: NDArray[np.int64], name: str) -> None:
    broken = (codes < 0) | (codes > 2**24)
    if broken.any():
        raise SceneError(
            f"{name} has the code {codes[broken][0]} in its third column; codes are whole numbers"
            " from 0 (unlabelled): are the columns row, column, code?"
        )


def _readings(
    values: NDArray[np.int64], base: int | None, grid_shape: tuple[int, int], order: Order
) -> list[_Reading]:
    """All ways to read a list by which every position lies inside the grid."""
    height, width = grid_shape
    found = []
    for first in (0, 1) if base is None else (base,):
        option = f"index_base: {first}"
        shifted = values - first
        if not values.size:
            nothing = np.zeros(0, dtype=np.int64)
            return [_Reading(nothing, nothing, "no pixels", option)]
        if values.ndim == 1:
            if shifted.min() < 0 or shifted.max() >= height * width:
                continue
            for run in ("row-major", "column-major"):
                if order not in ("auto", run):
                    continue
                one, other = np.divmod(shifted, width if run == "row-major" else height)
                rows, cols = (one, other) if run == "row-major" else (other, one)
                words = f"linear {run} indices from {first}"
                found.append(_Reading(rows, cols, words, f"{option}, index_order: {run}"))
            continue
        for exchanged in (False, True):
            rows, cols = shifted[:, int(exchanged)], shifted[:, int(not exchanged)]
            if shifted.min() < 0 or rows.max() >= height or cols.max() >= width:
                continue
            words = "column and row" if exchanged else "row and column"
            found.append(_Reading(rows, cols, f"{words} from {first}", option, exchanged))
    return found


def _credible(reading: _Reading, codes: NDArray[np.int32] | None) -> bool:
    """Whether a reading may be taken where it is the only one.

    Exchanged columns may also be a list of another scene, or a wrong base: a map must confirm them
    by a label at every pixel, unless the list holds the whole scene.
    """
    if not reading.exchanged or codes is None:
        return True
    labelled = codes[reading.rows, reading.cols] != 0
    pixels = np.unique(reading.rows * codes.shape[1] + reading.cols).size
    return bool(labelled.all()) or pixels == codes.size


def _choose(readings: list[_Reading], codes: NDArray[np.int32] | None, name: str) -> _Reading:
    """The one way to read a list; a map decides between several."""
    plain = [reading for reading in readings if not reading.exchanged] or readings
    if codes is not None:
        labelled = [int(np.count_nonzero(codes[r.rows, r.cols])) for r in readings]
        full = [r for r, count in zip(readings, labelled, strict=True) if count == r.rows.size]
        # (column, row) is believed only where (row, column) leaves pixels without a label.
        full = [reading for reading in full if not reading.exchanged] or full
        if len(full) == 1:
            return full[0]
    if len(plain) == 1:
        return plain[0]
    ways = [reading.words for reading in plain]
    if codes is not None:
        counts = [int(np.count_nonzero(codes[r.rows, r.cols])) for r in plain]
        ways = [f"{words} ({n:,} labelled)" for words, n in zip(ways, counts, strict=True)]
    options = " or ".join(f"'{reading.options}'" for reading in plain)
    raise SceneError(
        f"{name} lists {plain[0].rows.size:,} pixels that lie inside the scene as"
        f" {' and as '.join(ways)}, and its values do not tell which is meant: add {options}."
    )


def _misfit(
    values: NDArray[np.int64], base: int | None, grid_shape: tuple[int, int], name: str
) -> str:
    """Say why a list lies in no way inside the grid."""
    height, width = grid_shape
    last = 1 if base is None else base
    if values.ndim == 1:
        limit = height * width
        outside = (values < (base or 0)) | (values >= limit + last)
        spread = f"linear indices from {values.min()} to {values.max()}"
    else:
        rows, cols = values[:, 0], values[:, 1]
        outside = (values < (base or 0)).any(axis=1) | (rows >= height + last)
        outside = outside | (cols >= width + last)
        spread = f"rows from {rows.min()} to {rows.max()} and columns from {cols.min()} to"
        spread += f" {cols.max()}"
    # No entry is outside by itself where one counts from 0 and another from 1.
    count = f", {_count(outside)} entries outside" if outside.any() else ""
    told = "" if base is None else f" with index_base {base}"
    return (
        f"{name} lists {spread}{told}, and the scene has {height} rows and {width} columns{count};"
        " positions count from 0 or from 1: is it the list of this scene?"
    )


def _note(reading: _Reading, placed: NDArray[np.int32], name: str) -> str:
    width = placed.shape[1]
    pixels = np.unique(reading.rows * width + reading.cols)
    parts = [f"{name} was read as {reading.words} of {pixels.size:,} pixels"]
    if reading.exchanged:
        parts.append("its columns are exchanged")
    if pixels.size < reading.rows.size:
        parts.append(f"{reading.rows.size - pixels.size:,} entries repeat a pixel")
    unlabelled = int(np.count_nonzero(placed.reshape(-1)[pixels] == 0))
    if unlabelled:
        parts.append(f"{unlabelled:,} of the pixels have no label")
    return "; ".join(parts) + "."


def _count(mask: NDArray[np.bool_]) -> str:
    return f"{int(np.count_nonzero(mask)):,}"
