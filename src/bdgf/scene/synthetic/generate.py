"""A synthetic scene with known truth: it carries the demo, the tests and the tutorial.

Fields, roofs and woods of a small landscape, seen by a spectral image, a radar and a surface
model. `SAR_PAIR` are two classes that only the radar tells apart, `DSM_PAIR` two that only the
surface model does; the classes are taken in the order of `MATERIALS`, so that the radar pair is
there from three classes on and the height pair from five on.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
import yaml
from affine import Affine
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from bdgf.files import atomic_path, atomic_write_text
from bdgf.scene.synthetic.landscape import (
    Float,
    LandTile,
    SyntheticSpec,
    corner,
    draw_labels,
    lay_out,
    rare_quota,
    smooth_field,
    spec_generator,
    validate_spec,
)
from bdgf.scene.synthetic.materials import (
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

MODES = 4
"""Smooth modes of the variation within a class: brightness, tilt and two broad features."""

MIXING = 0.55
"""Spread of the share of another cover inside a pixel."""

PSF = 0.75
"""Standard deviation of the point spread function in pixels."""


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
    validate_spec(spec)
    covers = materials(spec.classes, spec_generator(spec, "materials"))
    tiles = lay_out(spec, covers)
    library = _spectral_library(spec, covers)
    quota = [spec.train_per_class if m.weight >= 2.0 else rare_quota(spec) for m in covers]
    for number, (tile, labels) in enumerate(
        zip(tiles, draw_labels(spec, tiles, quota), strict=True)
    ):
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


def _spectral_library(spec: SyntheticSpec, covers: tuple[Material, ...]) -> NDArray[np.float64]:
    """Return (K, 1 + MODES, B): mean spectrum and smooth modes of variation of every class."""
    rng = spec_generator(spec, "spectra")
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
    spec: SyntheticSpec, tile: LandTile, library: NDArray[np.float64], number: int
) -> NDArray[np.uint16]:
    """Render the (B, H, W) spectral image, uint16."""
    rng = spec_generator(spec, "spectral", number)
    truth, shape = tile.truth, tile.parcel.shape
    light = 1.0 + 0.10 * smooth_field(rng, shape, max(8.0, max(shape) / 5.0))
    coefficients = [np.ones(shape, np.float32)]
    for _ in range(MODES):
        offset = rng.standard_normal(len(tile.class_of)).astype(np.float32)[tile.parcel]
        texture = smooth_field(rng, shape, 2.0)
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
    image[:, corner(shape, spec.nodata_share)] = SPECTRAL_NODATA
    return image


def _radar(spec: SyntheticSpec, tile: LandTile, covers: tuple[Material, ...], number: int) -> Float:
    """Render the (bands, H, W) radar intensity with gamma speckle, linear."""
    rng = spec_generator(spec, "radar", number)
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
    missing = corner(shape, spec.nodata_share / 2.0)[::-1, ::-1]
    image[:, missing] = np.nan
    return image


def _surface(
    spec: SyntheticSpec, tile: LandTile, covers: tuple[Material, ...], number: int
) -> Float:
    """Render the (1, H, W) surface model in metres: terrain, heights of classes, noise."""
    rng = spec_generator(spec, "surface", number)
    shape = tile.parcel.shape
    terrain = 310.0 + 1.3 * smooth_field(rng, shape, max(10.0, max(shape) / 4.0))
    base = np.array([cover.height for cover in covers])
    rough = np.array([cover.roughness for cover in covers])
    storey = rng.normal(0.0, 1.0, len(tile.class_of))
    # A parcel's height varies with the height of what stands on it: low crops hardly, roofs do.
    of_parcel = base[tile.class_of] + 0.15 * np.abs(base[tile.class_of]) * storey
    height = of_parcel[tile.parcel] + rough[tile.truth] * smooth_field(rng, shape, 1.2)
    height = gaussian_filter(height, 0.5, mode="nearest") + rng.normal(0.0, 0.15, shape)
    surface: Float = (terrain + height)[None].astype(np.float32)
    return surface


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


def _scene_file(spec: SyntheticSpec, tiles: list[LandTile], covers: tuple[Material, ...]) -> str:
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
