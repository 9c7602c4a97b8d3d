from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from bdgf.diffusion.store import FeatureStore, open_tile, tile_file, write_index
from bdgf.errors import RunFolderError
from bdgf.scene.windows import Window


def fill_tile(folder: Path, name: str, values: np.ndarray) -> None:
    with open_tile(folder, name, values.shape) as array:
        array[:] = values


def test_windows_are_mirrored_or_zero_beyond_the_edge(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.float16).reshape(2, 3, 4)
    fill_tile(tmp_path, "a", array)
    write_index(tmp_path, [[0], [1], [0, 1]], {})
    store = FeatureStore(tmp_path, ["a"], [(3, 4)])
    assert store.level_channels == (1, 1, 2)
    window = Window(-2, -1, 7, 8)
    mirrored = np.pad(array.astype(np.float32), ((0, 0), (2, 2), (1, 3)), mode="reflect")
    np.testing.assert_array_equal(store.window(0, window, "reflect"), mirrored)
    filled = np.pad(array.astype(np.float32), ((0, 0), (2, 2), (1, 3)))
    np.testing.assert_array_equal(store.window(0, window, "missing"), filled)


def test_no_folder_stands_for_no_guidance() -> None:
    store = FeatureStore(None, ["a"], [(3, 4)])
    assert store.level_channels == (0, 0, 0)
    assert store.window(0, Window(0, 0, 2, 2)).shape == (0, 2, 2)


def test_tile_names_become_safe_and_distinct_files() -> None:
    names = ["a", "a/b", "a_b", "../a", ".", "ä"]
    files = [tile_file(name) for name in names]
    assert len(set(files)) == len(names)
    assert not any("/" in file for file in files)
    assert files[0] == "a.npy"


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"features\.json cannot be read"):
        FeatureStore(tmp_path, ["a"], [(3, 4)])
    write_index(tmp_path, [[0], [0], [0]], {})
    with pytest.raises(RunFolderError, match=r"a\.npy cannot be read"):
        FeatureStore(tmp_path, ["a"], [(3, 4)])
    fill_tile(tmp_path, "a", np.zeros((1, 3, 5), dtype=np.float16))
    with pytest.raises(RunFolderError, match="has shape"):
        FeatureStore(tmp_path, ["a"], [(3, 4)])
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(RunFolderError, match="cannot be read"):
        FeatureStore(tmp_path, ["a"], [(3, 4)])


@pytest.mark.parametrize("damage", [b"(", b"'", b"\x00", b"L"])
def test_a_damaged_header_is_refused(tmp_path: Path, damage: bytes) -> None:
    fill_tile(tmp_path, "a", np.zeros((1, 3, 4), dtype=np.float16))
    write_index(tmp_path, [[0], [0], [0]], {})
    data = bytearray((tmp_path / "a.npy").read_bytes())
    data[12:13] = damage
    data[20:21] = damage
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(RunFolderError, match=r"a\.npy cannot be read"):
        FeatureStore(tmp_path, ["a"], [(3, 4)])


def test_of_many_tiles_few_are_open_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bdgf.diffusion.store.OPEN_TILES", 2)
    names = [f"t{i}" for i in range(5)]
    for i, name in enumerate(names):
        fill_tile(tmp_path, name, np.full((1, 2, 3), i, np.float16))
    write_index(tmp_path, [[0], [0], [0]], {})
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    store = FeatureStore(tmp_path, names, [(2, 3)] * 5)
    for i in (0, 4, 2, 2, 1, 0, 3):
        assert (store.window(i, Window(0, 0, 2, 3)) == i).all()
    if before:
        assert len(os.listdir("/proc/self/fd")) <= before + 2
