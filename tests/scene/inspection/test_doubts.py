"""Faults of images are said with the way out, and good images raise none."""

from __future__ import annotations

import re

import numpy as np
import pytest
import rasterio
import yaml

from bdgf.scene.inspection.doubts import doubts, image_doubts, undeclared_nodata
from bdgf.scene.inspection.gather import gather


@pytest.fixture
def said(tmp_path):
    """Return what looks wrong with the files of the folder, as one text."""
    return lambda: " ".join(doubts(gather([tmp_path], scenes=False)))


def test_good_files_raise_no_doubt(write_tif, land, said, place):
    for name in ("hsi", "sar", "dsm", "train", "test"):
        write_tif(f"{name}.tif", getattr(land, name), **place)
    write_tif("rgb.tif", (land.hsi[:3] / 20).astype(np.uint8), **place)
    write_tif("s1_vv.tif", 10 * np.log10(land.sar[0]), **place)
    write_tif("chm.tif", np.maximum(land.dsm - 402, 0), **place)  # ground is 0, and no gap
    assert said() == ""


@pytest.mark.parametrize("value", [-9999, -3.4028234663852886e38, 9.969209968386869e36])
def test_values_that_mean_no_data(write_tif, land, said, value):
    land.dsm[:4, :4] = value
    write_tif("dsm.tif", land.dsm)
    advice = re.search("add 'nodata: (.+)' to", said()).group(1)
    assert yaml.safe_load(advice) == np.float32(value)
    write_tif("dsm.tif", land.dsm, nodata=value)
    assert said() == ""


def test_zeros_that_mean_no_data(write_tif, land, said, tmp_path):
    land.hsi[:, :3] = 0
    land.dsm[:3] = 0
    write_tif("hsi.tif", land.hsi)
    write_tif("dsm.tif", land.dsm)
    assert said().count("nodata: 0") == 2
    found = gather([tmp_path])
    assert [undeclared_nodata(group.first) for group in found.images] == [0.0, 0.0]
    land.hsi[0, :3] = 5  # zero in seven of eight bands: dark, not missing
    write_tif("hsi.tif", land.hsi)
    assert "hsi.tif" not in said()


def test_flat_and_repeated_bands(write_tif, land, said):
    land.hsi[2:4] = 0
    land.hsi[6] = land.hsi[5]
    write_tif("hsi.tif", land.hsi)
    text = said()
    assert "the value 0 everywhere in bands 3 to 4" in text
    assert "band 7 equals 6" in text


def test_bands_without_data(write_tif, land, said):
    land.hsi[1] = -1
    land.hsi[4, 10:] = -1
    write_tif("hsi.tif", land.hsi, nodata=-1)
    text = said()
    assert "no valid pixel in band 2" in text
    assert "band 5 for less than half" in text


def test_a_file_without_any_data(write_tif, land, said):
    write_tif("hsi.tif", land.hsi)
    write_tif("dsm.tif", np.full_like(land.dsm, -5), nodata=-5)
    assert "dsm.tif has no valid pixel" in said()


def test_saturation(write_tif, land, said):
    write_tif("rgb.tif", np.minimum(land.hsi[:3] / 8, 255).astype(np.uint8))
    assert "largest value, 255" in said()
    write_tif("rgb.tif", np.stack([land.classes] * 3) + np.arange(3, dtype=np.uint8)[:, None, None])
    assert "largest value" not in said()  # few values: drawn, not measured


def test_eight_bits_of_a_hyperspectral_image(write_tif, land, said):
    cube = np.concatenate([land.hsi] * 5) + np.arange(40)[:, None, None]
    write_tif("hsi.tif", (cube / 13).astype(np.uint8))
    assert "from 0 to 255 in 40 bands" in said()


def test_radar_in_two_units(write_tif, land, said):
    mixed = np.stack([10 * np.log10(land.sar[0]), land.sar[1]])
    write_tif("s1.tif", mixed)
    assert "decibels in band 1 and like linear intensity in band 2" in said()


def test_the_same_bands_in_two_units(write_tif, land, said):
    write_tif("s2_may.tif", land.hsi)
    write_tif("s2_june.tif", land.hsi / 10_000)
    assert "bring them to one unit" in said()


def test_one_tile_in_another_unit_or_with_other_bands(write_tif, land, said):
    for number in range(6):
        scale = 10_000 if number == 4 else 1
        bands = slice(0, 7 if number == 2 else 8)
        write_tif(f"p{number}/hsi.tif", land.hsi[bands] / scale)
        write_tif(f"p{number}/gt.tif", land.classes)
    text = said()
    assert "another size on p4" in text
    assert "another number of bands than 8 on 1 tile (p2)" in text


def test_one_band_file_in_another_unit(write_tif, land, said):
    for number, name in enumerate(("B02", "B03", "B04", "B08")):
        write_tif(f"{name}.tif", land.hsi[number] / (10_000 if name == "B04" else 1))
    assert "B04.tif of s2 has values of another size" in said()


@pytest.mark.parametrize(
    ("waves", "words"),
    [
        ([400, 500, 600, 550, 700, 650, 800, 900], "do not increase at 2 places"),
        ([400, 500, 600, 700, 690, 800, 900, 1000], ""),  # two spectrometers that overlap
        ([900, 800, 700, 600, 500, 450, 420, 400], ""),  # simply the other way round
    ],
)
def test_wavelengths(write_tif, land, said, waves, words):
    path = write_tif("hsi.tif", land.hsi)
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = tuple(f"{wave} nm" for wave in waves)
    text = said()
    assert words in text
    assert words or text == ""


def test_real_scenes_raise_few_doubts(shared_data):
    for name in ("spain_s1s2", "idtrees", "trento_lidar", "label_maps", "augsburg_like"):
        sentences = doubts(gather([shared_data / name], scenes=False))
        assert len(sentences) == (name == "augsburg_like")  # a class with 7 training pixels
    assert image_doubts(gather([shared_data / "idtrees" / "rgb_10cm"]).images) == []
