"""How files lie to one another is said as it is."""

from __future__ import annotations

import numpy as np
from affine import Affine

from bdgf.scene.inspection.gather import gather
from bdgf.scene.inspection.lineup import line_up, other_bands


def test_table(write_tif, land, place, tmp_path):
    write_tif("hsi.tif", land.hsi, **place)
    write_tif("gt.tif", land.classes, **place)
    write_tif("dsm.tif", land.dsm)
    half = {**place, "transform": Affine(1, 0, 5e5 + 30, 0, -1, 5e6)}
    write_tif("rgb.tif", (land.hsi[:3] / 20).astype(np.uint8), **half)
    far = {**place, "transform": Affine(2, 0, 9e5, 0, -2, 5e6)}
    write_tif("sar.tif", land.sar, **far)
    text = line_up(gather([tmp_path]))
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in text.splitlines()[1:6]}
    assert "hsi.tif (40 × 45 pixels)" in text.splitlines()[0]
    assert rows["gt.tif"] == "same grid"
    assert rows["dsm.tif"] == "same size, no coordinates to compare"
    assert rows["rgb.tif"] == "is resampled covers 25.0 % of it"
    assert rows["sar.tif"].startswith("does not fit")


def test_one_file_has_nothing_to_lie_to(write_tif, land):
    assert line_up(gather([write_tif("hsi.tif", land.hsi)])) == ""
    assert line_up(gather([write_tif("train.tif", land.train)])) == ""


def test_bands_with_larger_pixels(write_tif, land, place, tmp_path):
    coarse = {**place, "transform": Affine(4, 0, 5e5, 0, -4, 5e6)}
    write_tif("B01.tif", land.hsi[0, ::2, ::2], **coarse)
    for number, name in enumerate(("B02", "B03", "B04")):
        write_tif(f"{name}.tif", land.hsi[number], **place)
    found = gather([tmp_path])
    (group,) = found.groups
    assert group.finest.source.path.name == "B02.tif"
    assert [raster.source.path.name for raster in other_bands(group)] == ["B01.tif"]
    text = line_up(found)
    assert "1 band of s2 (B01)" in " ".join(text.split())
    assert "B01.tif" not in text  # no row of its own
