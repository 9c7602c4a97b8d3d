"""What a file is, judged by its name: sensor, labels, training or test, band of a satellite."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from bdgf.scene.radar import looks_like_radar

Part = Literal["train", "test", "validation"]
Kind = Literal["spectral", "radar", "height", "colour", "image", "labels"]
"""What a raster is; an image is one that nothing is known of."""

_START, _END = r"(?<![a-z])", r"(?![a-z])"


def _any(words: str) -> re.Pattern[str]:
    return re.compile(f"{_START}(?:{words}){_END}")


_WHAT = r"(?:labels?|images?|gt|maps?|masks?|sets?|data|samples?|index|idx|pix(?:els)?)?"
_PARTS: tuple[tuple[Part, re.Pattern[str]], ...] = (
    ("validation", _any(rf"val(?:id)?(?:ation)?{_WHAT}")),
    ("test", _any(rf"test(?:ing|s)?{_WHAT}|te|ts|va")),
    ("train", _any(rf"train(?:ing)?{_WHAT}|tr")),
)
_LABEL = re.compile(
    r"label|ground ?truth|annotation|land ?cover|allgrd|legend"
    rf"|{_START}(?:gt|gnd|grd|truth|mask|class|classes|classification|lulc|lc|roi|rois|samples"
    rf"|reference|crowns|polygons){_END}"
)
_SURELY = re.compile(rf"label|ground ?truth|annotation|{_START}(?:gt|gnd){_END}")
_OUTPUT = _any(r"map|maps|pred|prediction|predictions|confidence|result|results|output|out")
_HEIGHT = _any(r"n?dsm|dtm|dem|chm|lidar|als|height|heights|elevation|altitude|canopy")
_COLOUR = _any(r"rgb|vhr|ortho|orthophoto|aerial|colou?r|camera")
_SPECTRAL = re.compile(
    r"hyper|spectral|sentinel ?2|landsat|worldview|planet|prisma|enmap|aviris|desis|casi"
    rf"|{_START}(?:hsi|hs|msi|ms|s2[abc]?|l[5789]|l[ct]0[5789]){_END}"
)
_PLAIN = (
    *("data", "img", "image", "images", "x", "cube", "array", "raster", "scene", "im", "input"),
    *("arr", "value", "values", "var", "variable", "dataset", "i"),
)
_CANONICAL = (
    *("hsi", "msi", "hs", "ms", "sar", "dsm", "ndsm", "dtm", "dem", "chm", "lidar", "rgb"),
    *("s1", "s2", "radar", "casi", "prisma", "enmap", "desis", "aviris", "landsat", "vhr"),
)
# B02, B8A, B02_10m, B4 at the end of a name: Sentinel-2 and Landsat, one file per band.
_BAND = re.compile(r"(?:^|[_.\-])B(\d{1,2}A?)(?:[_.\-](\d{2})m)?$", re.IGNORECASE)


def words(name: str) -> str:
    """Lower case with words apart, also those that only capitals part, as in TrainImage."""
    name = name.replace("LiDAR", "Lidar")
    name = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z0-9])(?=[A-Z][a-z])", " ", name)
    return re.sub(r"[_\-.\s/{}()\[\]]+", " ", name).lower().strip()


def part_of(texts: Sequence[str]) -> Part | None:
    """Tell by the names of a file and its array whether it is for training or for testing.

    A name that says both, such as train_test_gt, says neither.
    """
    for text in texts:
        found = {part for part, hint in _PARTS if hint.search(words(text))}
        if len(found) == 1:
            return found.pop()
        if found == {"validation", "test"}:
            return "test"
    return None


def kind_of(texts: Sequence[str], codes: bool) -> Kind | None:
    """Tell by names what a raster is; the first name that says anything decides.

    Args:
        texts: Names of the array, the parts of a struct from the inmost on, and of the file.
        codes: Whether its values can be class codes.

    Returns:
        What it is, None where no name says it.
    """
    for text in texts:
        if codes and (named_label([text]) or (part_of([text]) and _sensor(text) is None)):
            return "labels"
        sensor = _sensor(text)
        if sensor is not None:
            return sensor
    return None


def _sensor(text: str) -> Kind | None:
    plain = words(text)
    if _SPECTRAL.search(plain):
        return "spectral"
    if looks_like_radar(plain):
        return "radar"
    if _HEIGHT.search(plain):
        return "height"
    return "colour" if _COLOUR.search(plain) else None


def named_label(texts: Sequence[str]) -> bool:
    """Whether a name says that these are labels."""
    return any(_LABEL.search(words(t)) for t in texts)


def surely_label(texts: Sequence[str]) -> bool:
    """Whether a name can mean nothing but labels."""
    return any(_SURELY.search(words(t)) for t in texts)


def named_output(texts: Sequence[str]) -> bool:
    """Whether a name says that this was computed, such as a map of classes."""
    return any(_OUTPUT.search(words(t)) for t in texts) and not surely_label(texts)


def band_of(stem: str) -> tuple[str, str, int] | None:
    """Split the name of a file with one band of a satellite: what comes before, band, metres.

    Returns:
        ``("T32TQM_20200101", "B02", 10)`` for ``T32TQM_20200101_B02_10m``; 0 metres where the name
        does not say them; None for any other name.
    """
    match = _BAND.search(stem)
    if match is None:
        return None
    number = match.group(1).upper()
    before = stem[: match.start()].strip("_.-")
    band = f"B{number.lstrip('0')}" if number.endswith("A") else f"B{number:0>2}"
    return before, band, int(match.group(2) or 0)


def band_order(band: str) -> tuple[int, str]:
    """Return the place of a band among its sensor's: B8A follows B08."""
    return int(band[1:].rstrip("A")), band


def short_name(texts: Sequence[str]) -> str:
    """Name a modality: by its sensor where a name says one, else by the first telling name."""
    for text in texts:
        for word in words(text).split():
            for plain in (word, word.rstrip("0123456789")):
                if plain in _CANONICAL:
                    return plain
    for text in texts:
        plain = plain_name(text)
        if plain and plain not in _PLAIN:
            return plain
    return next((plain_name(text) for text in reversed(texts) if plain_name(text)), "image")


def plain_name(text: str) -> str:
    """Lower case with underscores for all that is no letter or digit."""
    return re.sub(r"[\W_]+", "_", text.lower()).strip("_")
