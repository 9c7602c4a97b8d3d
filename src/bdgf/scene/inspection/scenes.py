"""The text about a scene file: its tiles, modalities, classes and split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bdgf.scene.inspection import words
from bdgf.scene.inspection.doubts import image_doubts
from bdgf.scene.inspection.findings import Group, Raster
from bdgf.scene.inspection.label_doubts import few_pixels
from bdgf.scene.inspection.statistics import measure, merge
from bdgf.scene.leak import leakage
from bdgf.scene.scene import Scene
from bdgf.scene.tiles import Part

_WINDOW = 11
_MOST_MEASURED = 12


def scene_images(scene: Scene) -> list[Group]:
    """Measure the modalities of a scene, of many tiles on some of them.

    Raises:
        SceneError: A file of the scene cannot be read.
    """
    step = -(-len(scene.tiles) // _MOST_MEASURED)
    groups = []
    for number, modality in enumerate(scene.modalities):
        parts = {tile.name: measure(tile.sources[number]) for tile in scene.tiles[::step]}
        raster = Raster(
            scene.tiles[0].sources[number],
            merge(list(parts.values())),
            medians=tuple((name, part.percentiles()[1]) for name, part in parts.items()),
            called=modality.name,
        )
        groups.append(Group((raster,), modality.name))
    return groups


def describe_scene(scene: Scene, path: Path) -> str:
    """Describe an open scene: size, modalities, pixels by class, and how near test is to training.

    Args:
        scene: The scene.
        path: Its scene file.

    Raises:
        SceneError: A file of the scene cannot be read.
    """
    first = scene.tiles[0]
    pixels = sum(tile.height * tile.width for tile in scene.tiles)
    if len(scene.tiles) == 1:
        size = f"{first.height:,} × {first.width:,} pixels (rows × columns)"
    else:
        sizes = sorted({(tile.height, tile.width) for tile in scene.tiles})
        span = " to ".join(f"{h:,} × {w:,}" for h, w in dict.fromkeys((sizes[0], sizes[-1])))
        size = f"{len(scene.tiles):,} tiles of {span} pixels, {pixels:,} in all"
    lines = [f"{path}: scene {scene.name}", words.line("size", size)]
    place = words.system(first.crs) if first.transform is not None else "no coordinates"
    if first.transform is not None:
        place += f", {words.pixel(first.grid)}"
    lines.append(words.line("place", place))
    images = scene_images(scene)
    rows: list[tuple[str, ...]] = [
        ("modality", "role", "bands", "type", "nodata", "2 %", "median", "98 %", "missing")
    ]
    for modality, source, group in zip(scene.modalities, first.sources, images, strict=True):
        found = group.first.statistics
        nodata = "none" if source.nodata is None else words.number(source.nodata)
        shown = [words.number(value) for value in found.percentiles()]
        missing = words.percent(1 - found.present)
        rows.append(
            (modality.name, modality.role, str(source.bands), str(source.dtype), nodata, *shown,
             missing)
        )  # fmt: skip
    lines += ["", *words.columns(rows, numbers=(2, 4, 5, 6, 7, 8)), ""]
    lines += [words.line("note", note) for note in scene.notes]
    lines += _classes(scene) if scene.has_labels else ["  no labels"]
    sentences = [*image_doubts(images), *_few(scene)]
    found_wrong = [words.item(sentence) for sentence in sentences] or ["  nothing was found"]
    return "\n".join([*lines, "", "What looks wrong", *found_wrong])


def _few(scene: Scene) -> list[str]:
    """Classes with few training pixels."""
    if not scene.has_labels:
        return []
    counts = _counts(scene, "train")
    pairs = zip(scene.class_names, counts.tolist(), strict=True)
    return few_pixels(f"The training part of {scene.name}", dict(pairs))


def _counts(scene: Scene, which: Part) -> NDArray[np.int64]:
    """Return the pixels of every class (K,)."""
    return np.bincount(scene.labels_at(which), minlength=len(scene.class_codes))


def _classes(scene: Scene) -> list[str]:
    train, test = _counts(scene, "train"), _counts(scene, "test")
    rows = [("code", "class", "train", "test")]
    rows += [
        (str(code), name, f"{ours:,}", f"{theirs:,}")
        for code, name, ours, theirs in zip(
            scene.class_codes, scene.class_names, train, test, strict=True
        )
    ]
    rows.append(("", "all", f"{train.sum():,}", f"{test.sum():,}"))
    leak = leakage(scene, _WINDOW)
    text = (
        f"{scene.spec.split.kind}; {100 * leak.inside:.1f} % of the test pixels have a training"
        f" pixel inside their own {_WINDOW} × {_WINDOW} patch"
    )
    return [*words.columns(rows, numbers=(0, 2, 3)), "", words.line("split", text)]
