"""Version 5 MATLAB files: structs and cells by their keys, values the same as SciPy's."""

from __future__ import annotations

import io
import math
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.io.matlab import MatlabFunction, MatlabOpaque

from bdgf.errors import SceneError
from bdgf.scene.formats.matlab import mat_readers

TYPES = ["f4", "f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"]
MATLAB_FILES = Path(scipy.io.__file__).parent / "matlab" / "tests" / "data"


def counted(dtype, shape):
    """An array whose values tell where they are."""
    return (np.arange(math.prod(shape)).reshape(shape) % 120).astype(dtype)


SHAPES = hnp.array_shapes(min_dims=2, max_dims=3, max_side=6)
ARRAYS = st.one_of(
    st.builds(counted, st.sampled_from(TYPES), SHAPES),
    st.sampled_from(TYPES).flatmap(lambda dtype: hnp.arrays(dtype, SHAPES)),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("mat5")


def cell(*items):
    array = np.empty((1, len(items)), dtype=object)
    for number, item in enumerate(items):
        array[0, number] = item
    return array


def parts(*fields):
    """A struct array with the fields a and b."""
    return np.array(list(fields), dtype=[("a", object), ("b", object)])


def load(path, key):
    reader = mat_readers(path)[key]
    return reader.read(tuple(slice(0, size) for size in reader.info.shape))


@given(
    array=ARRAYS,
    packed=st.booleans(),
    nested=st.booleans(),
    data=st.data(),
)
@settings(max_examples=150, deadline=None)
def test_any_window_of_any_array(folder, array, packed, nested, data):
    path = folder / "a.mat"
    content = {"s": {"t": {"x": array}, "other": "text"}} if nested else {"x": array}
    scipy.io.savemat(path, content, do_compression=packed)
    key = "s.t.x" if nested else "x"
    reader = mat_readers(path)[key]
    # savemat gives arrays of three axes with a last axis of one only two, as MATLAB does not.
    assert reader.info.shape == array.shape
    assert reader.info.dtype == array.dtype
    part = tuple(
        slice(first := data.draw(st.integers(0, size - 1)), data.draw(st.integers(first + 1, size)))
        for size in array.shape
    )
    np.testing.assert_array_equal(reader.read(part), array[part])
    assert reader.read(part).dtype == array.dtype


@pytest.mark.parametrize("packed", [False, True])
def test_structs_and_cells_are_walked_through(tmp_path, packed):
    """The shape of the MUUFL Gulfport file."""
    heights = np.arange(12.0).reshape(3, 4)
    content = {
        "hsi": {
            "Data": np.ones((3, 4, 5), np.float32),
            "Lidar": cell({"z": heights, "info": "metres"}),
            "sceneLabels": {"labels": np.eye(3, 4), "Materials_Type": cell("trees", "grass")},
            "two": cell({"z": heights}, {"z": heights + 100}, 7),
            "groups": parts((heights, 1), (heights + 5, "x")),
            "deep": cell(cell(cell(heights))),
        }
    }
    scipy.io.savemat(tmp_path / "a.mat", content, do_compression=packed)
    arrays = {key: reader.info for key, reader in mat_readers(tmp_path / "a.mat").items()}
    assert {key: info.shape for key, info in arrays.items() if info.numeric} == {
        "hsi.Data": (3, 4, 5),
        "hsi.Lidar.z": (3, 4),
        "hsi.sceneLabels.labels": (3, 4),
        "hsi.two{1}.z": (3, 4),
        "hsi.two{2}.z": (3, 4),
        "hsi.two{3}": (1, 1),
        "hsi.groups(1).a": (3, 4),
        "hsi.groups(1).b": (1, 1),
        "hsi.groups(2).a": (3, 4),
        "hsi.deep": (3, 4),
    }
    assert {key: info.kind for key, info in arrays.items() if not info.numeric} == {
        "hsi.Lidar.info": "char",
        "hsi.sceneLabels.Materials_Type{1}": "char",
        "hsi.sceneLabels.Materials_Type{2}": "char",
        "hsi.groups(2).b": "char",
    }
    np.testing.assert_array_equal(load(tmp_path / "a.mat", "hsi.two{2}.z"), heights + 100)
    np.testing.assert_array_equal(load(tmp_path / "a.mat", "hsi.groups(2).a"), heights + 5)
    np.testing.assert_array_equal(load(tmp_path / "a.mat", "hsi.deep"), heights)


def test_what_is_no_array_of_numbers_is_listed_as_what_it_is(tmp_path):
    content = {
        "text": "made by",
        "nothing": np.zeros((0, 3)),
        "none": np.empty((1, 0), dtype=object),
        "thin": scipy.sparse.csc_matrix(np.eye(4)),
        "slc": np.ones((3, 3)) * 1j,
        "mask": np.ones((3, 4), dtype=bool),
    }
    scipy.io.savemat(tmp_path / "a.mat", content)
    arrays = {key: reader.info for key, reader in mat_readers(tmp_path / "a.mat").items()}
    assert {key: (info.shape, info.kind, info.numeric) for key, info in arrays.items()} == {
        "text": ((1, 7), "char", False),
        "nothing": ((0, 3), "double", True),
        "none": ((1, 0), "cell", False),
        "thin": ((4, 4), "sparse", False),
        "slc": ((3, 3), "complex double", False),
        "mask": ((3, 4), "logical", True),
    }


def test_a_cell_of_very_many_is_not_listed_one_by_one(tmp_path):
    many = np.empty((1, 1_001), dtype=object)
    many[:] = [[np.ones((1, 1))] * 1_001]
    scipy.io.savemat(tmp_path / "a.mat", {"many": many, "x": np.ones((2, 3))})
    arrays = {key: reader.info for key, reader in mat_readers(tmp_path / "a.mat").items()}
    assert {key: info.kind for key, info in arrays.items()} == {"many": "cell", "x": "double"}


def scipy_value(variables, key):
    """What SciPy has at a key of ours."""
    names = key.replace("{", ".{").replace("(", ".(").split(".")
    found = variables[names[0]]
    for name in names[1:]:
        if name[0] in "{(":
            found = single(found).ravel(order="F")[int(name[1:-1]) - 1]
        else:
            found = single(found)[name]
    return single(found)


def single(value):
    while isinstance(value, np.ndarray) and value.dtype == object and value.size == 1:
        value = value.ravel()[0]
    return value


@pytest.mark.filterwarnings("ignore")
def test_files_that_matlab_wrote_read_as_in_scipy():
    """SciPy brings files of MATLAB 4 to 8 on several machines, of either byte order."""
    files = sorted(MATLAB_FILES.glob("test*.mat"))
    if not files:
        pytest.skip("SciPy is installed without its own test data")
    compared = 0
    for path in files:
        if "hdf5" in path.name:
            continue
        theirs = scipy.io.loadmat(path)
        readers = mat_readers(path)
        tops = {key.replace("(", ".").replace("{", ".").split(".")[0] for key in readers}
        assert tops == {name for name in theirs if not name.startswith("__")}, path.name
        for key, reader in readers.items():
            expected = scipy_value(theirs, key)
            if reader.info.numeric:
                np.testing.assert_array_equal(load(path, key), expected, err_msg=path.name)
                compared += 1
            else:
                assert (
                    not isinstance(expected, np.ndarray)
                    or expected.dtype.kind in "UOcSV"
                    or isinstance(expected, MatlabFunction | MatlabOpaque)
                ), (path.name, key)
    assert compared > 80


def test_values_lie_in_the_file_until_read_where_nothing_is_packed(tmp_path):
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"x": np.arange(12.0).reshape(3, 4)}, do_compression=False)
    reader = mat_readers(path)["x"]
    content = path.read_bytes()
    path.write_bytes(content.replace(struct.pack("<d", 11), struct.pack("<d", -7)))
    assert reader.read((slice(2, 3), slice(3, 4))) == -7


def test_file_cut_short_after_opening(tmp_path):
    for packed in (False, True):
        path = tmp_path / f"{packed}.mat"
        scipy.io.savemat(
            path, {"x": np.random.default_rng(0).normal(size=(20, 20))}, do_compression=packed
        )
        reader = mat_readers(path)["x"]
        path.write_bytes(path.read_bytes()[:1000])
        with pytest.raises(SceneError, match=r"x of .*cut short or changed"):
            reader.read((slice(0, 20), slice(0, 20)))


@pytest.mark.parametrize("chunk", [1, 2, 3, 1 << 20])
def test_check_sum_of_a_packed_variable_is_compared(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr("bdgf.scene.formats.matlab5._CHUNK", chunk)
    path = tmp_path / "a.mat"
    values = np.random.default_rng(0).normal(size=(20, 20))
    scipy.io.savemat(path, {"x": values}, do_compression=True)
    np.testing.assert_array_equal(load(path, "x"), values)
    content = bytearray(path.read_bytes())
    content[-1] ^= 255
    path.write_bytes(content)
    with pytest.raises(SceneError, match="incorrect data check"):
        load(path, "x")


def element(kind, data):
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


def matrix(shape, stored, data, name=b"x", kind=6):
    inner = element(6, struct.pack("<II", kind, 0))
    inner += element(5, np.array(shape, "<i4").tobytes()) + element(1, name)
    return element(14, inner + element(stored, data))


def write(path, *elements):
    path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + b"".join(elements))
    return path


def test_whole_numbers_stored_as_bytes_are_doubles_again(tmp_path):
    stored = bytes(range(6))
    path = write(tmp_path / "a.mat", matrix((2, 3), 2, stored))
    assert mat_readers(path)["x"].info.dtype == np.float64
    np.testing.assert_array_equal(load(path, "x"), [[0, 2, 4], [1, 3, 5]])
    assert load(path, "x").dtype == np.float64


@pytest.mark.parametrize(
    "content",
    [
        matrix((2**31 - 1, 2**31 - 1), 9, bytes(48)),  # more values than there are
        matrix((2, 4), 9, bytes(48)),
        matrix((-2, -3), 9, bytes(48)),
        matrix((6,), 9, bytes(48)),
        matrix((2, 3), 99, bytes(48)),
        struct.pack("<II", 14, 2**32 - 1) + bytes(40),
        struct.pack("<II", 15, 2**32 - 1) + bytes(40),
        element(15, zlib.compress(struct.pack("<II", 14, 2**32 - 1))),
        element(15, zlib.compress(b"")),
        element(9, bytes(8)),
        b"\x0e\x00\x00",
    ],
)
def test_lengths_that_lie_are_refused(tmp_path, content):
    with pytest.raises(SceneError, match="cannot be read as a MATLAB file"):
        mat_readers(write(tmp_path / "a.mat", content))


def test_a_cell_that_cannot_be_there_is_not_walked_through(tmp_path):
    content = matrix((2**31 - 1, 2**31 - 1), 14, bytes(48), kind=1)
    assert mat_readers(write(tmp_path / "a.mat", content))["x"].info.kind == "cell"


def test_promised_values_ask_for_no_memory_before_they_are_there(tmp_path):
    inner = matrix((30_000, 30_000), 9, b"")
    inner = inner[:-8] + struct.pack("<II", 9, 30_000 * 30_000 * 4)
    head = struct.pack("<II", 14, 2**32 - 8) + inner[8:]
    path = write(tmp_path / "a.mat", element(15, zlib.compress(head)))
    with pytest.raises(SceneError):
        load(path, "x")


def test_cells_in_cells_without_end_are_refused(tmp_path):
    inner = matrix((1, 1), 9, bytes(8), b"")
    for _ in range(100):
        shape = element(5, np.array((1, 1), "<i4").tobytes())
        inner = element(14, element(6, struct.pack("<II", 1, 0)) + shape + element(1, b"x") + inner)
    with pytest.raises(SceneError, match="more than 32 structs and cells"):
        mat_readers(write(tmp_path / "a.mat", inner))


def test_variables_of_matlab_itself_are_left_out(tmp_path):
    fields = element(5, b"\x02\0\0\0") + element(1, b"a\0") + matrix((1, 1), 9, bytes(8), b"")
    shape = element(5, np.array((1, 1), "<i4").tobytes())
    workspace = element(14, element(6, struct.pack("<II", 2, 0)) + shape + element(1, b"") + fields)
    path = write(tmp_path / "a.mat", matrix((2, 3), 9, bytes(48)), workspace)
    assert list(mat_readers(path)) == ["x"]


def test_reader_is_carried_to_another_process_without_its_array(tmp_path):
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"x": np.zeros((300, 300))}, do_compression=True)
    reader = mat_readers(path)["x"]
    reader.read((slice(0, 1), slice(0, 1)))
    stream = io.BytesIO()
    pickle.dump(reader, stream)
    assert stream.tell() < 5_000
    assert pickle.loads(stream.getvalue()).read((slice(0, 2), slice(0, 3))).shape == (2, 3)


@pytest.mark.parametrize("chunk", [1, 1 << 20])
def test_check_sum_of_what_goes_to_a_file_is_compared(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr("bdgf.scene.formats.unpacked.IN_MEMORY", 0)
    monkeypatch.setattr("bdgf.scene.formats.matlab5._CHUNK", chunk)
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"x": np.arange(400.0).reshape(20, 20)}, do_compression=True)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    reader = mat_readers(path)["x"]
    assert load(path, "x")[3, 4] == 64
    path.write_bytes(data)
    with pytest.raises(SceneError, match="damaged, cut short or changed"):
        reader.read((slice(0, 1), slice(0, 1)))
