"""What looks wrong with images: short sentences, each with the way out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from bdgf.scene.formats.selection import ranges
from bdgf.scene.inspection import words
from bdgf.scene.inspection.findings import Found, Group, Raster
from bdgf.scene.inspection.label_doubts import label_doubts
from bdgf.scene.inspection.places import place_doubts
from bdgf.scene.outliers import FILL_VALUES

_MANY_BANDS = 30
_SATURATED = 0.05
_UNIT_RATIO = 50.0
_MOSTLY = 0.5


def doubts(found: Found) -> list[str]:
    """Say what looks wrong, each with the way out.

    Args:
        found: What was gathered.

    Raises:
        SceneError: A file that cannot be read.
    """
    return [*image_doubts(found.images), *place_doubts(found), *label_doubts(found)]


def image_doubts(groups: Sequence[Group]) -> list[str]:
    """Say what looks wrong with the values of images, each with the way out."""
    sentences = []
    for group in groups:
        for raster in group.rasters:
            for check in _CHECKS:
                sentences += check(raster)
        sentences += _units_of_bands(group)
    return [*sentences, *_same_sensor(groups)]


def undeclared_nodata(raster: Raster) -> float | None:
    """Return a value that probably means "no data" although the file does not say so.

    These are values that only programs write, and exact zeros where a sensor has none: in all
    bands of an optical image at once, or far below all heights.
    """
    source, found = raster.source, raster.statistics
    for value in FILL_VALUES:
        written = np.float32(value)
        if source.nodata != value and ((found.low == written) | (found.high == written)).any():
            return float(value)
    if not len(found.sample):
        return None
    zero = (found.sample == 0).all(axis=1)
    share = float(zero.mean())
    rest = found.sample[~zero]
    rest = rest[np.isfinite(rest)]
    if not share or not rest.size:
        return None
    if raster.kind == "spectral" and source.bands >= 4:
        return 0.0 if share > 0.002 else None
    if raster.kind == "radar":
        return 0.0 if share > 0.005 else None
    low, high = np.percentile(rest, (2, 98))
    nearest = float(np.abs(rest).min())
    apart = high > low and nearest > 0.5 * float(high - low)
    if raster.kind == "colour":
        return 0.0 if share > 0.02 else None
    return 0.0 if share > 0.002 and apart else None


def declared_nodata(raster: Raster) -> float | None:
    """Return the value that a raster declares for "no data"; a scene file gives one where none is.

    NaN never is data, so that a file that declares it declares nothing.
    """
    declared = raster.source.nodata
    return None if declared is None or np.isnan(declared) else declared


def _nodata(raster: Raster) -> list[str]:
    value = undeclared_nodata(raster)
    if value is None:
        return []
    sample = raster.statistics.sample
    share = float((sample == np.float32(value)).all(axis=1).mean()) if len(sample) else 0.0
    where = words.percent(share) if share else "some"
    shown = words.number(value)
    declared = declared_nodata(raster)
    if declared is not None:
        own = words.number(declared)
        return [
            f"{raster.name} has the value {shown} on {where} of its pixels and declares {own}; if"
            f" both mean \"no data\", set those pixels to {own} in the file: 'nodata' of the"
            " modality is one value and would take the place of the declared one."
        ]
    return [
        f"{raster.name} has the value {shown} on {where} of its pixels and does not declare it;"
        f" if it means \"no data\", add 'nodata: {words.exact(value)}' to the modality."
    ]


def _flat_bands(raster: Raster) -> list[str]:
    """Bands that hold one value everywhere, or nothing."""
    found = raster.statistics
    read = "" if found.exact else " in what was read"
    empty = np.isnan(found.low)
    if empty.all():
        return [f"{raster.name} has no valid pixel{read}: get the file again, or leave it out."]
    sentences = []
    if empty.any():
        sentences.append(
            f"{raster.name} has no valid pixel in {_bands(empty)}{read}; 'bands: [...]' of the"
            " modality keeps the others."
        )
    flat = found.low == found.high
    if flat.any() and (raster.source.bands > 1 or raster.kind != "labels"):
        values = {words.number(float(value)) for value in found.low[flat]}
        value = f"the value {values.pop()}" if len(values) == 1 else "one value each"
        ending = (
            "; they tell nothing, and 'bands: [...]' of the modality keeps the others"
            if not flat[~empty].all()
            else ": leave it out"
        )
        sentences.append(f"{raster.name} has {value} everywhere in {_bands(flat)}{read}{ending}.")
    few = ~empty & (found.valid < _MOSTLY * found.present)
    if few.any():
        sentences.append(
            f"{raster.name} has data in {_bands(few)} for less than half of the pixels of its other"
            " bands; where one used band is missing the modality is: 'bands: [...]' leaves it out."
        )
    return sentences


def _twice(raster: Raster) -> list[str]:
    """Bands that repeat another one."""
    sample = raster.statistics.sample
    varied = raster.statistics.low != raster.statistics.high
    if raster.source.bands < 2 or len(sample) < 2:
        return []
    first: dict[bytes, int] = {}
    pairs = []
    for band in range(raster.source.bands):
        if not varied[band] or np.isnan(sample[:, band]).all():
            continue
        before = first.setdefault(np.ascontiguousarray(sample[:, band]).tobytes(), band)
        if before != band:
            pairs.append(f"{band + 1} equals {before + 1}")
    if not pairs:
        return []
    return [
        f"{raster.name} holds bands twice (band {words.listed(pairs, 5)}): was one copied by"
        " mistake? 'bands: [...]' of the modality leaves it out."
    ]


def _saturated(raster: Raster) -> list[str]:
    """Many values that equal the largest one."""
    found = raster.statistics
    if raster.kind not in ("spectral", "colour", "radar") or not len(found.sample):
        return []
    high = found.high.astype(np.float32)
    number = np.isfinite(found.sample).sum(axis=0)
    share = (found.sample == high).sum(axis=0) / np.maximum(number, 1)
    spread = np.array([len(np.unique(column[:2000])) > 20 for column in found.sample.T])
    full = (share > _SATURATED) & spread
    if not full.any():
        return []
    band = int(np.argmax(np.where(full, share, 0)))
    value = words.number(float(high[band]))
    known = declared_nodata(raster) is not None
    exact = words.exact(float(high[band]))
    advice = "then set them to its nodata value" if known else f"'nodata: {exact}'"
    return [
        f"{raster.name} has its largest value, {value}, on {words.percent(float(share[band]))} of"
        f' the pixels of {_bands(full)}: it is saturated or cut off there, or {value} means "no'
        f' data" ({advice}).'
    ]


def _eight_bits(raster: Raster) -> list[str]:
    """A hyperspectral image of whole numbers from 0 to 255."""
    found = raster.statistics
    if raster.source.bands < _MANY_BANDS or not len(found.sample):
        return []
    values = found.sample[np.isfinite(found.sample)]
    whole = values.size and float(values.max()) <= 255 and not np.any(values != np.rint(values))
    if not whole or float(values.min()) < 0 or float(values.max()) < 10:
        return []
    return [
        f"{raster.name} holds only whole numbers from 0 to 255 in {raster.source.bands} bands: it"
        " looks like a copy made for display; use the original reflectance if there is one."
    ]


def _wavelengths(raster: Raster) -> list[str]:
    known = np.array([w for w in raster.source.wavelengths if w is not None], dtype=np.float64)
    if len(known) < 2:
        return []
    if known.max() < 100:
        return [
            f"{raster.name} has wavelengths from {known.min():g} to {known.max():g} nm, which look"
            " like micrometres: correct their unit in the file's header."
        ]
    back = np.flatnonzero(np.diff(known) <= 0)
    # Two spectrometers that overlap step back once; that is how such sensors are.
    if len(back) < 2 or len(back) == len(known) - 1:
        return []
    return [
        f"{raster.name} has wavelengths that do not increase at {len(back)} places, the first at"
        f" band {int(back[0]) + 2} ({known[back[0] + 1]:g} nm after {known[back[0]]:g} nm): were"
        " bands put in another order?"
    ]


def _units_of_radar(raster: Raster) -> list[str]:
    """Some bands in decibels, some linear."""
    if raster.kind != "radar":
        return []
    found = raster.statistics
    middle = np.array([found.percentiles(band)[1] for band in range(raster.source.bands)])
    logarithmic = (middle < -3) & (found.low > -100) & (found.high < 60)
    linear = (found.low >= 0) & (middle < 3)
    if not logarithmic.any() or not linear.any():
        return []
    return [
        f"{raster.name} looks like decibels in {_bands(logarithmic)} and like linear intensity in"
        f" {_bands(linear)}: bring all to one unit, or make them two modalities with 'units: db'"
        " and 'units: linear'."
    ]


def _tiles(raster: Raster) -> list[str]:
    """Tiles that differ from the others: in bands, or in the unit of their values."""
    sentences = []
    if raster.odd:
        sentences.append(
            f"{raster.name} has another number of bands than {raster.source.bands} on"
            f" {words.plural(len(raster.odd), 'tile')} ({words.listed(raster.odd, 5)}): all tiles"
            " share their bands; leave these tiles out."
        )
    middles = {name: abs(middle) for name, middle in raster.medians if np.isfinite(middle)}
    usual = float(np.median(list(middles.values()))) if middles else 0.0
    if raster.kind not in ("spectral", "colour") or usual == 0:
        return sentences
    other = [
        name
        for name, middle in middles.items()
        if middle and max(middle / usual, usual / middle) > _UNIT_RATIO
    ]
    if other:
        sentences.append(
            f"{raster.name} has values of another size on {words.listed(other, 5)} (medians"
            f" {words.number(middles[other[0]])} and {words.number(usual)}): bring all tiles to one"
            " unit, such as reflectance from 0 to 1."
        )
    return sentences


def _units_of_bands(group: Group) -> list[str]:
    if len(group.rasters) < 2:
        return []
    middles = {r.source.path.name: r.statistics.percentiles()[1] for r in group.rasters}
    usual = float(np.nanmedian([abs(middle) for middle in middles.values()]))
    other = [
        name for name, middle in middles.items()
        if middle and usual and max(abs(middle) / usual, usual / abs(middle)) > _UNIT_RATIO
    ]  # fmt: skip
    if not other or len(other) > len(middles) // 2:
        return []
    return [
        f"{words.listed(other, 5)} of {group.name} has values of another size than the other bands"
        f" (median {words.number(middles[other[0]])}, theirs {words.number(usual)}): is it in"
        " another unit?"
    ]


def _same_sensor(groups: Sequence[Group]) -> list[str]:
    """Images with the same bands, one in reflectance from 0 to 1 and one scaled by thousands."""
    sentences = []
    spectral = [group for group in groups if group.kind == "spectral" and len(group.rasters) == 1]
    for number, one in enumerate(spectral):
        for other in spectral[number + 1 :]:
            small, large = sorted(
                (one, other), key=lambda group: group.first.statistics.percentiles()[2]
            )
            low = small.first.statistics.percentiles()[2]
            high = large.first.statistics.percentiles()[2]
            if one.bands == other.bands and 0 < low <= 2 and high >= 200:
                sentences.append(
                    f"{small.first.name} goes up to {words.number(low)} and {large.first.name} to"
                    f" {words.number(high)}, with the same {one.bands} bands: if both are the same"
                    " sensor, bring them to one unit."
                )
    return sentences


def _bands(chosen: NDArray[np.bool_]) -> str:
    """Name bands by number, runs of them by their ends."""
    numbers = (np.flatnonzero(chosen) + 1).tolist()
    return f"band{'' if len(numbers) == 1 else 's'} {words.listed(ranges(numbers, ' to '))}"


_CHECKS: tuple[Callable[[Raster], list[str]], ...] = (
    _flat_bands,
    _nodata,
    _twice,
    _saturated,
    _eight_bits,
    _wavelengths,
    _units_of_radar,
    _tiles,
)
