"""Wrong coordinates, axes and places are noticed."""

from __future__ import annotations

import numpy as np
import pyogrio
import pytest
import scipy.io
import shapely
from affine import Affine
from scipy.ndimage import gaussian_filter

from bdgf.scene.inspection.gather import gather
from bdgf.scene.inspection.places import place_doubts


@pytest.fixture
def said(tmp_path):
    """Return what looks wrong with the places of the folder's files, as one text."""
    return lambda: " ".join(place_doubts(gather([tmp_path], scenes=False)))


@pytest.mark.parametrize(
    ("crs", "transform", "words"),
    [
        ("EPSG:4326", Affine(10, 0, 5e5, 0, -10, 5e6), "look like metres"),
        ("EPSG:4326", Affine(1e-4, 0, 45, 0, -1e-4, 120), "look exchanged"),
        ("EPSG:32632", Affine(1e-4, 0, 9.1, 0, -1e-4, 48.2), "look like degrees"),
        ("EPSG:32632", Affine(1, 0, 0, 0, 1, 0), "only count pixels"),
        ("EPSG:32632", Affine(10, 0, 5e5, 0, -10, 5e6), ""),
        ("EPSG:4326", Affine(1e-4, 0, 9.1, 0, -1e-4, 48.2), ""),
        ("EPSG:3413", Affine(30, 0, -150, 0, -30, 80), ""),  # near the pole of its system
    ],
)
def test_coordinates_that_do_not_go_with_their_system(write_tif, land, said, crs, transform, words):
    write_tif("hsi.tif", land.hsi, crs=crs, transform=transform)
    text = said()
    assert words in text
    assert words or text == ""


def test_a_file_without_a_system_among_others(write_tif, land, said, place):
    write_tif("hsi.tif", land.hsi, **place)
    write_tif("dsm.tif", land.dsm, transform=place["transform"])
    assert "dsm.tif names no coordinate reference system" in said()


def test_no_coordinates_at_all_are_no_fault(write_tif, land, said, place):
    write_tif("hsi.tif", land.hsi, **place)
    write_tif("dsm.tif", land.dsm)
    assert said() == ""


def test_files_of_another_place(write_tif, land, said, place):
    write_tif("hsi.tif", land.hsi, **place)
    write_tif("dsm.tif", land.dsm, **{**place, "transform": Affine(2, 0, 6e5, 0, -2, 5e6)})
    assert "dsm.tif" in said()
    assert "do not overlap" in said()


def test_one_column_too_few(write_tif, land, said):
    write_tif("hsi.tif", land.hsi)
    write_tif("dsm.tif", land.dsm[:, :-1])
    assert "dsm.tif is 44 columns wide, hsi.tif is 45" in said()


@pytest.mark.parametrize("turned", [False, True])
def test_exchanged_axes_of_square_arrays(tmp_path, said, turned):
    rng = np.random.default_rng(0)
    fields = gaussian_filter(rng.normal(size=(64, 64)), 4) > 0
    cube = np.where(fields[..., None], 1000, 300) + rng.normal(0, 40, size=(64, 64, 5))
    heights = np.where(fields, 12.0, 3.0) + rng.normal(0, 1, size=(64, 64))
    scipy.io.savemat(tmp_path / "hsi.mat", {"hsi": cube})
    scipy.io.savemat(tmp_path / "lidar.mat", {"lidar": heights.T if turned else heights})
    assert ("rows and columns exchanged" in said()) == turned
    assert ("axes: WH'" in said()) == turned


def test_unrelated_square_arrays_are_left_alone(tmp_path, said):
    for seed in range(6):
        rng = np.random.default_rng(seed)
        for name in ("hsi", "lidar"):
            values = gaussian_filter(rng.normal(size=(64, 64)), 3)[..., None].repeat(4, 2)
            scipy.io.savemat(tmp_path / f"{name}.mat", {name: values})
        assert said() == ""


def test_a_tile_of_another_size(write_tif, land, said):
    for number in range(5):
        write_tif(f"p{number}/hsi.tif", land.hsi[:, : 30 + number])
        write_tif(f"p{number}/dsm.tif", land.dsm[: 30 + number - 5 * (number == 3)])
    assert "{tile}/dsm.tif has another size than on the other tiles" in said()
    assert "on 1 tile (p3)" in said()


def test_polygons_of_another_place(write_tif, land, said, place, tmp_path):
    write_tif("hsi.tif", land.hsi, **place)

    def polygon(x, y, crs):
        shapes = shapely.to_wkb(np.array([shapely.box(x, y, x + 1, y + 1)]))
        pyogrio.raw.write(
            tmp_path / "labels.gpkg", shapes, [np.array([1])], ["class"],
            geometry_type="Polygon", crs=crs,
        )  # fmt: skip

    polygon(5e5 + 5, 5e6 - 9, "EPSG:32632")
    assert said() == ""
    polygon(5e5 + 5, 5e6 - 9, "EPSG:32633")
    assert "labels.gpkg does not meet hsi.tif" in said()
