from __future__ import annotations

import math

import pytest
import rasterio
from affine import Affine

from bdgf.report.figures.ground import Ground, bar_length, length_text
from bdgf.scene.grid import Grid

UTM = rasterio.CRS.from_epsg(32632)


@pytest.mark.parametrize(
    ("transform", "north"),
    [
        (Affine(5, 0, 6e5, 0, -5, 5e6), 0.0),
        (Affine(5, 0, 6e5, 0, 5, 5e6), math.pi),  # the first row lies in the south
        (Affine(0, -5, 6e5, -5, 0, 5e6), -math.pi / 2),  # columns go south: north is left
        (Affine(0, 5, 6e5, 5, 0, 5e6), math.pi / 2),
        (Affine.rotation(30) @ Affine(5, 0, 0, 0, -5, 0), math.radians(30)),
    ],
)
def test_north_is_where_the_grid_says(transform: Affine, north: float) -> None:
    ground = Ground.of(Grid(10, 20, transform, UTM))
    assert ground is not None
    assert (ground.across, ground.down) == pytest.approx((5, 5))
    assert math.remainder(ground.north - north, 2 * math.pi) == pytest.approx(0, abs=1e-9)


def test_degrees_are_metres_at_the_place() -> None:
    grid = Grid(10, 10, Affine(1e-4, 0, 8.0, 0, -1e-4, 60.0), rasterio.CRS.from_epsg(4326))
    ground = Ground.of(grid)
    assert ground is not None
    assert ground.across == pytest.approx(0.5 * ground.down, rel=0.01)
    assert ground.north == 0


def test_without_coordinates_there_is_no_ground() -> None:
    assert Ground.of(Grid(10, 10)) is None
    assert Ground.of(Grid(10, 10, Affine(5, 0, 0, 0, -5, 0))) is None
    assert Ground.of(Grid(10, 10, Affine.identity(), UTM)) is None


@pytest.mark.parametrize(
    ("most", "length", "text"),
    [(99, 50, "50 m"), (100, 100, "100 m"), (2600, 2000, "2 km"), (0.26, 0.2, "20 cm")],
)
def test_bars_have_round_lengths(most: float, length: float, text: str) -> None:
    assert bar_length(most) == pytest.approx(length)
    assert length_text(bar_length(most)) == text
