"""Regions against scipy's labelling, merging against a plain loop over an array."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from bdgf.mapping import regions as module
from bdgf.mapping.regions import Regions, find_regions, strips

SEEDS = (1, 3, 4, 6, 8, 10, 12, 14)
"""Of maps in which no two borders or areas are equal, which would leave a choice."""

CROSS = ndimage.generate_binary_structure(2, 1)


def draw(seed=0, shape=(23, 31), classes=4):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, classes, (shape[0] // 3 + 1, shape[1] // 3 + 1))
    codes = np.kron(coarse, np.ones((3, 3), int))[: shape[0], : shape[1]]
    noise = rng.random(shape) < 0.15
    codes[noise] = rng.integers(0, classes, int(noise.sum()))
    return codes, rng.random(shape).astype(np.float32)


def found_in(codes, confidence, areas=None, pixel=(1.0, 1.0)):
    height, width = codes.shape
    areas = np.ones(height) if areas is None else areas
    return find_regions(
        lambda row, count: (codes[row : row + count], confidence[row : row + count]),
        height, width, areas, pixel,
    )  # fmt: skip


def image_of(found: Regions, codes):
    runs, parts = 0, []
    for row, count in strips(*codes.shape):
        part, runs = found.numbers(codes[row : row + count], runs)
        parts.append(part)
    return np.concatenate(parts)


def same_partition(a, b):
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1)
    return pairs.shape[1] == len(np.unique(a)) == len(np.unique(b))


@pytest.mark.parametrize("strip", [31, 31 * 5, 10**6])
def test_regions_are_the_connected_pixels_of_one_code(monkeypatch, strip):
    monkeypatch.setattr(module, "_PIXELS", strip)
    codes, confidence = draw()
    found = found_in(codes, confidence, np.linspace(1, 2, 23))
    image = image_of(found, codes)
    assert (image[codes == 0] == -1).all()
    expected, count = np.zeros_like(codes), 0
    for code in range(1, 4):
        label, number = ndimage.label(codes == code, CROSS)
        expected[label > 0] = label[label > 0] + count
        count += number
    assert same_partition(image[codes > 0], expected[codes > 0])
    for region in np.unique(image[image >= 0]):
        inside = image == region
        assert found.pixels[region] == inside.sum()
        assert found.code[region] == codes[inside][0]
        assert found.confidence[region] == pytest.approx(confidence[inside].mean(), rel=1e-5)
        weights = np.linspace(1, 2, 23)[np.nonzero(inside)[0]]
        assert found.area[region] == pytest.approx(weights.sum())


@pytest.mark.parametrize("strip", [31, 10**6])
def test_borders_are_counted_edge_by_edge(monkeypatch, strip):
    monkeypatch.setattr(module, "_PIXELS", strip)
    codes, confidence = draw(1)
    found = found_in(codes, confidence, pixel=(2.0, 3.0))
    assert found.borders == borders_of(image_of(found, codes), (2.0, 3.0), found.borders)


def borders_of(image, pixel, like):
    expected = {n: {} for n in like}
    across = zip(image[:, :-1].ravel(), image[:, 1:].ravel(), strict=True)
    down = zip(image[:-1].ravel(), image[1:].ravel(), strict=True)
    for pairs, length in ((across, pixel[1]), (down, pixel[0])):
        for a, b in pairs:
            if a != b and min(a, b) >= 0:
                expected[a][b] = expected[a].get(b, 0) + length
                expected[b][a] = expected[b].get(a, 0) + length
    return expected


def only(values):
    """Return the place of the largest of some pairs; equal ones would leave a choice."""
    order = sorted(values, key=values.get)
    assert len(order) < 2 or values[order[-1]] != values[order[-2]], "choose another seed"
    return order[-1]


def merged_plainly(codes, areas, minimum):
    """Merge the smallest region again and again, everything counted anew each time."""
    codes = codes.copy()
    while True:
        found = found_in(codes, np.zeros(codes.shape, np.float32), areas, (1.0, 1.3))
        image = image_of(found, codes)
        borders = borders_of(image, (1.0, 1.3), found.borders)
        small = {n: -found.area[n] for n in borders if found.area[n] < minimum and borders[n]}
        if not small:
            return codes
        beside = borders[only(small)]
        target = only({n: (round(beside[n], 6), found.area[n]) for n in beside})
        codes[image == only(small)] = found.code[target]


@pytest.mark.parametrize("strip", [31, 10**6])
def test_no_small_region_is_left_and_neighbours_differ(monkeypatch, strip):
    monkeypatch.setattr(module, "_PIXELS", strip)
    codes, confidence = draw(2)
    found = found_in(codes, confidence)
    found.merge_small(12)
    image = image_of(found, codes)
    assert ((image >= 0) == (codes > 0)).all(), "no data stays no data"
    mapped = np.where(image >= 0, found.code[image], 0)
    again = found_in(mapped, confidence)
    assert same_partition(image_of(again, mapped), image), "every region is whole"
    left = [n for n in np.unique(image[image >= 0]) if found.pixels[n] < 12]
    assert all(not found.borders[n] for n in left), "only islands in no data stay small"
    for region in np.unique(image[image >= 0]):
        inside = image == region
        own = inside & (codes == found.code[region])
        assert found.pixels[region] == inside.sum() == found.area[region]
        assert found.confidence[region] == pytest.approx(confidence[own].mean(), rel=1e-5)
        assert found.borders[region] == pytest.approx(
            borders_of(image, (1.0, 1.0), {n: {} for n in np.unique(image[image >= 0])})[region]
        )


def test_the_longest_border_decides_and_not_the_size():
    codes = np.ones((6, 8), int)
    codes[:, 4:] = 2
    codes[2:5, 4] = 3  # borders: 3 to the left, 3 to the right, 1 above and 1 below
    found = found_in(codes, np.ones(codes.shape, np.float32))
    found.merge_small(4)
    image = image_of(found, codes)
    assert (found.code[image] == np.where(codes == 3, 2, codes)).all()
    codes[2:5, 3] = 3  # now 3 left, 3 right, 2 shared by each above and below: the larger one
    codes[0:2, 3] = 2
    found = found_in(codes, np.ones(codes.shape, np.float32))
    found.merge_small(7)
    assert (found.code[image_of(found, codes)][codes == 3] == 2).all()


def test_a_background_as_large_as_the_map_is_not_moved_about(monkeypatch):
    codes = 1 + (np.random.default_rng(0).random((150, 150)) < 0.35).astype(np.uint8)
    found = found_in(codes, np.ones(codes.shape, np.float32))
    join, moved = Regions._join, []

    def counted(self, gone, target, parent):
        moved.append(len(self.borders[gone]))
        join(self, gone, target, parent)

    monkeypatch.setattr(Regions, "_join", counted)
    longest = max(map(len, found.borders.values()))
    found.merge_small(10)
    assert longest > 1000
    assert max(moved) < 100


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("minimum", [2.0, 9.0])
def test_merging_equals_the_plain_loop(seed, minimum):
    codes, confidence = draw(seed, (40, 3))
    areas = np.random.default_rng(seed).uniform(0.5, 1.5, 40)
    found = found_in(codes, confidence, areas, (1.0, 1.3))
    assert (found.area[list(found.borders)] < minimum).sum() > 0
    found.merge_small(minimum)
    image = image_of(found, codes)
    mapped = np.where(image >= 0, found.code[image], 0)
    np.testing.assert_array_equal(mapped, merged_plainly(codes, areas, minimum))
