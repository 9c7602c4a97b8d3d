"""ENVI ROI text: what a small writer writes comes back, in every layout that occurs."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bdgf.errors import SceneError
from bdgf.scene.grid import Grid
from bdgf.scene.labels.roi import ClassNames, read_roi, roi_codes

CLASSES = {1: "grass_healthy", 2: "Water", 5: "Parking Lot 1"}
GRID = Grid(6, 9)
SLOW = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def written(
    rois,
    size=(6, 9),
    *,
    interleaved=False,
    columns=("ID", "X", "Y", "B1"),
    transform=None,
    centre=0.0,
    rgb=True,
    blank=True,
    gap="   ",
):
    """Text of ROIs (name, rows, cols), rows and columns from 0."""
    lines = ["; ENVI Output of ROIs (4.8) [Thu Mar 28 10:00:00 2013]"]
    lines += [f"; Number of ROIs: {len(rois)}", f"; File Dimension: {size[1]} x {size[0]}", ";"]
    start = gap if gap.isspace() else " "
    head = ";" + start + gap.join(columns)
    bodies = []
    for name, rows, cols in rois:
        lines.append(f"; ROI name: {name}")
        if rgb:
            lines.append("; ROI rgb value: {0, 205, 0}")
        lines.append(f"; ROI npts: {len(rows)}")
        body = []
        for number, (row, col) in enumerate(zip(rows, cols, strict=True), 1):
            x, y = (col + centre, row + centre)
            if transform is not None:
                x, y = (
                    transform.a * x + transform.b * y + transform.c,
                    transform.d * x + transform.e * y + transform.f,
                )
            values = {"ID": number, "X": col + 1, "Y": row + 1, "Map X": f"{x:.2f}"}
            values |= {"Map Y": f"{y:.2f}", "Lat": 29.7, "Lon": -95.3, "B1": 17}
            body.append(start + gap.join(str(values[column]) for column in columns))
        bodies.append(body)
        if interleaved:
            lines += [head, *body, "", ""] if blank else [head, *body]
        else:
            lines.append(";")
    if not interleaved:
        lines.append(head)
        for body in bodies:
            lines += [*body, ""] if blank else body
    return "\n".join(lines) + "\n"


@pytest.fixture
def save(tmp_path):
    def write(text, name="labels.txt", newline="\n"):
        path = tmp_path / name
        path.write_bytes(
            text if isinstance(text, bytes) else text.replace("\n", newline).encode("utf-8")
        )
        return path

    return write


@SLOW
@given(
    st.lists(
        st.tuples(
            st.sampled_from(list(CLASSES.values())),
            st.lists(st.tuples(st.integers(0, 5), st.integers(0, 8)), max_size=6),
        ),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from(
        [
            ("ID", "X", "Y", "B1"),
            ("X", "Y"),
            ("ID", "X", "Y", "Map X", "Map Y", "Lat", "Lon", "B1", "B1"),
            ("ID", "X", "Y", "Lat", "Lon"),
        ]
    ),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([" ", "    ", "\t", ", "]),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_round_trip(tmp_path_factory, drawn, columns, interleaved, rgb, blank, gap, newline):
    rois = [(name, [r for r, _ in at], [c for _, c in at]) for name, at in drawn]
    gap = gap if "Map X" not in columns or gap != ", " else "  "
    text = written(rois, interleaved=interleaved, columns=columns, rgb=rgb, blank=blank, gap=gap)
    path = tmp_path_factory.mktemp("r") / "a.txt"
    path.write_bytes(text.replace("\n", newline).encode())
    found = read_roi(path)
    assert [(r.name, r.rows.tolist(), r.cols.tolist()) for r in found] == rois
    assert {r.color for r in found} == {(0, 205, 0) if rgb else None}
    for roi in found:
        if "Map X" in columns and roi.rows.size:
            assert roi.map_x.tolist() == roi.cols.tolist()
        else:
            assert roi.map_x is None
    expected = np.zeros((6, 9), dtype=np.int32)
    owners = {}
    code_of = {name: code for code, name in CLASSES.items()}
    for name, rows, cols in rois:
        for place in zip(rows, cols, strict=True):
            owners.setdefault(place, set()).add(name)
            expected[place] = code_of[name]
    clash = sum(len(names) > 1 for names in owners.values())
    if clash:
        with pytest.raises(SceneError, match=f"puts {clash} pixels into ROIs of different"):
            roi_codes(path, GRID, CLASSES)
    else:
        codes = roi_codes(path, GRID, CLASSES)
        assert codes.dtype == np.int32
        np.testing.assert_array_equal(codes, expected)


def test_the_layout_of_the_houston_samples(save):
    text = (
        ";2013_IEEE_GRSS_DF_Contest_Samples_TR\n\n\n; Number of ROIs: 2\n"
        "; File Dimension: 9 x 6\n; X=1\t, Y=1 \t-> Upper-Left Corner\n"
        "; X=9, Y=6 -> Lower-Right Corner\n\n\n"
        "; ROI name: grass_healthy\n; ROI rgb value: {0, 205, 0}\n; ROI npts: 2\n"
        ";   ID     X    Y              Lat               Lon\n"
        "     1     9    1  29.724995542787  -95.349772592660\n"
        "     2     8    1  29.724995084106  -95.349798420654\n\n\n"
        "; ROI name: water\n; ROI rgb value: {127, 255, 0}\n; ROI npts: 1   \n"
        ";   ID     X    Y              Lat               Lon\n"
        "     1     1    6  29.725426119948  -95.322832632401\n"
    )
    codes = roi_codes(save(text), GRID, CLASSES)
    assert np.argwhere(codes).tolist() == [[0, 7], [0, 8], [5, 0]]
    assert codes[0].max() == 1
    assert codes[5, 0] == 2


@pytest.mark.parametrize("interleaved", [True, False])
@pytest.mark.parametrize("part", ["TR", "VA"])
def test_real_samples_survive_the_text(shared_data, save, part, interleaved):
    path = shared_data / "label_maps" / f"2013_IEEE_GRSS_DF_Contest_Samples_{part}.tif"
    with rasterio.open(path) as dataset:
        truth = dataset.read(1)
    rois = [(f"class_{code}", *np.nonzero(truth == code)) for code in range(1, 16)]
    text = written(rois, truth.shape, interleaved=interleaved)
    classes = {code: f"Class {code}" for code in range(1, 16)}
    found = roi_codes(save(text), Grid(*truth.shape), classes)
    np.testing.assert_array_equal(found, truth)


@pytest.mark.parametrize("centre", [0.0, 0.5])
def test_a_crop_is_found_by_map_coordinates(save, centre):
    whole = Affine(2.5, 0, 271_460, 0, -2.5, 3_290_000)
    rois = [("water", [3, 4], [5, 7]), ("grass healthy", [6], [6])]
    columns = ("ID", "X", "Y", "Map X", "Map Y")
    path = save(written(rois, (40, 60), columns=columns, transform=whole, centre=centre))
    crop = Grid(5, 4, Affine(2.5, 0, 271_460 + 2.5 * 5, 0, -2.5, 3_290_000 - 2.5 * 2))
    codes = roi_codes(path, crop, CLASSES)
    assert np.argwhere(codes).tolist() == [[1, 0], [2, 2], [4, 1]]
    assert codes[4, 1] == 1
    coarse = Grid(5, 4, Affine(5, 0, 271_460, 0, -5, 3_290_000))
    with pytest.raises(SceneError, match=r"40 rows and 60 columns.*not those of the scene"):
        roi_codes(path, coarse, CLASSES)
    shifted = Grid(5, 4, Affine(2.5, 0, 271_460.6, 0, -2.5, 3_290_000))
    with pytest.raises(SceneError, match="not those of the scene"):
        roi_codes(path, shifted, CLASSES)
    with pytest.raises(SceneError, match="only Map X and Map Y"):
        roi_codes(path, Grid(5, 4), CLASSES)


def test_another_size_without_map_coordinates(save):
    path = save(written([("water", [0], [0])], (7, 9)))
    with pytest.raises(SceneError, match="7 rows and 9 columns, the scene has 6 and 9"):
        roi_codes(path, Grid(6, 9, Affine.identity()), CLASSES)


def test_points_outside_are_counted(save):
    path = save(written([("water", [5, 6, 0], [8, 0, 9])]))
    with pytest.raises(SceneError, match="2 points outside the image, which has 6 rows"):
        roi_codes(path, GRID, CLASSES)
    text = written([("water", [5], [-1])]).replace("; File Dimension: 9 x 6\n", "")
    with pytest.raises(SceneError, match="1 points outside"):
        roi_codes(save(text), GRID, CLASSES)


def test_names_without_a_class(save):
    path = save(written([("water", [0], [0]), ("soil", [1], [1]), ("road", [2], [2])]))
    with pytest.raises(SceneError, match=r"2 ROIs .*\(soil, road\).*1 grass_healthy, 2 Water, 5 P"):
        roi_codes(path, GRID, CLASSES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("; ROI npts: 2", "; ROI npts: 3"), "announces 3 points for ROI water and lists 2"),
        (("; ROI npts: 2", "; ROI npts: 1"), "belongs to no ROI"),
        (("; ROI npts: 2\n", ""), "belongs to no ROI"),
        (("; ROI npts: 2", "; ROI npts: two"), "where 1 whole numbers are needed"),
        (("; Number of ROIs: 1", "; Number of ROIs: 2"), "announces 2 ROIs and holds 1"),
        (("; ROI name: water\n", ""), "before any 'ROI name'"),
        ((";   ID   X   Y   B1", ";   B1   B1   B1"), "without X and Y"),
        ((";   ID   X   Y   B1", ";   ID   Addr   B1"), "without X and Y"),
        ((";   ID   X   Y   B1\n", ""), "belongs to no ROI"),
        (("   2   4   4   17", "   2   4.5   4   17"), "is '2   4.5   4   17'; a point has"),
        (("   2   4   4   17", "   2   4"), "a point has whole numbers"),
        (("   2   4   4   17", "   2   nan   4   17"), "a point has whole numbers"),
        (("   2   4   4   17", "two words"), "a point has whole numbers"),
    ],
)
def test_damaged_texts(save, change, message):
    text = written([("water", [2, 3], [3, 3])])
    assert change[0] in text
    with pytest.raises(SceneError, match=message):
        read_roi(save(text.replace(*change)))


def test_a_header_before_its_points_are_full(save):
    text = written([("water", [2, 3], [3, 3]), ("soil", [1], [1])], interleaved=True)
    text = text.replace("   2   4   4   17\n", "")
    with pytest.raises(SceneError, match="announces 2 points for ROI water and lists 1"):
        read_roi(save(text))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"ENVI\0\1\2\0", "is binary"),
        (b"<?xml version='1.0'?>\n<RegionsOfInterest version='1.1'/>", "is XML"),
        (b"", "is no ENVI ROI text"),
        (b"; Number of ROIs: 0\n", "is no ENVI ROI text"),
    ],
)
def test_other_forms_are_refused(save, content, message):
    with pytest.raises(SceneError, match=f"{message}.*export the ROIs as ASCII"):
        read_roi(save(content))


def test_a_missing_file(tmp_path):
    with pytest.raises(SceneError, match="cannot be read"):
        read_roi(tmp_path / "none.txt")


def test_remarks_and_other_letters(save):
    text = written([("water", [2], [3])]).replace(
        ";\n", "; Lat and Lon are of WGS 84; x is east\n; addr 5\n", 1
    )
    assert read_roi(save(text.encode("utf-8-sig")))[0].cols.tolist() == [3]
    named = written([("Müll", [2], [3])])
    for encoding in ("utf-8", "latin-1"):
        assert roi_codes(save(named.encode(encoding)), GRID, {4: "müll"}).max() == 4


@SLOW
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_random_bytes(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("r") / "a.roi"
    path.write_bytes(content)
    with pytest.raises(SceneError):
        read_roi(path)


PIECES = """; ROI name: water
; ROI npts: 1
; ROI npts: 99999999999
; ID X Y Map X Map Y
; X
; X Y
; ROI rgb value: {1}
; ROI rgb value: {1,2,3}
; File Dimension: 9 x 6
; File Dimension: 1 x 1
; Number of ROIs: 1
; Addr
1 2 3
1 2 3 4 5
1 1e9 2 3 4
1 2 3 1e999 4
1 2 3 1e11 -1e11
-1 -2 -3 -4 -5
x
"""


@SLOW
@given(st.lists(st.sampled_from(PIECES.split("\n")), max_size=8))
def test_random_pieces(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("r") / "a.txt"
    start = "; ROI name: water\n; ROI npts: 1\n; ID X Y Map X Map Y\n1 2 3 4 5\n"
    for text in ("\n".join(lines), start + "\n".join(lines), "\n".join(lines) + "\n" + start):
        path.write_text(text)
        for grid in (GRID, Grid(6, 9, Affine(1e-9, 0, 0, 0, 1e-9, 0))):
            with contextlib.suppress(SceneError):
                assert roi_codes(path, grid, CLASSES).shape == (6, 9)


# --- names of classes


def test_class_names():
    names = ClassNames({1: "Parking Lot 1", 2: "Water", 3: "3", 12: "a b", 13: "A_B", 40: "12"})
    expected = {
        "Parking Lot 1": 1,
        " parking_lot1 ": 1,
        "PARKING-LOT-1": 1,
        "water": 2,
        "2": 2,
        "2.0": 2,
        "12": 40,  # a name goes before a code
        "13": 13,
        "0": 0,
        "7": None,
        "2.5": None,
        "-2": None,
        "": None,
        "a b": 12,
        "A_B": 13,
        "a_b": None,  # could be either
        "wat": None,
    }
    assert {text: names.code(text) for text in expected} == expected
    assert names.listed().startswith("1 Parking Lot 1, 2 Water, 3 3")
