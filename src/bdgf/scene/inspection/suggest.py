"""A scene file for what was found: roles, labels, classes and split, with remarks on guesses."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdgf.errors import SceneError
from bdgf.files import absolute
from bdgf.scene.description import TILE, SplitSpec
from bdgf.scene.fields import flow
from bdgf.scene.formats.location import Location, RemotePath
from bdgf.scene.inspection import words
from bdgf.scene.inspection.doubts import declared_nodata, undeclared_nodata
from bdgf.scene.inspection.findings import Found, Group, Raster, each_tile
from bdgf.scene.inspection.label_files import Choice, LabelSource, choose, classes, label_sources
from bdgf.scene.inspection.lineup import Relation, other_bands, relation
from bdgf.scene.inspection.recognise import recognised
from bdgf.scene.inspection.roles import plain_name
from bdgf.scene.radar import linear_bands
from bdgf.scene.splits import split_labels
from bdgf.scene.windows import Window

_WIDTH = 96
_BLOCKS = ((32, 8), (16, 4), (8, 2))
"""Sides of the blocks of a split and the pixels between them, the first that serves."""

_MOST_PIXELS = 25_000_000


def suggest_scene_file(found: Found, target: Path) -> str:
    """Write a scene file for what was found, with a remark beside every guess.

    Args:
        found: What was gathered.
        target: Where the text will be saved; its paths are relative to that folder.

    Raises:
        SceneError: No image that could be a modality, or a file that cannot be read.
    """
    reference = found.reference
    if reference is None:
        what = "only labels were found" if found.labels or found.vectors else "no image was found"
        raise SceneError(
            f"none of these files can be a modality of a scene ({what}); name the image files as"
            " well."
        )
    folder = target.resolve().parent
    lines: list[str] = []
    apart: list[str] = []
    resampled = False
    for group in (reference, *(group for group in found.images if group is not reference)):
        how = relation(group.finest, reference.finest)
        inside = [relation(raster, group.finest) for raster in other_bands(group)]
        wrong = next((one for one in (how, *inside) if not one.fits), None)
        if wrong is not None:
            apart.append(_remark(f"{group.name} is left out: {wrong.text}"))
            continue
        resampled |= not how.same
        lines += _modality(group, group is reference, how, folder)
    choice = _labels_that_fit(label_sources(found), reference)
    for one in choice.sources:
        if one.raster is not None:
            resampled |= not relation(one.raster, reference.finest).same
    head = [_remark("Written by 'bdgf inspect'. What has a remark is guessed: check it.")]
    head += [_remark(sentence) for sentence in recognised(found)]
    head.append(f"name: {flow(_scene_name(found, reference))}")
    if resampled:
        head.append(f"align: {flow(reference.name)}  # the others are resampled onto its pixels")
    tiles = _tiles(reference, folder)
    return (
        "\n".join([*head, "modalities:", *lines, *apart, *tiles, *_labels(choice, folder)]) + "\n"
    )


def _labels_that_fit(sources: Sequence[LabelSource], reference: Group) -> Choice:
    """Choose among the labels, without the rasters that cannot be laid onto the reference."""
    able = [
        one for one in sources if one.raster is None or relation(one.raster, reference.finest).fits
    ]
    return choose(able)


def _modality(group: Group, is_reference: bool, how: Relation, folder: Path) -> list[str]:
    first = group.first
    paths = [_path(raster.source.path, raster, folder) for raster in group.rasters]
    fields: dict[str, Any] = {"path": paths[0] if len(paths) == 1 else paths}
    remarks = []
    if first.source.key is not None:
        fields["key"] = first.source.key
    if first.axes is not None:
        fields["axes"] = first.axes
    spectral = group.kind == "spectral" or (is_reference and group.kind in ("colour", "image"))
    fields["role"] = "spectral" if spectral else "auxiliary"
    nodata = undeclared_nodata(first) if declared_nodata(first) is None else None
    if nodata is not None and nodata != 0:
        fields["nodata"] = int(nodata) if float(nodata).is_integer() else nodata
        remarks.append("nodata: the file does not declare it")
    elif nodata == 0:
        remarks.append("add 'nodata: 0' if zeros mean no data")
    if group.kind == "radar" and _linear(first):
        remarks.append("linear intensity, brought to decibels; 'units: none' leaves it")
    if not how.same:
        remarks.append(re.sub(r" \([^)]*\)", "", how.text).rstrip("."))
    coarse = other_bands(group)
    if coarse:
        number = words.plural(len(coarse), "band")
        remarks.append(f"{number} with larger pixels, resampled to {group.finest.source.path.stem}")
    lines = [f"  # {group.name}: {remark}" for remark in remarks]
    return [*(_wrapped(line) for line in lines), *_mapping(group.name, fields, 2)]


def _linear(raster: Raster) -> bool:
    """Whether all bands of radar look linear, see `bdgf.scene.radar.decibel_bands`."""
    sample = raster.statistics.sample
    return bool(linear_bands(sample[np.isfinite(sample).all(axis=1)]).all())


def _tiles(reference: Group, folder: Path) -> list[str]:
    """List the tiles, by a pattern where that finds the same."""
    tiles = reference.first.tiles
    if tiles is None:
        return []
    before, _, after = reference.first.template.partition("{tile}")
    places = tiles.folder.glob(f"{before}*{after.replace('{tile}', '*')}")
    path = _path(tiles.folder, reference.first, folder)
    # Characters of patterns in the path itself would be taken for a pattern.
    if not set(path) & set("*?[]") and sum(1 for _ in places) == len(tiles.names):
        return [f"tiles: '*'  # {words.plural(len(tiles.names), 'tile')}"]
    if any(" " in name for name in tiles.names):
        return ["tiles:", *(f"  - {flow(name)}" for name in tiles.names)]
    text = f"tiles: {flow(list(tiles.names))}"
    wrapped = textwrap.fill(
        text, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
    return [wrapped]


def _labels(choice: Choice, folder: Path) -> list[str]:
    names, colors, lent = classes(choice)
    if not choice.parts:
        return [_remark("No labels were found: add them to train and to measure accuracy.")]
    lines = ["labels:"]
    for which, one in choice.parts.items():
        lines += _label_file(which, one, folder)
    if choice.map is not None:
        lines += _label_file("map", choice.map, folder)
    lines.append("  classes:")
    guessed = {code for code, name in names.items() if not name}
    entries = {code: f"    {code}: {flow(name or f'class {code}')}" for code, name in names.items()}
    longest = max(map(len, entries.values()))
    what = "features" if choice.sources[0].form == "vector" else "pixels"
    for code, entry in entries.items():
        counts = {which: one.counts.get(code, 0) for which, one in choice.parts.items()}
        if guessed and all(not one.by_name and one.counts for one in choice.parts.values()):
            shown = [
                f"{n:,}" + (f" {which}" if which != "all" else "") for which, n in counts.items()
            ]
            entry = f"{entry:<{longest}}  # {', '.join(shown)} {what}"
        lines.append(entry)
    if guessed:
        place = lines.index("  classes:")
        lines[place] += "  # no file names them: write their names here"
    elif lent:
        lines[lines.index("  classes:")] += f"  # named as in {lent}"
    if colors and set(colors) == set(names):
        lines += ["  colors:", *(f"    {code}: {flow(colors[code])}" for code in names)]
    if any(one.raster is not None and not one.raster.statistics.exact for one in choice.sources):
        lines.append("    # the labels were read in part: add the codes that are missing here")
    ignore = sorted({code for one in choice.sources for code in one.ignore})
    if ignore:
        lines.append(f'  ignore: {flow(ignore)}  # looks like "no label"')
    if len(names) < 2:
        remark = (
            "A map needs two classes, and these labels have one; 0 means unlabelled: where it is a"
            " class of its own, give it another code in the file. Until then they are left out:"
        )
        return [_remark(remark), *(f"# {line}" for line in lines)]
    unused = [one.name for one in choice.left_out]
    if unused:
        lines.append(_wrapped(f"  # not used: {words.listed(unused, 6)}"))
    return [*lines, _split(choice, sorted(names))]


def _label_file(which: str, one: LabelSource, folder: Path) -> list[str]:
    path = _path(one.path, one.raster, folder)
    if not one.fields:
        return [f"  {which}: {flow(path)}"]
    return _mapping(which, {"path": path, **one.fields}, 2)


def _split(choice: Choice, codes: Sequence[int]) -> str:
    if "train" in choice.parts:
        return "split: given"
    size, guard = _BLOCKS[0]
    one = choice.parts["all"]
    if one.raster is not None and one.raster.statistics.exact:
        labels = _indices(one.raster, codes)
        if labels is not None:
            serving = next((pair for pair in _BLOCKS if _serves(labels, pair, len(codes))), None)
            if serving is None:
                remark = "blocks would leave a class without training or test pixels"
                return f"split: {{random: 20 per class}}  # {remark}"
            size, guard = serving
            return f"split: {{blocks: {{size: {size}, guard: {guard}}}}}"
    # of polygons, and of what is too much to read, nobody has tried it
    remark = "is every class in both parts?"
    if one.raster is None:
        remark += " Pixels are divided, not polygons"
    return f"split: {{blocks: {{size: {size}, guard: {guard}}}}}  # {remark}"


def _indices(raster: Raster, codes: Sequence[int]) -> list[NDArray[np.int16]] | None:
    """Class indices (H, W) of every tile, -1 elsewhere; None where that is too much to read."""
    pixels = sum(h * w for h, w in raster.sizes) or raster.source.height * raster.source.width
    if pixels > _MOST_PIXELS:
        return None
    found = []
    known = np.array(codes)
    for _, source in each_tile(raster):
        values = source.read(Window(0, 0, source.height, source.width))[0][0]
        places = np.minimum(np.searchsorted(known, values), len(known) - 1)
        found.append(np.where(known[places] == values, places, -1).astype(np.int16))
    return found


def _serves(labels: list[NDArray[np.int16]], pair: tuple[int, int], number: int) -> bool:
    """Whether blocks of this size leave every class training and test pixels."""
    parts = split_labels(labels, SplitSpec("blocks", size=pair[0], guard=pair[1]))
    return all(
        len(np.unique(np.concatenate([tile[tile >= 0] for tile in part]))) == number
        for part in parts
    )


def _scene_name(found: Found, reference: Group) -> str:
    path = reference.first.source.path
    tiles = reference.first.tiles
    if isinstance(path, RemotePath):
        return plain_name(path.stem) or "scene"
    folder = tiles.folder if tiles is not None else path.parent
    if found.folders and len(found.folders) == 1:
        folder = found.folders[0]
    return plain_name(folder.resolve().name) or "scene"


def _path(path: Location, raster: Raster | None, folder: Path) -> str:
    """Write a path as a scene file in a folder names it."""
    if isinstance(path, RemotePath):
        return path.address
    if raster is not None and raster.tiles is not None:
        path = raster.tiles.folder / raster.template
    resolved = absolute(path)
    try:
        written = Path(os.path.relpath(resolved, folder)).as_posix()
    except ValueError:  # on another drive
        written = resolved.as_posix()
    tiled = raster is not None and raster.tiles is not None
    braces = re.search(r"\{[^}]*\}?", written.replace(TILE, "") if tiled else written)
    if braces:
        raise SceneError(
            f"{written} has {braces.group(0)} in its path, and a scene file fills in what stands in"
            " braces: rename it, or leave it out by naming the others."
        )
    return written


def _mapping(name: str, fields: dict[str, Any], indent: int) -> list[str]:
    """Write an entry on one line, a long one on several."""
    line = f"{' ' * indent}{flow(name)}: {flow(fields)}"
    if len(line) <= _WIDTH:
        return [line]
    lines = [f"{' ' * indent}{flow(name)}:"]
    inner = " " * (indent + 2)
    for key, value in fields.items():
        if isinstance(value, list):
            lines.append(f"{inner}{key}:")
            lines += [f"{inner}  - {flow(item)}" for item in value]
        else:
            lines.append(f"{inner}{key}: {flow(value)}")
    return lines


def _remark(text: str) -> str:
    return _wrapped(f"# {text}")


def _wrapped(line: str) -> str:
    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.fill(
        line, _WIDTH, subsequent_indent=f"{indent}# ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
