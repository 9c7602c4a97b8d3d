"""Names and wavelengths of bands, from the texts that rasters carry beside their values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from rasterio.io import DatasetReader

_NUMBER = r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?"
_UNIT = r"nm|nanomet(?:er|re)s?|[uµμ]m|micromet(?:er|re)s?|microns?"
_WITH_UNIT = re.compile(rf"(?<![\w.])({_NUMBER})\s*({_UNIT})(?![\w])", re.IGNORECASE)
_NAMED = re.compile(rf"wavelength\s*[=:]\s*({_NUMBER})", re.IGNORECASE)
_SUFFIX = re.compile(rf"\s*\(\s*{_NUMBER}\s*({_UNIT})?\s*\)$", re.IGNORECASE)
_TAGS = ("wavelength", "central_wavelength", "center_wavelength", "centre_wavelength")
_OF_ALL = ("wavelength", "wavelengths")
_UNIT_TAGS = ("wavelength_units", "wavelength_unit")
# Anything between ultraviolet and thermal infrared; numbers below 100 can only be micrometres.
_LONGEST_MICROMETRES = 100.0
_RANGE = (100.0, 100_000.0)


def band_names(dataset: DatasetReader, indexes: Sequence[int]) -> tuple[str, ...]:
    """Return the descriptions of bands (numbers from 1), without the wavelength GDAL appends."""
    texts = [dataset.descriptions[index - 1] or "" for index in indexes]
    return tuple(_SUFFIX.sub("", text) if _SUFFIX.search(text) else text for text in texts)


def band_wavelengths(dataset: DatasetReader, indexes: Sequence[int]) -> tuple[float | None, ...]:
    """Return the centre wavelengths in nanometres of bands (numbers from 1), None if not known.

    They are looked for in each band's tags (as ENVI rasters have them), in a list of the whole
    raster, and last in each band's description.
    """
    whole = {k.lower(): v for k, v in (dataset.tags(ns="ENVI") | dataset.tags()).items()}
    unit = next((whole[tag] for tag in _UNIT_TAGS if tag in whole), "")
    listed = next((_list(whole[t], dataset.count) for t in _OF_ALL if t in whole), None)
    found = []
    for index in indexes:
        tags = {k.lower(): v for k, v in dataset.tags(index).items()}
        value = _from_tags(tags, unit)
        if value is None and listed is not None:
            value = nanometres(listed[index - 1], unit)
        if value is None:
            value = _from_text(dataset.descriptions[index - 1] or "")
        found.append(value)
    return tuple(found)


def bad_bands(dataset: DatasetReader) -> tuple[int, ...]:
    """Return the bands (numbers from 1) that an ENVI header marks as bad in its list ``bbl``."""
    marks = _list(dataset.tags(ns="ENVI").get("bbl", ""), dataset.count) or []
    return tuple(band for band, mark in enumerate(marks, 1) if re.fullmatch(r"0+(\.0*)?", mark))


def nanometres(text: str | float, unit: str) -> float | None:
    """Return a wavelength in nanometres; None for a text or unit that is no wavelength.

    Args:
        text: The number.
        unit: Its unit; without one, numbers below 100 are taken as micrometres.
    """
    try:
        value = float(text)
    except ValueError:
        return None
    name = unit.strip().lower()
    if name in ("", "unknown", "none"):
        factor = 1000.0 if value < _LONGEST_MICROMETRES else 1.0
    elif re.fullmatch(_UNIT, name):
        factor = 1.0 if name.startswith("n") else 1000.0
    else:
        return None
    value = round(value * factor, 4)
    return value if _RANGE[0] <= value <= _RANGE[1] else None


def _from_tags(tags: Mapping[str, str], unit: str) -> float | None:
    own = next((tags[tag] for tag in _UNIT_TAGS if tag in tags), unit)
    for tag in _TAGS:
        if tag in tags:
            written = _WITH_UNIT.search(tags[tag])
            return nanometres(*written.groups()) if written else nanometres(tags[tag], own)
    return None


def _from_text(text: str) -> float | None:
    found = _WITH_UNIT.search(text)
    if found:
        return nanometres(*found.groups())
    found = _NAMED.search(text)
    return nanometres(found.group(1), "") if found else None


def _list(text: str, count: int) -> list[str] | None:
    parts = re.split(r"[\s,;]+", text.strip(" {}[]()\n"))
    return parts if len(parts) == count else None
