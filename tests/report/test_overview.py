from __future__ import annotations

import numpy as np
import pytest
import rasterio

from bdgf.errors import RunFolderError
from bdgf.mapping.reading import read_confidence, read_map
from bdgf.report.overview import (
    NONE,
    RIGHT,
    WRONG,
    shown_tiles,
    step_of,
    tile_overview,
)
from bdgf.report.results import Results


def test_a_small_tile_is_shown_pixel_by_pixel(results: Results) -> None:
    overview = tile_overview(results, 0)
    tile = results.scene.tiles[0]
    classes = read_map(results.map_paths(0)[0], results.scene.class_codes)
    assert overview.step == 1
    np.testing.assert_array_equal(overview.classes, classes)
    np.testing.assert_array_equal(overview.confidence, read_confidence(results.map_paths(0)[1]))
    np.testing.assert_array_equal(overview.train, tile.train)
    np.testing.assert_array_equal(overview.test, tile.test)
    tested = tile.test >= 0
    wrong = tested & (classes != tile.test)
    np.testing.assert_array_equal(overview.verdict == WRONG, wrong)
    np.testing.assert_array_equal(overview.verdict == RIGHT, tested & ~wrong)
    with rasterio.open(results.votes_path(0)) as votes:
        codes = votes.read()
    named = np.array([0, *results.scene.class_codes])[overview.votes + 1]
    np.testing.assert_array_equal(named, codes)
    np.testing.assert_array_equal(
        overview.counts, np.bincount(classes[classes >= 0], minlength=len(overview.counts))
    )
    accuracy = results.metrics["methods"]["BDGF"]["all"]["oa"]
    assert 100 * overview.test_right.mean() == pytest.approx(accuracy)
    assert len(overview.test_right) == tested.sum()


@pytest.mark.parametrize("side", [7, 13, 26])
def test_a_large_tile_is_thinned_and_its_numbers_stay(results: Results, side: int) -> None:
    whole, thin = tile_overview(results, 0), tile_overview(results, 0, side)
    step = thin.step
    assert step > 1
    assert max(thin.classes.shape) <= side
    height, width = whole.classes.shape
    rows = np.minimum(np.arange(0, height, step) + step // 2, height - 1)
    cols = np.minimum(np.arange(0, width, step) + step // 2, width - 1)
    at = np.ix_(rows, cols)
    np.testing.assert_array_equal(thin.classes, whole.classes[at])
    np.testing.assert_array_equal(thin.votes, whole.votes[:, at[0], at[1]])
    np.testing.assert_array_equal(thin.counts, whole.counts)
    np.testing.assert_array_equal(thin.test_right, whole.test_right)
    for row, col in np.ndindex(thin.verdict.shape):
        cell = whole.verdict[row * step : (row + 1) * step, col * step : (col + 1) * step]
        right, wrong = int((cell == RIGHT).sum()), int((cell == WRONG).sum())
        expected = RIGHT if right > wrong else WRONG if wrong else NONE
        assert thin.verdict[row, col] == expected
        assert (thin.test[row, col] >= 0) == (right + wrong > 0)


def test_of_more_tiles_than_fit_some_are_left_out(tiles_results: Results) -> None:
    tiles = tiles_results.scene.tiles
    assert shown_tiles(tiles_results) == list(range(len(tiles)))
    area = max(tile.height * tile.width for tile in tiles)
    few = shown_tiles(tiles_results, 2 * area)
    assert 0 < len(few) < len(tiles)
    assert all((tiles[t].test >= 0).any() for t in few), "those with test pixels go first"
    assert len(shown_tiles(tiles_results, 1)) == 1


def test_steps() -> None:
    assert [step_of(1200, 10), step_of(1201, 10), step_of(10, 9000)] == [1, 2, 8]


def test_a_missing_raster_is_named(single_results: Results) -> None:
    path = single_results.votes_path(0)
    kept = path.read_bytes()
    path.unlink()
    try:
        with pytest.raises(RunFolderError, match=r"votes\.tif cannot be read.*bdgf map"):
            tile_overview(single_results, 0)
    finally:
        path.write_bytes(kept)
