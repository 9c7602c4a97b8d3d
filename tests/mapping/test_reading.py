from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rasterio.transform import from_origin

from bdgf.errors import RunFolderError
from bdgf.mapping.reading import read_confidence, read_map, read_strips
from bdgf.mapping.writing import MapWriter
from bdgf.scene.layout import Window


class Grid:
    height, width, crs, transform = 4, 5, None, from_origin(0, 0, 1, 1)


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    paths = tmp_path / "map.tif", tmp_path / "confidence.tif"
    classes = np.arange(20).reshape(4, 5) % 3 - 1
    confidence = np.where(classes < 0, np.nan, 0.5).astype(np.float32)
    codes, names, colors = (3, 7), ("a", "b"), ("#112233", "#445566")
    with MapWriter(*paths, Grid(), codes, names, colors) as writer:
        writer.write(Window(0, 0, 4, 5), classes, confidence)
    np.testing.assert_array_equal(read_map(paths[0], codes), classes)
    np.testing.assert_array_equal(read_confidence(paths[1]), confidence)
    for rows in (1, 3, 9):
        strips = list(read_strips(paths[1], rows))
        assert [strip.shape for strip in strips[:-1]] == [(1, rows, 5)] * (len(strips) - 1)
        np.testing.assert_array_equal(np.concatenate(strips, axis=1)[0], confidence)
    with pytest.raises(RunFolderError, match="holds the code 7"):
        read_map(paths[0], (3, 4))
    paths[0].write_bytes(paths[0].read_bytes()[:100])
    with pytest.raises(RunFolderError, match="run 'bdgf map' again"):
        read_map(paths[0], codes)
    with pytest.raises(RunFolderError, match="cannot be read"):
        read_map(tmp_path / "absent.tif", codes)
    with pytest.raises(RunFolderError, match="cannot be read"):
        list(read_strips(paths[0], 2))
