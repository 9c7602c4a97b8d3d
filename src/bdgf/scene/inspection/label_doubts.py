"""What looks wrong with labels: short sentences, each with the way out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from bdgf.errors import SceneError
from bdgf.scene.description import LARGEST_CODE
from bdgf.scene.formats.base import RasterSource
from bdgf.scene.inspection import roles, words
from bdgf.scene.inspection.findings import Found, Raster, each_tile
from bdgf.scene.inspection.label_files import (
    LabelSource,
    choose,
    classes_of,
    ignored,
    label_sources,
)
from bdgf.scene.inspection.legends import class_columns
from bdgf.scene.inspection.lineup import relation
from bdgf.scene.windows import windows_of

_FEW = 10
_LOST = 0.01
_SIDE = 1024
_MOST_PIXELS = 25_000_000
_TYPICAL_CODES = 40


def label_doubts(found: Found) -> list[str]:
    """Say what looks wrong with labels, each with the way out.

    Raises:
        SceneError: A file that cannot be read.
    """
    sentences = [s for raster in found.labels for s in _codes(raster)]
    sentences += [s for group in found.images for s in _no_labels(group.first)]
    sources = label_sources(found)
    sentences += _no_codes(found, sources)
    choice = choose(sources)
    parts = {which: one.raster for which, one in choice.parts.items() if one.raster is not None}
    if {"train", "test"} <= parts.keys():
        sentences += _parts(parts["train"], parts["test"])
    for raster in parts.values():
        sentences += _outside(raster, found)
    used = parts.get("train", parts.get("all"))
    if used is not None and used.statistics.exact:
        sentences += few_pixels(used.name, {str(c): n for c, n in classes_of(used).items()})
    return sentences


def few_pixels(name: str, counts: Mapping[str, int]) -> list[str]:
    """Say which classes have too few pixels to learn from.

    Args:
        name: The labels in words.
        counts: Pixels by class.
    """
    few = {which: count for which, count in counts.items() if count < _FEW}
    if not few:
        return []
    listed = words.listed([f"{which} ({count})" for which, count in few.items()])
    return [
        f"{name} has fewer than {_FEW} pixels of {_classes(few)} {listed}: too few to learn from;"
        " label more, or merge the class with another."
    ]


def _no_codes(found: Found, sources: Sequence[LabelSource]) -> list[str]:
    """Layers with columns that look like classes and hold none."""
    used = {(one.path, one.fields.get("layer")) for one in sources if one.form == "vector"}
    sentences = []
    for vector in found.vectors:
        several = len(vector.layers) > 1
        for layer in vector.layers:
            columns = class_columns(layer) if layer.geometry.lower() != "none" else []
            if columns and (vector.path, layer.name if several else None) not in used:
                sentences.append(
                    f"column {columns[0]} of {vector.path.name} holds no code from 1 to"
                    f" {LARGEST_CODE}, the largest that maps hold: number its classes anew, or"
                    " give them by their names, if it is the column of the labels."
                )
    return sentences


def _codes(raster: Raster) -> list[str]:
    """Codes of one label raster that are none of its classes, or that are missing."""
    found = raster.statistics
    labels, name = found.labels, raster.name
    if not labels:
        return [f"{name} has no labelled pixel: every code is 0 or nodata."]
    sentences = []
    nodata = raster.source.nodata
    zeros = (found.codes or {}).get(0)
    if nodata is not None and not np.isnan(nodata) and zeros and found.valid[0] < 1.0:
        sentences.append(
            f"{name} says that {nodata:g} means unlabelled and has 0 on {zeros:,} other pixels: is"
            " 0 a class? Here 0 always means unlabelled: raise all classes by one if it is."
        )
    for code in ignored(labels):
        if found.codes and found.codes.get(0) and raster.source.nodata is None:
            sentences.append(
                f"{name} has the code {code} on {labels[code]:,} pixels beside 0 to"
                f" {max(classes_of(raster), default=0)}: if {code} means unlabelled, is 0 a class?"
                " Here 0 always means unlabelled: raise all classes by one if it is."
            )
        else:
            sentences.append(
                f"{name} has the code {code} on {labels[code]:,} pixels; if it means unlabelled,"
                f" add 'ignore: [{code}]' to the labels."
            )
    codes = classes_of(raster)
    gaps = sorted(set(range(1, max(codes, default=0))) - set(codes))
    if len(codes) > 2 and max(codes) <= _TYPICAL_CODES and 0 < len(gaps) <= max(1, len(codes) // 6):
        sentences.append(
            f"{name} has codes up to {max(codes)} and none of {words.listed(map(str, gaps))}: is a"
            " class missing?"
        )
    return sentences


def _no_labels(raster: Raster) -> list[str]:
    """Files that are named like labels and hold an image."""
    named = roles.surely_label(raster.texts) and roles.kind_of(raster.texts, True) == "labels"
    if not named or raster.source.bands not in (1, 3):
        return []
    if raster.source.bands == 3:
        return [
            f"{raster.name} is named like labels and has 3 bands, so it shows classes as colours;"
            " labels are one band of codes: convert its colours to codes."
        ]
    return [
        f"{raster.name} is named like labels and holds values such as"
        f" {words.number(raster.statistics.percentiles()[1])}; labels are few whole numbers: is it"
        " an image?"
    ]


def _parts(train: Raster, test: Raster) -> list[str]:
    """Test classes without training, and pixels that are in both parts."""
    sentences = []
    trained, tested = classes_of(train), classes_of(test)
    missing = [code for code in tested if code not in trained]
    if missing and train.statistics.exact:
        counts = [f"{code} ({test.statistics.labels[code]:,} test pixels)" for code in missing]
        sentences.append(
            f"{train.name} has no pixel of {_classes(missing)} {words.listed(counts)}, which"
            f" {test.name} has: what is tested must be trained; label some for training, or set"
            " them to 0 in the test labels."
        )
    untested = [code for code in trained if code not in tested]
    if untested and test.statistics.exact:
        sentences.append(
            f"{test.name} has no pixel of {_classes(untested)}"
            f" {words.listed(map(str, untested))}, which {train.name} has: their accuracy cannot be"
            " measured."
        )
    both, whole = _shared(train, test)
    if both:
        about = "" if whole else "at least "
        sentences.append(
            f"{about}{both:,} pixels are labelled in {train.name} and in {test.name}: accuracy is"
            " measured on pixels that were not trained on; set them to 0 in one of the two, or use"
            " one file with a split."
        )
    return sentences


def _shared(train: Raster, test: Raster) -> tuple[int, bool]:
    """Count pixels with a class in both, and say whether all pixels were looked at."""
    both, read = 0, 0
    skip = ignored(train.statistics.labels) + ignored(test.statistics.labels)
    for (_, ours), (_, theirs) in zip(each_tile(train), each_tile(test), strict=False):
        if (ours.height, ours.width) != (theirs.height, theirs.width):
            continue
        for window in windows_of(ours.height, ours.width, _SIDE):
            if read > _MOST_PIXELS:
                return both, False
            read += window.height * window.width
            a, b = ours.read(window)[0][0], theirs.read(window)[0][0]
            labelled = (a != 0) & (b != 0) & ~np.isin(a, skip) & ~np.isin(b, skip)
            both += int(np.count_nonzero(labelled))
    return both, True


def _outside(labels: Raster, found: Found) -> list[str]:
    """Labels on pixels where the reference has no data."""
    reference = found.reference
    if reference is None or reference.finest.statistics.present == 1.0:
        return []
    first = reference.finest
    if labels.tiles is not first.tiles or not relation(labels, first).same:
        return []
    labelled, lost, read = 0, 0, 0
    for (_, source), (_, image) in zip(each_tile(labels), each_tile(first), strict=True):
        if read > _MOST_PIXELS:
            break
        own, off = _lost(source, image)
        labelled, lost = labelled + own, lost + off
        read += source.height * source.width * image.bands
    if lost < _LOST * labelled or not lost:
        return []
    return [
        f"{labels.name} labels {lost:,} of {labelled:,} pixels where {first.name} has no data:"
        " they are not used; are the labels shifted?"
    ]


def _lost(labels: RasterSource, image: RasterSource) -> tuple[int, int]:
    """Count labelled pixels, and those of them that the image does not cover."""
    if (labels.height, labels.width) != (image.height, image.width):
        raise SceneError(f"{labels.path.name} and {image.path.name} differ in size.")
    labelled, lost, read = 0, 0, 0
    for window in windows_of(labels.height, labels.width, 256):
        marked = labels.read(window)[0][0] != 0
        if not marked.any():
            continue
        labelled += int(marked.sum())
        if read < _MOST_PIXELS:
            valid = image.read(window)[1].any(axis=0)
            read += window.height * window.width * image.bands
            lost += int((marked & ~valid).sum())
    return labelled, lost


def _classes(codes: Collection[object]) -> str:
    return "class" if len(codes) == 1 else "classes"
