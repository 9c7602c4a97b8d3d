"""A synthetic scene with known truth: it carries the demo, the tests and the tutorial.

Fields, roofs and woods of a small landscape, seen by a spectral image, a radar and a surface
model. `SAR_PAIR` are two classes that only the radar tells apart, `DSM_PAIR` two that only the
surface model does; the classes are taken in the order of `MATERIALS`, so that the radar pair is
there from three classes on and the height pair from five on.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import yaml
from affine import Affine
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter, zoom
from scipy.spatial import cKDTree

from bdgf.errors import SettingsError
from bdgf.files import atomic_path, atomic_write_text
from bdgf.scene.materials import (
    DSM_PAIR,
    MATERIALS,
    SAR_PAIR,
    Material,
    materials,
    reflectance,
    wavelengths,
)

__all__ = ["DSM_PAIR", "MATERIALS", "SAR_PAIR", "SyntheticSpec", "make_scene"]

SCALE = 10_000
"""Stored number for a reflectance of 1."""

SPECTRAL_NODATA = 0
DSM_NODATA = -9999.0
LOOKS = 3.0
PIXEL = 5.0
"""Ground sample distance in metres."""

PARCEL = 170.0
"""Mean area of a parcel in pixels."""

MODES = 4
"""Smooth modes of the variation within a class: brightness, tilt and two broad features."""

VISITS = 4
"""Most parcels that the training pixels of a class come from."""

MIXING = 0.55
"""Spread of the share of another cover inside a pixel."""

PSF = 0.75
"""Standard deviation of the point spread function in pixels."""

Float = NDArray[np.float32]
Int = NDArray[np.int64]


@dataclass(frozen=True)
class SyntheticSpec:
    """What the synthetic scene is made of.

    Args:
        height: Rows; with several tiles those of the largest possible tile.
        width: Columns, likewise.
        bands: Bands of the spectral image.
        classes: K, from 2 to 255.
        sar_bands: Bands of the radar image.
        dsm: Write a surface model.
        sar: Write a radar image.
        train_per_class: Training pixels of a common class; rare classes have 40 % of it.
        tiles: Number of tiles. Several tiles have sizes of their own and are wholly training or
            wholly test.
        nodata_share: Share of a tile, in its upper left corner, where the spectral image has no
            data; the radar lacks half as much in the lower right corner.
        seed: Seed of everything that is drawn.
    """

    height: int = 160
    width: int = 160
    bands: int = 60
    classes: int = 7
    sar_bands: int = 2
    dsm: bool = True
    sar: bool = True
    train_per_class: int = 30
    tiles: int = 1
    nodata_share: float = 0.0
    seed: int = 0


@dataclass
class _Tile:
    """One tile while it is made: (H, W) parcel numbers, and the class index of each parcel."""

    name: str
    parcel: Int
    train: bool
    test: bool
    class_of: Int

    @property
    def truth(self) -> Int:
        return self.class_of[self.parcel]


def make_scene(folder: Path, spec: SyntheticSpec) -> Path:
    """Write a synthetic scene and return the path of its scene file.

    GeoTIFFs in EPSG:32632: ``hsi.tif`` (uint16, reflectance x 10,000, 0 for no data), ``sar.tif``
    (float32, linear intensity, NaN for no data), ``dsm.tif`` (float32, metres), ``train.tif`` and
    ``test.tif`` (uint8, 0 for unlabelled); with several tiles one folder for each. The same spec
    gives the same arrays.

    Args:
        folder: Where to write; made when it is missing.
        spec: What to write.

    Returns:
        Path of ``scene.yaml`` in that folder.

    Raises:
        SettingsError: A spec that cannot be met, such as more classes than pixels.
        RunFolderError: The folder cannot be written.
    """
    _validate(spec)
    covers = materials(spec.classes, _rng(spec, "materials"))
    tiles = _layout(spec, covers)
    library = _spectral_library(spec, covers)
    quota = [spec.train_per_class if m.weight >= 2.0 else _rare(spec) for m in covers]
    for number, (tile, labels) in enumerate(zip(tiles, _labels(spec, tiles, quota), strict=True)):
        place = folder if spec.tiles == 1 else folder / tile.name
        # Tiles lie in a row from west to east, 100 m apart.
        west = 600_000.0 + number * (spec.width * PIXEL + 100.0)
        rasters: dict[str, tuple[NDArray[np.generic], float | None]] = {
            "hsi": (_spectral(spec, tile, library, number), float(SPECTRAL_NODATA)),
            "train": (labels[0], 0.0),
            "test": (labels[1], 0.0),
        }
        if spec.sar:
            rasters["sar"] = (_radar(spec, tile, covers, number), float("nan"))
        if spec.dsm:
            rasters["dsm"] = (_surface(spec, tile, covers, number), DSM_NODATA)
        for name, (array, nodata) in rasters.items():
            _write(place / f"{name}.tif", array, nodata, west, _band_names(spec, name))
    path = folder / "scene.yaml"
    atomic_write_text(path, _scene_file(spec, tiles, covers))
    return path


def _validate(spec: SyntheticSpec) -> None:
    least = {"bands": 1, "sar_bands": 1, "tiles": 1, "train_per_class": 1, "seed": 0}
    for name, value in least.items():
        if getattr(spec, name) < value:
            raise SettingsError(
                f"{name} of the synthetic scene is {getattr(spec, name)}; it must be at least"
                f" {value}."
            )
    if not 2 <= spec.classes <= 255:
        raise SettingsError(
            f"classes of the synthetic scene is {spec.classes}; labels are stored in 8 bits, so"
            " choose 2 to 255."
        )
    if not 0.0 <= spec.nodata_share <= 0.5:
        raise SettingsError(
            f"nodata_share of the synthetic scene is {spec.nodata_share}; choose 0 to 0.5."
        )
    # Tiles may be down to 3/4 of the largest one on each side, and half of them are for training.
    pixels = spec.height * spec.width * (0.56 * (spec.tiles // 2) if spec.tiles > 1 else 0.5)
    needed = 20 * spec.classes / (1.0 - spec.nodata_share)
    if min(spec.height, spec.width) < 8 or pixels < needed:
        raise SettingsError(
            f"the synthetic scene of {spec.tiles} x {spec.height} x {spec.width} pixels is too"
            f" small for {spec.classes} classes in train and test; use tiles of at least 8 x 8"
            f" pixels with {int(np.ceil(needed))} pixels for training, or fewer classes."
        )


def _rare(spec: SyntheticSpec) -> int:
    return max(1, round(0.4 * spec.train_per_class))


def _rng(spec: SyntheticSpec, purpose: str, tile: int = 0) -> np.random.Generator:
    # One stream for each purpose: leaving the radar out does not change the spectral image.
    key = int.from_bytes(purpose.encode(), "little") % (2**32)
    return np.random.default_rng([spec.seed, key, tile])


def _smooth(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Float:
    """Draw an (H, W) smooth random field with mean 0, variance about 1 and this scale in pixels."""
    # Drawn on a coarse grid, so that the cost does not grow with the scale.
    step = max(1.0, scale / 2.0)
    coarse = tuple(int(np.ceil(n / step)) + 8 for n in shape)
    field = gaussian_filter(rng.standard_normal(coarse), scale / step, mode="reflect")
    # A kernel of standard deviation s leaves 1 / (4 pi s^2) of the variance.
    field *= 2.0 * np.sqrt(np.pi) * scale / step
    fine = zoom(field, step, order=1) if step > 1.0 else field
    return fine[4 : 4 + shape[0], 4 : 4 + shape[1]].astype(np.float32)


def _parcels(rng: np.random.Generator, shape: tuple[int, int], count: int) -> Int:
    """Divide a tile into Voronoi parcels with bent edges: (H, W) parcel numbers 0, 1, ..."""
    height, width = shape
    # Jittered grid points: parcels of similar area, without the slivers of free random points.
    rows = max(1, round(np.sqrt(count * height / width)))
    cols = int(np.ceil(count / rows))
    grid = np.stack(np.meshgrid(np.arange(rows), np.arange(cols), indexing="ij"), -1).reshape(-1, 2)
    points = (grid + rng.uniform(0.12, 0.88, grid.shape)) * (height / rows, width / cols)
    where = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), -1)
    bend = np.stack([_smooth(rng, shape, 9.0), _smooth(rng, shape, 9.0)], -1)
    _, nearest = cKDTree(points).query((where + 1.6 * bend).reshape(-1, 2))
    # A point outside of the bent grid may have lost all of its pixels: number what is left.
    _, number = np.unique(nearest, return_inverse=True)
    return number.reshape(shape).astype(np.int64)


def _layout(spec: SyntheticSpec, covers: tuple[Material, ...]) -> list[_Tile]:
    """Cut every tile into parcels and give each a class; every class is in train and in test."""
    rng = _rng(spec, "layout")
    alone = spec.tiles == 1
    training = max(1, spec.tiles // 2)
    tiles = []
    for number in range(spec.tiles):
        height, width = (
            n if alone else int(rng.integers(max(8, (3 * n + 3) // 4), n + 1))
            for n in (spec.height, spec.width)
        )
        # A quarter more parcels than classes need: bent edges may swallow some.
        needed = 1.25 * spec.classes * (2.0 if alone else 1.0 / training)
        needed /= 1.0 - spec.nodata_share
        wanted = max(height * width / PARCEL, needed)
        parcel = _parcels(rng, (height, width), int(np.ceil(wanted)))
        tiles.append(
            _Tile(
                name=f"tile_{number + 1:02d}",
                parcel=parcel,
                train=alone or number < training,
                test=alone or number >= training,
                class_of=np.zeros(parcel.max() + 1, dtype=np.int64),
            )
        )
    groups = [tiles] if alone else [tiles[:training], tiles[training:]]
    weights = np.array([m.weight for m in covers])
    for group in groups:
        labelled = [np.unique(tile.parcel[_labelled(spec, tile)]) for tile in group]
        _assign(rng, group, labelled, weights / weights.sum(), copies=2 if alone else 1)
    return tiles


def _assign(
    rng: np.random.Generator,
    tiles: list[_Tile],
    labelled: list[Int],
    share: NDArray[np.float64],
    copies: int,
) -> None:
    """Give every parcel of these tiles a class, each class at least ``copies`` labelled parcels."""
    seen = [(t, int(p)) for t, parcels in enumerate(labelled) for p in parcels]
    every = [(t, p) for t, tile in enumerate(tiles) for p in range(len(tile.class_of))]
    must = np.repeat(np.arange(len(share)), copies)
    first = [seen[i] for i in rng.permutation(len(seen))[: len(must)]]
    rest = sorted(set(every) - set(first))
    # Counts follow the shares as closely as whole parcels allow.
    counts = np.full(len(share), copies)
    ideal = share * len(every)
    while counts.sum() < len(must) + len(rest):
        counts[int(np.argmax(ideal - counts))] += 1
    more = rng.permutation(np.repeat(np.arange(len(share)), counts - copies))
    for (t, p), k in [*zip(first, must, strict=False), *zip(rest, more, strict=True)]:
        tiles[t].class_of[p] = k


def _spectral_library(spec: SyntheticSpec, covers: tuple[Material, ...]) -> NDArray[np.float64]:
    """Return (K, 1 + MODES, B): mean spectrum and smooth modes of variation of every class."""
    rng = _rng(spec, "spectra")
    nm = wavelengths(spec.bands)
    family: dict[tuple[object, ...], NDArray[np.float64]] = {}
    spectra = []
    for cover in covers:
        mean = reflectance(cover, nm)
        key = (cover.floor, cover.slope, cover.edges, cover.features)
        if key not in family:
            # Materials with one spectrum also vary alike, or the variation would tell them apart.
            centres, widths = rng.uniform(450.0, 2300.0, 2), rng.uniform(120.0, 400.0, 2)
            bumps = [
                mean * np.exp(-0.5 * ((nm - c) / w) ** 2)
                for c, w in zip(centres, widths, strict=True)
            ]
            tilt = mean * (nm - 1400.0) / 1100.0
            family[key] = np.stack([0.16 * mean, 0.10 * tilt, 0.16 * bumps[0], 0.16 * bumps[1]])
        spectra.append(np.concatenate([mean[None], family[key]]))
    return np.stack(spectra)


def _spectral(
    spec: SyntheticSpec, tile: _Tile, library: NDArray[np.float64], number: int
) -> NDArray[np.uint16]:
    """Render the (B, H, W) spectral image, uint16."""
    rng = _rng(spec, "spectral", number)
    truth, shape = tile.truth, tile.parcel.shape
    light = 1.0 + 0.10 * _smooth(rng, shape, max(8.0, max(shape) / 5.0))
    coefficients = [np.ones(shape, np.float32)]
    for _ in range(MODES):
        offset = rng.standard_normal(len(tile.class_of)).astype(np.float32)[tile.parcel]
        texture = _smooth(rng, shape, 2.0)
        grain = rng.standard_normal(shape).astype(np.float32)
        coefficients.append(0.4 * offset + 0.4 * texture + 0.5 * grain)
    # Covers are not pure: a weed in the field, a bush on the roof, a gap in the wood.
    share = np.clip(MIXING * np.abs(rng.standard_normal(shape)), 0.0, 0.8).astype(np.float32)
    other = rng.permutation(truth.ravel()).reshape(shape)
    # Mixing is linear, so the point spread function may act on the coefficients instead of on
    # every band: (K (1 + MODES), H W) whatever the number of bands.
    present = np.unique(truth)
    blurred = np.stack(
        [
            gaussian_filter(
                light * c * ((truth == k) * (1 - share) + (other == k) * share), PSF, mode="nearest"
            )
            for k in present
            for c in coefficients
        ]
    ).reshape(len(present) * (1 + MODES), -1)
    spectra = library[present].reshape(-1, spec.bands).astype(np.float32)
    # Detector noise grows to the ends of the range and in the water bands.
    nm = wavelengths(spec.bands)
    sigma = 0.012 + 0.015 * np.exp(-(nm - 400.0) / 120.0) + 0.010 * (nm / 2500.0) ** 4
    for centre, width in ((1400.0, 40.0), (1900.0, 60.0)):
        sigma += 0.02 * np.exp(-0.5 * ((nm - centre) / width) ** 2)
    image = np.empty((spec.bands, *shape), dtype=np.uint16)
    for band in range(spec.bands):
        clean = (spectra[:, band] @ blurred).reshape(shape)
        noisy = clean + sigma[band] * rng.standard_normal(shape)
        image[band] = np.clip(np.rint(noisy * SCALE), SPECTRAL_NODATA + 1, 65_535)
    image[:, _corner(shape, spec.nodata_share)] = SPECTRAL_NODATA
    return image


def _radar(spec: SyntheticSpec, tile: _Tile, covers: tuple[Material, ...], number: int) -> Float:
    """Render the (bands, H, W) radar intensity with gamma speckle, linear."""
    rng = _rng(spec, "radar", number)
    shape = tile.parcel.shape
    image = np.empty((spec.sar_bands, *shape), dtype=np.float32)
    # Pairs of co- and cross-polarised bands; later pairs are other dates, a little different.
    parcel_db = rng.normal(0.0, 0.6, len(tile.class_of))
    for band in range(spec.sar_bands):
        level = np.array([cover.backscatter[band % 2] for cover in covers])
        date_db = 0.0 if band < 2 else float(rng.normal(0.0, 0.5))
        db = level[tile.class_of] + parcel_db + rng.normal(0.0, 0.4, len(tile.class_of)) + date_db
        intensity = 10.0 ** (db[tile.parcel] / 10.0)
        intensity = gaussian_filter(intensity, 0.5, mode="nearest")
        image[band] = intensity * rng.gamma(LOOKS, 1.0 / LOOKS, shape)
    missing = _corner(shape, spec.nodata_share / 2.0)[::-1, ::-1]
    image[:, missing] = np.nan
    return image


def _surface(spec: SyntheticSpec, tile: _Tile, covers: tuple[Material, ...], number: int) -> Float:
    """Render the (1, H, W) surface model in metres: terrain, heights of classes, noise."""
    rng = _rng(spec, "surface", number)
    shape = tile.parcel.shape
    terrain = 310.0 + 1.3 * _smooth(rng, shape, max(10.0, max(shape) / 4.0))
    base = np.array([cover.height for cover in covers])
    rough = np.array([cover.roughness for cover in covers])
    storey = rng.normal(0.0, 1.0, len(tile.class_of))
    # A parcel's height varies with the height of what stands on it: low crops hardly, roofs do.
    of_parcel = base[tile.class_of] + 0.15 * np.abs(base[tile.class_of]) * storey
    height = of_parcel[tile.parcel] + rough[tile.truth] * _smooth(rng, shape, 1.2)
    height = gaussian_filter(height, 0.5, mode="nearest") + rng.normal(0.0, 0.15, shape)
    surface: Float = (terrain + height)[None].astype(np.float32)
    return surface


def _corner(shape: tuple[int, int], share: float) -> NDArray[np.bool_]:
    """Return an (H, W) mask of the upper left corner with this share of the area, cut aslant."""
    row, col = np.mgrid[: shape[0], : shape[1]]
    # The triangle u + v < sqrt(2 share) of the unit square has this area, up to one half.
    mask: NDArray[np.bool_] = (row + 0.5) / shape[0] + (col + 0.5) / shape[1] < np.sqrt(2 * share)
    return mask


def _labels(
    spec: SyntheticSpec, tiles: list[_Tile], quota: list[int]
) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Return (H, W) training and test codes of every tile: class index + 1, 0 for unlabelled."""
    rng = _rng(spec, "labels")
    open_ = [_labelled(spec, tile) for tile in tiles]
    train = [np.zeros(tile.parcel.shape, dtype=np.uint8) for tile in tiles]
    alone = spec.tiles == 1
    for k, wanted in enumerate(quota):
        pieces = []
        for t, tile in enumerate(tiles):
            for p in np.flatnonzero(tile.class_of == k) if tile.train else ():
                pixels = np.argwhere((tile.parcel == p) & open_[t])
                if len(pixels):
                    pieces.append((t, pixels))
        order = rng.permutation(len(pieces))
        # A few parcels: an annotator visits some fields, not all; one is always left to the test.
        visits = max(1, min(VISITS, len(pieces) - 1 if alone else len(pieces)))
        left = wanted
        if alone and len(pieces) == 1:
            left = min(wanted, len(pieces[0][1]) // 2)
        for turn, i in enumerate(order[:visits]):
            t, pixels = pieces[i]
            # A patch: the pixels nearest to one of them, so that training pixels lie together.
            start = pixels[rng.integers(len(pixels))]
            near = np.argsort(((pixels - start) ** 2).sum(axis=1), kind="stable")
            take = pixels[near[: -(-left // (visits - turn))]]
            train[t][take[:, 0], take[:, 1]] = k + 1
            left -= len(take)
    labels = []
    for t, tile in enumerate(tiles):
        code = (tile.truth + 1).astype(np.uint8)
        free = open_[t] & (train[t] == 0) & tile.test
        labels.append((train[t], np.where(free, code, np.uint8(0)).astype(np.uint8)))
    for which, name in enumerate(("train", "test")):
        found = np.unique(np.concatenate([pair[which].ravel() for pair in labels]))
        lost = np.setdiff1d(np.arange(1, spec.classes + 1), found)
        if len(lost):
            raise SettingsError(
                f"the synthetic scene has no {name} pixel of class {lost[0]}; every class needs"
                " parcels in train and in test: use larger or more tiles, or fewer classes."
            )
    return labels


def _labelled(spec: SyntheticSpec, tile: _Tile) -> NDArray[np.bool_]:
    """Return the (H, W) pixels that have a label: not the parcels' edges, not where no image is."""
    number = tile.parcel
    edge = np.zeros(number.shape, dtype=bool)
    edge[1:] |= number[1:] != number[:-1]
    edge[:, 1:] |= number[:, 1:] != number[:, :-1]
    open_ = ~edge
    # A parcel so thin that it is all edge keeps its innermost pixels.
    for p in np.setdiff1d(number, number[open_]):
        inside = distance_transform_edt(number == p)
        open_ |= inside == inside.max()
    return open_ & ~_corner(number.shape, spec.nodata_share)


def _band_names(spec: SyntheticSpec, name: str) -> tuple[str, ...]:
    if name == "hsi":
        return tuple(f"{nm:.0f} nm" for nm in wavelengths(spec.bands))
    if name == "sar":
        return tuple(f"{('VV', 'VH')[b % 2]} date {b // 2 + 1}" for b in range(spec.sar_bands))
    return (name,)


def _write(
    path: Path,
    array: NDArray[np.generic],
    nodata: float | None,
    west: float,
    names: tuple[str, ...],
) -> None:
    bands = array if array.ndim == 3 else array[None]
    with (
        atomic_path(path) as temporary,
        rasterio.open(
            temporary,
            "w",
            driver="GTiff",
            height=bands.shape[1],
            width=bands.shape[2],
            count=bands.shape[0],
            dtype=bands.dtype,
            crs="EPSG:32632",
            transform=Affine(PIXEL, 0.0, west, 0.0, -PIXEL, 5_300_000.0),
            nodata=nodata,
            compress="deflate",
            zlevel=1,
            interleave="band",
        ) as raster,
    ):
        raster.write(bands)
        raster.descriptions = names


def _scene_file(spec: SyntheticSpec, tiles: list[_Tile], covers: tuple[Material, ...]) -> str:
    prefix = "" if spec.tiles == 1 else "{tile}/"
    modalities = {"hsi": {"path": f"{prefix}hsi.tif", "role": "spectral"}}
    for name, there in (("sar", spec.sar), ("dsm", spec.dsm)):
        if there:
            modalities[name] = {"path": f"{prefix}{name}.tif", "role": "auxiliary"}
    if spec.sar:
        modalities["sar"]["units"] = "linear"
    scene: dict[str, object] = {"name": "synthetic", "modalities": modalities}
    if spec.tiles > 1:
        scene["tiles"] = [tile.name for tile in tiles]
    scene["labels"] = {
        "train": f"{prefix}train.tif",
        "test": f"{prefix}test.tif",
        "classes": {code: cover.name for code, cover in enumerate(covers, start=1)},
        "colors": {code: cover.color for code, cover in enumerate(covers, start=1)},
    }
    scene["split"] = "given"
    return yaml.safe_dump(scene, sort_keys=False)
