"""How rasters lie to one another: the same pixels, resampled, or apart."""

from __future__ import annotations

from dataclasses import dataclass

from bdgf.errors import SceneError
from bdgf.scene.alignment import align
from bdgf.scene.grid import Grid
from bdgf.scene.inspection import words
from bdgf.scene.inspection.findings import Found, Group, Raster


@dataclass(frozen=True)
class Relation:
    """How a raster lies to the reference.

    Args:
        same: Whether both have the same pixels.
        fits: Whether it can be brought to the reference's pixels.
        text: In words.
        overlap: Share of the reference that it covers, None where coordinates do not tell.
    """

    same: bool
    fits: bool
    text: str
    overlap: float | None = None


def relation(raster: Raster, reference: Raster) -> Relation:
    """Say how a raster lies to the reference, by sizes and coordinates."""
    own, grid = Grid.of(raster.source), Grid.of(reference.source)
    try:
        if own.same(grid):
            known = own.placed and grid.placed
            text = "same grid" if known else "same size, no coordinates to compare"
            if not own.placed and not grid.placed:
                text = "same size"
            return Relation(True, True, text)
        overlap = grid.overlap(own) if own.placed and grid.placed else None
        _, sentence = align(
            raster.source,
            grid,
            name=raster.name,
            reference=reference.name,
            categorical=raster.kind == "labels",
            multiples=True,
        )
    except SceneError as error:
        return Relation(False, False, str(error))
    return Relation(False, True, sentence or "same pixels", overlap)


def compared(found: Found) -> list[tuple[Raster, Raster, Relation]]:
    """Compare every image and label raster with the reference.

    Of bands in files of their own the finest stands for all, and those on other grids are compared
    with it.

    Returns:
        The raster, what it is compared with, and how it lies to that.
    """
    reference = found.reference
    if reference is None:
        return []
    pairs = []
    for group in found.groups:
        if group is not reference:
            pairs.append((group.finest, reference.finest))
        pairs += [(raster, group.finest) for raster in other_bands(group)]
    return [(one, other, relation(one, other)) for one, other in pairs]


def other_bands(group: Group) -> list[Raster]:
    """Return the bands of a group that are on another grid than its finest one."""
    own = group.finest
    grid = Grid.of(own.source)
    others = [raster for raster in group.rasters if raster is not own]
    return [raster for raster in others if not Grid.of(raster.source).same(grid)]


def line_up(found: Found) -> str:
    """Say of every raster how it lies to the reference image, as a table.

    Returns:
        The text, empty where there is nothing to compare.
    """
    reference = found.reference
    if reference is None:
        return ""
    first = reference.finest
    source = first.source
    rows, sentences = [], []
    inside = {id(raster) for group in found.groups for raster in other_bands(group)}
    for raster, _, how in compared(found):
        if id(raster) in inside and how.fits:
            continue
        short = how.text if how.same else "is resampled" if how.fits else "does not fit"
        covered = "" if how.overlap is None else f"covers {words.percent(how.overlap)} of it"
        rows.append((raster.name, short, covered))
        if how.fits and not how.same:
            sentences.append(words.item(how.text))
    for group in found.groups:
        bands = other_bands(group)
        if bands:
            listed = words.listed([band.source.path.stem for band in bands], 5)
            text = f"{words.plural(len(bands), 'band')} of {group.name} ({listed}) have larger"
            sentences.append(words.item(f"{text} pixels and are resampled to its finest."))
    if not rows and not sentences:
        return ""
    head = f"How the files lie to {first.name} ({source.height:,} × {source.width:,} pixels)"
    return "\n".join([head, *(words.columns(rows) if rows else []), *sentences])
