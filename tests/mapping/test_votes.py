from __future__ import annotations

import os
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
from affine import Affine

from bdgf.mapping.votes import VotesWriter
from bdgf.scene.windows import Window, windows_of

PLACE = Affine(5.0, 0.0, 6e5, 0.0, -5.0, 5.3e6)
GRID = SimpleNamespace(height=37, width=51, crs=rasterio.CRS.from_epsg(32632), transform=PLACE)
HEADS = ("pixel", "cnn")


@pytest.mark.parametrize("codes", [(1, 4, 9), (1, 4, 3000)])
def test_every_head_has_a_band_with_its_name(tmp_path: Path, codes: tuple[int, ...]) -> None:
    votes = np.random.default_rng(0).integers(-1, 3, (2, 37, 51))
    with VotesWriter(tmp_path / "votes.tif", GRID, codes, HEADS) as writer:
        for window in windows_of(37, 51, 16):
            writer.write(window, votes[(slice(None), *window.slices)])
        assert not (tmp_path / "votes.tif").exists(), "it takes its name when it is complete"
    with rasterio.open(tmp_path / "votes.tif") as raster:
        assert raster.descriptions == HEADS
        assert raster.nodata == 0
        assert raster.crs == GRID.crs
        assert raster.transform == PLACE
        assert raster.dtypes[0] == ("uint8" if max(codes) < 256 else "uint16")
        np.testing.assert_array_equal(raster.read(), np.array([0, *codes])[votes + 1])


def test_failure_leaves_the_old_votes(tmp_path: Path) -> None:
    path = tmp_path / "votes.tif"
    with VotesWriter(path, GRID, (1, 2), HEADS) as writer:
        writer.write(Window(0, 0, 2, 2), np.ones((2, 2, 2), int))
    before = path.read_bytes()

    def stopped() -> None:
        with VotesWriter(path, GRID, (1, 2), HEADS) as writer:
            writer.write(Window(0, 0, 2, 2), np.zeros((2, 2, 2), int))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["votes.tif"]


def test_votes_without_a_place_on_earth_warn_of_nothing(tmp_path: Path) -> None:
    grid = SimpleNamespace(height=3, width=4, crs=None, transform=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with VotesWriter(tmp_path / "votes.tif", grid, (1, 2), HEADS):
            pass


@pytest.mark.parametrize(
    ("window", "shape"), [(Window(36, 0, 2, 2), (2, 2, 2)), (Window(0, 0, 2, 2), (3, 2, 2))]
)
def test_values_that_do_not_fit_are_refused(
    tmp_path: Path, window: Window, shape: tuple[int, ...]
) -> None:
    with (
        VotesWriter(tmp_path / "votes.tif", GRID, (1, 2), HEADS) as writer,
        pytest.raises(ValueError, match=r"must have the shape|is not inside"),
    ):
        writer.write(window, np.zeros(shape, int))
    with pytest.raises(ValueError, match="not open"):
        writer.write(Window(0, 0, 1, 1), np.zeros((2, 1, 1), int))
