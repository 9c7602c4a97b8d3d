"""Lists of pixels: every form and every way to count round-trips, or is asked about."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import scipy.io
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from bdgf.errors import SceneError
from bdgf.scene.labels.index_lists import index_codes, is_index_list

FAST = settings(max_examples=150, deadline=None)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((761, 2), True),
        ((2, 761), True),
        ((761, 3), True),
        ((761,), True),
        ((761, 1), True),
        ((1, 761), True),
        ((1, 2), True),
        ((0, 2), True),
        ((332, 485), False),
        ((485, 332), False),
        ((7, 4), False),
        ((3, 7), False),
        ((332, 485, 3), False),
        ((), False),
    ],
)
def test_is_index_list(shape, expected):
    assert is_index_list(shape, 332, 485) is expected


@pytest.mark.parametrize("shape", [(332, 2), (2, 332), (332, 3), (1, 332), (332, 1)])
def test_a_narrow_scene_is_a_map(shape):
    assert not is_index_list(shape, *shape)
    assert not is_index_list(shape[::-1], *shape)


@st.composite
def listed(draw):
    """A map of codes with its labelled pixels in any order: map (H, W), rows, cols."""
    height, width = draw(st.integers(4, 9)), draw(st.integers(4, 9))
    places = draw(
        st.lists(
            st.tuples(st.integers(0, height - 1), st.integers(0, width - 1)),
            min_size=4,
            max_size=12,
            unique=True,
        )
    )
    codes = np.zeros((height, width), dtype=np.int32)
    for row, col in places:
        codes[row, col] = draw(st.integers(1, 9))
    rows, cols = np.array(places).T
    return codes, rows, cols


def written(form, codes, rows, cols, base):
    """The list of some pixels in one of the forms that occur."""
    height, width = codes.shape
    if form == "row-major":
        return rows * width + cols + base
    if form == "column-major":
        return cols * height + rows + base
    columns = [rows + base, cols + base]
    if form == "exchanged":
        columns.reverse()
    if form == "codes":
        columns.append(codes[rows, cols])
    return np.column_stack(columns)


FORMS = ["pairs", "turned", "codes", "row-major", "column-major"]
TYPES = [np.uint16, np.int64, np.float64, np.int32, np.uint8, np.float32]


@FAST
@given(listed(), st.sampled_from(FORMS), st.sampled_from([0, 1]), st.sampled_from(TYPES), st.data())
def test_what_is_told_is_read(drawn, form, base, dtype, data):
    codes, rows, cols = drawn
    array = written(form, codes, rows, cols, base).astype(dtype)
    order = "auto"
    if form == "turned":
        array = array.T
    if "major" in form:
        order = form
        array = array.reshape(data.draw(st.sampled_from([(-1,), (-1, 1), (1, -1)])))
    assert is_index_list(array.shape, 50, 60)
    map_of = None if form == "codes" else codes
    placed, note = index_codes(array, base, map_of, codes.shape, "train", order)
    np.testing.assert_array_equal(placed, codes)
    assert placed.dtype == np.int32
    assert note.startswith("train was read as ")
    assert f"from {base} of {rows.size} pixels" in note
    assert "no label" not in note


@FAST
@given(listed(), st.sampled_from([*FORMS, "exchanged"]), st.sampled_from([0, 1]))
def test_what_is_not_told_is_found_or_asked_for(drawn, form, base):
    codes, rows, cols = drawn
    array = written(form, codes, rows, cols, base)
    map_of = None if form == "codes" else codes
    turned = array.T if form == "turned" else array
    try:
        placed, note = index_codes(turned, None, map_of, codes.shape, "train")
    except SceneError:
        with pytest.raises(SceneError, match="'index_base: "):
            index_codes(turned, None, map_of, codes.shape, "train")
        return
    if form == "codes":
        np.testing.assert_array_equal(placed, codes)
    elif rows.size > 0 and "exchanged" not in note and form != "exchanged":
        # Read wrongly or not, every listed pixel has a label, or the values left no choice.
        assert (np.count_nonzero(placed) == rows.size) == ("no label" not in note)
    if f"from {base}" in note and form in ("pairs", "turned") and "exchanged" not in note:
        np.testing.assert_array_equal(placed, codes)


@FAST
@given(st.integers(0, 10_000), st.sampled_from([*FORMS, "exchanged"]), st.sampled_from([0, 1]))
def test_a_list_of_a_real_size_is_found(seed, form, base):
    rng = np.random.default_rng(seed)
    height, width = 40, 30
    codes = np.zeros((height, width), dtype=np.int32)
    pixels = rng.choice(height * width, 60, replace=False)
    codes.flat[pixels] = rng.integers(1, 8, 60)
    rows, cols = np.divmod(pixels, width)
    array = written(form, codes, rows, cols, base)
    if form == "codes":
        first = rows.min() == 0 or cols.min() == 0
        assume(first if base == 0 else rows.max() == 39 or cols.max() == 29)
    map_of = None if form == "codes" else codes
    placed, note = index_codes(
        array.T if form == "turned" else array, None, map_of, codes.shape, "train"
    )
    np.testing.assert_array_equal(placed, codes)
    assert ("exchanged" in note) == (form == "exchanged")
    assert f"from {base}" in note


def test_a_list_of_all_pixels():
    codes = np.arange(12, dtype=np.int32).reshape(3, 4) % 3
    for base in (0, 1):
        array = np.argwhere(codes >= 0) + base
        placed, note = index_codes(array, None, codes, (3, 4), "all")
        np.testing.assert_array_equal(placed, codes)
        assert note == (
            f"all was read as row and column from {base} of 12 pixels; 4 of the pixels have no"
            " label."
        )


def test_columns_that_only_fit_exchanged():
    codes = np.ones((3, 9), dtype=np.int32)
    placed, note = index_codes(np.array([[8, 0], [0, 2], [5, 1]]), None, codes, (3, 9), "x")
    assert np.argwhere(placed).tolist() == [[0, 8], [1, 5], [2, 0]]
    assert "its columns are exchanged" in note
    three = np.array([[8, 0, 4], [0, 2, 5]])
    placed, note = index_codes(three, None, None, (3, 9), "x")
    assert placed[0, 8] == 4
    assert placed[2, 0] == 5


def test_an_exchange_needs_the_map_to_agree():
    codes = np.zeros((3, 9), dtype=np.int32)
    codes[0, 8] = codes[2, 0] = 1
    array = np.array([[8, 0], [0, 2], [5, 1]])
    with pytest.raises(SceneError, match=r"rows from 0 to 8 .* 3 rows and 9 columns"):
        index_codes(array, None, codes, (3, 9), "x")
    assert index_codes(array[:2], None, codes, (3, 9), "x")[0][2, 0] == 1
    everywhere = np.argwhere(codes >= 0)[:, ::-1]
    np.testing.assert_array_equal(index_codes(everywhere, None, codes, (3, 9), "x")[0], codes)


def test_row_and_column_go_before_column_and_row():
    codes = np.zeros((5, 5), dtype=np.int32)
    codes[1, 2] = codes[2, 2] = 1  # as listed, from 0
    codes[1, 0] = codes[1, 1] = 1  # exchanged, from 1
    placed, note = index_codes(np.array([[1, 2], [2, 2]]), None, codes, (5, 5), "x")
    assert np.argwhere(placed).tolist() == [[1, 2], [2, 2]]
    assert "row and column from 0" in note


def test_two_ways_to_read_are_asked_about():
    codes = np.ones((5, 5), dtype=np.int32)
    with pytest.raises(SceneError, match=r"from 0 \(2 labelled\) and as row and column from 1 \(2"):
        index_codes(np.array([[1, 2], [2, 2]]), None, codes, (5, 5), "x")
    nothing = np.zeros((5, 5), dtype=np.int32)
    with pytest.raises(SceneError, match="add 'index_base: 0' or 'index_base: 1'"):
        index_codes(np.array([[1, 2], [2, 2]]), None, nothing, (5, 5), "x")
    with pytest.raises(SceneError, match="'index_base: 0, index_order: row-major' or"):
        index_codes(np.array([7, 8]), None, codes, (5, 5), "x")
    with pytest.raises(SceneError, match="'index_base: 0, index_order: column-major' or 'index_b"):
        index_codes(np.array([7, 8]), None, codes, (5, 5), "x", "column-major")
    with pytest.raises(SceneError, match="add 'index_base: 0' or 'index_base: 1'"):
        index_codes(np.array([[1, 2, 3]]), None, None, (5, 5), "x")


def test_one_pixel_listed_twice():
    codes = np.full((4, 5), 6, dtype=np.int32)
    placed, note = index_codes(np.array([[0, 1], [0, 1], [2, 2]]), 0, codes, (4, 5), "x")
    assert np.count_nonzero(placed) == 2
    assert "1 entries repeat a pixel" in note
    same = np.array([[0, 1, 3], [0, 1, 3], [2, 2, 5]])
    assert index_codes(same, 0, None, (4, 5), "x")[0][0, 1] == 3
    with pytest.raises(SceneError, match=r"1 entries a pixel .* row 0, column 1"):
        index_codes(np.array([[0, 1, 3], [0, 1, 4]]), 0, None, (4, 5), "x")


@pytest.mark.parametrize(
    ("array", "base", "message"),
    [
        ([[0, 0], [4, 2]], None, r"rows from 0 to 4 .* has 4 rows and 5 columns;"),
        ([[0, 0], [6, 6]], None, "1 entries outside"),
        ([[-1, 0], [1, 1]], None, "1 entries outside"),
        ([[0, 0], [1, 1]], 1, "with index_base 1.*, 1 entries outside"),
        ([[4, 1], [1, 1]], 0, "with index_base 0.*, 1 entries outside"),
        ([0, 21, 3, 4], None, "linear indices from 0 to 21.*1 entries outside"),
        ([0, 20, 3, 4], None, "linear indices from 0 to 20"),
        ([[0.5, 1]], None, "holds the value 0.5"),
        ([[np.nan, 1]], None, "holds the value nan"),
        ([[1e300, 1]], None, "holds the value 1e\\+300"),
        ([[2**63, 1]], None, "holds the value 9.2"),
        ([[True, False]], None, "array of bool"),
        ([["a", "b"]], None, "array of <U1"),
        ([[1, 2, 3, 4]] * 4, None, "with shape"),
        ([[[1, 2]]], None, "with shape"),
        ([[1, 2, -3]], 0, "code -3 in its third column"),
        ([[1, 2, 2**30]], 0, "code 1073741824"),
    ],
)
def test_lists_that_cannot_be_read(array, base, message):
    codes = np.zeros((4, 5), dtype=np.int32)
    with pytest.raises(SceneError, match=message):
        index_codes(np.array(array), base, codes, (4, 5), "x")


def test_a_list_needs_codes_of_the_same_size():
    with pytest.raises(SceneError, match="lists pixels without classes"):
        index_codes(np.array([[0, 0]]), None, None, (4, 5), "x")
    turned = np.ones((5, 4), dtype=np.int32)
    with pytest.raises(SceneError, match=r"has 5 × 4 pixels .* the scene 4 × 5"):
        index_codes(np.array([[0, 0]]), None, turned, (4, 5), "x")


@pytest.mark.parametrize("shape", [(0, 2), (0, 3), (0,), (2, 0)])
def test_an_empty_list(shape):
    placed, note = index_codes(np.zeros(shape), None, np.ones((4, 5), np.int32), (4, 5), "x")
    assert not placed.any()
    assert "0 pixels" in note


def test_the_official_augsburg_split_as_a_list(shared_data):
    folder = shared_data / "label_maps"
    parts = {}
    for which in ("Train", "Test"):
        name = f"{which}Image"
        parts[which] = scipy.io.loadmat(folder / f"augsburg_{name}.mat")[name].astype(np.int32)
    truth = parts["Train"] + parts["Test"]
    for codes in parts.values():
        for base in (0, 1):
            array = (np.argwhere(codes) + base).astype(np.uint16)
            placed, note = index_codes(array, None, truth, truth.shape, "augsburg")
            np.testing.assert_array_equal(placed, codes)
            assert f"row and column from {base} of {np.count_nonzero(codes):,} pixels." in note
        linear = np.flatnonzero(codes.T) + 1
        placed, note = index_codes(linear, None, truth, truth.shape, "augsburg")
        np.testing.assert_array_equal(placed, codes)
        assert "linear column-major indices from 1" in note


@FAST
@given(
    st.sampled_from([(3,), (4, 1), (1, 4), (4, 2), (2, 4), (4, 3), (2, 2), (2, 3), (3, 3), (1, 1)]),
    st.sampled_from([np.int8, np.uint64, np.float64, np.float16, np.complex64, bool, object]),
    st.lists(
        st.floats() | st.integers(-(2**62), 2**62) | st.integers(-1, 6), min_size=12, max_size=12
    ),
    st.sampled_from([None, 0, 1]),
    st.booleans(),
)
@example((3, 3), np.float64, [1.0] * 12, None, False)
def test_random_arrays(shape, dtype, numbers, base, with_map):
    with np.errstate(all="ignore"), contextlib.suppress(OverflowError):
        array = np.array(numbers, dtype=np.float64).astype(dtype)[: int(np.prod(shape))]
        codes = np.ones((5, 6), dtype=np.int32) if with_map else None
        try:
            placed, note = index_codes(array.reshape(shape), base, codes, (5, 6), "x")
        except SceneError:
            return
        assert placed.shape == (5, 6)
        assert note.endswith(".")
