"""Labels as ENVI regions of interest in text form, and names of classes as people write them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bdgf.errors import SceneError
from bdgf.scene.grid import Grid

_EXPORT = "export the ROIs as ASCII text from ENVI's ROI Tool (File, Output ROIs to ASCII)"
_WHOLE = re.compile(r"\+?(-?\d{1,9})(\.0*)?")
_COLUMNS = re.compile(r"(id[\s,]+)?x[\s,]+y\b", re.IGNORECASE)
_NO_POSITIONS = re.compile(
    r"((id|addr(ess)?|map[\s_]*[xy]|lat|lon|b\d+)([\s,]+|$))+", re.IGNORECASE
)
_FIELD = re.compile(
    r"(number of rois|file dimensions?|roi name|roi rgb value|roi npts)\s*:\s*(.*)", re.IGNORECASE
)


class ClassNames:
    """Finds the class that a text names.

    A text is first taken as a name as it stands, then as a code in digits, then as a name without
    regard to case, spaces, underscores and hyphens (``parking_lot1`` is ``Parking Lot 1``).

    Args:
        classes: Name of every class by its code.
    """

    def __init__(self, classes: Mapping[int, str]) -> None:
        self._classes = dict(classes)
        self._exact = {name.strip(): code for code, name in classes.items()}
        folded: dict[str, set[int]] = {}
        for code, name in classes.items():
            folded.setdefault(_fold(name), set()).add(code)
        # Two classes that differ only in case or spaces are told apart by their exact names alone.
        self._folded = {name: min(codes) for name, codes in folded.items() if len(codes) == 1}

    def code(self, text: str) -> int | None:
        """Return the code that a text names, 0 for the text ``0``, None where no class fits."""
        text = text.strip()
        if text in self._exact:
            return self._exact[text]
        number = written_code(text)
        if number is not None:
            return self.known(number)
        return self._folded.get(_fold(text))

    def known(self, code: int) -> int | None:
        """Return a code that is a class or 0 (unlabelled), None for any other."""
        return code if code == 0 or code in self._classes else None

    def listed(self) -> str:
        """Write all classes as messages show them."""
        return listed(f"{code} {name}" for code, name in sorted(self._classes.items()))


def written_code(text: str) -> int | None:
    """Return the code that a text writes in digits, None of a text that is none."""
    number = _WHOLE.fullmatch(text.strip())
    return int(number.group(1)) if number else None


@dataclass(frozen=True, eq=False)
class Roi:
    """One region of interest.

    Args:
        name: Its name.
        color: Its colour (red, green, blue), None where the file has none.
        rows: Row of every point (n,), from 0.
        cols: Column of every point (n,), from 0.
        map_x: Map coordinates (n,) as the file gives them, None where it has none.
        map_y: As ``map_x``.
    """

    name: str
    color: tuple[int, int, int] | None
    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    map_x: NDArray[np.float64] | None = None
    map_y: NDArray[np.float64] | None = None


def read_roi(path: Path) -> list[Roi]:
    """Read the regions of interest of an ENVI ROI text file, in the file's order.

    Raises:
        SceneError: The file is no such text, is cut short, or gives no positions X, Y.
    """
    return _parse(path)[1]


def roi_codes(path: Path, grid: Grid, classes: Mapping[int, str]) -> NDArray[np.int32]:
    """Return the codes (H, W) of an ENVI ROI text file, 0 where no region lies.

    Points are placed by X, Y where the file's dimension is that of the grid, otherwise by Map X,
    Map Y on a georeferenced grid of the same pixels (a crop).

    Args:
        path: The text file.
        grid: Grid of the scene.
        classes: Name of every class by its code; every ROI bears the name (or code) of a class.

    Raises:
        SceneError: An ROI without a class, points outside the grid, pixels in ROIs of different
            classes, or a file that cannot be read or placed.
    """
    size, rois = _parse(path)
    names = ClassNames(classes)
    found = {roi.name: names.code(roi.name) for roi in rois}
    unknown = [name for name, code in found.items() if code is None]
    if unknown:
        raise SceneError(
            f"{path.name} has {len(unknown)} ROIs whose name is no class ({listed(unknown)}); the"
            f" classes of the scene are {names.listed()}: name the classes as the ROIs, or the ROIs"
            " as the classes."
        )
    down, right = _shift(path, rois, size, grid)
    codes = np.zeros((grid.height, grid.width), dtype=np.int32)
    clash = np.zeros(codes.shape, dtype=np.bool_)
    outside = 0
    for roi in rois:
        rows, cols = roi.rows + down, roi.cols + right
        inside = (rows >= 0) & (rows < grid.height) & (cols >= 0) & (cols < grid.width)
        outside += int(np.count_nonzero(~inside))
        at = rows[inside], cols[inside]
        code = found[roi.name] or 0
        clash[at] |= (codes[at] != 0) & (codes[at] != code)
        codes[at] = code
    if outside:
        raise SceneError(
            f"{path.name} has {outside:,} points outside the image, which has {grid.height} rows"
            f" and {grid.width} columns (X and Y count from 1): was it exported for another image?"
        )
    if clash.any():
        row, col = np.argwhere(clash)[0]
        raise SceneError(
            f"{path.name} puts {int(clash.sum()):,} pixels into ROIs of different classes, the"
            f" first at X={col + 1}, Y={row + 1}; a pixel has one class: remove them from all but"
            " one."
        )
    return codes


@dataclass
class _Draft:
    """An ROI while its file is read."""

    name: str
    color: tuple[int, int, int] | None = None
    npts: int | None = None
    points: list[tuple[float, ...]] = field(default_factory=list)

    @property
    def missing(self) -> int:
        return (self.npts or 0) - len(self.points)


def _parse(path: Path) -> tuple[tuple[int, int] | None, list[Roi]]:
    """Return rows and columns of the image, where they are given, and the ROIs.

    Two layouts occur: ENVI writes the headers of all ROIs and then the points of all; the samples
    of the Houston 2013 contest have each header followed by its points. In both the points fill
    the ROIs in their order.
    """
    size: tuple[int, int] | None = None
    count: int | None = None
    drafts: list[_Draft] = []
    columns: list[int] | None = None
    filling = 0
    for number, line in enumerate(_lines(path), 1):
        text = line.strip()
        where = f"line {number} of {path.name}"
        if not text.startswith(";"):
            if not text:
                continue
            while filling < len(drafts) and drafts[filling].missing <= 0:
                filling += 1
            if columns is None or filling == len(drafts):
                raise SceneError(
                    f"{where} ({text[:40]!r}) is a point that belongs to no ROI; the header gives"
                    f" each ROI its name, its npts and the columns 'ID X Y': {_EXPORT} again."
                )
            drafts[filling].points.append(_point(text, columns, where))
            continue
        text = text.strip("; \t")
        entry = _FIELD.match(text)
        if entry is None:
            columns = _columns(text, where) or columns
            continue
        key, value = entry.group(1).lower(), entry.group(2).strip()
        if key == "roi name":
            if any(draft.points for draft in drafts):
                _check_full(path, drafts)
            drafts.append(_Draft(value))
        elif key == "number of rois":
            count = _numbers(value, 1, where)[0]
        elif key.startswith("file"):
            width, height = _numbers(value, 2, where)
            size = height, width
        elif not drafts:
            raise SceneError(f"{where} gives {key!r} before any 'ROI name': {_EXPORT} again.")
        elif key == "roi npts":
            drafts[-1].npts = _numbers(value, 1, where)[0]
        else:
            red, green, blue = _numbers(value, 3, where)
            drafts[-1].color = red, green, blue
    if not drafts:
        raise SceneError(
            f"{path.name} is no ENVI ROI text: it has no line '; ROI name: ...': {_EXPORT}."
        )
    _check_full(path, drafts)
    if count is not None and count != len(drafts):
        raise SceneError(
            f"{path.name} announces {count} ROIs and holds {len(drafts)}; it was cut short or"
            f" edited: {_EXPORT} again."
        )
    return size, [_finished(draft) for draft in drafts]


def _lines(path: Path) -> list[str]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SceneError(f"{path} cannot be read ({error.strerror}); correct the path.") from error
    if b"\0" in data:
        raise SceneError(f"{path.name} is binary (ENVI's own .roi form is); {_EXPORT}.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    if text.lstrip().startswith("<"):
        raise SceneError(f"{path.name} is XML, the newer form of ENVI's ROIs; {_EXPORT}.")
    # Not splitlines: it also breaks at form feeds and other separators that a name may hold.
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _columns(text: str, where: str) -> list[int] | None:
    """Places of X, Y and, where they are there, Map X, Map Y; None for a remark."""
    if _COLUMNS.match(text):
        joined = re.sub(r"\bmap[\s_]*([xy])\b", r"map\1", text.lower())
        names = re.split(r"[\s,]+", joined.strip())
        places = [names.index("x"), names.index("y")]
        if "mapx" in names and "mapy" in names:
            places += [names.index("mapx"), names.index("mapy")]
        return places
    if _NO_POSITIONS.fullmatch(text):
        raise SceneError(
            f"{where} lists the columns {text[:60]!r} without X and Y; points are found by their"
            f" pixel positions: {_EXPORT} with X, Y."
        )
    return None


def _point(text: str, columns: list[int], where: str) -> tuple[float, ...]:
    values = text.replace(",", " ").split(None, max(columns) + 1)
    try:
        point = tuple(float(values[column]) for column in columns)
    except (ValueError, IndexError):
        point = ()
    whole = all(value.is_integer() and abs(value) < 2**31 for value in point[:2])
    # Beyond 1e12 no map coordinate lies, and sums of it could overflow.
    if not point or not whole or not all(abs(value) < 1e12 for value in point):
        raise SceneError(
            f"{where} is {text[:40]!r}; a point has whole numbers for X and Y and a number in every"
            f" column: {_EXPORT} again."
        )
    return point


def _numbers(text: str, count: int, where: str) -> list[int]:
    found = re.findall(r"-?\d{1,9}", text)
    if len(found) < count or any(value.startswith("-") for value in found[:count]):
        raise SceneError(f"{where} has {text[:40]!r} where {count} whole numbers are needed.")
    return [int(value) for value in found[:count]]


def _check_full(path: Path, drafts: list[_Draft]) -> None:
    for draft in drafts:
        if draft.npts is None or draft.missing:
            announced = "no 'ROI npts'" if draft.npts is None else f"{draft.npts:,} points"
            raise SceneError(
                f"{path.name} announces {announced} for ROI {draft.name} and lists"
                f" {len(draft.points):,}; it was cut short or edited: {_EXPORT} again."
            )


def _finished(draft: _Draft) -> Roi:
    points = np.array(draft.points, dtype=np.float64)
    points = points.reshape(len(draft.points), -1) if draft.points else np.zeros((0, 2))
    position = points[:, :2].astype(np.int64) - 1
    mapped = points.shape[1] == 4
    return Roi(
        draft.name,
        draft.color,
        position[:, 1],
        position[:, 0],
        points[:, 2] if mapped else None,
        points[:, 3] if mapped else None,
    )


def _shift(
    path: Path, rois: list[Roi], size: tuple[int, int] | None, grid: Grid
) -> tuple[int, int]:
    """Rows and columns from the image of the ROIs to the grid."""
    if size is None or size == (grid.height, grid.width):
        return 0, 0
    differs = (
        f"{path.name} was exported for an image of {size[0]} rows and {size[1]} columns, the scene"
        f" has {grid.height} and {grid.width}"
    )
    mapped = [(roi.map_x, roi.map_y) for roi in rois if roi.rows.size]
    xs = [x for x, _ in mapped if x is not None]
    ys = [y for _, y in mapped if y is not None]
    if grid.transform is None or not xs or len(xs) != len(mapped):
        raise SceneError(
            f"{differs}; only Map X and Map Y on a georeferenced scene could place its points:"
            " export the ROIs for the scene's own image."
        )
    x, y = np.concatenate(xs), np.concatenate(ys)
    inverse = ~grid.transform
    shifts = []
    for a, b, c, own in (
        (inverse.d, inverse.e, inverse.f, np.concatenate([roi.rows for roi in rois])),
        (inverse.a, inverse.b, inverse.c, np.concatenate([roi.cols for roi in rois])),
    ):
        place = a * x + b * y + c - own
        shift = float(np.median(place))
        # Map coordinates are those of a pixel's corner or of its centre, by the program's version:
        # the shift between two aligned grids is then a whole number, or a half more.
        aligned = abs(shift) < 2**31 and abs(shift * 2 - round(shift * 2)) < 0.4
        if not aligned or np.abs(place - shift).max() > 0.1:
            raise SceneError(
                f"{differs}, and by Map X and Map Y its pixels are not those of the scene: export"
                " the ROIs for the scene's own image."
            )
        shifts.append(int(np.floor(shift + 0.25)))
    return shifts[0], shifts[1]


def _fold(name: str) -> str:
    return re.sub(r"[\s_\-]+", "", unicodedata.normalize("NFKC", name)).casefold()


def listed(texts: Iterable[str], most: int = 20) -> str:
    """Join texts by commas, and count those beyond the first ``most``."""
    texts = list(texts)
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more
