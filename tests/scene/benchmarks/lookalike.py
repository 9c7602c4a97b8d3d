"""Generated files that are laid out exactly as a declared benchmark: a tool of the tests.

The images are invented. Every class has a smooth spectrum, a backscatter and a height of its own,
so that the classes can be told apart; accuracies on such files say nothing about the real scenes.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from math import ceil

import h5py
import numpy as np
import rasterio
import scipy.io
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning
from scipy.ndimage import zoom

from bdgf.scene.benchmarks.declaration import Found, drawn

INVENTED = {"train": 20, "test": 100}
"""Pixels per class where the real numbers are not known."""

_UTM = (272056.0, 3290290.0)
"""Upper left corner (UTM zone 15 N) of files that the declaration places on the ground."""


def shrunk(benchmark, container, shrink=1):
    """Return the declaration of a scene with fewer rows, columns and labels.

    Unknown counts and lengths of lists are filled in with invented ones.

    Args:
        benchmark: The benchmark.
        container: One of its containers.
        shrink: What rows and columns are divided by; counts are divided by its square.
    """
    base = min((m.stored.shape[:2] for m in container.modalities), key=lambda size: size[0])
    small = tuple(max(8, ceil(side / shrink)) for side in base)

    def scaled(size):
        return tuple(round(s / b * side) for s, b, side in zip(size, base, small, strict=True))

    codes = list(benchmark.classes)
    train, test = (
        container.counts_train or dict.fromkeys(codes, INVENTED["train"]),
        container.counts_test or dict.fromkeys(codes, INVENTED["test"]),
    )
    if shrink > 1:
        train, test = (
            {code: max(2, n // shrink**2) for code, n in counts.items()} for counts in (train, test)
        )
        if container.all is not None:
            per_class = container.split["random"]["per_class"]
            train, test = drawn({code: train[code] + test[code] for code in codes}, per_class)

    def resized(stored):
        if stored is None:
            return None
        if stored.form == "pixels":
            part = {container.train: train, container.test: test}.get(stored)
            number = sum(part.values()) if part else int(np.prod(small))
            return replace(stored, shape=(number, 2))
        return replace(stored, shape=(*scaled(stored.shape[:2]), *stored.shape[2:]))

    changed = replace(
        container,
        modalities=tuple(replace(m, stored=resized(m.stored)) for m in container.modalities),
        **{part: resized(getattr(container, part)) for part in ("train", "test", "all", "codes")},
        extra=tuple(map(resized, container.extra)),
        counts_train=train,
        counts_test=test,
    )
    others = (changed if one is container else one for one in benchmark.containers)
    return replace(benchmark, containers=tuple(others)), changed


def make_lookalike(benchmark, container, folder, shrink=1, seed=0, hdf5=False):
    """Write files that are laid out as declared.

    Args:
        benchmark: The benchmark.
        container: One of its containers.
        folder: Folder of the files.
        shrink: What rows and columns are divided by.
        seed: Seed of the invented values.
        hdf5: Whether ``.mat`` files are written in version 7.3.

    Returns:
        The files with the declaration that they follow.
    """
    benchmark, container = shrunk(benchmark, container, shrink)
    rng = np.random.default_rng(seed)
    classes, train, test = _classes(container, _labels_of(container).shape[:2], rng)
    arrays = {}
    for number, modality in enumerate(container.modalities):
        step = _pixel(container, modality.stored) / _pixel(container, _labels_of(container))
        arrays[modality.stored] = _image(classes, modality, number, step, rng)
    arrays |= _labels(container, train, test)
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for stored in arrays:
        files.setdefault(stored.file, {})[stored] = arrays[stored]
    for name, inside in files.items():
        _write(folder / name, inside, container, benchmark, hdf5)
    return Found(benchmark, container, {file: folder / file for file in container.files()})


def _labels_of(container):
    return container.codes or container.all or container.train


def _pixel(container, stored):
    """Side of a pixel in metres; all grids cover one area where the container names no grid."""
    if container.align is None:
        return 1 / stored.shape[0]
    if stored is container.all:
        return 0.5
    reference = next(m.stored for m in container.modalities if m.name == container.align)
    return 0.5 * reference.shape[0] / stored.shape[0]


def _smooth(shape, rng, cells=12):
    """A smooth random surface (H, W)."""
    coarse = rng.standard_normal([max(3, side * cells // max(shape) + 2) for side in shape])
    factors = [side / n for side, n in zip(shape, coarse.shape, strict=True)]
    fine = zoom(coarse, factors, order=1)
    return fine[: shape[0], : shape[1]].astype(np.float32)


def _classes(container, shape, rng):
    """Index of the class of every pixel, and codes of the training and of the test pixels (H, W).

    The image is divided by a smooth surface into one region per class; labels are drawn in it.
    """
    codes = np.array(list(container.counts_train))
    train = np.array([container.counts_train[code] for code in codes])
    test = np.array([container.counts_test[code] for code in codes])
    pixels = int(np.prod(shape))
    spare = pixels - int((train + test).sum())
    if spare < 0:
        raise ValueError(f"{pixels} pixels do not hold {int((train + test).sum())} labels")
    order = np.argsort(_smooth(shape, rng) + 1e-3 * rng.standard_normal(shape), axis=None)
    share = np.floor(spare * (train + test) / (train + test).sum()).astype(int)
    share[-1] += spare - share.sum()
    ends = np.cumsum(train + test + share)
    classes = np.empty(pixels, dtype=np.int16)
    maps = [np.zeros(pixels, dtype=np.uint8) for _ in range(2)]
    for index, (end, size) in enumerate(zip(ends, train + test + share, strict=True)):
        region = order[end - size : end]
        classes[region] = index
        chosen = rng.permutation(region)
        maps[0][chosen[: train[index]]] = codes[index]
        maps[1][chosen[train[index] : train[index] + test[index]]] = codes[index]
    return classes.reshape(shape), maps[0].reshape(shape), maps[1].reshape(shape)


def _image(classes, modality, number, step, rng):
    """One image; bands are made one after the other, for scenes that nearly fill the memory.

    Args:
        classes: Index of the class of every pixel of the labels.
        modality: The modality.
        number: Its place among the modalities.
        step: Side of its pixels in pixels of the labels; beyond the labels the classes repeat.
        rng: Random numbers.
    """
    stored = modality.stored
    height, width = stored.shape[:2]
    rows = ((np.arange(height) + 0.5) * step).astype(int) % classes.shape[0]
    cols = ((np.arange(width) + 0.5) * step).astype(int) % classes.shape[1]
    here = classes[np.ix_(rows, cols)]
    number_of_classes = int(classes.max()) + 1
    spectral = modality.role == "spectral"
    dtype = np.dtype(stored.dtype or ("uint16" if spectral else "float32"))
    level = np.linspace(0.15, 0.75, number_of_classes)[rng.permutation(number_of_classes)]
    centre = rng.uniform(0.1, 0.9, number_of_classes)
    wave = np.linspace(0, 1, stored.bands)
    spectra = level[:, None] + 0.25 * np.exp(-(((wave - centre[:, None]) / 0.2) ** 2))
    light = 1 + 0.05 * _smooth((height, width), rng, cells=6)
    image = np.empty((height, width, stored.bands), dtype=dtype)
    for band in range(stored.bands):
        values = spectra[here, band].astype(np.float32) * light
        noise = rng.standard_normal((height, width), dtype=np.float32)
        if spectral:
            values += 0.02 * noise
        else:
            # Positive, as intensity and height are.
            values = values * np.exp(0.15 * noise) * (1 if number == 1 else 10)
        scale = 10_000 if dtype.kind in "iu" else 1
        image[..., band] = np.clip(values * scale, 0, None).astype(dtype)
    return image if len(stored.shape) == 3 else image[..., 0]


def _labels(container, train, test):
    found = {}
    both = np.maximum(train, test)
    if container.codes is not None:
        found[container.codes] = both
        found[container.train] = np.argwhere(train > 0)
        found[container.test] = np.argwhere(test > 0)
        for stored in container.extra:
            found[stored] = np.argwhere(np.ones_like(train))
        return found
    if container.all is not None:
        return {container.all: _unlabelled(container, both)}
    return {
        container.train: _unlabelled(container, train),
        container.test: _unlabelled(container, test),
    }


def _unlabelled(container, codes):
    """Codes with the container's own mark of unlabelled pixels."""
    if not container.ignore:
        return codes
    return np.where(codes > 0, codes.astype(np.int16), container.ignore[0])


def _write(path, inside, container, benchmark, hdf5):
    stored, values = next(iter(inside.items()))
    if stored.form == "roi":
        _write_roi(path, values, container, benchmark)
    elif path.suffix.lower() == ".mat":
        arrays = {
            one.key: array if one.dtype is None else array.astype(one.dtype)
            for one, array in inside.items()
        }
        (_write_hdf5 if hdf5 else _write_mat)(path, arrays)
    else:
        _write_raster(path, stored, values, container)


def _nested(arrays):
    """Turn keys with dots into dictionaries."""
    tree = {}
    for key, array in arrays.items():
        *outer, last = key.split(".")
        place = tree
        for name in outer:
            place = place.setdefault(name, {})
        place[last] = array
    return tree


def _write_mat(path, arrays):
    tree = _nested(arrays)
    if "hsi" in tree and "Lidar{1}" in tree["hsi"]:
        # A cell with one struct per flight, and the rest of the original's fields in small.
        first = tree["hsi"].pop("Lidar{1}")
        flights = np.empty((1, 2), dtype=object)
        flights[0, 0], flights[0, 1] = first, {"z": first["z"] + 1}
        tree["hsi"]["Lidar"] = flights
        tree["hsi"]["info"] = {"wavelength": np.linspace(400, 1000, 64)[None]}
    scipy.io.savemat(path, tree)


def _write_hdf5(path, arrays):
    with h5py.File(path, "w", userblock_size=512) as file:
        for key, array in arrays.items():
            # MATLAB's columns come first: the axes are the other way round.
            data = file.create_dataset(key.replace(".", "/"), data=array.T)
            data.attrs["MATLAB_class"] = np.bytes_(_MATLAB.get(array.dtype.name, array.dtype.name))
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Thu Jan  1 00:00:00 2026"
    with path.open("r+b") as file:
        file.write(header.ljust(124) + b"\x00\x02IM")


_MATLAB = {"float64": "double", "float32": "single"}


def _write_raster(path, stored, values, container):
    values = values if stored.dtype is None else values.astype(stored.dtype)
    bands = values[None] if values.ndim == 2 else values.transpose(2, 0, 1)
    place = {}
    if container.align is not None:
        side = _pixel(container, stored)
        place = {"crs": "EPSG:26915", "transform": Affine(side, 0, _UTM[0], 0, -side, _UTM[1])}
    driver = {".tif": "GTiff", ".pix": "PCIDSK"}.get(path.suffix, "ENVI")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", driver=driver, count=bands.shape[0], height=bands.shape[1],
            width=bands.shape[2], dtype=bands.dtype, **place,
        ) as dataset:  # fmt: skip
            for number, band in enumerate(bands, start=1):
                dataset.write(band, number)


def _write_roi(path, codes, container, benchmark):
    lines = [
        "; ENVI Output of ROIs (4.8) [Wed Jan 16 12:00:00 2013]",
        f"; Number of ROIs: {len(container.regions)}",
        f"; File Dimension: {codes.shape[1]} x {codes.shape[0]}",
        ";",
    ]
    for code, region in zip(benchmark.classes, container.regions, strict=True):
        red, green, blue = (int(benchmark.classes[code][1][i : i + 2], 16) for i in (1, 3, 5))
        points = np.argwhere(codes == code)
        lines += [
            f"; ROI name: {region}",
            f"; ROI rgb value: {{{red}, {green}, {blue}}}",
            f"; ROI npts: {len(points)}",
            ";   ID    X    Y",
        ]
        lines += [f"{n:6d} {col + 1:5d} {row + 1:5d}" for n, (row, col) in enumerate(points, 1)]
        lines.append("")
    path.write_text("\n".join(lines) + "\n")
