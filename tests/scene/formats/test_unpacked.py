"""Compressed arrays are unpacked once, large ones to files, and the last ones stay unpacked."""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.io

from bdgf.scene.formats import unpacked
from bdgf.scene.formats.matlab import mat_readers
from bdgf.scene.formats.numpy_files import npz_readers


@pytest.fixture(params=["mat", "npz", "fortran"])
def written(request):
    """How arrays are written to a file, and read again."""

    def write(path, arrays):
        if request.param == "mat":
            path = path.with_suffix(".mat")
            scipy.io.savemat(path, arrays, do_compression=True)
            return path, mat_readers(path)
        path = path.with_suffix(".npz")
        order = np.asfortranarray if request.param == "fortran" else np.ascontiguousarray
        np.savez_compressed(path, **{key: order(array) for key, array in arrays.items()})
        return path, npz_readers(path)

    return write


def held(reader):
    return reader._unpacked.array


def test_large_arrays_are_unpacked_to_a_file_without_a_name(tmp_path, monkeypatch, written):
    values = np.random.default_rng(0).normal(size=(90, 80, 100)).astype("f8")
    monkeypatch.setattr(unpacked.tempfile, "tempdir", str(tmp_path))
    path, readers = written(tmp_path / "a", {"x": values, "y": values[0]})
    window = (slice(3, 40), slice(7, 8), slice(50, 99))
    for _ in range(2):
        np.testing.assert_array_equal(readers["x"].read(window), values[window])
    assert isinstance(held(readers["x"]), np.memmap)
    np.testing.assert_array_equal(readers["y"].read(window[1:]), values[0][window[1:]])
    assert not isinstance(held(readers["y"]), np.memmap)
    assert list(tmp_path.iterdir()) == [path]
    assert held(pickle.loads(pickle.dumps(readers["x"]))) is None
    usage = SimpleNamespace(free=values.nbytes)
    monkeypatch.setattr(unpacked.shutil, "disk_usage", lambda _: usage)
    again = pickle.loads(pickle.dumps(readers["x"]))
    np.testing.assert_array_equal(again.read(window), values[window])
    assert not isinstance(held(again), np.memmap), "without room memory has to do"


@pytest.mark.parametrize("in_memory", [0, 1 << 20])
def test_few_arrays_stay_unpacked(tmp_path, monkeypatch, in_memory, written):
    monkeypatch.setattr(unpacked, "_KEPT", 2)
    monkeypatch.setattr(unpacked, "IN_MEMORY", in_memory)
    monkeypatch.setattr(unpacked, "_UNPACKED", unpacked.WeakValueDictionary())
    readers = [
        written(tmp_path / f"{number}", {"x": np.full((50, 50), number, "f8")})[1]["x"]
        for number in range(4)
    ]
    for number in (0, 1, 0, 2, 3, 2, 1):
        assert readers[number].read((slice(4, 5), slice(9, 10))).tolist() == [[number]]
        assert held(readers[number]) is not None
        assert sum(held(reader) is not None for reader in readers) <= 2
    assert [held(reader) is not None for reader in readers] == [False, True, True, False]
    del readers
    assert len(unpacked._UNPACKED) == 0
