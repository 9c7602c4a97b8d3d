"""The landscape of a synthetic scene: parcels, their classes, and what is labelled of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, find_objects, gaussian_filter, zoom
from scipy.spatial import cKDTree

from bdgf.errors import SettingsError
from bdgf.scene.synthetic.materials import Material

PARCEL = 170.0
"""Mean area of a parcel in pixels."""

VISITS = 4
"""Most parcels that the training pixels of a class come from."""

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
class LandTile:
    """One tile while it is made: (H, W) parcel numbers, and the class index of each parcel."""

    name: str
    parcel: Int
    train: bool
    test: bool
    class_of: Int

    @property
    def truth(self) -> Int:
        """Class index of every pixel, (H, W)."""
        return self.class_of[self.parcel]


def validate_spec(spec: SyntheticSpec) -> None:
    """Check that a spec can be met.

    Raises:
        SettingsError: A value out of range, or too little room for the classes and their labels.
    """
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


def rare_quota(spec: SyntheticSpec) -> int:
    """Return the training pixels of a rare class."""
    return max(1, round(0.4 * spec.train_per_class))


def spec_generator(spec: SyntheticSpec, purpose: str, tile: int = 0) -> np.random.Generator:
    """Return the generator of one purpose on one tile."""
    # One stream for each purpose: leaving the radar out does not change the spectral image.
    key = int.from_bytes(purpose.encode(), "little") % (2**32)
    return np.random.default_rng([spec.seed, key, tile])


def smooth_field(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Float:
    """Draw an (H, W) smooth random field with mean 0, variance about 1 and this scale in pixels."""
    # Drawn on a coarse grid, so that the cost does not grow with the scale.
    step = max(1.0, scale / 2.0)
    coarse = tuple(int(np.ceil(n / step)) + 8 for n in shape)
    field = gaussian_filter(rng.standard_normal(coarse), scale / step, mode="reflect")
    # A kernel of standard deviation s leaves 1 / (4 pi s^2) of the variance.
    field *= 2.0 * np.sqrt(np.pi) * scale / step
    fine = zoom(field, step, order=1) if step > 1.0 else field
    cut: Float = fine[4 : 4 + shape[0], 4 : 4 + shape[1]].astype(np.float32)
    return cut


def _parcels(rng: np.random.Generator, shape: tuple[int, int], count: int) -> Int:
    """Divide a tile into Voronoi parcels with bent edges: (H, W) parcel numbers 0, 1, ..."""
    height, width = shape
    # Jittered grid points: parcels of similar area, without the slivers of free random points.
    rows = max(1, round(np.sqrt(count * height / width)))
    cols = int(np.ceil(count / rows))
    grid = np.stack(np.meshgrid(np.arange(rows), np.arange(cols), indexing="ij"), -1).reshape(-1, 2)
    points = (grid + rng.uniform(0.12, 0.88, grid.shape)) * (height / rows, width / cols)
    where = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), -1)
    bend = np.stack([smooth_field(rng, shape, 9.0), smooth_field(rng, shape, 9.0)], -1)
    _, nearest = cKDTree(points).query((where + 1.6 * bend).reshape(-1, 2))
    # A point outside of the bent grid may have lost all of its pixels: number what is left.
    _, number = np.unique(nearest, return_inverse=True)
    return number.reshape(shape).astype(np.int64)


def lay_out(spec: SyntheticSpec, covers: tuple[Material, ...]) -> list[LandTile]:
    """Cut every tile into parcels and give each a class; every class is in train and in test."""
    rng = spec_generator(spec, "layout")
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
            LandTile(
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
    tiles: list[LandTile],
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


def corner(shape: tuple[int, int], share: float) -> NDArray[np.bool_]:
    """Return an (H, W) mask of the upper left corner with this share of the area, cut aslant."""
    row, col = np.mgrid[: shape[0], : shape[1]]
    # The triangle u + v < sqrt(2 share) of the unit square has this area, up to one half.
    mask: NDArray[np.bool_] = (row + 0.5) / shape[0] + (col + 0.5) / shape[1] < np.sqrt(2 * share)
    return mask


def draw_labels(
    spec: SyntheticSpec, tiles: list[LandTile], quota: list[int]
) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Return (H, W) training and test codes of every tile: class index + 1, 0 for unlabelled."""
    rng = spec_generator(spec, "labels")
    open_ = [_labelled(spec, tile) for tile in tiles]
    members = [_members(t.parcel, o) for t, o in zip(tiles, open_, strict=True)]
    train = [np.zeros(tile.parcel.shape, dtype=np.uint8) for tile in tiles]
    alone = spec.tiles == 1
    for k, wanted in enumerate(quota):
        pieces = []
        for t, tile in enumerate(tiles):
            for p in np.flatnonzero(tile.class_of == k) if tile.train else ():
                if len(members[t][p]):
                    pixels = np.stack(np.unravel_index(members[t][p], tile.parcel.shape), -1)
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


def _labelled(spec: SyntheticSpec, tile: LandTile) -> NDArray[np.bool_]:
    """Return the (H, W) pixels that have a label: not the parcels' edges, not where no image is."""
    number = tile.parcel
    edge = np.zeros(number.shape, dtype=bool)
    edge[1:] |= number[1:] != number[:-1]
    edge[:, 1:] |= number[:, 1:] != number[:, :-1]
    open_ = ~edge
    # A parcel so thin that it is all edge keeps its innermost pixels.
    thin = np.setdiff1d(number, number[open_])
    if len(thin):
        boxes = find_objects(number + 1)
        for p in thin:
            # its box and one pixel around it are enough: what is farther away is not nearer
            box = tuple(slice(max(0, side.start - 1), side.stop + 1) for side in boxes[p])
            inside = distance_transform_edt(number[box] == p)
            open_[box] |= inside == inside.max()
    return open_ & ~corner(number.shape, spec.nodata_share)


def _members(number: Int, open_: NDArray[np.bool_]) -> list[Int]:
    """Return the flat indices of every parcel's open pixels, in ascending order."""
    flat = np.flatnonzero(open_)
    of = number.ravel()[flat]
    order = np.argsort(of, kind="stable")
    starts = np.searchsorted(of[order], np.arange(1, number.max() + 1))
    return np.split(flat[order], starts)
