"""MATLAB files of every version give the same arrays by the same keys."""

from __future__ import annotations

import math

import h5py
import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bdgf.errors import SceneError
from bdgf.scene.formats.matlab import mat_readers
from bdgf.scene.formats.opening import open_source
from bdgf.scene.windows import Window

CLASSES = {"float64": "double", "float32": "single", "bool": "logical"}
TYPES = ["f4", "f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"]


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
    return tmp_path_factory.mktemp("mat")


class Mat73:
    """Writes what MATLAB 7.3 writes: reversed axes, marks, and cells as references."""

    def __init__(self, path):
        self.path = path
        self.file = h5py.File(path, "w", userblock_size=512)
        self.refs = self.file.create_group("#refs#")
        self.file.create_group("#subsystem#")["MCOS"] = np.ones((3, 4))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        with self.path.open("r+b") as file:
            head = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Jan  1"
            file.write(head.ljust(116) + bytes(8) + b"\x00\x02IM")

    def mark(self, item, kind):
        item.attrs["MATLAB_class"] = np.bytes_(kind)
        return item

    def array(self, group, name, values, kind=None, **options):
        values = np.asarray(values)
        kind = kind or CLASSES.get(values.dtype.name, values.dtype.name)
        values = values.astype("u1") if values.dtype == bool else values
        return self.mark(group.create_dataset(name, data=values.T, **options), kind)

    def struct(self, group, name):
        return self.mark(group.create_group(name), "struct")

    def list(self, group, name, items, shape=None):
        refs = np.array([item.ref for item in items], dtype=h5py.ref_dtype)
        return group.create_dataset(name, data=refs.reshape(shape or (len(items), 1)))


def load(path, key):
    reader = mat_readers(path)[key]
    return reader.read(tuple(slice(0, size) for size in reader.info.shape))


@given(
    array=ARRAYS,
    chunked=st.booleans(),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_any_window_of_a_73_array_in_matlabs_order(folder, array, chunked, data):
    options = {"chunks": True, "compression": "gzip", "shuffle": True} if chunked else {}
    with Mat73(folder / "a.mat") as mat:
        mat.array(mat.file, "x", array, **options)
    reader = mat_readers(folder / "a.mat")["x"]
    assert reader.info.shape == array.shape
    assert reader.info.axes == "HWC"[: array.ndim]
    part = tuple(
        slice(first := data.draw(st.integers(0, size - 1)), data.draw(st.integers(first + 1, size)))
        for size in array.shape
    )
    np.testing.assert_array_equal(reader.read(part), array[part])


@given(
    array=st.sampled_from(["f4", "f8", "i2", "u2", "i4", "u1"]).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6))
    )
)
@settings(max_examples=40, deadline=None)
def test_version_4(folder, array):
    slc = np.ones(array.shape) * 1j
    content = {"one": array, "text": "abc", "slc": slc, "two": array.T}
    scipy.io.savemat(folder / "b.mat", content, format="4")
    arrays = {key: reader.info for key, reader in mat_readers(folder / "b.mat").items()}
    assert {key: info.shape for key, info in arrays.items() if info.numeric} == {
        "one": array.shape,
        "two": array.T.shape,
    }
    assert arrays["text"].kind == "char"
    assert arrays["slc"].kind.startswith("complex")
    np.testing.assert_array_equal(load(folder / "b.mat", "one"), array)
    np.testing.assert_array_equal(load(folder / "b.mat", "two"), array.T)


def test_order_of_73_is_told_and_its_block_follows(tmp_path):
    cube = np.arange(8 * 6 * 5.0).reshape(8, 6, 5)
    with Mat73(tmp_path / "a.mat") as mat:
        mat.array(mat.file, "data_HS", cube, chunks=(5, 3, 4))
    source = open_source(tmp_path / "a.mat")
    assert (source.key, source.height, source.width, source.bands) == ("data_HS", 8, 6, 5)
    assert source.block == (4, 3)
    (note,) = source.notes
    assert "in reverse" in note
    assert "data_HS is 8 × 6 × 5" in note
    np.testing.assert_array_equal(
        source.read(Window(2, 1, 5, 4))[0], cube.transpose(2, 0, 1)[:, 2:7, 1:5]
    )


def test_structs_and_cells_of_73_are_walked_through(tmp_path):
    heights = np.arange(12.0).reshape(3, 4)
    with Mat73(tmp_path / "a.mat") as mat:
        hsi = mat.struct(mat.file, "hsi")
        mat.array(hsi, "Data", np.ones((3, 4, 5), np.float32))
        first, second = mat.struct(mat.refs, "b"), mat.struct(mat.refs, "c")
        mat.array(first, "z", heights)
        mat.array(second, "z", heights + 100)
        mat.mark(mat.list(hsi, "Lidar", [first]), "cell")
        mat.mark(mat.list(hsi, "two", [first, second]), "cell")
        # Linear numbers go down the columns: {2} is the second row.
        mat.mark(mat.list(hsi, "grid", [first, second, first, first], (2, 2)), "cell")
        groups = mat.struct(mat.file, "groups")
        mat.list(groups, "gt", [first["z"], second["z"]])
    assert {key: reader.info.shape for key, reader in mat_readers(tmp_path / "a.mat").items()} == {
        "hsi.Data": (3, 4, 5),
        "hsi.Lidar.z": (3, 4),
        "hsi.two{1}.z": (3, 4),
        "hsi.two{2}.z": (3, 4),
        **{f"hsi.grid{{{n}}}.z": (3, 4) for n in (1, 2, 3, 4)},
        "groups(1).gt": (3, 4),
        "groups(2).gt": (3, 4),
    }
    np.testing.assert_array_equal(load(tmp_path / "a.mat", "hsi.Lidar.z"), heights)
    for key in ("hsi.two{2}.z", "hsi.grid{2}.z", "groups(2).gt"):
        np.testing.assert_array_equal(load(tmp_path / "a.mat", key), heights + 100)


def test_what_is_no_array_of_numbers_in_73(tmp_path):
    with Mat73(tmp_path / "a.mat") as mat:
        mat.array(mat.file, "text", np.zeros((1, 3), np.uint16), "char")
        mat.array(mat.file, "mask", np.ones((3, 4), bool))
        empty = mat.mark(mat.file.create_dataset("empty", data=np.array([0, 3], "u8")), "double")
        empty.attrs["MATLAB_empty"] = np.uint8(1)
        mat.array(mat.file, "slc", np.zeros((3, 4), [("real", "f8"), ("imag", "f8")]), "double")
        thin = mat.mark(mat.file.create_group("thin"), "double")
        thin.attrs["MATLAB_sparse"] = np.uint64(4)
        thin["data"] = np.ones(3)
        table = mat.array(mat.file, "table", np.ones((1, 6), np.uint32), "table")
        table.attrs["MATLAB_object_decode"] = np.int32(3)
        mat.mark(mat.file.create_group("call"), "function_handle")["x"] = np.ones((3, 4))
    arrays = {key: reader.info for key, reader in mat_readers(tmp_path / "a.mat").items()}
    assert {key: (info.shape, info.kind, info.numeric) for key, info in arrays.items()} == {
        "text": ((1, 3), "char", False),
        "mask": ((3, 4), "logical", True),
        "empty": ((0, 3), "empty double", False),
        "slc": ((3, 4), "complex double", False),
        "thin": ((), "sparse", False),
        "table": ((1, 6), "table", False),
        "call": ((), "function_handle", False),
    }
    for key, message in (("slc", "complex SAR to intensity"), ("text", "is no raster")):
        with pytest.raises(SceneError, match=message):
            open_source(tmp_path / "a.mat", key)


def test_cells_that_hold_themselves_end(tmp_path):
    with Mat73(tmp_path / "a.mat") as mat:
        ring = mat.mark(mat.refs.create_dataset("r", (20, 1), h5py.ref_dtype), "cell")
        ring[:, 0] = [ring.ref] * 20
        mat.mark(mat.list(mat.file, "ring", [ring, ring]), "cell")
        struct = mat.struct(mat.file, "loop")
        struct["again"] = struct
        mat.array(mat.file, "x", np.ones((2, 3)))
    assert [
        key for key, reader in mat_readers(tmp_path / "a.mat").items() if reader.info.numeric
    ] == ["x"]


def test_cells_of_cells_of_cells_do_not_grow_without_end(tmp_path, monkeypatch):
    """20 levels of 20 references to the next level are 20**20 arrays."""
    monkeypatch.setattr("bdgf.scene.formats.hdf5._MOST_REFERENCES", 500)
    with Mat73(tmp_path / "a.mat") as mat:
        item = mat.array(mat.refs, "x", np.ones((2, 3)))
        for level in range(20):
            item = mat.mark(mat.list(mat.refs, f"r{level}", [item] * 20), "cell")
        mat.mark(mat.list(mat.file, "all", [item]), "cell")
    assert len(mat_readers(tmp_path / "a.mat")) <= 500


def test_a_cell_of_very_many_is_not_listed_one_by_one(tmp_path):
    with Mat73(tmp_path / "a.mat") as mat:
        item = mat.array(mat.refs, "x", np.ones((2, 3)))
        mat.mark(mat.list(mat.file, "many", [item] * 1_001), "cell")
        mat.array(mat.file, "y", np.ones((2, 3)))
    arrays = {key: reader.info for key, reader in mat_readers(tmp_path / "a.mat").items()}
    assert {key: info.kind for key, info in arrays.items()} == {"many": "cell", "y": "double"}


def test_hdf5_file_without_matlabs_marks_is_read_as_stored(tmp_path):
    cube = np.arange(4 * 5 * 6.0).reshape(4, 5, 6)
    with h5py.File(tmp_path / "a.mat", "w") as file:
        file["cube"] = cube
        file["one/two"] = cube[0]
    source = open_source(tmp_path / "a.mat", "cube")
    assert (source.bands, source.height, source.width) == (4, 5, 6)
    assert "as stored (4 × 5 × 6)" in source.notes[0]
    assert "read as bands × rows × columns" in source.notes[1]
    np.testing.assert_array_equal(source.read(Window(0, 0, 5, 6))[0], cube)
    other = open_source(tmp_path / "a.mat", "one.two")
    np.testing.assert_array_equal(other.read(Window(0, 0, 5, 6))[0][0], cube[0])


def test_matlab_cube_is_rows_columns_bands_whatever_its_shape(tmp_path):
    cube = np.arange(2 * 5 * 6.0).reshape(2, 5, 6)
    scipy.io.savemat(tmp_path / "a.mat", {"x": cube})
    with Mat73(tmp_path / "b.mat") as mat:
        mat.array(mat.file, "x", cube)
    for name in ("a.mat", "b.mat"):
        source = open_source(tmp_path / name)
        assert (source.height, source.width, source.bands) == (2, 5, 6)
        np.testing.assert_array_equal(source.read(Window(0, 0, 2, 5))[0], cube.transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not a matlab file" * 50, "cannot be read as a MATLAB file"),
        (b"", "cannot be read as a MATLAB file"),
        (b"MATLAB 5.0 MAT-file", "cannot be read as a MATLAB file"),
        (bytes(500), "cannot be read as a MATLAB file"),
        (b"MATLAB 7.3 MAT-file, Platform" + b" " * 600, "cannot be read as an HDF5 file"),
    ],
)
def test_file_of_another_kind(tmp_path, content, message):
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(SceneError, match=message):
        mat_readers(tmp_path / "a.mat")


def test_file_cut_short(tmp_path):
    values = np.random.default_rng(0).normal(size=(64, 64))
    scipy.io.savemat(tmp_path / "a.mat", {"x": values}, do_compression=True)
    scipy.io.savemat(tmp_path / "b.mat", {"x": values}, format="4")
    with Mat73(tmp_path / "c.mat") as mat:
        mat.array(mat.file, "x", values)
    for name in ("a.mat", "b.mat", "c.mat"):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(SceneError, match=f"{name} cannot be read"):
            mat_readers(path)


def test_real_files_read_as_in_scipy(shared_data):
    files = sorted(shared_data.glob("*/*.mat"))
    assert files
    for path in files:
        theirs = scipy.io.loadmat(path)
        for key, reader in mat_readers(path).items():
            assert reader.info.shape == theirs[key].shape
            np.testing.assert_array_equal(load(path, key), theirs[key])
