"""Files of every format open by the same call, and broken ones end in a message."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import rasterio
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bdgf.errors import SceneError
from bdgf.scene.formats.arrays import ArrayInfo
from bdgf.scene.formats.location import locate
from bdgf.scene.formats.opening import contents, open_source, raster_keys, read_array
from bdgf.scene.windows import Window


def save_mat(path, arrays, **options):
    scipy.io.savemat(path, arrays, **options)


def save_mat73(path, arrays):
    """What MATLAB 7.3 writes of plain arrays."""
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_group("#refs#")
        for name, array in arrays.items():
            item = file.create_dataset(name, data=array.T, chunks=True, compression="gzip")
            kind = {"float64": "double", "float32": "single"}.get(array.dtype.name)
            item.attrs["MATLAB_class"] = np.bytes_(kind or array.dtype.name)
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")


def save_h5(path, arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(f"group/{name}", data=array)


def save_npz(path, arrays):
    np.savez(path, **arrays)


def save_npy(path, arrays):
    np.save(path, arrays["cube"])


def save_mat4(path, arrays):
    save_mat(path, {"one": arrays["dsm"], "two": arrays["dsm"], "text": "abc"}, format="4")


FORMATS = {
    "mat5": ("a.mat", save_mat),
    "mat5 packed": ("b.mat", lambda path, arrays: save_mat(path, arrays, do_compression=True)),
    "mat73": ("c.mat", save_mat73),
    "mat73 as h5": ("d.h5", save_mat73),
    "h5": ("e.h5", save_h5),
    "hdf5": ("f.hdf5", save_h5),
    "he5": ("g.HE5", save_h5),
    "npz": ("h.npz", save_npz),
    "npy": ("i.npy", save_npy),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("formats")


@pytest.mark.parametrize("form", FORMATS)
@given(
    array=st.sampled_from(["f4", "f8", "i2", "u1", "i8", "u8"]).flatmap(
        lambda dtype: hnp.arrays(
            dtype, hnp.array_shapes(min_dims=3, max_dims=3, min_side=2, max_side=5)
        )
    ),
    axes=st.sampled_from(["HWC", "CHW", "hcw", "WHC", "CWH", "WCH"]),
    data=st.data(),
)
@settings(max_examples=15, deadline=None)
def test_every_format_gives_the_same_windows(folder, form, array, axes, data):
    name, save = FORMATS[form]
    save(folder / name, {"cube": array})
    key = "group.cube" if save is save_h5 else None if form == "npy" else "cube"
    source = open_source(folder / name, key, axes=axes)
    raster = array.transpose([axes.upper().index(axis) for axis in "CHW"])
    assert (source.bands, source.height, source.width) == raster.shape
    assert source.dtype == array.dtype
    row, col = (data.draw(st.integers(0, size - 1)) for size in raster.shape[1:])
    high = data.draw(st.integers(1, raster.shape[1] - row))
    wide = data.draw(st.integers(1, raster.shape[2] - col))
    values, valid = source.read(Window(row, col, high, wide))
    with np.errstate(over="ignore"):
        expected = raster[:, row : row + high, col : col + wide].astype(np.float32)
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(valid, finite)
    np.testing.assert_array_equal(values, np.where(finite, expected, 0))


@pytest.mark.parametrize("form", FORMATS)
def test_only_raster_is_found_without_a_key(tmp_path, form):
    name, save = FORMATS[form]
    cube = np.arange(5 * 6 * 3.0).reshape(5, 6, 3)
    pixels = np.arange(20).reshape(10, 2)
    save(tmp_path / name, {"cube": cube, "wavelengths": np.arange(3.0), "pixels": pixels})
    source = open_source(str(tmp_path / name))
    np.testing.assert_array_equal(source.read(Window(0, 0, 5, 6))[0], cube.transpose(2, 0, 1))
    assert (source.key is None) == (form == "npy") == (contents(tmp_path / name) is None)
    if form != "npy":
        key = next(key for key in contents(tmp_path / name) if key.endswith("pixels"))
        assert open_source(tmp_path / name, key).width == 2
        np.testing.assert_array_equal(read_array(tmp_path / name, key), pixels)


@pytest.mark.parametrize("form", ["mat5", "mat5 packed", "mat4", "mat73", "h5", "npz", "npy"])
def test_damaged_bytes_give_a_value_or_a_message(tmp_path, form):
    name, save = ("j.mat", save_mat4) if form == "mat4" else FORMATS[form]
    lidar = np.empty((1, 2), dtype=object)
    lidar[0, 0] = lidar[0, 1] = {"z": np.ones((3, 4)), "info": "metres"}
    arrays = {"cube": np.arange(60, dtype=np.int16).reshape(3, 4, 5), "dsm": np.ones((3, 4))}
    if form.startswith("mat5"):
        arrays["hsi"] = {"Lidar": lidar, "Data": np.ones((3, 4))}
    path = tmp_path / name
    save(path, arrays)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    values, messages = 0, []
    for _ in range(300):
        content = bytearray(whole)
        if rng.random() < 0.2:
            del content[int(rng.integers(len(content))) :]
        for place in rng.integers(0, max(1, len(content)), size=rng.integers(1, 5)):
            if content:
                content[place] = rng.choice([0, 1, 127, 128, 255, int(rng.integers(256))])
        path.write_bytes(content)
        for key in [None, *_keys(path)]:
            try:
                source = open_source(path, key)
                source.read(Window(0, 0, min(2, source.height), min(3, source.width)))
                values += 1
            except SceneError as error:
                messages.append(str(error))
    assert values > 20
    assert len(messages) > 20
    assert all(message.isprintable() for message in messages)


def _keys(path):
    try:
        return list(contents(path) or {})
    except SceneError:
        return []


def test_keys_may_be_written_in_several_ways(tmp_path):
    two = np.empty((1, 2), dtype=object)
    two[0, 0], two[0, 1] = {"z": np.zeros((3, 4))}, {"z": np.ones((3, 4))}
    scipy.io.savemat(tmp_path / "a.mat", {"hsi": {"Lidar": two, "Data": np.ones((3, 4))}})
    for key in ("hsi.Lidar{2}.z", "hsi/Lidar(2)/z", "hsi{1}.Lidar{2}{1}.z", "/hsi/Lidar{2}/z"):
        assert open_source(tmp_path / "a.mat", key).key == "hsi.Lidar{2}.z"
    for key in ("hsi.Lidar.z", "hsi.Lidar{3}.z", "Hsi.Data", "hsi.Data.x", "hsi", ""):
        with pytest.raises(SceneError, match=r"no array .* Set key to one of: hsi.Lidar\{1\}.z"):
            open_source(tmp_path / "a.mat", key)


def test_wrong_key_lists_the_keys_with_their_shapes(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"hsi": np.ones((3, 4, 5)), "lidar": np.ones((3, 4))})
    with pytest.raises(
        SceneError, match=r"no array 'HSI'.*hsi \(3 × 4 × 5 double\), lidar \(3 × 4 double\)"
    ):
        open_source(tmp_path / "a.mat", "HSI")
    with pytest.raises(SceneError, match=r"2 arrays that can be rasters.*hsi \(3 × 4 × 5"):
        open_source(tmp_path / "a.mat")


def test_rasters_come_first_in_a_long_list(tmp_path):
    arrays = {f"n{number}": np.ones(1) for number in range(50)}
    np.savez(tmp_path / "a.npz", **arrays, first=np.ones((3, 4)), second=np.ones((3, 4)))
    with pytest.raises(SceneError, match=r"one of: first \(3 × 4 float64\), second .* and 32 more"):
        open_source(tmp_path / "a.npz")


def test_file_without_arrays(tmp_path):
    np.savez(tmp_path / "a.npz")
    with pytest.raises(SceneError, match="holds no array at all"):
        open_source(tmp_path / "a.npz")


def test_only_complex_array_says_what_to_do(tmp_path):
    for packed in (False, True):
        slc = {"slc": np.ones((3, 4)) * 1j, "date": "2024"}
        scipy.io.savemat(tmp_path / "a.mat", slc, do_compression=packed)
        with pytest.raises(SceneError, match="convert complex SAR to intensity"):
            open_source(tmp_path / "a.mat")


@pytest.mark.parametrize("suffix", [".mat", ".npy", ".npz", ".h5", ".HDF5", ".he5"])
def test_remote_arrays_are_to_be_downloaded(suffix):
    address = f"https://user:secret@example.org/cube{suffix}?token=abc"
    for use in (open_source, lambda path: contents(locate(path)), read_array):
        with pytest.raises(SceneError, match="download it first") as caught:
            use(address)
        assert "secret" not in str(caught.value)
        assert "abc" not in str(caught.value)


def test_options_that_a_format_does_not_have(tmp_path, write_tif):
    tif = write_tif("a.tif", np.ones((2, 3, 4)))
    with pytest.raises(SceneError, match=r"a.tif .*remove 'axes: CHW'"):
        open_source(tif, axes="CHW")
    with pytest.raises(SceneError, match="remove 'key: x'"):
        open_source(tif, "x")
    np.save(tmp_path / "a.npy", np.ones((3, 4)))
    with pytest.raises(SceneError, match=r"a.npy is one array.*remove 'key: x'"):
        open_source(tmp_path / "a.npy", "x")
    with pytest.raises(SceneError, match=r"a.tif is no file of arrays"):
        read_array(tif)
    with pytest.raises(SceneError, match=r"3 axes|axes are given as 'HWX'"):
        open_source(tmp_path / "a.npy", axes="HWX")


@pytest.mark.parametrize("name", ["a.tif", "a.mat", "a.npy", "a.npz", "a.h5"])
def test_file_that_is_not_there(tmp_path, name):
    for use in (open_source, contents, read_array):
        with pytest.raises(SceneError, match=r"does not exist"):
            use(tmp_path / name)


def test_geotiff_and_array_hold_the_same_raster(tmp_path, write_tif):
    values = np.random.default_rng(0).normal(size=(3, 5, 7)).astype(np.float32)
    scipy.io.savemat(tmp_path / "a.mat", {"cube": values.transpose(1, 2, 0)})
    for source in (open_source(write_tif("a.tif", values)), open_source(tmp_path / "a.mat")):
        read, valid = source.read(Window(1, 2, 3, 4))
        np.testing.assert_array_equal(read, values[:, 1:4, 2:6])
        assert valid.all()
        assert contents(source.path) is None or source.path.suffix == ".mat"


def test_bands_can_be_chosen(tmp_path):
    cube = np.arange(60.0).reshape(5, 4, 3)
    np.save(tmp_path / "a.npy", cube)
    source = open_source(tmp_path / "a.npy", bands=(3, 1))
    assert source.bands == 2
    np.testing.assert_array_equal(
        source.read(Window(0, 0, 5, 4))[0], cube.transpose(2, 0, 1)[[2, 0]]
    )
    with pytest.raises(SceneError, match="band 4"):
        open_source(tmp_path / "a.npy", bands=(4,))


def test_nodata_is_compared_in_the_stored_type(tmp_path):
    values = np.array([[1, -9999], [3, 255]])
    np.save(tmp_path / "a.npy", values.astype(np.int16))
    _, valid = open_source(tmp_path / "a.npy", nodata=-9999).read(Window(0, 0, 2, 2))
    assert valid.ravel().tolist() == [True, False, True, True]
    scipy.io.savemat(tmp_path / "a.mat", {"a": np.ones((2, 2), dtype=np.uint8)})
    for nodata in (-9999.0, 0.5, 1e30):
        source = open_source(tmp_path / "a.mat", nodata=nodata)
        assert source.read(Window(0, 0, 2, 2))[1].all()


def test_nodata_in_place_of_the_files_own_is_told(tmp_path, write_tif):
    values = np.array([[1.0, -9999.0], [3.0, 0.0]], dtype=np.float32)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = values
        file["x"].attrs["_FillValue"] = np.float32(-9999)
    write_tif("a.tif", values, nodata=-9999)
    for name in ("a.h5", "a.tif"):
        source = open_source(tmp_path / name, nodata=0)
        assert source.notes == (
            f"{name} declares -9999 as no data; the scene file says 0 in its place, so that -9999"
            " counts as data",
        )
        assert source.read(Window(0, 0, 2, 2))[1].ravel().tolist() == [True, True, True, False]
        write_tif("b.tif", values - 0.9, nodata=float(np.float32(-9999.9)))
        assert open_source(tmp_path / "b.tif", nodata=-9999.9).notes == (), "as stored, the same"
        for same in (None, -9999):
            source = open_source(tmp_path / name, nodata=same)
            assert source.notes == ()
            assert source.read(Window(0, 0, 2, 2))[1].ravel().tolist() == [True, False, True, True]


def info(*shape, dtype="f4"):
    return ArrayInfo(shape, "some", None if dtype is None else np.dtype(dtype))


def test_what_can_be_a_raster():
    arrays = {
        "hwc": info(5, 6, 3),
        "one band": info(1, 5, 6),
        "map": info(5, 6, dtype="?"),
        "vector": info(1, 6),
        "line": info(6),
        "pixel": info(1, 1, 6),
        "text": info(5, 6, dtype=None),
        "slc": info(5, 6, dtype="c8"),
        "empty": info(5, 6, 0),
        "four": info(5, 6, 7, 8),
        "pixels": info(100, 2),
        "pairs": info(2, 100),
    }
    assert raster_keys(arrays) == ["hwc", "one band", "map"]
    assert raster_keys({"pixels": info(100, 2), "n": info(1)}) == ["pixels"]


def test_whole_arrays_are_read_as_stored(tmp_path):
    pixels = np.arange(40, dtype=np.int32).reshape(20, 2)
    for form in ("mat5", "mat5 packed", "mat73", "h5", "npz"):
        name, save = FORMATS[form]
        save(tmp_path / name, {"pixels": pixels})
        found = read_array(tmp_path / name)
        np.testing.assert_array_equal(found, pixels)
        assert found.dtype == pixels.dtype
    np.save(tmp_path / "a.npy", np.arange(5))
    assert read_array(tmp_path / "a.npy").tolist() == [0, 1, 2, 3, 4]


def test_lists_that_are_none_are_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("huge", (300_000_000, 2), "i4", chunks=(1000, 2))
        file["nothing"] = np.zeros((0, 2))
        file["text"] = "abc"
        file["slc"] = np.ones((3, 2)) * 1j
        file["small"] = np.ones((3, 2))
    for key, message in (
        ("huge", r"600,000,000 values .* 200,000,000 at most"),
        ("nothing", "holds no value"),
        ("text", "is no list of numbers"),
        ("slc", "is no list of numbers"),
        (None, "2 numeric arrays, and no key"),
    ):
        with pytest.raises(SceneError, match=message):
            read_array(tmp_path / "a.h5", key)


def test_bands_that_an_envi_header_marks_as_bad_are_told(tmp_path):
    path = tmp_path / "a.dat"
    values = np.random.default_rng(0).normal(size=(6, 3, 4)).astype(np.float32)
    with rasterio.open(
        path, "w", driver="ENVI", height=3, width=4, count=6, dtype="float32", crs="EPSG:32632",
        transform=rasterio.transform.from_origin(0, 3, 1, 1),
    ) as raster:  # fmt: skip
        raster.write(values)
    assert open_source(path).notes == ()
    header = path.with_suffix(".hdr")
    plain = header.read_text()
    header.write_text(plain + "bbl = { 1, 1, 0,\n 0.0, 1, 0 }\n")
    source = open_source(path)
    assert source.bands == 6, "they are read like the others"
    assert "the bands 3-4, 6 as bad" in source.notes[0]
    assert "'bands: [1-2, 5]' leaves them out" in source.notes[0]
    assert open_source(path, bands=(1, 2, 5)).notes == ()
    header.write_text(plain + "bbl = {0, 0, 0, 0, 0, 0}\n")
    assert "leaves" not in open_source(path).notes[0]
    header.write_text(plain + "bbl = {1, 0}\n")
    assert open_source(path).notes == (), "another number of bands"
