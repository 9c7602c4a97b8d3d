"""NumPy files: windows without loading, archives loaded once, and nothing that could run code."""

from __future__ import annotations

import math
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bdgf.errors import SceneError
from bdgf.scene.formats.numpy_files import NpyReader, npz_readers
from bdgf.scene.formats.opening import open_source, read_array
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
    return tmp_path_factory.mktemp("numpy")


@given(
    array=ARRAYS,
    fortran=st.booleans(),
    form=st.sampled_from(["npy", "npz", "packed"]),
    data=st.data(),
)
@settings(max_examples=150, deadline=None)
def test_any_window_of_any_array(folder, array, fortran, form, data):
    array = np.asfortranarray(array) if fortran else array
    if form == "npy":
        np.save(folder / "a.npy", array)
        reader = NpyReader(folder / "a.npy")
    else:
        save = np.savez if form == "npz" else np.savez_compressed
        save(folder / "a.npz", x=array, other=np.ones(3))
        reader = npz_readers(folder / "a.npz")["x"]
    assert reader.info.shape == array.shape
    assert reader.info.dtype == array.dtype
    part = tuple(
        slice(first := data.draw(st.integers(0, size - 1)), data.draw(st.integers(first + 1, size)))
        for size in array.shape
    )
    np.testing.assert_array_equal(reader.read(part), array[part])


def test_values_of_npy_lie_in_the_file_until_read(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 4, 5)))
    source = open_source(tmp_path / "a.npy", axes="HWC")
    np.save(tmp_path / "a.npy", np.ones((3, 4, 5)))
    assert (source.read(Window(0, 0, 3, 4))[0] == 1).all()


def test_archive_is_listed_from_headers_and_loaded_once(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", cube=np.ones((30, 40, 5)), labels=np.eye(30, 40))
    read = []
    original = zipfile.ZipExtFile.read

    def count(self, size=-1):
        data = original(self, size)
        read.append(len(data))
        return data

    monkeypatch.setattr(zipfile.ZipExtFile, "read", count)
    assert {key: reader.info.shape for key, reader in npz_readers(tmp_path / "a.npz").items()} == {
        "cube": (30, 40, 5),
        "labels": (30, 40),
    }
    assert sum(read) < 1_000
    source = open_source(tmp_path / "a.npz", "cube")
    source.read(Window(0, 0, 2, 2))
    (tmp_path / "a.npz").unlink()
    source.read(Window(5, 5, 2, 2))


@pytest.mark.parametrize("form", ["npy", "npz"])
def test_arrays_that_could_run_code_are_refused(tmp_path, form):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    array = np.array([[Bomb(), Bomb()], [Bomb(), Bomb()]], dtype=object)
    path = tmp_path / f"a.{form}"
    if form == "npy":
        np.save(path, array, allow_pickle=True)
    else:
        np.savez(path, x=array)
    key = None if form == "npy" else "x"
    for use in (open_source, read_array):
        with pytest.raises(SceneError, match="object"):
            use(path, key)
    assert not (tmp_path / "ran").exists()


def test_complex_and_structured_arrays_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((3, 3)) * 1j)
    with pytest.raises(SceneError, match="complex SAR to intensity"):
        open_source(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", np.zeros((3, 3), dtype=[("x", "f4"), ("größe", "f4")]))
    with pytest.raises(SceneError, match=r"is no raster|cannot be read"):
        open_source(tmp_path / "b.npy")


def with_header(shape, descr="<f8", fortran=False, data=bytes(96)):
    text = f"{{'descr': {descr!r}, 'fortran_order': {fortran}, 'shape': {shape}, }}"
    text = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + data


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as a NumPy file"),
        (b"no array", "cannot be read as a NumPy file"),
        (with_header((3, 4))[:60], "cannot be read as a NumPy file"),
        (with_header((3, 5)), r"says 120 bytes of values, and 96 are there"),
        (with_header((10**9, 10**9, 10**9)), r"cut short"),
        (with_header((2**62, 0)), r"is no raster"),
        (with_header((10**40, 2)), r"cut short"),
        (with_header((-3, -4)), "its shape is negative"),
        (with_header("'x'"), "cannot be read as a NumPy file"),
        (with_header((3, 4), "|O"), "is no raster"),
        (with_header((3, 4), "(2,)<f4"), "is no raster"),
        (with_header((3, 4), "<f9"), "cannot be read as a NumPy file"),
        (with_header((3, 4), fortran=7), "cannot be read as a NumPy file"),
        (with_header("__import__('os').abort()"), "cannot be read as a NumPy file"),
        (with_header("(" * 60), "cannot be read as a NumPy file"),
        (b"\x93NUMPY\x09\x00" + bytes(100), "cannot be read as a NumPy file"),
    ],
)
def test_headers_that_lie_are_refused(tmp_path, content, message):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(SceneError, match=message):
        open_source(tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", content)
    with pytest.raises(SceneError):
        open_source(tmp_path / "a.npz", "x").read(Window(0, 0, 1, 1))


def test_npy_cut_short_after_opening(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((30, 40)))
    source = open_source(tmp_path / "a.npy")
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:500])
    with pytest.raises(SceneError, match=r"a.npy cannot be read"):
        source.read(Window(0, 0, 30, 40))


def test_archive_changed_after_opening(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones((30, 40)))
    source = open_source(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", x=np.ones((40, 30)))
    with pytest.raises(SceneError, match="has changed since it was opened"):
        source.read(Window(0, 0, 1, 1))


def test_archive_whose_array_is_longer_or_shorter_than_its_header_says(tmp_path):
    for size in (88, 104):
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.writestr("x.npy", with_header((3, 4), data=bytes(size)))
        with pytest.raises(SceneError, match="its header says 96 bytes"):
            open_source(tmp_path / "a.npz").read(Window(0, 0, 1, 1))


def test_check_sum_of_an_archive_is_compared(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones((30, 40)))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[5_000] ^= 255
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(SceneError, match=r"x of a.npz cannot be read"):
        open_source(tmp_path / "a.npz").read(Window(0, 0, 1, 1))


def test_archive_with_other_files_and_folders(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("readme.txt", "text")
        archive.writestr("group/x.npy", with_header((3, 4)))
    assert list(npz_readers(tmp_path / "a.npz")) == ["group/x"]
    assert open_source(tmp_path / "a.npz", "group/x").height == 3
    (tmp_path / "b.npz").write_bytes(b"no archive")
    with pytest.raises(SceneError, match=r"b.npz cannot be read as a NumPy file"):
        npz_readers(tmp_path / "b.npz")


def test_npy_of_python_2_is_read_without_a_warning(tmp_path, recwarn):
    (tmp_path / "a.npy").write_bytes(with_header("(3L, 4L)"))
    assert open_source(tmp_path / "a.npy").width == 4
    assert not recwarn.list


def test_sources_travel_to_another_process(tmp_path):
    array = np.arange(60.0).reshape(3, 4, 5)
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", x=array)
    for name in ("a.npy", "a.npz"):
        source = open_source(tmp_path / name)
        source.read(Window(0, 0, 1, 1))
        sent = pickle.loads(pickle.dumps(source))
        np.testing.assert_array_equal(sent.read(Window(0, 0, 4, 5))[0], array)
