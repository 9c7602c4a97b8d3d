import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.warp import transform

from bdgf.errors import SceneError
from bdgf.scene.grid import Grid, apply, crs_name, largest_shift

UTM30 = CRS.from_epsg(32630)
DEGREES = CRS.from_epsg(4326)
US_FEET = CRS.from_epsg(2263)
DISC = CRS.from_string("+proj=ortho +lat_0=0 +lon_0=0 +ellps=sphere")


def utm(height=40, width=50, pixel=10.0, x=500_000.0, y=4_200_000.0, crs=UTM30):
    return Grid(height, width, Affine(pixel, 0, x, 0, -pixel, y), crs)


def rotated(degrees, pixel=10.0, x=500_000.0, y=4_200_000.0, height=40, width=50):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return Grid(height, width, Affine(pixel * c, pixel * s, x, pixel * s, -pixel * c, y), UTM30)


class TestSame:
    def test_grids_within_the_tolerance_are_the_same(self):
        assert utm().same(utm(x=500_000.09))
        assert not utm().same(utm(x=500_000.11))
        assert utm().same(utm(x=500_001.0), tolerance=0.2)

    def test_a_pixel_size_that_drifts_apart_at_the_far_end_is_not_the_same(self):
        assert not utm().same(utm(pixel=10.004))
        assert utm().same(utm(pixel=10.001))

    def test_sizes_decide_before_coordinates(self):
        assert not utm().same(utm(width=51))

    @pytest.mark.parametrize("missing", [Grid(40, 50), Grid(40, 50, Affine.identity(), UTM30)])
    def test_without_coordinates_on_one_side_sizes_alone_decide(self, missing):
        assert utm().same(missing)
        assert missing.same(utm())
        assert not missing.same(utm(height=41))

    def test_a_missing_crs_is_the_other_one(self):
        assert utm().same(utm(crs=None))
        assert not utm().same(utm(crs=None, x=500_300))

    def test_two_names_of_one_place_are_the_same(self):
        # ETRS89 and WGS 84 in zone 32 differ by less than anybody can tell.
        assert utm(crs=CRS.from_epsg(25832)).same(utm(crs=CRS.from_epsg(32632)))
        assert not utm(crs=CRS.from_epsg(32631)).same(utm(crs=CRS.from_epsg(32632)))

    def test_systems_without_a_conversion_are_refused(self):
        local = CRS.from_wkt('LOCAL_CS["workshop",UNIT["metre",1]]')
        with pytest.raises(SceneError, match="EPSG:32630 cannot be converted to workshop"):
            utm(crs=local).same(utm())


class TestLargestShift:
    def test_it_is_in_pixels_of_the_first(self):
        assert largest_shift(utm(), utm(x=500_005)) == pytest.approx(0.5)
        assert largest_shift(utm(pixel=5), utm(pixel=5, y=4_200_020)) == pytest.approx(4)

    def test_the_farthest_corner_counts(self):
        assert largest_shift(utm(width=50), utm(width=50, pixel=11)) == pytest.approx(5)

    def test_a_turn_counts(self):
        # A turn by 1 degree moves the far corner by the grid's diagonal times the angle.
        assert largest_shift(rotated(0), rotated(1)) == pytest.approx(50 * np.radians(1), rel=0.02)

    def test_it_is_measured_across_systems(self):
        here = utm()
        x, y = transform(UTM30, DEGREES, [500_000.0], [4_200_000.0])
        there = Grid(40, 50, Affine(1e-4, 0, x[0], 0, -1e-4, y[0]), DEGREES)
        east, north = 111_320 * 1e-4 * np.cos(np.radians(y[0])), 111_000 * 1e-4
        expected = max(abs(east - 10) * 50, abs(north - 10) * 40) / 10
        assert largest_shift(here, there) == pytest.approx(expected, rel=0.05)

    def test_what_cannot_be_converted_is_infinitely_far(self):
        off = Grid(4, 4, Affine(1, 0, 170, 0, -1, 10), DEGREES)
        disc = Grid(4, 4, Affine(1e6, 0, -2e6, 0, -1e6, 2e6), DISC)
        assert largest_shift(disc, off) == float("inf")

    def test_a_grid_without_coordinates_lies_nowhere(self):
        with pytest.raises(ValueError, match="without a transform"):
            largest_shift(utm(), Grid(40, 50))


class TestPositionsOn:
    @settings(deadline=None)
    @given(st.floats(-80, 80), st.floats(0.2, 50), st.floats(-2000, 2000), st.floats(-2000, 2000))
    def test_there_and_back_is_where_it_was(self, angle, pixel, east, north):
        here, there = utm(), rotated(angle, pixel, 500_000 + east, 4_200_000 + north)
        cols, rows = here.lattice(3)
        found = there.positions_on(here, *here.positions_on(there, cols, rows))
        np.testing.assert_allclose(found, (cols, rows), atol=1e-6)

    def test_map_coordinates_are_kept(self):
        here, there = utm(), rotated(20, 3.0)
        col, row = here.positions_on(there, np.array([7.0]), np.array([3.0]))
        np.testing.assert_allclose(
            apply(there.transform, col, row), ([500_070.0], [4_199_970.0]), atol=1e-6
        )

    def test_other_systems_follow_proj(self):
        here = utm()
        cols, rows = here.lattice(4)
        there = Grid(10, 10, Affine(0.01, 0, -3, 0, -0.01, 38), DEGREES)
        x, y = apply(here.transform, cols, rows)
        lon, lat = transform(UTM30, DEGREES, x.ravel(), y.ravel())
        col, row = here.positions_on(there, cols, rows)
        np.testing.assert_allclose(col.ravel(), (np.array(lon) + 3) / 0.01, atol=1e-9)
        np.testing.assert_allclose(row.ravel(), (38 - np.array(lat)) / 0.01, atol=1e-9)

    def test_many_points_come_in_order(self):
        here = utm(height=400, width=500)
        cols, rows = (at.ravel() for at in here.lattice(380))
        there = Grid(10, 10, Affine(0.01, 0, -3, 0, -0.01, 38), DEGREES)
        col, row = here.positions_on(there, cols, rows)
        assert np.isfinite(col).all()
        some = slice(None, None, 7919)
        few = here.positions_on(there, cols[some], rows[some])
        np.testing.assert_array_equal(few, (col[some], row[some]))

    def test_a_point_that_cannot_be_converted_spoils_no_other(self):
        here = Grid(1, 8, Affine(45, 0, -180, 0, -1, 0.5), DEGREES)
        disc = Grid(2, 2, Affine(6_371_000, 0, -6_371_000, 0, -6_371_000, 6_371_000), DISC)
        cols = np.arange(9.0)
        found = here.positions_on(disc, cols, np.full(9, 0.5))[0]
        seen = np.abs(cols * 45 - 180) <= 90
        np.testing.assert_array_equal(np.isfinite(found), seen)
        np.testing.assert_allclose(
            found[seen], 1 + np.sin(np.radians(cols[seen] * 45 - 180)), atol=1e-6
        )

    @pytest.mark.parametrize("value", [np.nan, 1e30, -1e30])
    def test_wild_coordinates_are_unknown(self, value):
        wild = utm(crs=CRS.from_epsg(3857))
        there = Grid(10, 10, Affine(0.01, 0, -3, 0, -0.01, 38), DEGREES)
        found = wild.positions_on(there, np.array([value, 0.0]), np.array([value, 0.0]))
        np.testing.assert_array_equal(np.isfinite(found), [[False, True]] * 2)

    def test_latitudes_beyond_the_pole_are_unknown(self):
        here = Grid(4, 1, Affine(1, 0, -3, 0, -1, 92), DEGREES)
        found = here.positions_on(utm(), np.zeros(4), np.arange(4.0) + 0.5)
        assert np.isfinite(found[1]).tolist() == [False, False, True, True]

    def test_longitudes_meet_whatever_they_count_from(self):
        pacific = Grid(180, 360, Affine(1, 0, 0, 0, -1, 90), DEGREES)
        here = Grid(2, 2, Affine(1, 0, -171, 0, -1, 10), DEGREES)
        assert here.positions_on(pacific, np.array([1.0]), np.array([0.0]))[0] == [190.0]
        assert pacific.positions_on(here, np.array([190.0]), np.array([0.0]))[0] == [1.0]
        fiji = Grid(4, 4, Affine(10, 0, 166_100, 0, -10, 8_000_000), CRS.from_epsg(32701))
        col = fiji.positions_on(pacific, np.array([0.0]), np.array([0.0]))[0]
        assert 170 < col < 190


class TestOverlap:
    @settings(deadline=None)
    @given(st.floats(-600, 600), st.floats(-500, 500), st.integers(1, 60), st.floats(1, 40))
    def test_it_is_the_share_of_the_area(self, east, north, size, pixel):
        here = utm()
        there = utm(size, size, pixel, 500_000 + east, 4_200_000 + north)
        (l1, b1, r1, t1), (l2, b2, r2, t2) = here.bounds, there.bounds
        area = max(0, min(r1, r2) - max(l1, l2)) * max(0, min(t1, t2) - max(b1, b2))
        assert here.overlap(there) == pytest.approx(area / (500 * 400), abs=1e-9)

    def test_rotated_grids_overlap_by_their_true_shape(self):
        # Turned by 45 degrees about the centre, the second grid reaches over two of the sides.
        here = Grid(10, 10, Affine(1, 0, 0, 0, -1, 10), UTM30)
        c = np.sqrt(0.5)
        turned = Grid(10, 10, Affine(c, c, 5, c, -c, 5), UTM30)
        shapely = pytest.importorskip("shapely")
        polygons = [
            shapely.Polygon(
                [apply(g.transform, *at) for at in ((0, 0), (10, 0), (10, 10), (0, 10))]
            )
            for g in (here, turned)
        ]
        expected = polygons[0].intersection(polygons[1]).area / 100
        assert 0 < expected < 1
        assert here.overlap(turned) == pytest.approx(expected, abs=1e-12)

    def test_a_strip_of_one_pixel_is_seen(self):
        assert utm(width=5000).overlap(utm(width=5000, x=500_000 + 49_990)) == pytest.approx(2e-4)

    def test_the_whole_world_covers_a_tile(self):
        world = Grid(180, 360, Affine(1, 0, -180, 0, -1, 90), DEGREES)
        assert utm().overlap(world) == pytest.approx(1)
        assert 0 < world.overlap(utm()) < 1e-3

    def test_a_known_share_across_systems(self):
        here = utm(height=200, width=200)
        west, south, east, north = here.bounds_in(DEGREES)
        half = Grid(10, 10, Affine((east - west) / 20, 0, west, 0, (south - north) / 10, north),
                    DEGREES)  # fmt: skip
        assert here.overlap(half) == pytest.approx(0.5, abs=0.01)

    def test_apart_is_nothing(self):
        assert utm().overlap(utm(x=600_000)) == 0
        assert utm().overlap(Grid(5, 5, Affine(1, 0, 100, 0, -1, 10), DEGREES)) == 0
        assert utm().overlap(utm(x=500_500)) == 0  # they touch


class TestPixelMetres:
    def test_metres_feet_and_degrees(self):
        assert utm(pixel=2.5).pixel_metres == (2.5, 2.5)
        foot = 1200 / 3937
        assert utm(pixel=3.0, crs=US_FEET).pixel_metres == pytest.approx((3 * foot, 3 * foot))
        north = Grid(2, 2, Affine(0.001, 0, 10, 0, -0.001, 60.001), DEGREES)
        assert north.pixel_metres == pytest.approx((55.66, 111.32), rel=0.01)

    def test_rotated_pixels_keep_their_sides(self):
        assert rotated(33, 4.0).pixel_metres == pytest.approx((4, 4))

    def test_unknown_without_a_system_or_a_transform(self):
        assert utm(crs=None).pixel_metres is None
        assert Grid(2, 2, None, UTM30).pixel_metres is None


class TestBounds:
    def test_rotated_grids_have_the_box_around_them(self):
        left, bottom, right, top = rotated(90).bounds
        # A quarter turn: columns lead north, rows lead east.
        np.testing.assert_allclose(
            (left, bottom, right, top), (500_000, 4_200_000, 500_400, 4_200_500), atol=1e-6
        )

    def test_another_system_holds_every_corner_and_side(self):
        here = utm(height=2000, width=2000, x=300_000)
        box = here.bounds_in(DEGREES)
        lon, lat = transform(UTM30, DEGREES, *(
            at.ravel() for at in apply(here.transform, *here.lattice(40))
        ))  # fmt: skip
        assert box[0] <= min(lon) + 1e-6
        assert box[2] >= max(lon) - 1e-6
        assert box[1] <= min(lat) + 1e-6
        assert box[3] >= max(lat) - 1e-6

    def test_a_missing_system_is_the_same_one(self):
        assert utm(crs=None).bounds_in(DEGREES) == utm().bounds
        assert Grid(3, 3).bounds is None

    def test_what_cannot_be_told_is_none(self):
        far = Grid(4, 4, Affine(1, 0, 170, 0, -1, 10), DEGREES)
        assert far.bounds_in(DISC) is None


def test_names_of_systems_are_short():
    assert crs_name(UTM30) == "EPSG:32630"
    assert crs_name(CRS.from_wkt('LOCAL_CS["workshop",UNIT["metre",1]]')) == "workshop"
    assert crs_name(None) == "no CRS"
