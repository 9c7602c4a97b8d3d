"""Which files hold labels, for training, testing or both, and which classes they name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bdgf.scene.description import LARGEST_CODE
from bdgf.scene.formats.location import Location
from bdgf.scene.inspection import roles
from bdgf.scene.inspection.findings import Found, Raster
from bdgf.scene.inspection.legends import (
    class_columns,
    codes_of_names,
    raster_legend,
    vector_classes,
)
from bdgf.scene.labels.roi import Roi

_NO_LABEL = (255, 254, 65535, 32767, -9999, -32768)

Form = Literal["raster", "vector", "roi", "list"]


@dataclass(frozen=True)
class LabelSource:
    """A file, an array or a layer that holds labels.

    Args:
        name: Name in texts.
        texts: Names that may say what it is.
        form: What it is.
        path: The file; of tiles that of the first.
        template: Path of a tile's file, with ``{tile}``; empty where there are no tiles.
        counts: Pixels by code, or features of vectors; only classes.
        names: Names of classes by code, where the file has them.
        colors: Colours of classes by code, where the file has them.
        fields: What a scene file says beside the path: key, column, layer.
        ignore: Codes that look like "no label".
        by_name: Whether the file names its classes and has no codes.
        raster: The raster, None of any other form.
    """

    name: str
    texts: tuple[str, ...]
    form: Form
    path: Location
    template: str = ""
    counts: dict[int, int] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    colors: dict[int, str] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)
    ignore: tuple[int, ...] = ()
    by_name: bool = False
    raster: Raster | None = None

    @property
    def part(self) -> roles.Part | None:
        """Whether its name says training, testing or validation."""
        return roles.part_of(self.texts)


@dataclass(frozen=True)
class Choice:
    """The label files of a scene.

    Args:
        parts: Training and test labels, or all.
        map: Codes of all pixels, from which lists of pixels pick.
        left_out: Label files that are not used.
    """

    parts: dict[Literal["train", "test", "all"], LabelSource]
    map: LabelSource | None
    left_out: tuple[LabelSource, ...]

    @property
    def sources(self) -> list[LabelSource]:
        """All files that are used."""
        return [*self.parts.values(), *([self.map] if self.map else [])]


def ignored(labels: Iterable[int]) -> list[int]:
    """Return the codes that look like "no label": negative ones, and 255 and the like far off."""
    codes = list(labels)
    top = max((code for code in codes if 0 < code <= 200), default=0)
    return [code for code in codes if code < 0 or (code in _NO_LABEL and code > top + 20)]


def classes_of(raster: Raster) -> dict[int, int]:
    """Pixels by code of a label raster, of the codes that are classes."""
    labels = raster.statistics.labels
    left_out = ignored(labels)
    return {code: count for code, count in labels.items() if code not in left_out}


def label_sources(found: Found) -> list[LabelSource]:
    """List all files that hold labels.

    Raises:
        SceneError: A vector file that cannot be read.
    """
    sources = [_of_raster(raster) for raster in found.labels]
    for vector in found.vectors:
        for layer in vector.layers:
            for column in class_columns(layer) if layer.geometry.lower() != "none" else ():
                held = vector_classes(vector.path, layer, column)
                left_out = () if held.by_name else tuple(ignored(held.counts))
                counts = {c: n for c, n in held.counts.items() if c not in left_out}
                if counts:
                    break
            else:
                continue
            several = len(vector.layers) > 1
            fields = {"column": column} | ({"layer": layer.name} if several else {})
            texts: tuple[str, ...] = (layer.name, vector.path.stem)
            name = f"{layer.name} of {vector.path.name}" if several else vector.path.name
            sources.append(
                LabelSource(
                    name, texts, "vector", vector.path, counts=counts, names=held.names,
                    fields=fields, ignore=left_out, by_name=held.by_name,
                )
            )  # fmt: skip
    for path, regions in found.rois:
        sources.append(_of_regions(path, regions))
    for listed in found.lists:
        fields = {"key": listed.key} if listed.key else {}
        texts = tuple(text for text in (listed.key, listed.path.stem) if text)
        sources.append(LabelSource(listed.name, texts, "list", listed.path, fields=fields))
    return sources


def _of_regions(path: Path, regions: Sequence[Roi]) -> LabelSource:
    """Regions of interest, by their names; where all of these are numbers, they are the codes."""
    written = codes_of_names([region.name for region in regions])
    by_name = written is None or min(written) < 1 or max(written) > LARGEST_CODE
    codes = list(range(1, len(regions) + 1)) if by_name or written is None else written
    pairs = list(zip(codes, regions, strict=True))
    colors = {
        code: "#{:02x}{:02x}{:02x}".format(*region.color)
        for code, region in pairs
        if region.color is not None
    }
    counts: Counter[int] = Counter()
    for code, region in pairs:
        counts[code] += len(region.rows)
    names = {code: region.name for code, region in pairs} if by_name else {}
    return LabelSource(
        path.name, (path.stem,), "roi", path, counts=dict(counts), names=names, colors=colors,
        by_name=by_name,
    )  # fmt: skip


def choose(sources: Sequence[LabelSource]) -> Choice:
    """Choose training and test labels by their names, rasters before others; else all of one."""
    able = sorted((one for one in sources if _usable(one)), key=_doubtful)
    whole = [one for one in able if one.form == "raster" and one.part is None]
    best: dict[Literal["train", "test", "all"], LabelSource] = {}
    codes: LabelSource | None = None
    for forms in (("raster",), ("list",), ("vector",), ("roi",), ("raster", "vector", "roi")):
        here = [one for one in able if one.form in forms]
        if forms == ("list",) and not whole:
            continue
        parts: dict[str, LabelSource] = {}
        for one in here:
            if one.part is not None:
                parts.setdefault(one.part, one)
        if "test" not in parts and "validation" in parts:
            parts["test"] = parts["validation"]
        if "train" in parts and "test" in parts:
            best = {"train": parts["train"], "test": parts["test"]}
            codes = whole[0] if forms == ("list",) else None
            break
    if not best:
        unnamed = [one for one in able if one.part is None and one.form != "list"]
        rest = [*unnamed, *(one for one in able if one.part is not None and one.form != "list")]
        best = {"all": rest[0]} if rest else {}
    used = [*best.values(), *([codes] if codes else [])]
    return Choice(best, codes, tuple(one for one in sources if one not in used))


def _usable(one: LabelSource) -> bool:
    """Whether a scene file can name it: lists of pixels by their key, all others with classes."""
    return "key" in one.fields if one.form == "list" else bool(one.counts)


def _doubtful(one: LabelSource) -> tuple[bool, bool, bool]:
    """Order of preference: masks of one class and computed maps last, sure names first."""
    few = one.form != "list" and len(one.counts) < 2
    return few, roles.named_output(one.texts), not roles.surely_label(one.texts)


def classes(choice: Choice) -> tuple[dict[int, str], dict[int, str], str]:
    """Return the classes that the chosen files hold.

    Files that name their classes and have no codes are numbered together, from 1 on.

    Returns:
        Names by code, empty where no file has one; colours by code; the name of the file that lent
        the names where it is none of the chosen ones, or an empty text.
    """
    sources = choice.sources
    colors: dict[int, str] = {}
    if sources and all(one.by_name for one in sources):
        texts = list(dict.fromkeys(name for one in sources for name in one.names.values()))
        texts = sorted(texts) if any(one.form == "vector" for one in sources) else texts
        for one in sources:
            colors |= {texts.index(one.names[code]) + 1: c for code, c in one.colors.items()}
        return dict(enumerate(texts, 1)), colors, ""
    codes = sorted({code for one in sources for code in one.counts})
    names: dict[int, str] = dict.fromkeys(codes, "")
    for one in reversed(sources):
        if not one.by_name:
            names |= {code: name for code, name in one.names.items() if code in names and name}
            colors |= {code: color for code, color in one.colors.items() if code in names}
    lender = ""
    if not any(names.values()):
        for one in choice.left_out:
            if not one.by_name and set(one.names) == set(codes):
                names, lender = {code: one.names[code] for code in codes}, one.name
                break
    given = [name for name in names.values() if name]
    if len(set(given)) < len(given):
        return dict.fromkeys(codes, ""), colors, ""
    return names, colors, lender


def _of_raster(raster: Raster) -> LabelSource:
    source = raster.source
    counts = {c: n for c, n in classes_of(raster).items() if 0 < c <= LARGEST_CODE}
    names, colors = (
        raster_legend(source.path, counts) if isinstance(source.path, Path) else ({}, {})
    )
    return LabelSource(
        raster.name,
        raster.texts,
        "raster",
        source.path,
        raster.template,
        counts,
        names,
        colors,
        {"key": source.key} if source.key else {},
        tuple(ignored(raster.statistics.labels)),
        raster=raster,
    )
