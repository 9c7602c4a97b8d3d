"""Bringing rasters of one scene to one grid, and saying what was done."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bdgf.errors import SceneError
from bdgf.scene.formats.arrays import ArraySource, by
from bdgf.scene.formats.base import RasterSource
from bdgf.scene.grid import Bounds, Grid, crs_name, largest_shift
from bdgf.scene.warp import MultipleSource, WarpedSource

_TOLERANCE = 0.01  # pixels; closer grids count as the same
_LITTLE = 0.01
_FEW = 16
_AXES = {"H": "rows", "W": "columns", "C": "bands"}
_RULE = "All rasters of a scene share one grid"


class ApartError(SceneError):
    """A raster that lies beside the grid: nothing of it can be seen there."""


def align(
    source: RasterSource,
    grid: Grid,
    *,
    name: str,
    reference: str,
    categorical: bool,
    multiples: bool,
    modality: str | None = None,
) -> tuple[RasterSource, str | None]:
    """Return a raster on a grid, and what was done to it.

    A raster that has the grid's pixels already is returned itself. One with coordinates is
    resampled onto a grid with coordinates; where one of the two has no CRS, it counts as the
    other's. Without coordinates the numbers of rows and columns decide: an array that fits with its
    axes in another order is read so, and with ``multiples`` a whole multiple or fraction of the
    grid is resampled.

    Args:
        source: The raster.
        grid: The grid.
        name: What messages call the raster.
        reference: What messages call the raster whose grid it is.
        categorical: Whether values are classes, which are never mixed.
        multiples: Whether the user has allowed to resample whole multiples without coordinates.
        modality: Modality of the grid, for the message that says how to allow this.

    Returns:
        The raster on the grid, and one sentence for the user, None where nothing was done.

    Raises:
        ApartError: Both have coordinates and do not overlap.
        SceneError: The raster cannot be brought to the grid.
    """
    own = Grid.of(source)
    try:
        if own.same(grid, _TOLERANCE):
            return source, None
        cover = grid.overlap(own) if own.placed and grid.placed else None
    except SceneError as error:
        raise SceneError(f"{name} cannot be laid on the grid of {reference}: {error}") from error
    if cover is not None:
        return _warped(source, grid, name, reference, categorical, cover)
    if isinstance(source, ArraySource):
        axes = _fitting(source, grid, name, reference)
        if axes is not None:
            note = (
                f"{name} is {by(source.reader.info.shape)}, {reference} is {_size(grid)} (rows ×"
                f" columns): its axes are read as {_spelled(axes)}"
            )
            return source.arranged(axes, note), note
    return _multiple(source, grid, name, reference, categorical, multiples, modality)


def finest(sources: Sequence[RasterSource]) -> Grid:
    """Return the grid with the smallest pixels, the first of equal ones.

    Args:
        sources: Rasters, at least one; those without coordinates count only where none has any, and
            then the one with the most pixels is taken.

    Raises:
        ValueError: There is no source.
    """
    grids = [Grid.of(source) for source in sources]
    placed = [grid for grid in grids if grid.placed]
    if not placed:
        return max(grids, key=lambda grid: grid.height * grid.width)
    areas = []
    for grid in placed:
        # A grid without a CRS counts as one in metres.
        sides = grid.pixel_metres or grid.pixel or (np.inf, np.inf)
        areas.append(sides[0] * sides[1])
    # Metres of a pixel in degrees hold approximately, and differ from file to file.
    equal = [index for index, area in enumerate(areas) if area <= min(areas) * 1.001]
    return placed[equal[0]]


def agree(reference: RasterSource, shapes: Sequence[tuple[int, int]]) -> RasterSource:
    """Return a reference whose axes are in the order by which most other rasters fit it.

    Where all rasters of a scene are arrays and the first one is stored as (bands, rows, columns),
    the others, labels above all, tell that it is so.

    Args:
        reference: The raster whose grid the scene takes.
        shapes: Rows and columns of the others.

    Returns:
        The reference itself where no other order of its axes fits more of them, or where several
        do equally well.
    """
    if not isinstance(reference, ArraySource):
        return reference
    shape = reference.reader.info.shape
    letters = reference.axes
    votes: dict[tuple[int, int], int] = {}
    for size in shapes:
        votes[size] = votes.get(size, 0) + 1
    own = votes.get((reference.height, reference.width), 0)
    better = {
        size: number
        for size, number in votes.items()
        if number > own and reference.arrangements(*size)
    }
    winners = [size for size, number in better.items() if number == max(better.values())]
    if len(winners) != 1:
        return reference
    choices = _distinct(reference, reference.arrangements(*winners[0]))
    if len(choices) != 1:
        return reference
    note = (
        f"{reference.path.name} is {by(shape)}, and the other rasters are {by(winners[0])} (rows ×"
        f" columns): its axes are read as {_spelled(choices[0])}, not {_spelled(letters)}"
    )
    return reference.arranged(choices[0], note)


def _warped(
    source: RasterSource,
    grid: Grid,
    name: str,
    reference: str,
    categorical: bool,
    cover: float,
) -> tuple[RasterSource, str]:
    own = Grid.of(source)
    if cover == 0:
        raise ApartError(_apart(own, grid, name, reference))
    whole = _is_whole_shift(own, grid)
    # Pixels that lie on the grid's already are taken as they are.
    warped = WarpedSource(source, grid, categorical or whole)
    done = []
    if whole:
        done.append("its pixels lie on the grid's and keep their values")
    elif categorical:
        done.append("nearest pixel")
    elif all(warped.averaged):
        done.append("mean of the pixels covered")
    elif any(warped.averaged):
        done.append("mean of the pixels covered in one direction, linear in the other")
    else:
        done.append("bilinear")
    done += _scale(warped.span)
    if (own.height, own.width) == (grid.height, grid.width) and not _scale(warped.span):
        done.append(_shift(grid, own))
    done.append(f"covers {_percent(cover)} of it")
    if cover < _LITTLE:
        done.append("which is next to nothing: check the coordinates of both")
    sentence = (
        f"{name} ({_described(own)}) is {'placed on' if whole else 'resampled onto'} the grid of"
        f" {reference} ({_described(grid)}): {', '.join(done)}"
    )
    if (own.crs is None) != (grid.crs is None):
        without, other = (name, reference) if own.crs is None else (reference, name)
        sentence += f"; {without} has no CRS, and that of {other} is assumed"
    return warped, sentence


def _is_whole_shift(own: Grid, grid: Grid) -> bool:
    """Whether the pixels of two grids lie on each other, whatever part each of them covers."""
    cols, rows = grid.lattice(2)
    found = grid.positions_on(own, cols, rows)
    shifts = np.stack([found[0] - cols, found[1] - rows])
    first = np.round(shifts[:, :1, :1])
    return bool((np.abs(shifts - first) <= _TOLERANCE).all())


def _scale(span: tuple[float, float]) -> list[str]:
    if max(span) > 1.02 * min(span):
        return [f"one pixel spans {_number(span[0])} × {_number(span[1])} of its pixels"]
    side = float(np.sqrt(span[0] * span[1]))
    if abs(side - 1) < 0.02:
        return []
    return [f"{_number(side)} × coarser" if side > 1 else f"{_number(1 / side)} × finer"]


def _shift(grid: Grid, own: Grid) -> str:
    pixels = largest_shift(grid, own)
    metres = grid.pixel_metres
    length = f" ({_number(pixels * max(metres))} m)" if metres is not None else ""
    return f"shifted by up to {_number(pixels)} pixels{length}"


def _apart(own: Grid, grid: Grid, name: str, reference: str) -> str:
    ours, theirs = own.bounds_in(grid.crs), grid.bounds
    where = f"both in {crs_name(grid.crs if own.crs is None else grid.crs or own.crs)}"
    if ours is None:
        ours, where = own.bounds, f"in {crs_name(own.crs)} and {crs_name(grid.crs)}"
    return (
        f"{name} covers {_extent(ours)}, {reference} covers {_extent(theirs)} ({where}), and they"
        " do not overlap; a scene has all its rasters of one place: correct the coordinates of the"
        " wrong one, or name another file."
    )


def _fitting(source: ArraySource, grid: Grid, name: str, reference: str) -> str | None:
    """The order of axes by which an array has a grid's rows and columns, None if there is none."""
    choices = _distinct(source, source.arrangements(grid.height, grid.width))
    if len(choices) > 1:
        ways = " or ".join(f"{axes} ({_spelled(axes)})" for axes in choices)
        raise SceneError(
            f"{name} is {by(source.reader.info.shape)}, and fits {reference} with {_size(grid)}"
            f" (rows × columns) in {len(choices)} ways: say with 'axes' which one holds, {ways}."
        )
    return choices[0] if choices else None


def _distinct(source: ArraySource, orders: Sequence[str]) -> list[str]:
    """Orders of axes that read an array differently; rows come before columns where they can."""
    upright = [order for order in orders if order.index("H") < order.index("W")]
    shape = source.reader.info.shape
    found: dict[str, str] = {}
    for order in upright or orders:
        # Where an axis of one pixel or band stands makes no difference.
        read = "".join(axis for axis, size in zip(order, shape, strict=True) if size > 1)
        found.setdefault(read, order)
    return list(found.values())


def _multiple(
    source: RasterSource,
    grid: Grid,
    name: str,
    reference: str,
    categorical: bool,
    multiples: bool,
    modality: str | None,
) -> tuple[RasterSource, str]:
    own = Grid.of(source)
    pairs = ((own.height, grid.height), (own.width, grid.width))
    if any(max(pair) % min(pair) for pair in pairs):
        raise SceneError(_unequal(own, grid, name, reference))
    rows, cols = (f"{a // b} ×" if a >= b else f"1/{b // a} of" for a, b in pairs)
    times = f"{rows} {reference}"
    if rows != cols:
        times = f"{rows} the rows and {cols} the columns of {reference}"
    sizes = f"{name} is {_size(own)} (rows × columns), {reference} is {_size(grid)}"
    if not multiples:
        raise SceneError(
            f"{sizes}. {_RULE}; {_lacking(own, grid, name, reference)} to resample by, but"
            f" {name} is exactly {times}: add 'align: {modality or 'MODALITY'}' to the scene to"
            " resample it."
        )
    tall, wide = (max(1, a // b) for a, b in pairs)
    high, broad = (max(1, b // a) for a, b in pairs)
    done = []
    if tall * wide > 1:
        one = "the pixel at the centre" if categorical else "the mean of the valid pixels"
        done.append(f"{one} of every {tall} × {wide} is taken")
    if high * broad > 1:
        done.append(f"every pixel is repeated {high} × {broad} times")
    return (
        MultipleSource(source, grid, categorical),
        f"{sizes}, and {name} is resampled as exactly {times}: {' and '.join(done)}",
    )


def _unequal(own: Grid, grid: Grid, name: str, reference: str) -> str:
    rule = f"{_RULE}, and {_lacking(own, grid, name, reference)} to resample by"
    if own.height == grid.height or own.width == grid.width:
        unit, ours, theirs = "column", own.width, grid.width
        if own.height != grid.height:
            unit, ours, theirs = "row", own.height, grid.height
        extra = abs(ours - theirs)
        found = (
            f"{name} is {ours} {unit}s {'wide' if unit == 'column' else 'high'},"
            f" {reference} is {theirs}."
        )
        if extra <= _FEW:
            number = "" if extra == 1 else f"{extra} "
            crop = f"crop the extra {number}{unit}{'s' if extra > 1 else ''} of"
            crop += f" {name if ours > theirs else reference}"
        else:
            crop = "resample or crop one of them"
    else:
        found = f"{name} is {_size(own)} (rows × columns), {reference} is {_size(grid)}."
        crop = "resample or crop one of them"
        if (own.height, own.width) == (grid.width, grid.height):
            crop = f"{name} looks transposed, save it with rows and columns exchanged"
    return f"{found} {rule}: {crop}, or give {_without(own, grid, name, reference)} coordinates."


def _without(own: Grid, grid: Grid, name: str, reference: str) -> str:
    if own.placed or grid.placed:
        return reference if own.placed else name
    return "both files"


def _lacking(own: Grid, grid: Grid, name: str, reference: str) -> str:
    if own.placed or grid.placed:
        return f"{_without(own, grid, name, reference)} has no coordinates"
    return "neither has coordinates"


def _described(grid: Grid) -> str:
    metres, units = grid.pixel_metres, grid.pixel
    sides = metres or units or (1.0, 1.0)
    unit = "units" if metres is None else "m"
    size = _number(sides[0])
    if abs(sides[0] - sides[1]) > 0.01 * max(sides):
        size += f" × {_number(sides[1])}"
    return f"{crs_name(grid.crs)}, pixels of {size} {unit}, {_size(grid)}"


def _extent(bounds: Bounds | None) -> str:
    left, bottom, right, top = bounds or (np.nan,) * 4
    return f"x {left:.8g} to {right:.8g}, y {bottom:.8g} to {top:.8g}"


def _size(grid: Grid) -> str:
    return f"{grid.height} × {grid.width}"


def _spelled(axes: str) -> str:
    return " × ".join(_AXES[axis] for axis in axes)


def _percent(share: float) -> str:
    return f"{_number(100 * share)} %"


def _number(value: float) -> str:
    """Three digits, without an exponent."""
    return np.format_float_positional(float(f"{value:.3g}"), trim="-")
