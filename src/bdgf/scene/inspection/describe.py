"""What is in rasters, MATLAB files and scene files, and a scene file to start from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from os.path import commonpath, relpath
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from bdgf.errors import SceneError
from bdgf.scene.formats.base import RasterSource
from bdgf.scene.formats.location import Location
from bdgf.scene.formats.matlab import mat_arrays
from bdgf.scene.formats.opening import open_source, raster_keys
from bdgf.scene.labels.codes import count_classes
from bdgf.scene.layout import Window
from bdgf.scene.leak import leakage
from bdgf.scene.radar import looks_like_radar
from bdgf.scene.scene import Scene

_SUFFIXES = (".tif", ".tiff", ".mat", ".vrt", ".img", ".dat")
_SCENE_SUFFIXES = (".yaml", ".yml")
_MOST_CODES = 100
_ROWS = 512
_WINDOW = 11
_TRAIN = re.compile(r"(?<![a-z])(train|training|tr)(?![a-z])")
_TEST = re.compile(r"(?<![a-z])(test|testing|te|val|va|validation)(?![a-z])")
_LABEL = re.compile(r"label|ground|truth|(?<![a-z])(gt|gnd|grd|mask|class|classes)(?![a-z])|allgrd")


@dataclass(frozen=True)
class _Found:
    """A raster that a path holds; codes are the counts of a label raster, None for any other."""

    source: RasterSource
    key: str | None
    codes: dict[int, int] | None

    @property
    def name(self) -> str:
        return self.key or self.source.path.stem


def inspect_paths(paths: Sequence[str | Path]) -> str:
    """Describe rasters, MATLAB files, scene files and folders of these.

    Args:
        paths: Files, or folders: of a folder with a ``scene.yaml`` the scene, of any other the
            rasters in it.

    Returns:
        Text with one paragraph per file.

    Raises:
        SceneError: A file that cannot be read, or a folder without a raster.
    """
    parts = []
    for path in _expand(paths):
        if path.suffix.lower() in _SCENE_SUFFIXES:
            parts.append(_describe_scene(Scene.open(path), path))
        elif path.suffix.lower() == ".mat":
            parts.append(_describe_mat(path))
        else:
            parts.append("\n".join(_describe_raster(found) for found in _find(path)))
    return "\n\n".join(parts)


def suggest_scene_file(paths: Sequence[str | Path], target: Path | None = None) -> str:
    """Guess a scene file from rasters: roles from band counts and names, labels from their codes.

    Args:
        paths: Rasters, MATLAB files, or folders of these.
        target: Where the text will be saved; ``scene.yaml`` beside the files by default.

    Returns:
        The text of a scene file; its paths are relative to the target's folder.

    Raises:
        SceneError: A file that cannot be read, or no raster that could be a modality.
    """
    files = [path for path in _expand(paths, scenes=False)]
    found = [one for path in files for one in _find(path)]
    labels = [one for one in found if _is_label(one)]
    images = [one for one in found if one not in labels]
    if not images:
        raise SceneError(
            "no raster among these files can be a modality of a scene (only label rasters were"
            " found); name the image files as well."
        )
    common = Path(commonpath([path.resolve().parent for path in files]))
    target = (target or common / "scene.yaml").resolve()
    folder = target.parent
    lines = [f"# Save as {target} and check every line: all of it is guessed."]
    sizes = {(one.source.height, one.source.width) for one in found}
    if len(sizes) > 1:
        listed = ", ".join(f"{height} × {width}" for height, width in sorted(sizes))
        lines.append(f"# These rasters have different sizes ({listed}); a scene needs one grid.")
    lines.append(f"name: {_flow(_plain(common.name) or 'scene')}")
    lines.append("modalities:")
    taken: set[str] = set()
    spectral = _spectral(images)
    for one in images:
        name = _unique(_plain(one.name) or "image", taken)
        fields: dict[str, Any] = {"path": _relative(one.source.path, folder)}
        if one.key is not None:
            fields["key"] = one.key
        fields["role"] = "spectral" if one in spectral else "auxiliary"
        lines.append(f"  {name}: {_flow(fields)}")
    lines += _suggest_labels(labels, folder)
    return "\n".join(lines) + "\n"


def _expand(paths: Sequence[str | Path], scenes: bool = True) -> list[Path]:
    files = []
    for path in map(Path, paths):
        if not path.is_dir():
            if not path.is_file():
                raise SceneError(f"{path} does not exist; name files or folders that are there.")
            if scenes or path.suffix.lower() not in _SCENE_SUFFIXES:
                files.append(path)
        elif scenes and (path / "scene.yaml").is_file():
            files.append(path / "scene.yaml")
        else:
            inside = [p for p in sorted(path.iterdir()) if p.suffix.lower() in _SUFFIXES]
            if not inside:
                raise SceneError(
                    f"{path} holds no raster ({', '.join(_SUFFIXES)}) and no scene.yaml; name the"
                    " files or another folder."
                )
            files += inside
    if not files:
        raise SceneError("no raster is named; name GeoTIFF or .mat files, or their folder.")
    return files


def _find(path: Path) -> list[_Found]:
    """Open every raster of a file; several arrays of a MATLAB file are several rasters."""
    keys: list[str | None] = [None]
    if path.suffix.lower() == ".mat":
        keys = list(raster_keys(mat_arrays(path)))
    found = []
    for key in keys:
        source = open_source(path, key)
        found.append(_Found(source, key, _count_codes(source)))
    return found


def _count_codes(source: RasterSource) -> dict[int, int] | None:
    """Count the codes of a raster that can be labels: one band of few whole numbers from 0 on."""
    if source.bands != 1:
        return None
    counts: dict[int, int] = {}
    for row in range(0, source.height, _ROWS):
        window = Window(row, 0, min(_ROWS, source.height - row), source.width)
        values, numbers = np.unique(source.read(window)[0], return_counts=True)
        if len(values) > _MOST_CODES or values[0] < 0 or (values != np.rint(values)).any():
            return None
        for value, number in zip(values, numbers, strict=True):
            counts[int(value)] = counts.get(int(value), 0) + int(number)
    labelled = {code: count for code, count in sorted(counts.items()) if code != 0}
    return labelled if len(labelled) <= _MOST_CODES else None


def _describe_raster(one: _Found) -> str:
    source = one.source
    crs = "no coordinate reference system" if source.crs is None else str(source.crs.to_string())
    lines = [
        f"{source.path}",
        f"  {source.height} × {source.width} pixels (rows × columns), {_bands(source)},"
        f" {source.dtype}",
        f"  {crs}, {_pixel(source)}, nodata {_nodata(source)}",
    ]
    if any(source.band_names):
        named = [name or "-" for name in source.band_names]
        lines.append(f"  bands {', '.join(named[:6])}{', ...' if len(named) > 6 else ''}")
    return "\n".join(lines + _codes(one))


def _describe_mat(path: Path) -> str:
    found = {one.key: one for one in _find(path)}
    lines = [str(path)]
    for name, info in mat_arrays(path).items():
        lines.append(f"  key {name}: {' × '.join(map(str, info.shape))} {info.kind}")
        if name in found:
            source = found[name].source
            lines.append(
                f"    {source.height} × {source.width} pixels (rows × columns), {_bands(source)}"
            )
            lines += [f"  {line}" for line in _codes(found[name])]
    return "\n".join(lines)


def _codes(one: _Found) -> list[str]:
    if not one.codes:
        return []
    counts = ", ".join(f"{code}: {count:,}" for code, count in one.codes.items())
    return [f"  pixels by code, 0 left out: {counts}"]


def _bands(source: RasterSource) -> str:
    return "1 band" if source.bands == 1 else f"{source.bands} bands"


def _nodata(source: RasterSource) -> str:
    return "none" if source.nodata is None else f"{source.nodata:g}"


def _pixel(source: RasterSource) -> str:
    if source.transform is None:
        return "no pixel size"
    across = float(np.hypot(source.transform.a, source.transform.d))
    down = float(np.hypot(source.transform.b, source.transform.e))
    unit = ""
    if source.crs is not None:
        unit = " degrees" if source.crs.is_geographic else f" {source.crs.linear_units}"
    return f"pixel {across:.6g} × {down:.6g}{unit}"


def _describe_scene(scene: Scene, path: Path) -> str:
    first = scene.tiles[0]
    pixels = sum(tile.height * tile.width for tile in scene.tiles)
    if len(scene.tiles) == 1:
        size = f"{first.height} × {first.width} pixels (rows × columns)"
    else:
        sizes = sorted({(tile.height, tile.width) for tile in scene.tiles})
        span = " to ".join(f"{h} × {w}" for h, w in dict.fromkeys((sizes[0], sizes[-1])))
        size = f"{len(scene.tiles)} tiles of {span} pixels, {pixels:,} in all"
    crs = "no coordinate reference system" if first.crs is None else str(first.crs.to_string())
    lines = [f"{path}: scene {scene.name}", f"  {size}, {crs}"]
    for modality, source in zip(scene.modalities, first.sources, strict=True):
        lines.append(
            f"  {modality.name}: {modality.role}, {_bands(source)}, {source.dtype},"
            f" nodata {_nodata(source)}"
        )
    if not scene.has_labels:
        return "\n".join([*lines, "  no labels"])
    train = count_classes([tile.train for tile in scene.tiles], len(scene.class_codes))
    test = count_classes([tile.test for tile in scene.tiles], len(scene.class_codes))
    width = max(5, *(len(name) for name in scene.class_names))
    lines.append(f"  {'code':>4}  {'class':<{width}}  {'train':>9}  {'test':>9}")
    for code, name, ours, theirs in zip(
        scene.class_codes, scene.class_names, train, test, strict=True
    ):
        lines.append(f"  {code:>4}  {name:<{width}}  {ours:>9,}  {theirs:>9,}")
    lines.append(f"  {'':>4}  {'all':<{width}}  {train.sum():>9,}  {test.sum():>9,}")
    leak = leakage(scene, _WINDOW)
    lines.append(
        f"  split {scene.spec.split.kind}: {100 * leak.inside:.1f} % of the test pixels have a"
        f" training pixel inside their own {_WINDOW} × {_WINDOW} patch"
    )
    return "\n".join(lines)


def _words(name: str) -> str:
    """Lower case with words apart, also those that only capitals part, as in TrainImage."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower().replace("_", " ")


def _is_label(one: _Found) -> bool:
    texts = [_words(one.name), _words(one.source.path.stem)]
    hints = (_TRAIN, _TEST, _LABEL)
    return one.codes is not None and any(hint.search(t) for hint in hints for t in texts)


def _spectral(images: list[_Found]) -> list[_Found]:
    """Images with four bands or more that are no radar; the one with most where none has four."""
    optical = [one for one in images if not looks_like_radar(one.name, one.source.path.stem)]
    many = [one for one in optical if one.source.bands >= 4]
    if many:
        return many
    colour = [one for one in optical if one.source.bands == 3]
    return colour[:1]


def _suggest_labels(labels: list[_Found], folder: Path) -> list[str]:
    if not labels:
        return ["# No label raster was found: add labels to train and to measure accuracy."]

    def matching(hint: re.Pattern[str]) -> list[_Found]:
        return [
            one
            for one in labels
            if hint.search(_words(one.name)) or hint.search(_words(one.source.path.stem))
        ]

    tests = matching(_TEST)
    trains = [one for one in matching(_TRAIN) if one not in tests]
    if trains and tests:
        chosen = {"train": trains[0], "test": tests[0]}
        split: Any = "given"
    else:
        chosen = {"all": labels[0]}
        split = {"blocks": {"size": 32, "guard": 8}}
    lines = ["labels:"]
    for which, one in chosen.items():
        lines.append(f"  {which}: {_flow(_relative(one.source.path, folder))}")
        if one.key is not None:
            lines.append(f"  {'key' if which == 'all' else which + '_key'}: {_flow(one.key)}")
    codes = sorted({code for one in chosen.values() for code in one.codes or {}})
    lines.append(f"  classes: {_flow({code: f'class {code}' for code in codes})}")
    lines.append(f"split: {_flow(split)}")
    return lines


def _relative(path: Location, folder: Path) -> str:
    """Write a path as a scene file in a folder names it."""
    return relpath(path.resolve(), folder) if isinstance(path, Path) else str(path)


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_").lower()


def _unique(name: str, taken: set[str]) -> str:
    """Return the name, with a number where it is taken, and take it."""
    found, number = name, 2
    while found in taken:
        found, number = f"{name}_{number}", number + 1
    taken.add(found)
    return found


def _flow(value: object) -> str:
    """Write a value as YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True,
                          width=1_000_000)  # fmt: skip
    return str(text).removesuffix("...\n").strip()
