"""Quick-looks: a PNG per modality with the labels over it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from matplotlib.patches import Patch
from numpy.typing import NDArray
from scipy.ndimage import grey_dilation

from bdgf.drawing import SOFTWARE, Say, new_figure, plain_text, save
from bdgf.errors import RunFolderError, SceneError
from bdgf.files import file_name
from bdgf.scene.formats.base import RasterSource
from bdgf.scene.formats.preview import preview
from bdgf.scene.inspection.findings import Found, Group, each_tile
from bdgf.scene.inspection.label_files import Choice, LabelSource, choose, classes, label_sources
from bdgf.scene.inspection.pictures import (
    MOST_SIDE,
    Image,
    color_bands,
    label_codes,
    picture,
    reduced,
    stretched,
)
from bdgf.scene.inspection.roles import kind_of
from bdgf.scene.palette import palette
from bdgf.scene.scene import Scene

logger = logging.getLogger(__name__)

MOST_TILES = 4
"""Most tiles of a scene that are shown."""

DPI = 130
_PANEL = 5.2
_TITLES = {"train": "training labels", "test": "test labels", "all": "labels"}
_SPARSE = 0.02
_MOST_CLASSES = 60


@dataclass(frozen=True)
class Panel:
    """One picture with its title."""

    title: str
    image: Image


@dataclass
class Sheet:
    """The pictures of one modality.

    Args:
        name: Name of the modality, and so of the file.
        title: Title of the whole sheet.
        rows: Pictures of every tile, side by side.
        shown: Names and colours of the classes in the legend.
    """

    name: str
    title: str
    rows: list[list[Panel]] = field(default_factory=list)
    shown: dict[int, tuple[str, str]] = field(default_factory=dict)


def quicklooks(found: Found, folder: Path, say: Say = logger.warning) -> list[Path]:
    """Write a PNG per image, with the labels over it, and one per modality of every scene file.

    Args:
        found: What was gathered.
        folder: Folder for the files; it is made where it is missing, and pictures of ours of the
            same names are replaced.
        say: Receives a sentence on signs that no font has.

    Returns:
        The files that were written.

    Raises:
        SceneError: A file that cannot be read.
        RunFolderError: The folder cannot be written, or holds other files of these names; nothing
            was written then.
    """
    choice = choose(label_sources(found))
    sheets: list[Sheet] = []
    for path in found.scenes:
        sheets += _of_scene(Scene.open(path))
    sheets += [_of_group(group, choice) for group in found.images]
    targets: list[Path] = []
    for sheet in sheets:
        target = folder / f"{file_name(sheet.name)}.png"
        number = 2
        while target in targets:  # names that differ in signs that no file has
            target = folder / f"{file_name(sheet.name)}_{number}.png"
            number += 1
        if target.exists() and not _is_ours(target):
            raise RunFolderError(
                f"{target} exists and is no picture of bdgf; nothing was overwritten: give"
                " another folder with --quicklook."
            )
        targets.append(target)
    with plain_text(say):
        for sheet, target in zip(sheets, targets, strict=True):
            _draw(sheet, target)
    return targets


def _is_ours(path: Path) -> bool:
    """Tell whether a file is a picture that ``bdgf.drawing`` has written."""
    from PIL import Image  # comes with matplotlib

    try:
        with Image.open(path) as image:
            return image.info.get("Software") == SOFTWARE
    except (OSError, ValueError):
        return False


def _of_scene(scene: Scene) -> list[Sheet]:
    colors = dict(enumerate(scene.class_colors))
    sheets = []
    for number, modality in enumerate(scene.modalities):
        sheet = Sheet(f"{scene.name}_{modality.name}", f"{scene.name}: {modality.name}")
        for tile in islice(scene.tiles, MOST_TILES):
            source = tile.sources[number]
            plain, title = _plain(source, (modality.name, source.path.stem))
            row = [Panel(f"{tile.name}: {title}" if len(scene.tiles) > 1 else title, plain)]
            if scene.has_labels:
                for which, labels in (("train", tile.train), ("test", tile.test)):
                    codes = reduced(labels.astype(np.int32) + 1, plain.shape[:2])
                    named = {c + 1: color for c, color in colors.items()}
                    row.append(Panel(_title(which, labels >= 0), _over(plain, codes, named)))
            sheet.rows.append(row)
        names = zip(scene.class_names, scene.class_colors, strict=True)
        sheet.shown = dict(enumerate(names))
        sheets.append(sheet)
    return sheets


def _of_group(group: Group, choice: Choice) -> Sheet:
    names, given, _ = classes(choice)
    colors = dict(zip(names, palette(len(names)), strict=True)) | given
    several = len(group.rasters) > 1
    title = f"{group.name}: {len(group.rasters)} files" if several else group.first.name
    sheet = Sheet(group.name, title)
    texts = group.first.texts
    labels: dict[str, Callable[[], Iterable[tuple[str, RasterSource]]]] = {}
    for which, one in choice.parts.items():
        raster = one.raster
        if raster is not None and raster.tiles is group.first.tiles:
            labels[which] = lambda raster=raster: each_tile(raster)  # type: ignore[misc]
    parts = {which: iter(tiles()) for which, tiles in labels.items()}
    drawn: set[int] = set()
    files = zip(*map(each_tile, group.rasters), strict=False)
    for opened in islice(files, MOST_TILES):
        tile, source = opened[0]
        if several:
            plain, title = _stacked([one for _, one in opened])
        else:
            plain, title = _plain(source, texts, group.kind == "colour")
        row = [Panel(f"{tile}: {title}" if tile else title, plain)]
        for which, one in choice.parts.items():
            own = next(parts[which])[1] if which in parts else None
            codes = _codes(one, source, plain, names, own, choice.map)
            if codes is not None:
                drawn |= set(np.unique(codes[codes > 0]).tolist())
                row.append(Panel(_title(which, codes > 0), _over(plain, codes, colors)))
        sheet.rows.append(row)
    longest = max(map(len, sheet.rows))
    sheet.rows = [row for row in sheet.rows if len(row) == longest]
    sheet.shown = {
        code: (name or f"class {code}", colors[code])
        for code, name in names.items()
        if code in drawn
    }
    return sheet


def _codes(
    one: LabelSource,
    image: RasterSource,
    plain: Image,
    names: Mapping[int, str],
    own: RasterSource | None,
    codes: LabelSource | None,
) -> NDArray[np.int32] | None:
    """Codes on a picture, None where the labels do not fit the image."""
    known = {code: name or f"class {code}" for code, name in names.items()}
    source = codes.raster.source if codes is not None and codes.raster is not None else None
    try:
        found = label_codes(one, image, plain.shape[:2], known, own, source)
    except SceneError:
        return None  # the text of the inspection says why
    return np.where(np.isin(found, list(names)), found, 0).astype(np.int32)


def _plain(source: RasterSource, texts: Sequence[str], colour: bool = False) -> tuple[Image, str]:
    """Picture of a raster, and how it is drawn."""
    bands, words = color_bands(source, colour or kind_of(texts, False) == "colour")
    decibels = False
    if kind_of(texts, False) == "radar":
        values, valid = preview(source, 100)
        known = values[valid]
        middle = float(np.median(known)) if known.size else 0.0
        decibels = bool(known.size and known.min() >= 0 and known.mean() > 1.2 * middle)
        words += ", in decibels" if decibels else ""
    return picture(source, bands, decibels), words


def _stacked(sources: Sequence[RasterSource]) -> tuple[Image, str]:
    """Picture of an image whose bands are in files of their own."""
    stems = {source.path.stem.upper(): source for source in sources}

    def find(band: str) -> RasterSource | None:
        return next((s for stem, s in stems.items() if f"B{band}" in stem.split("_")[-2:]), None)

    chosen = [find(band) or find(band[1:]) for band in ("04", "03", "02")]
    title = "bands B4, B3, B2 as red, green, blue"
    if any(source is None for source in chosen):
        chosen = [sources[round(share * (len(sources) - 1))] for share in (1.0, 0.5, 0.0)]
        title = "three bands as red, green, blue"
    found = [preview(source, MOST_SIDE) for source in chosen if source is not None]
    size = found[0][0].shape[1:]
    layers = []
    for values, valid in found:
        rows = np.arange(size[0]) * values.shape[1] // size[0]
        cols = np.arange(size[1]) * values.shape[2] // size[1]
        layers.append((values[0][np.ix_(rows, cols)], valid[0][np.ix_(rows, cols)]))
    values, valid = (np.stack([layer[part] for layer in layers]) for part in (0, 1))
    return stretched(values, valid.astype(np.bool_)), title


def _over(plain: Image, codes: NDArray[np.int32], colors: Mapping[int, str]) -> Image:
    """Lay labels over a picture that is made paler and grey; few labels are drawn larger."""
    share = float((codes > 0).mean())
    side = max(codes.shape)
    if 0 < share < _SPARSE and side > 150:
        reach = 2 * max(1, side // 400) + 1
        grown = grey_dilation(codes, size=(reach, reach))
        codes = np.where(codes > 0, codes, grown)
    grey = plain.astype(np.float64).mean(axis=2, keepdims=True)
    over = np.repeat(110 + 0.55 * grey, 3, axis=2)
    for code in np.unique(codes[codes > 0]).tolist():
        color = colors[code]
        over[codes == code] = [int(color[place : place + 2], 16) for place in (1, 3, 5)]
    drawn: Image = np.clip(over, 0, 255).astype(np.uint8)
    return drawn


def _title(which: str, marked: NDArray[np.bool_]) -> str:
    share = 100 * float(marked.mean())
    return f"{_TITLES[which]}" + (" (none here)" if share == 0 else "")


def _draw(sheet: Sheet, path: Path) -> None:
    across, down = max(map(len, sheet.rows)), len(sheet.rows)
    rows, cols = sheet.rows[0][0].image.shape[:2]
    ratio = rows / cols
    if down == 1 and across > 1 and ratio < 0.45:
        # Wide scenes: one below the other.
        sheet.rows = [[panel] for panel in sheet.rows[0]]
        across, down = 1, across
    if across == 1 and down > 2 and ratio > 0.45:
        panels = [row[0] for row in sheet.rows]
        sheet.rows = [panels[start : start + 2] for start in range(0, len(panels), 2)]
        across, down = 2, len(sheet.rows)
    panel = (
        _PANEL
        * (2.0 if across == 1 and ratio < 0.45 else 1.0)
        * (0.6 if down > 1 and across > 2 else 1.0)
    )
    tall = min(panel * ratio, 9.0) + 0.35
    inches = max(across * panel, 4.5)
    columns, lines = _legend_size(sheet, inches)
    height = down * tall + 0.45 + 0.22 * lines
    figure = new_figure(inches, height, DPI)
    for number, row in enumerate(sheet.rows):
        for place, shown in enumerate(row):
            axes = figure.add_subplot(down, across, number * across + place + 1)
            smooth = "nearest" if max(shown.image.shape[:2]) < 400 else "antialiased"
            axes.imshow(shown.image, interpolation=smooth)
            axes.set_title(shown.title, fontsize=9, pad=3)
            axes.set_xticks([])
            axes.set_yticks([])
    figure.suptitle(sheet.title, fontsize=11, y=1 - 0.1 / height, va="top")
    if lines:
        handles = [
            Patch(facecolor=color, edgecolor="#555555", linewidth=0.5, label=name)
            for name, color in list(sheet.shown.values())[:_MOST_CLASSES]
        ]
        figure.legend(
            handles=handles, ncols=columns, loc="lower center", frameon=False, fontsize=8.5,
            handlelength=1.2, columnspacing=1.2, bbox_to_anchor=(0.5, 0.02 / height),
            borderaxespad=0.0,
        )  # fmt: skip
    figure.subplots_adjust(
        left=0.01, right=0.99, top=1 - 0.55 / height, bottom=(0.08 + 0.22 * lines) / height,
        wspace=0.03, hspace=0.35 / tall,
    )  # fmt: skip
    save(figure, path)


def _legend_size(sheet: Sheet, inches: float) -> tuple[int, int]:
    """Columns and lines of the legend."""
    if not sheet.shown:
        return 1, 0
    longest = max(len(name) for name, _ in sheet.shown.values())
    count = min(len(sheet.shown), _MOST_CLASSES)
    columns = max(1, min(count, int(inches / (0.085 * longest + 0.55))))
    return columns, -(-count // columns)
