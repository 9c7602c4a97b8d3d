"""HDF5 files: windows of any array, and nothing that lies in another file."""

from __future__ import annotations

import math
import pickle

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bdgf.errors import SceneError
from bdgf.scene.formats.hdf5 import hdf5_readers
from bdgf.scene.formats.opening import open_source
from bdgf.scene.windows import Window

TYPES = ["f2", "f4", "f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?", ">f4", ">i8", ">u2"]


def counted(dtype, shape):
    """An array whose values tell where they are."""
    return (np.arange(math.prod(shape)).reshape(shape) % 120).astype(dtype)


SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, max_side=5)
ARRAYS = st.one_of(
    st.builds(counted, st.sampled_from(TYPES), SHAPES),
    st.sampled_from(TYPES).flatmap(lambda dtype: hnp.arrays(dtype, SHAPES)),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("hdf5")


@given(
    array=ARRAYS,
    chunked=st.booleans(),
    latest=st.booleans(),
    data=st.data(),
)
@settings(max_examples=100, deadline=None)
def test_any_window_of_any_array(folder, array, chunked, latest, data):
    path = folder / "a.h5"
    options = {"chunks": True, "compression": "gzip", "fletcher32": True} if chunked else {}
    with h5py.File(path, "w", libver="latest" if latest else "earliest") as file:
        file.create_dataset("group/x", data=array, **options)
    reader = hdf5_readers(path)["group/x"]
    assert reader.info.shape == array.shape
    assert reader.info.dtype == array.dtype
    assert reader.info.axes == ""
    part = tuple(
        slice(first := data.draw(st.integers(0, size - 1)), data.draw(st.integers(first + 1, size)))
        for size in array.shape
    )
    np.testing.assert_array_equal(reader.read(part), array[part])


def test_arrays_are_listed_by_their_paths(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["cube"] = np.ones((3, 4, 5), np.float32)
        file["HDFEOS/GRIDS/VNP/Data Fields/dnb"] = np.ones((3, 4), np.int16)
        file["text"] = "made by"
        file["one"] = 5
        file["null"] = h5py.Empty("f4")
        file["zero"] = np.zeros((0, 3))
        file["table"] = np.zeros(2, dtype=[("x", "i4"), ("y", "f8")])
        file["complex"] = np.ones((3, 3)) * 1j
        file["type"] = np.dtype("f4")
        file["links"] = np.array([file["cube"].ref], dtype=h5py.ref_dtype)
    arrays = {key: reader.info for key, reader in hdf5_readers(tmp_path / "a.h5").items()}
    assert {key: (info.shape, info.kind, info.numeric) for key, info in arrays.items()} == {
        "cube": ((3, 4, 5), "float32", True),
        "HDFEOS/GRIDS/VNP/Data Fields/dnb": ((3, 4), "int16", True),
        "text": ((), "text", False),
        "one": ((), "int64", True),
        "null": ((), "empty", False),
        "zero": ((0, 3), "float64", True),
        "table": ((2,), "compound", False),
        "complex": ((3, 3), "complex128", False),
        "links": ((1,), "references", False),
    }
    for key in arrays:
        if key not in ("cube", "HDFEOS/GRIDS/VNP/Data Fields/dnb"):
            with pytest.raises(SceneError, match="is no raster"):
                open_source(tmp_path / "a.h5", key)
    with pytest.raises(SceneError, match="complex SAR to intensity"):
        open_source(tmp_path / "a.h5", "complex")


@pytest.fixture
def leading_out(tmp_path):
    """A file whose arrays lie in other files, by every way HDF5 has."""
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["x"] = np.full((3, 4), 7.0)
        file["group/x"] = np.full((3, 4), 7.0)
    (tmp_path / "secret.bin").write_bytes(np.full((3, 4), 7.0).tobytes())
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["own"] = np.ones((3, 4))
        file["linked"] = h5py.ExternalLink("secret.h5", "/x")
        file["folder"] = h5py.ExternalLink("secret.h5", "/group")
        file["chain"] = h5py.SoftLink("/folder/x")
        file["soft"] = h5py.SoftLink("/own")
        file.create_dataset("raw", (3, 4), "f8", external=[(tmp_path / "secret.bin", 0, 96)])
        layout = h5py.VirtualLayout((3, 4), "f8")
        layout[:] = h5py.VirtualSource("secret.h5", "x", (3, 4))
        file.create_virtual_dataset("virtual", layout)
        assert file["linked"][0, 0] == file["chain"][0, 0] == file["virtual"][0, 0] == 7
        assert file["raw"][0, 0] == 7
    return tmp_path / "a.h5"


def test_other_files_are_never_read(leading_out):
    arrays = {key: reader.info for key, reader in hdf5_readers(leading_out).items()}
    assert [key for key, info in arrays.items() if info.dtype is not None] == ["own"]
    assert set(arrays) == {"own", "linked", "folder", "chain", "soft", "raw", "virtual"}
    for key in ("linked", "folder", "raw", "virtual"):
        with pytest.raises(SceneError, match="other files are not followed"):
            open_source(leading_out, key)
    for key in ("chain", "soft"):
        with pytest.raises(SceneError, match="link to an array"):
            open_source(leading_out, key)
    with pytest.raises(SceneError, match="no array 'folder/x'"):
        open_source(leading_out, "folder/x")


@pytest.mark.parametrize("way", ["link", "soft", "raw", "virtual", "shape"])
def test_array_that_leads_out_after_opening_is_not_read(leading_out, way):
    source = open_source(leading_out, "own")
    with h5py.File(leading_out, "a") as file:
        del file["own"]
        if way == "link":
            file["own"] = h5py.ExternalLink("secret.h5", "/x")
        elif way == "soft":
            file["own"] = h5py.SoftLink("/linked")
        elif way == "shape":
            file["own"] = np.ones((4, 4))
        else:
            file["own"] = file[way]
    with pytest.raises(SceneError, match="changed since it was opened"):
        source.read(Window(0, 0, 3, 4))


def test_group_that_holds_itself_ends(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["group/x"] = np.ones((3, 4))
        file["group/up"] = file["/"]
        file["group/self"] = file["group"]
    arrays = {key: reader.info for key, reader in hdf5_readers(tmp_path / "a.h5").items()}
    assert [key for key, info in arrays.items() if info.numeric] == ["group/x"]


def test_window_of_an_array_that_was_never_written_is_cheap(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", (10**6, 10**6, 40), "f4", chunks=(32, 32, 40), fillvalue=-1)
        file.create_dataset("deep", (10, 10, 10**9), "f4", chunks=(5, 5, 1000))
    assert (tmp_path / "a.h5").stat().st_size < 20_000
    source = open_source(tmp_path / "a.h5", "x", nodata=-1, axes="HWC")
    assert (source.height, source.width, source.bands) == (10**6, 10**6, 40)
    assert not source.read(Window(999_990, 17, 10, 20))[1].any()
    with pytest.raises(SceneError, match="1,000,000,000 bands"):
        open_source(tmp_path / "a.h5", "deep", axes="HWC")


def test_block_is_the_chunk(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", (3, 50, 60), "f4", chunks=(3, 20, 30))
        file.create_dataset("y", (50, 60), "f4", chunks=(100, 200), maxshape=(None, None))
        file["z"] = np.ones((5, 6))
    blocks = {key: open_source(tmp_path / "a.h5", key).block for key in "xyz"}
    assert blocks == {"x": (20, 30), "y": (50, 60), "z": (1, 1)}


def test_bands_first_is_guessed_and_told(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["cube"] = np.arange(60.0).reshape(3, 4, 5)
    source = open_source(tmp_path / "a.h5")
    assert (source.bands, source.height, source.width) == (3, 4, 5)
    assert "cube of a.h5 has shape 3 × 4 × 5: read as bands × rows × columns" in source.notes[0]
    other = open_source(tmp_path / "a.h5", axes="hwc")
    assert (other.bands, other.height, other.width, other.notes) == (5, 3, 4, ())


def test_source_travels_to_another_process(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.arange(12.0).reshape(3, 4)
    source = pickle.loads(pickle.dumps(open_source(tmp_path / "a.h5")))
    np.testing.assert_array_equal(
        source.read(Window(0, 0, 3, 4))[0][0], np.arange(12.0).reshape(3, 4)
    )


def test_damaged_values_are_noticed(tmp_path):
    values = np.random.default_rng(0).normal(size=(40, 40))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=values, compression="gzip")
    source = open_source(tmp_path / "a.h5")
    content = bytearray((tmp_path / "a.h5").read_bytes())
    content[-500:-100] = bytes(400)
    (tmp_path / "a.h5").write_bytes(content)
    with pytest.raises(SceneError, match=r"x of a.h5 cannot be read"):
        source.read(Window(0, 0, 40, 40))


@pytest.mark.parametrize("content", [b"", b"no HDF5 file", b"\x89HDF\r\n\x1a\n", bytes(4096)])
def test_file_of_another_kind(tmp_path, content):
    (tmp_path / "a.h5").write_bytes(content)
    with pytest.raises(SceneError, match=r"a.h5 cannot be read as an HDF5 file"):
        open_source(tmp_path / "a.h5")


def test_odd_names_can_be_shown(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file[b"\xff\xfe"] = np.ones((3, 4))
        file["line\nbreak"] = np.ones((3, 4))
        file["größe"] = np.ones((3, 4))
    arrays = {key: reader.info for key, reader in hdf5_readers(tmp_path / "a.h5").items()}
    assert {key: info.kind for key, info in arrays.items()} == {
        "größe": "float64",
        "line\\nbreak": "float64",
        "\\udcff\\udcfe": "unreadable",  # h5py cannot open it
    }
    for key in ("größe", "line\\nbreak"):
        assert open_source(tmp_path / "a.h5", key).read(Window(0, 0, 3, 4))[1].all()


def test_too_many_arrays_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("bdgf.scene.formats.hdf5._MOST_ITEMS", 5)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for number in range(6):
            file[f"group/{number}"] = np.ones((2, 3))
    with pytest.raises(SceneError, match="more than 5 arrays"):
        hdf5_readers(tmp_path / "a.h5")


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("_FillValue", np.array([-9999], np.int16), -9999.0),
        ("Data_Ignore_Value", -9999.0, -9999.0),
        ("missing_value", np.array([-1, -2]), None),  # two values: neither is the one
        ("nodata", "none", None),
        ("title", -9999.0, None),
    ],
)
def test_a_value_that_the_file_says_is_no_data(tmp_path, name, value, found):
    values = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    values[0, 1, 2] = -9999
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["hsi"] = values
        file["hsi"].attrs[name] = value
    source = open_source(tmp_path / "a.h5")
    assert source.nodata == found
    _, valid = source.read(Window(0, 0, source.height, source.width))
    assert valid.all() == (found is None)
    assert open_source(tmp_path / "a.h5", nodata=5.0).nodata == 5.0


def test_packed_values_are_unpacked(tmp_path):
    stored = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    stored[:, 1, 2] = -1
    with h5py.File(tmp_path / "a.h5", "w") as file:
        array = file.create_dataset("x", data=stored)
        array.attrs["scale_factor"], array.attrs["add_offset"] = 0.5, np.array([-3.0])
        array.attrs["_FillValue"] = np.int16(-1)  # by CF of what is stored
        array.attrs["Scale_Factor"] = 10_000.0  # NEON's divides, and there is no need to
    values, valid = open_source(tmp_path / "a.h5", axes="CHW").read(Window(0, 0, 4, 5))
    assert (valid == (stored != -1)).all()
    np.testing.assert_array_equal(values, np.where(valid, stored * 0.5 - 3, 0))
