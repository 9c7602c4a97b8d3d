"""The text of an inspection: what is in files, how it lines up, and what looks wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bdgf.scene.formats.arrays import by
from bdgf.scene.formats.base import RasterSource
from bdgf.scene.grid import Grid
from bdgf.scene.inspection import words
from bdgf.scene.inspection.doubts import doubts
from bdgf.scene.inspection.findings import Found, Group, PixelList, Raster, Vector
from bdgf.scene.inspection.legends import raster_legend
from bdgf.scene.inspection.lineup import line_up
from bdgf.scene.inspection.recognise import recognised
from bdgf.scene.inspection.scenes import describe_scene
from bdgf.scene.inspection.statistics import Statistics
from bdgf.scene.inspection.tiles import TileSet
from bdgf.scene.labels.roi import Roi
from bdgf.scene.scene import Scene

_FEW_BANDS = 4
_MOST_NAMES = 14
_LONGEST = 24

_Row = tuple[str, ...]


def describe(found: Found) -> str:
    """Describe what was gathered.

    Returns:
        Text with one paragraph per file, how the images line up, and what looks wrong.

    Raises:
        SceneError: A scene file, or a file of it, that cannot be used.
    """
    parts = [describe_scene(Scene.open(path), path) for path in found.scenes]
    parts += [_tiles(tiles) for tiles in found.tiles]
    places: dict[object, str] = {}
    parts += [_group(group, places) for group in found.groups]
    parts += [_vector(vector) for vector in found.vectors]
    parts += [_regions(path, regions) for path, regions in found.rois]
    parts += _arrays(found)
    if found.unreadable:
        lines = [words.item(f"{path.name}: {why}") for path, why in found.unreadable]
        parts.append("\n".join(["Not read", *lines]))
    if found.left_out:
        parts.append(f"{words.plural(found.left_out, 'more file')} were not opened; name them.")
    table = line_up(found)
    parts += [table] if table else []
    if found.groups:
        sentences = [words.item(sentence) for sentence in doubts(found)]
        parts.append("\n".join(["What looks wrong", *(sentences or ["  nothing was found"])]))
    parts += recognised(found)
    return "\n\n".join(parts)


def _tiles(tiles: TileSet) -> str:
    text = f"{len(tiles.names):,} with the same files: {_names(tiles.names)}"
    lines = [f"{tiles.folder}", words.line("tiles", text)]
    if tiles.incomplete:
        text = f"{words.plural(len(tiles.incomplete), 'tile')} without some of the files:"
        lines.append(words.line("left out", f"{text} {_names(tiles.incomplete)}"))
    return "\n".join(lines)


def _names(names: Sequence[str]) -> str:
    return words.listed(names, 6)


def _group(group: Group, places: dict[object, str]) -> str:
    if len(group.rasters) == 1:
        return _raster(group.first, places)
    sources = [raster.source for raster in group.rasters]
    stems = [source.path.stem for source in sources]
    place = group.first.template.rpartition("/")[0] or str(sources[0].path).rpartition("/")[0]
    lines = [f"{place or '.'}: {len(sources)} files with one band each, read as one image"]
    lines.append(words.line("files", words.listed(stems, _MOST_NAMES)))
    by_size: dict[tuple[int, int], list[int]] = {}
    for number, source in enumerate(sources):
        by_size.setdefault((source.height, source.width), []).append(number)
    for (height, width), members in by_size.items():
        first = sources[members[0]]
        text = f"{height:,} × {width:,} pixels (rows × columns), {first.dtype}"
        if len(by_size) > 1:
            text += f", {words.pixel(Grid.of(first))}:"
            text += f" {words.listed([stems[number] for number in members], _MOST_NAMES)}"
        lines.append(words.line("image", text))
    lines += _place(group.first, places)
    lines += _values_of(group)
    return "\n".join(lines)


def _values_of(group: Group) -> list[str]:
    rows = []
    for raster in group.rasters:
        part = raster.statistics
        row = _row(raster.source.path.stem, part.percentiles(), part.low[0], part.high[0])
        rows.append(row)
    missing = max(1 - raster.statistics.present for raster in group.rasters)
    text = f"{_nodata(group.first.source)}; {words.percent(missing)} of the pixels are missing"
    text += " from the band with fewest" if missing else ""
    lines = [*_values_table(rows), words.line("no data", text)]
    share = min(raster.statistics.share for raster in group.rasters)
    return [*lines, *_read(share)]


def _raster(raster: Raster, places: dict[object, str]) -> str:
    source = raster.source
    head = raster.template or str(source.path)
    lines = [f"{head}, array {source.key}" if source.key else head]
    size = f"{source.height:,} × {source.width:,} pixels (rows × columns)"
    if len(set(raster.sizes)) > 1:
        sizes = sorted(set(raster.sizes))
        size = " to ".join(f"{h:,} × {w:,}" for h, w in (sizes[0], sizes[-1])) + " pixels"
    is_label = raster.kind == "labels"
    lines.append(
        words.line(
            "labels" if is_label else "image",
            f"{size}, {words.plural(source.bands, 'band')}, {source.dtype}",
        )
    )
    lines += [words.line("note", note) for note in source.notes]
    lines += _place(raster, places)
    lines += _codes(raster) if is_label else _bands(source) + _values(raster)
    return "\n".join(lines)


def _read(share: float) -> list[str]:
    if share == 1.0:
        return []
    return [words.line("read", f"{words.percent(share)} of the pixels; the values are of these")]


def _place(raster: Raster, places: dict[object, str]) -> list[str]:
    """Say where a raster lies, or the first that lies in the same place."""
    source = raster.source
    if source.transform is None:
        text = "no coordinates" if source.crs is None else words.system(source.crs)
        return [words.line("place", text)]
    grid = Grid.of(source)
    key = (tuple(source.transform), str(source.crs), source.height, source.width)
    first = places.setdefault(key, raster.name)
    if first != raster.name:
        return [words.line("place", f"that of {first}")]
    lines = [words.line("place", f"{words.system(source.crs)}, {words.pixel(grid)}")]
    if raster.tiles is None:
        lines.append(words.line("extent", words.extent(grid)))
    return lines


def _bands(source: RasterSource) -> list[str]:
    lines = []
    known = [w for w in source.wavelengths if w is not None]
    if len(known) > 1:
        text = f"{known[0]:.6g} to {known[-1]:.6g} nm"
        steps = np.diff(known)
        if (steps > 0).all():
            text += f", {words.number(round(float(np.median(steps)), 2))} nm apart"
        if len(known) < source.bands:
            text += f"; not known of {words.plural(source.bands - len(known), 'band')}"
        lines.append(words.line("wavelength", text))
    elif any(source.band_names) and source.bands > _FEW_BANDS:
        named = [name or "-" for name in source.band_names]
        most = _MOST_NAMES if max(map(len, named)) <= 6 else 5
        lines.append(words.line("bands", words.listed(named, most)))
    return lines


def _values(raster: Raster) -> list[str]:
    source, found = raster.source, raster.statistics
    rows = []
    if source.bands <= _FEW_BANDS:
        for band in range(source.bands):
            name = source.band_names[band] or (f"band {band + 1}" if source.bands > 1 else "")
            rows.append(_row(name, found.percentiles(band), found.low[band], found.high[band]))
    else:
        known = np.isfinite(found.low)
        low = found.low[known].min() if known.any() else np.nan
        high = found.high[known].max() if known.any() else np.nan
        rows.append(_row("all bands", found.percentiles(), low, high))
    missing = f"{words.percent(1 - found.present)} of the pixels are missing"
    if found.present - found.valid.min() > 0.001:
        missing += f", of some bands up to {words.percent(1 - float(found.valid.min()))}"
    lines = [*_values_table(rows), words.line("no data", f"{_nodata(source)}; {missing}")]
    return [*lines, *_read(found.share)]


def _row(name: str, percentiles: tuple[float, float, float], low: float, high: float) -> _Row:
    shown = [words.number(float(value)) for value in (low, *percentiles, high)]
    return (name[:_LONGEST], *shown)


def _values_table(rows: Sequence[_Row]) -> list[str]:
    """Table of smallest value, percentiles and largest value by band."""
    head = ("", "smallest", "2 %", "median", "98 %", "largest")
    lines = words.columns([head, *rows], numbers=range(1, 6), indent=words.INDENT)
    return ["  values".ljust(words.INDENT) + lines[0][words.INDENT :], *lines[1:]]


def _nodata(source: RasterSource) -> str:
    return "no value declared" if source.nodata is None else f"value {words.number(source.nodata)}"


def _codes(raster: Raster) -> list[str]:
    found: Statistics = raster.statistics
    labels = found.labels
    if not labels:
        return [words.line("codes", "none but 0: no pixel is labelled")]
    total = sum(labels.values())
    pixels = sum(h * w for h, w in raster.sizes) or raster.source.height * raster.source.width
    shown = f"{total:,}" if found.exact else f"about {float(f'{total:.2g}'):,.0f}"
    text = (
        f"{words.plural(len(labels), 'code')} on {shown} of {pixels:,} pixels"
        f" ({words.percent(total / pixels)})"
    )
    if raster.source.nodata is not None:
        text += f"; nodata {words.number(raster.source.nodata)}"
    names, _ = raster_legend(raster.source.path, labels)
    return [
        words.line("codes", text),
        *words.codes(labels, names, not found.exact),
        *_read(found.share),
    ]


def _vector(vector: Vector) -> str:
    lines = [str(vector.path)]
    for layer in vector.layers:
        kind = layer.geometry.lower()
        lines.append(
            words.line("layer", f"{layer.name}: {words.plural(layer.features, 'feature')}, {kind}")
        )
        lines.append(words.line("place", layer.crs or "no coordinate reference system"))
        if layer.extent is not None:
            left, bottom, right, top = layer.extent
            text = f"x {left:.10g} to {right:.10g}, y {bottom:.10g} to {top:.10g}"
            lines.append(words.line("extent", text))
        for column in layer.columns:
            values = [f"{value} ({count:,})" for value, count in column.values]
            more = ", ..." if column.distinct > len(values) else ""
            text = f"{column.name}, {column.kind}, {column.distinct:,} different:"
            lines.append(words.line("column", f"{text} {', '.join(values)}{more}"))
    return "\n".join(lines)


def _regions(path: Path, regions: Sequence[Roi]) -> str:
    counts = words.cells([f"{region.name}: {len(region.rows):,}" for region in regions])
    head = words.line("regions", f"{len(regions)} of interest (ENVI), with their pixels:")
    return "\n".join([str(path), head, *counts])


def _arrays(found: Found) -> list[str]:
    """List the arrays that are no rasters, file by file."""
    opened = {(raster.source.path, raster.source.key) for raster in found.rasters}
    lists: dict[object, PixelList] = {(one.path, one.key): one for one in found.lists}
    rows = []
    for path, arrays in found.arrays.items():
        for name, info in arrays.items():
            if (path, name) in opened:
                continue
            text = f"{by(info.shape)} {info.kind}" + (f", {info.note}" if info.note else "")
            if (path, name) in lists:
                pixels = words.plural(lists[path, name].pixels, "pixel position")
                text += f": list of {pixels}"
            rows.append((path.name, name, text))
    return ["\n".join(["Other arrays", *words.columns(rows)])] if rows else []
