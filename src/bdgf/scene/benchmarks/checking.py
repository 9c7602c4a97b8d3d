"""Telling the files of a benchmark from others, by their headers and by their label counts."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np

from bdgf.errors import SceneError
from bdgf.scene.benchmarks.catalogue import BENCHMARKS, plain
from bdgf.scene.benchmarks.declaration import Benchmark, Found, Opened, Stored
from bdgf.scene.formats.arrays import ArrayInfo, ArraySource, by
from bdgf.scene.formats.base import RasterSource
from bdgf.scene.formats.opening import contents, open_source
from bdgf.scene.labels.roi import read_roi
from bdgf.scene.scene import Scene
from bdgf.scene.tiles import Part

logger = logging.getLogger(__name__)

_MOST_LISTED = 6


def check_files(found: Found) -> Found:
    """Compare the headers of a benchmark's files with what is declared; no values are read.

    An array with another name or another order of axes is accepted where only one fits.

    Args:
        found: Files of one container.

    Returns:
        The same files with the real name and axes of every array, and notes of what differs.

    Raises:
        SceneError: A file that cannot be read or holds something else; the message says what it
            holds, which data set that looks like, and where to get the right one.
    """
    arrays: dict[Stored, Opened] = {}
    notes: list[str] = []
    names: Mapping[int, str] = {}
    for stored in found.container.used().values():
        path = found.files[stored.file]
        if stored.form == "roi":
            names = _region_names(found, path, names)
            arrays[stored] = Opened(None)
        elif stored.form == "pixels":
            arrays[stored] = _pixel_list(found, stored, path, notes)
        else:
            arrays[stored] = _raster(found, stored, path, notes)
    if names:
        notes.append("the classes are named as the regions of the label files")
    return replace(found, arrays=arrays, names=names, notes=(*found.notes, *notes))


def check_counts(found: Found, scene: Scene) -> None:
    """Compare the training and test pixels of every class with the declared numbers.

    Numbers that could not be confirmed are not refused: a difference is logged.

    Args:
        found: The files that the scene was made of.
        scene: The opened scene.

    Raises:
        SceneError: Another number of pixels in some class.
    """
    container = found.container
    differing: list[str] = []
    expected: dict[Part, Mapping[int, int] | None]
    expected = {"train": container.counts_train, "test": container.counts_test}
    for part, declared in expected.items():
        if declared is not None:
            differing += _differences(found.benchmark, part, declared, _counts(scene, part))
    if not differing:
        return
    more = len(differing) - _MOST_LISTED
    listed = "; ".join(differing[:_MOST_LISTED]) + (f"; and {more} more" if more > 0 else "")
    title = found.benchmark.title
    if "counts" in container.doubts:
        logger.warning(
            "The labels of %s differ from the numbers that go round, which could not be"
            " confirmed (%s).", title, listed,
        )  # fmt: skip
        return
    folder = _folder(found)
    raise SceneError(
        f"the labels in {folder} are not the declared split of {title} ({listed}): another split is"
        f" in circulation. To use it, write a scene file with 'bdgf inspect {folder} --write"
        " scene.yaml', and set its results beside no others; the declared one is at"
        f" {found.benchmark.page}."
    )


def _counts(scene: Scene, part: Part) -> dict[int, int]:
    numbers = np.bincount(scene.labels_at(part), minlength=len(scene.class_codes))
    return {code: int(n) for code, n in zip(scene.class_codes, numbers, strict=True)}


def _differences(
    benchmark: Benchmark, part: Part, declared: Mapping[int, int], counted: Mapping[int, int]
) -> Iterator[str]:
    for code, number in declared.items():
        here = counted.get(code, 0)
        if here != number:
            name = benchmark.classes[code][0]
            yield f"{part} class {code} ({name}) has {here:,} pixels instead of {number:,}"


def _folder(found: Found) -> Path:
    return next(iter(found.files.values())).parent


def _raster(found: Found, stored: Stored, path: Path, notes: list[str]) -> Opened:
    inside = contents(path)
    if inside is None:
        source = open_source(path)
        fitting = _fit(found, stored, source)
        if fitting is None:
            raise _wrong(found, stored, path, None, source)
        return fitting
    known = [key for key in (stored.key, *stored.other_keys) if key in inside]
    if known:
        source = open_source(path, known[0])
        fitting = _fit(found, stored, source)
        if fitting is None:
            raise _wrong(found, stored, path, known[0], source)
    else:
        fitting = _only(found, stored, path, inside)
        notes.append(f"{path.name} calls {stored.key} {fitting.key}")
    if fitting.axes is not None:
        notes.append(f"{path.name} has its axes in the order {fitting.axes}")
    return fitting


def _only(found: Found, stored: Stored, path: Path, inside: Mapping[str, ArrayInfo]) -> Opened:
    """The one array of a file that fits, where none has the declared name."""
    taken = {one.key for one in found.container.used().values() if one.file == stored.file}
    fitting = []
    for key, info in inside.items():
        if key in taken or not info.numeric or len(info.shape) not in (2, 3):
            continue
        opened = _fit(found, stored, open_source(path, key)) if min(info.shape) > 0 else None
        if opened is not None:
            fitting.append(opened)
    # Of one struct for every flight or date the first is meant: their names differ in a number.
    if len({re.sub(r"\d+", "#", str(one.key)) for one in fitting}) == 1:
        return fitting[0]
    held = ", ".join(f"{key} ({by(info.shape)})" for key, info in inside.items()) or "no array"
    benchmark = found.benchmark
    if fitting:
        listed = " and ".join(str(one.key) for one in fitting)
        raise SceneError(
            f"{path} has no array {stored.key}, and {listed} both have the shape of"
            f" {_whose(found, stored)}: say which in a scene file ('bdgf inspect {path.parent}"
            " --write scene.yaml')."
        )
    raise SceneError(
        f"{path} holds {held}, and none of these is {_whose(found, stored)}, which is"
        f" {_size(found, stored)}: get the file at {benchmark.page}."
    )


def _fit(found: Found, stored: Stored, source: RasterSource) -> Opened | None:
    """Where the axes have to go for an array to have the declared shape, None where nowhere."""
    size = None if "size" in found.container.doubts else stored.shape[:2]
    bands = None if "bands" in found.container.doubts and stored.bands > 1 else stored.bands

    def fits(height: int, width: int, number: int) -> bool:
        return (size is None or (height, width) == size) and number == (bands or number)

    if fits(source.height, source.width, source.bands):
        return Opened(source.key)
    if not isinstance(source, ArraySource):
        return None
    shape = source.reader.info.shape
    for order in ("".join(order) for order in permutations("HWC"[: len(shape)])):
        axis = dict(zip(order, shape, strict=True))
        if fits(axis["H"], axis["W"], axis.get("C", 1)):
            return Opened(source.key, order)
    return None


def _pixel_list(found: Found, stored: Stored, path: Path, notes: list[str]) -> Opened:
    inside = contents(path)
    if inside is None:
        raise SceneError(
            f"{path} is one raster, and {_whose(found, stored)} are a list of pixels in it: get the"
            f" file at {found.benchmark.page}."
        )
    key = stored.key
    if key not in inside:
        alike = [name for name in inside if plain(str(key)) in plain(name)]
        if len(alike) != 1:
            raise SceneError(
                f"{path} has no array {key}; it holds {', '.join(inside) or 'none at all'}: get the"
                f" file at {found.benchmark.page}."
            )
        key = alike[0]
        notes.append(f"{path.name} calls {stored.key} {key}")
    shape = inside[key].shape
    if len(shape) != 2 or 2 not in shape:
        raise SceneError(
            f"{key} of {path} is {by(shape)}, and {_whose(found, stored)} are a list of rows and"
            f" columns: get the file at {found.benchmark.page}."
        )
    return Opened(key)


def _region_names(found: Found, path: Path, before: Mapping[int, str]) -> dict[int, str]:
    """Name of every class by its code, as a text of regions has them.

    Args:
        found: The files.
        path: The text.
        before: What the text read before this one has; both have to agree.
    """
    codes = list(found.benchmark.classes)
    names = [region.name for region in read_roi(path)]
    if len(set(names)) != len(codes):
        raise SceneError(
            f"{path} has {len(set(names))} regions of different names, and {found.benchmark.title}"
            f" has {len(codes)} classes, one region for each: get the file at"
            f" {found.benchmark.page}."
        )
    known = {plain(name): code for code, name in zip(codes, found.container.regions, strict=True)}
    known |= {plain(name): code for code, (name, _) in found.benchmark.classes.items()}
    by_name = {known.get(plain(name)): name for name in names}
    if set(by_name) == set(codes):
        found_names = {code: by_name[code] for code in codes}
    else:
        found_names = dict(zip(codes, names, strict=True))
    differing = [name for code, name in found_names.items() if before.get(code, name) != name]
    if differing:
        raise SceneError(
            f"{path} names a region {differing[0]} that the other label file names otherwise; both"
            f" have to use the same names: get them at {found.benchmark.page}, or rename them."
        )
    return found_names


def _whose(found: Found, stored: Stored) -> str:
    return f"{found.benchmark.title}'s {found.container.part_of(stored)}"


def _size(found: Found, stored: Stored) -> str:
    if "size" in found.container.doubts:
        return f"of {stored.bands} bands" if stored.bands > 1 else "an image of one band"
    return by(stored.shape)


def _wrong(
    found: Found, stored: Stored, path: Path, key: str | None, source: RasterSource
) -> SceneError:
    size = (source.height, source.width, source.bands)
    held = f"{key} of {by(_short(size))}" if key is not None else by(_short(size))
    like = _resembles(found.benchmark, size)
    looks = f", and this looks like {like}" if like is not None else ""
    return SceneError(
        f"{path.name} in {path.parent} holds {held}; {_whose(found, stored)} is"
        f" {_size(found, stored)}{looks}: get the right file at {found.benchmark.page}, or name the"
        " data set that you have."
    )


def _short(size: tuple[int, ...]) -> tuple[int, ...]:
    return size[:2] if size[2] == 1 else size


def _resembles(benchmark: Benchmark, size: tuple[int, int, int]) -> str | None:
    """The other data set that has an array of this size, in any order of axes."""
    for ordered in (True, False):
        for other in BENCHMARKS.values():
            for container in other.containers:
                for what, stored in container.used().items():
                    declared = (*stored.shape[:2], stored.bands)
                    alike = declared == size if ordered else sorted(declared) == sorted(size)
                    if other.name != benchmark.name and stored.form == "raster" and alike:
                        return f"{other.title}'s {what}"
    return None
