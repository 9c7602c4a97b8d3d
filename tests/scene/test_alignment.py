import re
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from bdgf.errors import SceneError
from bdgf.scene.alignment import agree, align, finest
from bdgf.scene.formats.arrays import ArrayInfo, ArraySource
from bdgf.scene.formats.opening import open_source
from bdgf.scene.grid import Grid
from bdgf.scene.warp import MultipleSource, WarpedSource
from bdgf.scene.windows import Window

UTM30 = CRS.from_epsg(32630)
DEGREES = CRS.from_epsg(4326)
EAST, NORTH = 500_000.0, 4_200_000.0


class Reader:
    """An array in memory as a reader of parts."""

    def __init__(self, values):
        self.values = np.asarray(values)
        self.info = ArrayInfo(self.values.shape, "double", self.values.dtype)
        self.block = self.values.shape

    def read(self, part):
        return self.values[part]


class Placed:
    """A source with coordinates."""

    def __init__(self, height, width, transform=None, crs=None):
        self.bands, self.height, self.width = 1, height, width
        self.transform, self.crs = transform, crs
        self.path, self.key, self.nodata, self.notes = Path("s1.tif"), None, None, ()
        self.masked = True
        self.dtype, self.block = np.dtype(np.float32), (4, 4)
        self.band_names, self.wavelengths = ("",), (None,)

    def read(self, window):
        values = np.add.outer(np.arange(self.height) * 1000.0, np.arange(self.width))[None]
        at = (slice(None), *window.slices)
        return values[at].astype(np.float32), np.ones_like(values, bool)[at]


def utm(pixel, east=0.0, south=0.0):
    return Affine(pixel, 0, EAST + east, 0, -pixel, NORTH - south)


def array(values, axes=None):
    return ArraySource(Path("sar.mat"), "sar", Reader(values), None, axes)


def to_grid(source, grid, **changes):
    options = {
        "name": "s1.tif", "reference": "s2.tif", "categorical": False, "multiples": False,
        **changes,
    }  # fmt: skip
    return align(source, grid, **options)


def refusal(source, grid, **changes):
    with pytest.raises(SceneError) as caught:
        to_grid(source, grid, **changes)
    text = str(caught.value)
    assert "\n" not in text
    return text


TEN = Grid(512, 512, utm(10), UTM30)


class TestSameGrid:
    @pytest.mark.parametrize(
        "source",
        [
            Placed(512, 512, utm(10), UTM30),
            Placed(512, 512, utm(10, 0.09), UTM30),
            Placed(512, 512, utm(10)),
            Placed(512, 512),
            Placed(512, 512, Affine.identity(), UTM30),
        ],
    )
    @pytest.mark.parametrize("categorical", [False, True])
    def test_the_source_itself_is_returned(self, source, categorical):
        assert to_grid(source, TEN, categorical=categorical) == (source, None)

    def test_also_without_any_coordinates(self):
        source = array(np.zeros((5, 6, 3)), "HWC")
        assert to_grid(source, Grid(5, 6)) == (source, None)


class TestResampled:
    def test_a_coarser_image_and_what_is_said_of_it(self):
        found, said = to_grid(Placed(300, 280, utm(20, 0, -1000), UTM30), TEN)
        assert isinstance(found, WarpedSource)
        assert (found.height, found.width, found.transform) == (512, 512, utm(10))
        assert said == (
            "s1.tif (EPSG:32630, pixels of 20 m, 300 × 280) is resampled onto the grid of s2.tif"
            " (EPSG:32630, pixels of 10 m, 512 × 512): bilinear, 2 × finer, covers 97.7 % of it"
        )

    def test_a_finer_image_is_averaged(self):
        found, said = to_grid(Placed(6000, 6000, utm(1), UTM30), TEN)
        assert found.averaged == (True, True)
        assert said.endswith(": mean of the pixels covered, 10 × coarser, covers 100 % of it")

    def test_a_shifted_image_of_the_same_pixels(self):
        _, said = to_grid(Placed(512, 512, utm(10, 34), UTM30), TEN)
        assert "bilinear, shifted by up to 3.4 pixels (34 m), covers 99.3 % of it" in said

    def test_different_sides(self):
        t = Affine(5, 0, EAST, 0, -20, NORTH)
        _, said = to_grid(Placed(300, 1100, t, UTM30), TEN)
        assert "pixels of 5 × 20 m" in said
        assert "mean of the pixels covered in one direction, linear in the other" in said
        assert "one pixel spans 2 × 0.5 of its pixels" in said

    def test_labels_take_the_nearest_pixel(self):
        found, said = to_grid(Placed(2600, 2600, utm(2, 1), UTM30), TEN, categorical=True)
        assert found.categorical
        assert "nearest pixel, 5 × coarser" in said

    def test_degrees_onto_metres(self):
        source = Placed(400, 500, Affine(2e-4, 0, -3.001, 0, -2e-4, 37.95), DEGREES)
        found, said = to_grid(source, TEN)
        assert found.crs == UTM30
        assert re.search(r"s1.tif \(EPSG:4326, pixels of 17\.\d × 22\.\d m, 400 × 500\)", said)
        _, valid = found.read(Window(0, 0, 512, 512))
        share = float(re.search(r"covers ([\d.]+) % of it", said)[1]) / 100
        assert share == pytest.approx(valid.mean(), abs=0.005)

    @settings(deadline=None)
    @given(st.integers(-40, 29), st.integers(-40, 19), st.sampled_from([0.0, 0.05, -0.08]))
    def test_pixels_that_lie_on_the_grid_keep_their_bits(self, cols, rows, off):
        grid = Grid(20, 30, utm(10), UTM30)
        source = Placed(50, 60, utm(10, 10 * cols + off, 10 * rows + off), UTM30)
        found, said = to_grid(source, grid)
        assert "placed on the grid" in said
        assert "keep their values" in said
        values, valid = found.read(Window(0, 0, 20, 30))
        row, col = np.mgrid[0:20, 0:30]
        expected = (row - rows) * 1000.0 + col - cols
        inside = (row >= rows) & (row < rows + 50) & (col >= cols) & (col < cols + 60)
        np.testing.assert_array_equal(valid[0], inside)
        np.testing.assert_array_equal(values[0][inside], expected[inside])

    @pytest.mark.parametrize("which", ["source", "grid"])
    def test_a_missing_crs_is_the_other_one_and_is_said(self, which):
        source = Placed(300, 280, utm(20), UTM30 if which == "grid" else None)
        grid = Grid(512, 512, utm(10), UTM30 if which == "source" else None)
        found, said = to_grid(source, grid)
        names = ("s1.tif", "s2.tif") if which == "source" else ("s2.tif", "s1.tif")
        assert said.endswith("; {} has no CRS, and that of {} is assumed".format(*names))
        assert found.crs == UTM30

    def test_next_to_no_overlap_is_a_warning(self):
        found, said = to_grid(Placed(40, 40, utm(3, 100), UTM30), TEN)
        assert isinstance(found, WarpedSource)
        assert "covers 0.0549 % of it, which is next to nothing: check" in said

    def test_no_overlap_names_both_extents_in_one_system(self):
        text = refusal(Placed(40, 40, Affine(1e-3, 0, -1, 0, -1e-3, 37), DEGREES), TEN)
        assert re.search(
            r"s1.tif covers x 67\d{4}\.\d+ to 68\d{4}\.\d+, y 409\d{4}[\d.]* to 409\d{4}[\d.]*,"
            r" s2.tif covers x 500000 to 505120, y 4194880 to 4200000 \(both in EPSG:32630\),"
            r" and they do not overlap",
            text,
        )

    def test_systems_without_a_conversion_name_the_files(self):
        local = CRS.from_wkt('LOCAL_CS["workshop",UNIT["metre",1]]')
        text = refusal(Placed(512, 500, utm(10), local), TEN)
        assert text.startswith("s1.tif cannot be laid on the grid of s2.tif: coordinates in")
        assert "workshop" in text


class TestWithoutCoordinates:
    def test_an_extra_column(self):
        text = refusal(Placed(349, 1904), Grid(349, 1905), name="lidar.tif", reference="hsi.tif")
        assert text == (
            "lidar.tif is 1904 columns wide, hsi.tif is 1905. All rasters of a scene share one"
            " grid, and neither has coordinates to resample by: crop the extra column of hsi.tif,"
            " or give both files coordinates."
        )

    def test_it_says_which_file_lacks_them(self):
        text = refusal(Placed(515, 512), TEN)
        assert "s1.tif has no coordinates to resample by: crop the extra 3 rows of s1.tif" in text
        assert text.endswith("or give s1.tif coordinates.")
        text = refusal(Placed(100, 512, utm(10), UTM30), Grid(512, 512))
        assert "s2.tif has no coordinates" in text
        assert "resample or crop one of them" in text

    def test_a_raster_that_looks_transposed(self):
        text = refusal(Placed(485, 332), Grid(332, 485))
        assert "s1.tif looks transposed, save it with rows and columns exchanged" in text

    def test_no_multiple_in_one_direction_is_not_resampled(self):
        text = refusal(Placed(1024, 1025), Grid(512, 512), multiples=True)
        assert "1024 × 1025 (rows × columns), s2.tif is 512 × 512" in text

    def test_an_exact_multiple_needs_permission(self):
        text = refusal(Placed(1024, 1024), Grid(512, 512), modality="hsi")
        assert "but s1.tif is exactly 2 × s2.tif: add 'align: hsi' to the scene" in text
        text = refusal(Placed(256, 128), Grid(512, 512), modality="hsi")
        assert "exactly 1/2 of the rows and 1/4 of the columns of s2.tif" in text

    def test_with_permission_it_is_resampled(self):
        found, said = to_grid(Placed(6, 4), Grid(2, 8), multiples=True)
        assert isinstance(found, MultipleSource)
        assert (found.height, found.width) == (2, 8)
        assert said == (
            "s1.tif is 6 × 4 (rows × columns), s2.tif is 2 × 8, and s1.tif is resampled as exactly"
            " 3 × the rows and 1/2 of the columns of s2.tif: the mean of the valid pixels of every"
            " 3 × 1 is taken and every pixel is repeated 1 × 2 times"
        )
        values, _ = found.read(Window(0, 0, 2, 8))
        np.testing.assert_array_equal(values[0, 0], 1000 + np.arange(8) // 2)
        labels, said = to_grid(Placed(6, 4), Grid(2, 4), multiples=True, categorical=True)
        assert "the pixel at the centre of every 3 × 1" in said
        np.testing.assert_array_equal(labels.read(Window(0, 0, 2, 1))[0][0, :, 0], [1000, 4000])


class TestArrays:
    @pytest.mark.parametrize(
        ("stored", "words"), [("CHW", "bands × rows × columns"), ("WHC", "columns × rows × bands")]
    )
    def test_axes_in_another_order(self, stored, words):
        cube = np.random.default_rng(0).random((7, 9, 3))
        given_as = "HWC" if stored != "HWC" else None
        values = cube.transpose(["HWC".index(axis) for axis in stored])
        found, said = to_grid(array(values, given_as), Grid(7, 9), name="sar.mat")
        shape = " × ".join(map(str, values.shape))
        assert said == (
            f"sar.mat is {shape}, s2.tif is 7 × 9 (rows × columns): its axes are read as {words}"
        )
        assert said in found.notes
        np.testing.assert_allclose(
            found.read(Window(0, 0, 7, 9))[0], cube.transpose(2, 0, 1), rtol=1e-6
        )

    def test_a_transposed_label_array(self):
        codes = np.arange(63).reshape(7, 9)
        found, said = to_grid(array(codes.T), Grid(7, 9), categorical=True)
        assert "columns × rows" in said
        np.testing.assert_array_equal(found.read(Window(0, 0, 7, 9))[0][0], codes)

    def test_square_arrays_keep_rows_before_columns(self):
        found, _ = to_grid(array(np.zeros((4, 9, 9)), "HWC"), Grid(9, 9))
        assert found.axes == "CHW"

    def test_axes_of_one_band_are_no_choice(self):
        found, _ = to_grid(array(np.zeros((1, 9, 7)), "HWC"), Grid(7, 9))
        assert (found.height, found.width, found.bands) == (7, 9, 1)
        line, _ = to_grid(array(np.zeros((1, 1, 9)), "HWC"), Grid(1, 9))
        assert (line.height, line.width, line.bands) == (1, 9, 1)

    def test_several_ways_are_asked_about(self):
        text = refusal(array(np.zeros((7, 7, 9)), "WCH"), Grid(7, 9))
        assert "in 2 ways: say with 'axes' which one holds, HCW" in text
        assert "CHW (bands × rows × columns)" in text

    def test_axes_that_never_fit_are_refused_by_size(self):
        assert "(rows × columns), s2.tif is 70 × 9" in refusal(array(np.zeros((4, 5, 6))),
                                                                Grid(70, 9))  # fmt: skip


class TestFinest:
    def test_the_smallest_pixels_win_whatever_the_order(self):
        sources = [Placed(9, 9, utm(20), UTM30), Placed(5, 5, utm(10), UTM30),
                   Placed(90, 90, utm(60), UTM30)]  # fmt: skip
        for turn in range(3):
            assert finest(sources[turn:] + sources[:turn]) == Grid(5, 5, utm(10), UTM30)

    def test_the_first_of_equal_ones(self):
        first, second = Placed(9, 9, utm(10), UTM30), Placed(90, 90, utm(10), UTM30)
        assert finest([first, second]) == Grid.of(first)
        assert finest([second, first]) == Grid.of(second)
        nearly = Placed(9, 9, utm(9.9999), UTM30)
        assert finest([first, nearly]) == Grid.of(first)

    def test_degrees_and_metres_are_compared_on_the_ground(self):
        degrees = Placed(9, 9, Affine(1e-5, 0, -3, 0, -1e-5, 37.9), DEGREES)
        assert finest([Placed(9, 9, utm(10), UTM30), degrees]) == Grid.of(degrees)
        coarse = Placed(9, 9, Affine(1e-3, 0, -3, 0, -1e-3, 37.9), DEGREES)
        assert finest([coarse, Placed(9, 9, utm(10), UTM30)]) == Grid(9, 9, utm(10), UTM30)

    def test_without_coordinates_the_largest(self):
        assert finest([Placed(9, 9), Placed(18, 9), Placed(18, 9)]) == Grid(18, 9)
        assert finest([Placed(99, 99), Placed(9, 9, utm(1))]) == Grid(9, 9, utm(1))


class TestAgree:
    def test_the_others_say_how_the_first_is_stored(self):
        cube = np.random.default_rng(0).random((4, 5, 6))
        found = agree(array(cube, "HWC"), [(5, 6), (5, 6), (9, 9)])
        assert (found.axes, found.bands) == ("CHW", 4)
        assert "the other rasters are 5 × 6" in found.notes[-1]
        assert "bands × rows × columns, not rows × columns × bands" in found.notes[-1]

    @pytest.mark.parametrize(
        "shapes",
        [
            [(4, 5)],
            [(4, 5), (5, 6)],  # as many fit as would otherwise
            [],
            [(70, 80)],
            [(5, 6), (6, 5)],  # two orders fit one each
        ],
    )
    def test_otherwise_it_stays_as_it_is(self, shapes):
        reference = array(np.zeros((4, 5, 6)), "HWC")
        assert agree(reference, shapes) is reference

    def test_other_rasters_stay_as_they_are(self):
        source = Placed(4, 5)
        assert agree(source, [(5, 4)]) is source


@pytest.mark.parametrize("tile", ["MLBS_20", "OSBS_10"])
def test_a_real_camera_onto_a_real_spectrometer(shared_data, tile):
    camera = open_source(shared_data / "idtrees" / "rgb_10cm" / f"{tile}.tif")
    spectrometer = open_source(shared_data / "idtrees" / tile / "hsi.tif")
    found, said = to_grid(camera, Grid.of(spectrometer), name="rgb.tif", reference="hsi.tif")
    assert said == (
        "rgb.tif (EPSG:32617, pixels of 0.1 m, 200 × 200) is resampled onto the grid of hsi.tif"
        " (EPSG:32617, pixels of 1 m, 20 × 20): mean of the pixels covered, 10 × coarser, covers"
        " 100 % of it"
    )
    assert found.read(Window(3, 4, 5, 6))[1].all()
    _, said = to_grid(spectrometer, Grid.of(camera))
    assert "bilinear, 10 × finer, covers 100 % of it" in said
