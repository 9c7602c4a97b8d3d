from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform

from bdgf.scene import warp
from bdgf.scene.formats.opening import open_source
from bdgf.scene.grid import Grid, apply
from bdgf.scene.warp import MultipleSource, WarpedSource
from bdgf.scene.windows import Window, windows_of

UTM30 = CRS.from_epsg(32630)
DEGREES = CRS.from_epsg(4326)
EAST, NORTH = 500_000.0, 4_200_000.0


class Memory:
    """An array (C, H, W) as a source, which keeps what was asked of it."""

    def __init__(self, values, transform=None, crs=None, valid=None):
        self.values = np.asarray(values, np.float32)
        self.known = np.isfinite(self.values) if valid is None else np.asarray(valid)
        self.bands, self.height, self.width = self.values.shape
        self.transform, self.crs = transform, crs
        self.path, self.key, self.nodata = Path("memory.tif"), "array", -9.0
        self.dtype, self.block = np.dtype(np.uint16), (4, 4)
        self.band_names = tuple(f"band {i}" for i in range(self.bands))
        self.wavelengths = (500.0,) * self.bands
        self.notes, self.masked = ("a note",), True
        self.windows = []

    def read(self, window):
        assert window.inside(self.height, self.width) == window
        self.windows.append(window)
        at = (slice(None), *window.slices)
        return np.where(self.known[at], self.values[at], 0), self.known[at].copy()


def placed(pixel=20.0, east=0.0, south=0.0, turn=0.0):
    """Transform whose first corner lies that many metres east and south of the common one."""
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    return Affine(pixel * c, pixel * s, EAST + east, pixel * s, -pixel * c, NORTH - south)


def utm(height, width, *place, **more):
    return Grid(height, width, placed(*place, **more), UTM30)


def degrees_around(grid, height, width):
    west, south, east, north = grid.bounds_in(DEGREES)
    return Grid(
        height, width,
        Affine((east - west) / width, 0, west, 0, (south - north) / height, north), DEGREES,
    )  # fmt: skip


def everything(source):
    return source.read(Window(0, 0, source.height, source.width))


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(100, 30, shape).astype(np.float32)


def by_gdal(path, grid, resampling):
    """What GDAL's own warper gives: values and valid.

    Every band by its own nodata, places without approximation, and kernels of one pixel, which
    are not GDAL's defaults.
    """
    with rasterio.open(path) as dataset, WarpedVRT(
        dataset, crs=grid.crs, transform=grid.transform, height=grid.height, width=grid.width,
        resampling=resampling, tolerance=1e-9, UNIFIED_SRC_NODATA="NO", XSCALE=1, YSCALE=1,
    ) as dataset:  # fmt: skip
        values = dataset.read(masked=True)
    return values.filled(0), ~np.ma.getmaskarray(values)


def by_area(values, valid, own, grid):
    """Mean of the valid pixels under every pixel of a parallel grid, by the covered area."""

    def shares(count, number, first, span):
        start = first + span * np.arange(count)[:, None]
        pixel = np.arange(number)
        return np.clip(np.minimum(start + span, pixel + 1) - np.maximum(start, pixel), 0, None)

    t, o = grid.transform, own.transform
    cols = shares(grid.width, own.width, (t.c - o.c) / o.a, t.a / o.a)
    rows = shares(grid.height, own.height, (t.f - o.f) / o.e, t.e / o.e)
    total = rows @ np.where(valid, values, 0).astype(np.float64) @ cols.T
    weight = rows @ valid.astype(np.float64) @ cols.T
    return total / np.where(weight > 0, weight, 1), weight / (t.a * t.e / o.a / o.e)


class TestAgainstGdal:
    GRIDS = {  # noqa: RUF012
        "same": utm(30, 26, 20.0),
        "half a pixel": utm(30, 26, 20.0, 10, 10),
        "twice finer": utm(60, 52, 10.0),
        "finer and beside": utm(70, 60, 6.5, -41.3, 101.7),
        "hanging over": utm(40, 40, 17.0, -93.0, -55.0),
        "turned": utm(30, 30, 15.0, 100, 150, turn=25),
    }

    @pytest.fixture
    def path(self, write_tif):
        values = noise(2, 30, 26)
        values[0, 8:12, 5:15] = -999
        values[1, :, 20] = -999
        values[:, 26:, 22:] = -999
        return write_tif("a.tif", values, nodata=-999, crs=UTM30, transform=placed())

    @pytest.mark.parametrize("name", GRIDS)
    def test_bilinear(self, path, name):
        self._bilinear(path, self.GRIDS[name])

    def test_bilinear_from_utm_to_degrees(self, path):
        self._bilinear(path, degrees_around(utm(30, 26), 44, 41))

    def _bilinear(self, path, grid):
        values, valid = everything(WarpedSource(open_source(path), grid, False))
        expected, known = by_gdal(path, grid, Resampling.bilinear)
        both = valid & known
        assert both.mean() > 0.3
        np.testing.assert_allclose(values[both], expected[both], rtol=2e-5, atol=1e-3)
        # GDAL lets a band's valid pixels grow by up to one pixel where another band is valid.
        assert not (valid & ~known).any()
        nearest = by_gdal(path, grid, Resampling.nearest)[1]
        np.testing.assert_array_equal(valid, nearest)

    @pytest.mark.parametrize("name", GRIDS)
    def test_nearest_is_equal(self, path, name):
        self._nearest(path, self.GRIDS[name])

    def test_nearest_from_utm_to_degrees_is_equal(self, path):
        self._nearest(path, degrees_around(utm(30, 26), 44, 41))

    def _nearest(self, path, grid):
        values, valid = everything(WarpedSource(open_source(path), grid, True))
        expected, known = by_gdal(path, grid, Resampling.nearest)
        np.testing.assert_array_equal(valid, known)
        np.testing.assert_array_equal(values, expected)

    @pytest.mark.parametrize("grid", [utm(15, 13, 40.0), utm(9, 8, 57.0), utm(5, 4, 100.0, 20, 40)])
    def test_average(self, path, grid):
        values, valid = everything(WarpedSource(open_source(path), grid, False))
        expected, known = by_gdal(path, grid, Resampling.average)
        np.testing.assert_array_equal(valid, known)
        # GDAL is not exact in pixels that hang over the edge of the source.
        inner = valid.copy()
        inner[:, -1], inner[:, :, -1] = False, False
        assert inner.mean() > 0.4
        np.testing.assert_allclose(values[inner], expected[inner], rtol=1e-5)

    def test_average_from_utm_to_degrees(self, write_tif):
        rows, cols = np.mgrid[0:60, 0:52]
        path = write_tif(
            "smooth.tif", (100 + 20 * np.sin(rows / 9) * np.cos(cols / 7)).astype(np.float32),
            crs=UTM30, transform=placed(),
        )  # fmt: skip
        grid = degrees_around(utm(60, 52), 14, 12)
        values, valid = everything(WarpedSource(open_source(path), grid, False))
        expected, known = by_gdal(path, grid, Resampling.average)
        both = valid & known
        assert both.mean() > 0.8
        assert np.abs(values - expected)[both][:].max() < 0.5
        assert np.median(np.abs(values - expected)[both]) < 0.02


class TestLinear:
    def test_the_same_grid_gives_the_same_bits(self):
        source = Memory(noise(3, 9, 8), placed(), UTM30)
        values, valid = everything(WarpedSource(source, utm(9, 8), False))
        np.testing.assert_array_equal(values, source.values)
        assert valid.all()

    def test_whole_pixels_of_shift_give_the_same_bits(self):
        source = Memory(noise(1, 9, 8), placed(), UTM30)
        values, valid = everything(WarpedSource(source, utm(4, 20, 20.0, 40, 60), False))
        np.testing.assert_array_equal(values[:, :, :6], source.values[:, 3:7, 2:])
        np.testing.assert_array_equal(valid[0, 0], np.arange(20) < 6)

    @settings(deadline=None)
    @given(st.integers(-6, 6), st.integers(-6, 6), st.sampled_from([0.1, 0.3, 1 / 3]))
    def test_coordinates_with_many_digits_change_no_bits(self, cols, rows, pixel):
        valid = np.random.default_rng(0).random((1, 15, 14)) < 0.7
        source = Memory(noise(1, 15, 14), placed(pixel), UTM30, valid)
        at = placed(pixel, pixel * cols, pixel * rows)
        for categorical in (False, True):
            values, known = everything(WarpedSource(source, Grid(15, 14, at, UTM30), categorical))
            expected = np.zeros((1, 27, 26))
            expected[:, 6:21, 6:20] = np.where(valid, source.values, 0)
            cut = (slice(None), slice(6 + rows, 21 + rows), slice(6 + cols, 20 + cols))
            np.testing.assert_array_equal(values, expected[cut])
            np.testing.assert_array_equal(known, expected[cut] != 0)

    @pytest.mark.parametrize("pixel", [0.1, 0.3, 10.0])
    def test_centres_between_two_pixels_fall_on_the_same_side_everywhere(self, pixel):
        codes = np.arange(400).reshape(1, 20, 20)
        source = Memory(codes, placed(pixel), UTM30)
        found, _ = everything(WarpedSource(source, utm(10, 10, 2 * pixel), True))
        np.testing.assert_array_equal(found, codes[:, 1::2, 1::2])

    def test_half_a_pixel_of_shift_is_the_mean_of_neighbours(self):
        source = Memory(noise(1, 5, 6), placed(), UTM30)
        values, valid = everything(WarpedSource(source, utm(5, 5, 20.0, 10, 0), False))
        v = source.values
        np.testing.assert_allclose(values, (v[:, :, :-1] + v[:, :, 1:]) / 2, rtol=1e-6)
        assert valid.all()

    @settings(deadline=None, max_examples=25)
    @given(
        st.floats(1, 27), st.floats(-60, 60), st.floats(-60, 60), st.floats(-90, 90),
    )  # fmt: skip
    def test_a_plane_stays_a_plane(self, pixel, east, south, turn):
        """Values linear in map coordinates are kept between pixel centres, and in the mean."""
        own = utm(20, 22)
        x, y = apply(own.transform, *np.meshgrid(np.arange(22) + 0.5, np.arange(20) + 0.5))
        plane = 3 + 0.04 * (x - EAST) + 0.03 * (NORTH - y)  # a step of 1 over a diagonal pixel
        grid = utm(25, 25, pixel, east, south, turn=turn)
        cols, rows = np.meshgrid(np.arange(25) + 0.5, np.arange(25) + 0.5)
        values, _ = everything(WarpedSource(Memory(plane[None], own.transform, UTM30), grid, False))
        x, y = apply(grid.transform, cols, rows)
        col, row = grid.positions_on(own, cols, rows)
        within = (col > 0.5) & (col < 21.5) & (row > 0.5) & (row < 19.5)
        expected = 3 + 0.04 * (x - EAST) + 0.03 * (NORTH - y)
        np.testing.assert_allclose(values[0][within], expected[within], atol=1e-3)

    def test_a_plane_in_degrees_is_a_plane_in_metres(self):
        own = Grid(60, 60, Affine(2e-4, 0, -3.001, 0, -2e-4, 37.952), DEGREES)
        lon, lat = apply(own.transform, *np.meshgrid(np.arange(60) + 0.5, np.arange(60) + 0.5))
        plane = (lon + 3.001) / 2e-4 + (37.952 - lat) / 2e-4
        grid = utm(40, 40, 10.0, 50, 60)
        values, valid = everything(WarpedSource(Memory(plane[None], own.transform, DEGREES), grid,
                                                False))  # fmt: skip
        x, y = apply(grid.transform, *np.meshgrid(np.arange(40) + 0.5, np.arange(40) + 0.5))
        lon, lat = (
            np.reshape(at, x.shape) for at in transform(UTM30, DEGREES, x.ravel(), y.ravel())
        )
        expected = (lon + 3.001) / 2e-4 + (37.952 - lat) / 2e-4
        assert valid.mean() > 0.9
        # A pixel's step is 1.
        np.testing.assert_allclose(values[valid], expected[None][valid], atol=1e-3)

    def test_nodata_neither_bleeds_nor_spreads_to_other_bands(self):
        values = np.full((2, 8, 8), 7.0)
        valid = np.ones((2, 8, 8), bool)
        values[0, 3:5, 2:6], valid[0, 3:5, 2:6] = -1e30, False
        source = Memory(values, placed(), UTM30, valid)
        found, known = everything(WarpedSource(source, utm(24, 24, 20 / 3), False))
        np.testing.assert_allclose(found[known], 7)
        np.testing.assert_array_equal(known, valid.repeat(3, 1).repeat(3, 2))
        assert (found[~known] == 0).all()

    def test_partial_cover(self):
        source = Memory(np.ones((1, 10, 10)), placed(), UTM30)
        grid = utm(20, 20, 10.0, -50, 150)
        _, valid = everything(WarpedSource(source, grid, False))
        expected = np.zeros((20, 20), bool)
        expected[:5, 5:] = True
        np.testing.assert_array_equal(valid[0], expected)

    def test_a_mirrored_source(self):
        values = noise(1, 6, 5)
        own = Affine(-20, 0, EAST + 100, 0, 20, NORTH - 120)
        found, valid = everything(WarpedSource(Memory(values, own, UTM30), utm(6, 5), False))
        np.testing.assert_array_equal(found, values[:, ::-1, ::-1])
        assert valid.all()

    def test_a_missing_crs_is_the_other_one(self):
        source = Memory(noise(1, 6, 5), placed(), UTM30)
        found = WarpedSource(source, Grid(6, 5, placed()), False)
        np.testing.assert_array_equal(everything(found)[0], source.values)
        assert found.crs == UTM30

    def test_places_that_cannot_be_told_are_not_valid(self):
        # The globe as a disc, seen from above the Atlantic: its corners are no place on Earth.
        disc = Grid(
            40, 40, Affine(350_000, 0, -7e6, 0, -350_000, 7e6),
            CRS.from_string("+proj=ortho +lat_0=0 +lon_0=0 +ellps=sphere"),
        )  # fmt: skip
        world = Memory(np.ones((1, 90, 180)), Affine(2, 0, -180, 0, -2, 90), DEGREES)
        cols, rows = np.meshgrid(np.arange(40) + 0.5, np.arange(40) + 0.5)
        x, y = apply(disc.transform, cols, rows)
        radius = np.hypot(x, y)
        for categorical in (False, True):
            values, valid = everything(WarpedSource(world, disc, categorical))
            assert valid[0][radius < 6_100_000].all()
            assert not valid[0][radius > 6_371_000].any()
            assert (values[valid] == 1).all()
        far = utm(4, 4, 10.0, -3e7, 3e7)
        assert not everything(WarpedSource(world, far, False))[1].any()

    def test_a_source_of_the_other_side_of_the_date_line(self):
        values = np.arange(360.0)[None, None] + np.zeros((1, 20, 1))
        pacific = Memory(values, Affine(1, 0, 0, 0, -1, 10), DEGREES)
        grid = Grid(2, 4, Affine(1, 0, -172, 0, -1, 1), DEGREES)
        np.testing.assert_allclose(
            everything(WarpedSource(pacific, grid, False))[0][0, 0], [188, 189, 190, 191]
        )


class TestMean:
    @settings(deadline=None, max_examples=30)
    @given(
        st.integers(3, 20), st.integers(3, 20), st.floats(1.5, 6), st.floats(1.5, 6),
        st.floats(-50, 50), st.floats(-50, 50), st.integers(0, 99),
    )  # fmt: skip
    def test_it_is_weighted_by_the_covered_area(self, h, w, across, down, east, south, seed):
        own = utm(h, w)
        valid = np.random.default_rng(seed).random((1, h, w)) < 0.8
        values = noise(1, h, w, seed=seed)
        t = Affine(20 * across, 0, EAST + east, 0, -20 * down, NORTH - south)
        grid = Grid(6, 7, t, UTM30)
        found, known = everything(
            WarpedSource(Memory(values, own.transform, UTM30, valid), grid, False)
        )
        expected, cover = by_area(values[0], valid[0], own, grid)
        sure = np.abs(cover - 1e-3) > 1e-4
        np.testing.assert_array_equal(known[0][sure], (cover > 1e-3)[sure])
        np.testing.assert_allclose(found[known], expected[None][known], rtol=1e-4, atol=1e-4)

    def test_whole_blocks_conserve_the_mean(self):
        source = Memory(noise(3, 24, 36), placed(), UTM30)
        found, valid = everything(WarpedSource(source, utm(4, 6, 120.0), False))
        blocks = source.values.reshape(3, 4, 6, 6, 6).mean(axis=(2, 4))
        np.testing.assert_allclose(found, blocks, rtol=1e-6)
        assert valid.all()

    def test_other_systems_and_turns_conserve_the_mean(self):
        own = utm(60, 60)
        source = Memory(noise(1, 60, 60), own.transform, UTM30)
        for grid in (degrees_around(own, 20, 20), utm(40, 40, 50.0, -200, 900, turn=40)):
            found, valid = everything(WarpedSource(source, grid, False))
            assert found[valid].mean() == pytest.approx(source.values.mean(), rel=0.02)
            # The noise of the mean of n pixels is smaller by the root of n.
            span = WarpedSource(source, grid, False).span
            assert found[valid].std() < 1.3 * 30 / np.sqrt(span[0] * span[1])

    def test_nodata_has_no_weight(self):
        values, valid = np.full((2, 12, 12), 5.0), np.ones((2, 12, 12), bool)
        values[0, 2:9, 1:10], valid[0, 2:9, 1:10] = 1e30, False
        grid = utm(4, 4, 60.0)
        found, known = everything(WarpedSource(Memory(values, placed(), UTM30, valid), grid, False))
        np.testing.assert_allclose(found[known], 5)
        np.testing.assert_array_equal(known[0], valid[0].reshape(4, 3, 4, 3).any(axis=(1, 3)))
        assert known[1].all()

    def test_each_direction_by_itself(self):
        values = noise(1, 12, 6)
        t = Affine(10, 0, EAST, 0, -80, NORTH)
        warped = WarpedSource(Memory(values, placed(), UTM30), Grid(3, 12, t, UTM30), False)
        assert warped.span == pytest.approx((0.5, 4))
        assert warped.averaged == (False, True)
        found, _ = everything(warped)
        rows = values.reshape(1, 3, 4, 6).mean(axis=2)
        np.testing.assert_allclose(found[:, :, 1:-1:2], (3 * rows[..., :-1] + rows[..., 1:]) / 4,
                                   rtol=1e-5)  # fmt: skip

    @pytest.mark.parametrize(("pixel", "averaged"), [(29.9, False), (30.0, True)])
    def test_it_begins_at_one_and_a_half_pixels(self, pixel, averaged):
        source = Memory(noise(1, 12, 6), placed(), UTM30)
        assert WarpedSource(source, utm(4, 4, pixel), False).averaged == (averaged, averaged)
        assert WarpedSource(source, utm(4, 4, pixel), True).averaged == (False, False)

    def test_a_source_smaller_than_a_pixel(self):
        source = Memory(noise(1, 3, 3), placed(), UTM30)
        found, valid = everything(WarpedSource(source, utm(3, 3, 200.0, -250, -250), False))
        assert valid.sum() == 1
        np.testing.assert_allclose(found[valid], source.values.mean(), rtol=1e-5)

    def test_a_pixel_over_the_seam_of_the_world_is_no_mean_of_all(self):
        values = np.arange(360.0)[None, None] + np.zeros((1, 40, 1))
        world = Memory(values, Affine(1, 0, -180, 0, -1, 20), DEGREES)
        grid = Grid(4, 4, Affine(4, 0, 169, 0, -4, 8), DEGREES)
        found, valid = everything(WarpedSource(world, grid, False))
        assert valid.all()
        np.testing.assert_allclose(found[0, 0, [0, 1, 3]], [350.5, 354.5, 2.5], rtol=1e-5)
        assert found[0, 0, 2] > 357
        assert found[0, 0, 2] < 360

    def test_the_pole_is_seen_from_above(self):
        world = Memory(np.ones((1, 90, 180)), Affine(2, 0, -180, 0, -2, 90), DEGREES)
        stereographic = CRS.from_epsg(3995)
        grid = Grid(12, 12, Affine(500_000, 0, -3e6, 0, -500_000, 3e6), stereographic)
        warped = WarpedSource(world, grid, False)
        assert any(warped.averaged)
        values, valid = everything(warped)
        assert valid.all()
        np.testing.assert_allclose(values, 1, rtol=1e-6)


class TestWindows:
    """The value of a pixel does not depend on the window it is read by."""

    @settings(deadline=None, max_examples=40)
    @given(
        st.floats(2, 90), st.floats(-200, 300), st.floats(-200, 300),
        st.sampled_from([0, 0, 30, 90]), st.integers(1, 11), st.booleans(), st.booleans(),
    )  # fmt: skip
    def test_any_tiling_gives_the_whole(self, pixel, east, south, turn, side, categorical, degrees):
        own = utm(17, 19)
        valid = np.random.default_rng(side).random((2, 17, 19)) < 0.8
        source = Memory(noise(2, 17, 19), own.transform, UTM30, valid)
        grid = (
            degrees_around(own, 21, 23) if degrees else utm(21, 23, pixel, east, south, turn=turn)
        )
        warped = WarpedSource(source, grid, categorical)
        values, known = everything(warped)
        for window in windows_of(21, 23, side):
            at = (slice(None), *window.slices)
            part, sure = warped.read(window)
            np.testing.assert_array_equal(sure, known[at])
            np.testing.assert_allclose(part, values[at], rtol=0 if categorical else 1e-6)

    @pytest.mark.parametrize("pixel", [7.0, 20.0, 45.0])
    @pytest.mark.parametrize("turn", [0, 35])
    def test_large_windows_are_read_in_parts(self, monkeypatch, pixel, turn):
        source = Memory(noise(3, 40, 40), placed(), UTM30)
        warped = WarpedSource(source, utm(50, 50, pixel, 100, 90, turn=turn), False)
        whole, known = everything(warped)
        assert len(source.windows) == 1
        most = 3 * 300
        monkeypatch.setattr(warp, "_MOST", most)
        monkeypatch.setattr(warp, "_BATCH", 100)
        source.windows.clear()
        parts, sure = everything(warped)
        assert len(source.windows) > 4
        assert max(3 * w.height * w.width for w in source.windows) <= most
        np.testing.assert_array_equal(sure, known)
        np.testing.assert_allclose(parts, whole, rtol=1e-5)

    def test_only_what_is_needed_is_read(self):
        source = Memory(noise(1, 400, 400), placed(), UTM30)
        for pixel, most in ((10.0, 8), (20.0, 12), (60.0, 28)):
            source.windows.clear()
            WarpedSource(source, utm(100, 100, pixel, 500, 500), False).read(Window(50, 40, 8, 8))
            assert len(source.windows) == 1
            assert max(source.windows[0].height, source.windows[0].width) <= most

    def test_nothing_is_read_beyond_the_source(self):
        source = Memory(noise(1, 10, 10), placed(), UTM30)
        grid = utm(100, 100, 20.0, -1000, 0)
        values, valid = WarpedSource(source, grid, False).read(Window(0, 0, 20, 20))
        assert source.windows == []
        assert not values.any()
        assert not valid.any()

    def test_windows_beyond_the_grid_are_refused(self):
        warped = WarpedSource(Memory(noise(1, 9, 9), placed(), UTM30), utm(5, 5), False)
        with pytest.raises(ValueError, match="does not lie inside"):
            warped.read(Window(0, 0, 6, 5))

    def test_an_empty_window_is_empty(self):
        warped = WarpedSource(Memory(noise(2, 9, 9), placed(), UTM30), utm(5, 5), False)
        assert warped.read(Window(2, 2, 0, 3))[0].shape == (2, 0, 3)


class TestWhatItIs:
    def test_it_keeps_what_the_file_says_and_has_the_grid(self):
        source = Memory(noise(2, 9, 9), placed(), UTM30)
        grid = utm(300, 5, 10.0)
        for found in (WarpedSource(source, grid, False), WarpedSource(source, grid, True)):
            assert (found.height, found.width, found.bands) == (300, 5, 2)
            assert (found.transform, found.crs) == (grid.transform, UTM30)
            assert (found.path, found.key, found.notes) == (source.path, "array", ("a note",))
            assert (found.band_names, found.wavelengths) == (source.band_names, source.wavelengths)
            assert found.block == (256, 5)
        assert WarpedSource(source, grid, True).dtype == np.uint16
        assert WarpedSource(source, grid, False).dtype == np.float32

    def test_it_needs_coordinates(self):
        with pytest.raises(ValueError, match="transform"):
            WarpedSource(Memory(noise(1, 9, 9)), utm(4, 4), False)

    def test_it_goes_to_other_processes(self):
        import pickle

        warped = WarpedSource(Memory(noise(1, 9, 9), placed(), UTM30), utm(5, 5, 31.0), False)
        again = pickle.loads(pickle.dumps(warped))
        np.testing.assert_array_equal(everything(again)[0], everything(warped)[0])


class TestLabels:
    def test_codes_are_never_mixed(self):
        codes = np.random.default_rng(0).choice([0, 3, 17, 65_000], (1, 20, 20))
        source = Memory(codes, placed(), UTM30)
        for grid in (utm(50, 50, 7.0, 5, 3), utm(8, 8, 50.0), degrees_around(utm(20, 20), 30, 9)):
            found, valid = everything(WarpedSource(source, grid, True))
            assert set(np.unique(found[valid])) <= {0, 3, 17, 65_000}

    def test_the_nearest_pixel_is_the_one_a_centre_falls_on(self):
        codes = np.arange(36).reshape(1, 6, 6)
        found, _ = everything(WarpedSource(Memory(codes, placed(), UTM30), utm(2, 2, 60.0), True))
        np.testing.assert_array_equal(found[0], [[7, 10], [25, 28]])


class TestMultiple:
    @settings(deadline=None, max_examples=30)
    @given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 4), st.integers(1, 4),
           st.integers(1, 5))  # fmt: skip
    def test_coarser_sources_repeat_and_finer_ones_are_averaged(self, h, w, tall, wide, side):
        values = noise(2, h * tall, w * wide, seed=h)
        valid = np.random.default_rng(w).random(values.shape) < 0.7
        means = MultipleSource(Memory(values, valid=valid), Grid(h, w), False)
        found, known = everything(means)
        blocks = (2, h, tall, w, wide)
        number = valid.reshape(blocks).sum(axis=(2, 4))
        total = np.where(valid, values, 0).astype(np.float64).reshape(blocks).sum(axis=(2, 4))
        np.testing.assert_array_equal(known, number > 0)
        np.testing.assert_allclose(found[known], (total[known] / number[known]), rtol=1e-5)
        assert (found[~known] == 0).all()
        small = Memory(values[:, ::tall, ::wide], valid=valid[:, ::tall, ::wide])
        more = MultipleSource(small, Grid(h * tall, w * wide), False)
        again, sure = everything(more)
        np.testing.assert_array_equal(again, everything(small)[0].repeat(tall, 1).repeat(wide, 2))
        np.testing.assert_array_equal(sure, small.known.repeat(tall, 1).repeat(wide, 2))
        for source, whole, sures in ((means, found, known), (more, again, sure)):
            for window in windows_of(source.height, source.width, side):
                at = (slice(None), *window.slices)
                part, good = source.read(window)
                np.testing.assert_allclose(part, whole[at], rtol=1e-6)
                np.testing.assert_array_equal(good, sures[at])

    def test_directions_may_differ(self):
        source = Memory(noise(1, 4, 3))
        found, _ = everything(MultipleSource(source, Grid(2, 6), False))
        expected = source.values.reshape(1, 2, 2, 3).mean(axis=2).repeat(2, 2)
        np.testing.assert_allclose(found, expected, rtol=1e-6)

    def test_labels_take_the_pixel_at_the_centre(self):
        codes = np.arange(36).reshape(1, 6, 6)
        found, _ = everything(MultipleSource(Memory(codes), Grid(2, 2), True))
        np.testing.assert_array_equal(found[0], [[7, 10], [25, 28]])

    def test_only_what_is_needed_is_read_and_in_parts(self, monkeypatch):
        source = Memory(noise(1, 60, 60))
        fine = MultipleSource(source, Grid(20, 20), False)
        whole, _ = everything(fine)
        source.windows.clear()
        fine.read(Window(4, 5, 2, 3))
        assert source.windows == [Window(12, 15, 6, 9)]
        source.windows.clear()
        monkeypatch.setattr(warp, "_MOST", 400)
        np.testing.assert_array_equal(everything(fine)[0], whole)
        assert max(w.height * w.width for w in source.windows) <= 400

    def test_other_sizes_are_refused(self):
        with pytest.raises(ValueError, match="no whole multiples"):
            MultipleSource(Memory(noise(1, 4, 4)), Grid(6, 4), False)


@pytest.mark.parametrize("tile", ["MLBS_20", "MLBS_5", "OSBS_10", "OSBS_24"])
def test_a_camera_of_ten_centimetres_becomes_the_one_averaged_to_a_metre(shared_data, tile):
    camera = open_source(shared_data / "idtrees" / "rgb_10cm" / f"{tile}.tif")
    metre = open_source(shared_data / "idtrees" / tile / "rgb.tif")
    grid = Grid.of(open_source(shared_data / "idtrees" / tile / "hsi.tif"))
    values, valid = everything(WarpedSource(camera, grid, False))
    expected, known = everything(metre)
    both = valid & known
    assert both.all()
    # The file's own means are whole numbers.
    assert np.abs(values - expected).max() <= 0.5 + 1e-3
