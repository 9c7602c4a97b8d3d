"""Pictures show the right bands in the right place."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
import scipy.io

from bdgf.errors import SceneError
from bdgf.scene.formats.opening import open_source
from bdgf.scene.inspection.gather import gather
from bdgf.scene.inspection.label_files import choose, label_sources
from bdgf.scene.inspection.pictures import (
    color_bands,
    label_codes,
    picture,
    stretched,
    thinned,
)


def described(write_tif, values, names):
    path = write_tif("a.tif", values)
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = names
    return open_source(path)


def test_bands_by_wavelength(write_tif, land):
    waves = (443, 490, 560, 665, 705, 740, 783, 865)
    source = described(write_tif, land.hsi, tuple(f"{wave} nm" for wave in waves))
    assert color_bands(source)[0] == [4, 3, 1]
    far = described(write_tif, land.hsi, tuple(f"{1000 + wave} nm" for wave in waves))
    assert color_bands(far)[0] != [4, 3, 1]


def test_bands_by_name(write_tif, land):
    names = ("B1", "B2", "B3", "B4", "B5", "B8A", "B11", "B12")
    assert color_bands(described(write_tif, land.hsi, names))[0] == [4, 3, 2]


@pytest.mark.parametrize(("bands", "count"), [(1, 1), (2, 3), (3, 3), (4, 3), (8, 3), (40, 3)])
def test_bands_by_number(write_tif, land, bands, count):
    values = np.concatenate([land.hsi] * 5)[:bands]
    chosen, words = color_bands(open_source(write_tif("a.tif", values)))
    assert len(chosen) == count
    assert 1 <= min(chosen) <= max(chosen) <= bands
    assert words
    if bands == 3:
        assert chosen == [1, 2, 3]


def test_stretch():
    values = np.linspace(0, 100, 1000, dtype=np.float32).reshape(1, 20, 50)
    valid = np.ones(values.shape, dtype=bool)
    valid[0, 0, 0] = False
    image = stretched(values, valid)
    assert image.shape == (20, 50, 3)
    assert (image[0, 0] == 255).all()  # no data is white
    assert image[0, 1].max() == 0
    assert image[-1, -1].min() == 255
    assert image[10, 0, 0] == pytest.approx(128, abs=4)


def test_constant_and_empty_bands():
    flat = np.full((3, 4, 5), 7, dtype=np.float32)
    assert stretched(flat, np.ones(flat.shape, dtype=bool)).max() == 0
    assert stretched(flat, np.zeros(flat.shape, dtype=bool)).min() == 255


def test_a_picture_reads_the_bands_asked_for(write_tif, land):
    cube = np.concatenate([land.hsi, land.hsi, land.hsi])
    source = open_source(write_tif("a.tif", cube))
    expected = stretched(cube[[20, 3, 3]], np.ones((3, 40, 45), dtype=bool))
    np.testing.assert_array_equal(picture(source, [21, 4, 4]), expected)


def test_few_labels_survive_thinning(write_tif):
    codes = np.zeros((3000, 2000), dtype=np.uint8)
    codes[17, 1999], codes[2999, 0] = 3, 4
    found = thinned(open_source(write_tif("a.tif", codes)), (300, 200))
    assert found[1, 199] == 3
    assert found[299, 0] == 4
    assert (found > 0).sum() == 2


def test_labels_of_every_form_lie_on_the_image(write_tif, land, place, tmp_path):
    image = open_source(write_tif("hsi.tif", land.hsi, **place))
    write_tif("gt.tif", land.classes, **place)
    listed = {"train": np.argwhere(land.train > 0), "test": np.argwhere(land.test > 0)}
    scipy.io.savemat(tmp_path / "index.mat", listed)
    choice = choose(label_sources(gather([tmp_path])))
    codes = choice.map.raster.source
    found = label_codes(choice.parts["train"], image, (40, 45), {}, codes=codes)
    np.testing.assert_array_equal(found, land.train)
    np.testing.assert_array_equal(label_codes(choice.map, image, (40, 45), {}), land.classes)


def test_labels_that_do_not_fit(write_tif, land, tmp_path):
    image = open_source(write_tif("hsi.tif", land.hsi))
    write_tif("gt.tif", land.classes[:-3])
    (one,) = label_sources(gather([tmp_path]))
    with pytest.raises(SceneError, match="rows high"):
        label_codes(one, image, (40, 45), {})
