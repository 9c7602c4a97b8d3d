"""The order of bands, by what rasters say of them."""

from __future__ import annotations

from collections.abc import Sequence

from bdgf.scene.formats.base import RasterSource

_LISTED = 6


def band_labels(source: RasterSource) -> tuple[str, ...]:
    """Return what tells the bands of a raster apart: names, else wavelengths; nothing without."""
    waves = ["" if wave is None else f"{wave:g} nm" for wave in source.wavelengths]
    for found in (source.band_names, waves):
        labels = tuple(label.strip() for label in found)
        if all(labels) and len(set(labels)) == len(labels):
            return labels
    return ()


def other_order(ours: Sequence[str], theirs: Sequence[str]) -> str | None:
    """Return in words how two rasters differ in the order of the same bands, None if they do not.

    Args:
        ours: What tells the bands of one apart, as `band_labels` returns it.
        theirs: The same of the other.
    """
    if list(ours) == list(theirs) or sorted(ours) != sorted(theirs):
        return None
    return f"{_listed(theirs)}, and not {_listed(ours)}"


def _listed(labels: Sequence[str]) -> str:
    more = ", …" if len(labels) > _LISTED else ""
    return ", ".join(labels[:_LISTED]) + more
