"""Arrays become rasters by their axes, whatever their order is."""

from __future__ import annotations

import pickle
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdgf.errors import SceneError
from bdgf.scene.formats.arrays import ArrayInfo, ArraySource, guess_axes
from bdgf.scene.formats.location import locate
from bdgf.scene.windows import Window

PATH = locate("cube.npy")


class Memory:
    """An array in memory that notes which parts are read."""

    def __init__(self, array, axes="", note="", block=None):
        self.array = np.asarray(array)
        self.info = ArrayInfo(self.array.shape, self.array.dtype.name, self.array.dtype, note, axes)
        self.block = block or (1,) * self.array.ndim
        self.parts = []

    def read(self, part):
        self.parts.append(part)
        return self.array[part]


def whole(source):
    return source.read(Window(0, 0, source.height, source.width))


@given(
    sizes=st.tuples(*[st.integers(1, 6)] * 3),
    order=st.sampled_from(["".join(p) for p in permutations("HWC")]),
    data=st.data(),
)
@settings(max_examples=100, deadline=None)
def test_every_order_of_axes_gives_the_same_raster(sizes, order, data):
    height, width, bands = sizes
    raster = np.arange(height * width * bands, dtype=np.float32).reshape(bands, height, width)
    stored = raster.transpose(["CHW".index(axis) for axis in order])
    source = ArraySource(PATH, None, Memory(stored), axes=order.lower())
    assert (source.bands, source.height, source.width) == (bands, height, width)
    row, col = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    high, wide = data.draw(st.integers(1, height - row)), data.draw(st.integers(1, width - col))
    values, valid = source.read(Window(row, col, high, wide))
    np.testing.assert_array_equal(values, raster[:, row : row + high, col : col + wide])
    assert valid.all()


@pytest.mark.parametrize(("axes", "expected"), [("HW", (2, 3)), ("wh", (3, 2)), (None, (2, 3))])
def test_two_axes_are_one_band(axes, expected):
    array = np.arange(6.0).reshape(2, 3)
    source = ArraySource(PATH, None, Memory(array), axes=axes)
    assert (source.bands, source.height, source.width) == (1, *expected)
    np.testing.assert_array_equal(whole(source)[0][0], array if axes != "wh" else array.T)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((12, 300, 400), "CHW"),  # PyTorch's order
        ((1, 300, 400), "CHW"),
        ((12, 400, 300), "CHW"),
        ((145, 145, 200), "HWC"),  # Indian Pines
        ((610, 340, 103), "HWC"),  # Pavia University
        ((300, 400, 12), "HWC"),
        ((300, 12, 400), "HWC"),
        ((5, 5, 5), "HWC"),
        ((7, 7, 1), "HWC"),
        ((4, 9), "HW"),
    ],
)
def test_order_is_guessed_from_the_shape(shape, axes):
    assert guess_axes(shape) == axes


def test_guess_of_bands_first_is_told_and_can_be_decided_otherwise():
    reader = Memory(np.zeros((2, 5, 6)))
    guessed = ArraySource(PATH, None, reader)
    assert (guessed.bands, guessed.height, guessed.width) == (2, 5, 6)
    assert guessed.notes == (
        "cube.npy has shape 2 × 5 × 6: read as bands × rows × columns; 'axes: HWC' decides"
        " otherwise",
    )
    decided = ArraySource(PATH, None, reader, axes="HWC")
    assert (decided.bands, decided.height, decided.width) == (6, 2, 5)
    assert decided.notes == ()


def test_custom_of_the_format_is_not_guessed():
    source = ArraySource(PATH, "a", Memory(np.zeros((2, 5, 6)), axes="HWC", note="said so"))
    assert (source.bands, source.height, source.width) == (6, 2, 5)
    assert source.notes == ("said so",)


def test_arranged_replaces_the_guess_and_its_note():
    reader = Memory(np.zeros((2, 5, 6)), note="of the file")
    source = ArraySource(PATH, None, reader, nodata=3.0)
    assert source.arrangements(5, 6) == ["CHW"]
    assert source.arrangements(6, 5) == ["CWH"]
    assert source.arrangements(9, 5) == []
    other = source.arranged("CWH", "the label raster says so")
    assert (other.bands, other.height, other.width, other.nodata) == (2, 6, 5, 3.0)
    assert other.notes == ("of the file", "the label raster says so")


def test_arrangements_of_a_cube_name_every_order():
    source = ArraySource(PATH, None, Memory(np.zeros((4, 4, 4))))
    assert sorted(source.arrangements(4, 4)) == sorted("".join(p) for p in permutations("HWC"))


@pytest.mark.parametrize("axes", ["HW", "HHC", "XYZ", "", "HWCC", "rows"])
def test_wrong_axes_are_refused(axes):
    with pytest.raises(SceneError, match=r"cube.npy has 3 axes .*H rows, W columns, C bands once"):
        ArraySource(PATH, None, Memory(np.zeros((2, 3, 4))), axes=axes)
    with pytest.raises(SceneError, match=r"such as HW or WH"):
        ArraySource(PATH, None, Memory(np.zeros((2, 3))), axes="HWC")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(3), r"\(3 float64\) is no raster"),
        (np.float32(1), "is no raster"),
        (np.zeros((1, 2, 3, 4)), "is no raster"),
        (np.zeros((0, 3)), r"\(0 × 3 float64\) is no raster"),
        (np.zeros((2, 2), dtype=np.complex64), "convert complex SAR to intensity"),
        (np.array([["a", "b"], ["c", "d"]]), "is no raster"),
        (np.zeros((2, 2), dtype="M8[s]"), "is no raster"),
        (np.zeros((2, 2), dtype=[("x", "f4")]), "is no raster"),
    ],
)
def test_what_is_no_raster_is_refused(array, message):
    with pytest.raises(SceneError, match=message):
        ArraySource(PATH, None, Memory(array))


def test_more_bands_than_a_raster_can_have_are_wrong_axes():
    array = np.broadcast_to(np.float32(0), (4, 4, 10**9))
    with pytest.raises(SceneError, match=r"1,000,000,000 bands by its axes HWC.*'axes: CHW'"):
        ArraySource(PATH, None, Memory(array))


def test_only_the_window_is_asked_for():
    reader = Memory(np.zeros((3, 50, 60)))
    ArraySource(PATH, None, reader).read(Window(10, 20, 5, 7))
    assert reader.parts == [(slice(0, 3), slice(10, 15), slice(20, 27))]


def test_chosen_bands_come_in_their_order():
    reader = Memory(np.arange(60.0).reshape(5, 3, 4))
    source = ArraySource(PATH, None, reader, axes="CHW")
    values, valid = source.read_bands(Window(0, 0, 3, 4), [4, 2])
    np.testing.assert_array_equal(values, reader.array[[3, 1]])
    assert valid.shape == (2, 3, 4)
    assert reader.parts[0][0] == slice(1, 4)


def test_block_follows_the_axes():
    source = ArraySource(PATH, None, Memory(np.zeros((3, 8, 9)), block=(3, 4, 5)))
    assert source.block == (4, 5)


def test_nodata_nan_and_infinity_are_not_valid():
    source = ArraySource(PATH, None, Memory([[1.0, np.nan], [-np.inf, -9999.0]]), nodata=-9999)
    values, valid = whole(source)
    assert valid.ravel().tolist() == [True, False, False, False]
    assert values.ravel().tolist() == [1, 0, 0, 0]


def test_window_beyond_the_array_is_refused():
    with pytest.raises(ValueError, match="inside"):
        ArraySource(PATH, None, Memory(np.zeros((4, 4)))).read(Window(2, 2, 3, 3))


def test_source_can_be_pickled():
    source = ArraySource(PATH, None, Memory(np.arange(24.0).reshape(2, 3, 4)))
    np.testing.assert_array_equal(whole(pickle.loads(pickle.dumps(source)))[0], whole(source)[0])
