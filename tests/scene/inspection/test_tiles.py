"""Tiles are recognised in the layouts in which people keep them, and only there."""

from __future__ import annotations

from pathlib import Path

from affine import Affine

from bdgf.scene.formats.opening import open_source
from bdgf.scene.inspection.tiles import find_tiles, mosaic

ROOT = Path("/data")


def tiles(*names):
    return find_tiles(ROOT, [ROOT / name for name in names])


def test_a_folder_per_tile():
    found = tiles("a/hsi.tif", "a/gt.tif", "b/hsi.tif", "b/gt.tif", "other/x.tif")
    assert found.names == ("a", "b")
    assert found.templates == ("{tile}/gt.tif", "{tile}/hsi.tif")
    assert found.file("{tile}/gt.tif", "b") == ROOT / "b/gt.tif"
    assert len(found.files()) == 4


def test_a_tile_without_a_file():
    names = [f"p{i:02}/{name}.tif" for i in range(12) for name in ("hsi", "gt")]
    names.remove("p03/gt.tif")
    found = tiles(*names)
    assert len(found.names) == 11
    assert found.incomplete == ("p03",)


def test_a_file_that_few_tiles_have():
    names = [f"p{i:02}/{name}.tif" for i in range(12) for name in ("hsi", "gt")]
    found = tiles(*names, "p01/notes.tif", "p02/notes.tif")
    assert len(found.names) == 12
    assert "{tile}/notes.tif" not in found.templates


def test_a_folder_per_sensor():
    found = tiles("hsi/a.tif", "hsi/b.tif", "labels/a.png", "labels/b.png", "odd/z.tif")
    assert found.names == ("a", "b")
    assert found.templates == ("hsi/{tile}.tif", "labels/{tile}.png")


def test_a_folder_per_sensor_with_the_sensor_in_every_name():
    found = tiles(
        "S1/Ghana_1_S1.tif", "S1/Spain_2_S1.tif", "S2/Ghana_1_S2.tif", "S2/Spain_2_S2.tif"
    )
    assert found.names == ("Ghana_1", "Spain_2")
    assert found.templates == ("S1/{tile}_S1.tif", "S2/{tile}_S2.tif")


def test_one_folder():
    found = tiles("n_1_hsi.tif", "n_1_gt.tif", "n_2_hsi.tif", "n_2_gt.tif")
    assert found.names == ("n_1", "n_2")
    assert found.templates == ("{tile}_gt.tif", "{tile}_hsi.tif")


def test_files_of_one_place():
    assert tiles("hsi.tif", "sar.tif", "train.tif", "test.tif") is None
    assert tiles("hsi_train.tif", "hsi_test.tif", "sar_train.tif", "sar_test.tif") is None
    assert tiles("data_HS_LR.mat", "data_SAR_HR.mat", "data_DSM.mat") is None
    assert tiles("R10m/T_B02_10m.jp2", "R10m/T_B03_10m.jp2", "R20m/T_B02_20m.jp2") is None
    assert tiles("images/hsi.tif", "images/sar.tif", "labels/gt.tif") is None


def test_images_side_by_side(write_tif, land):
    def image(name, x, values=land.hsi, crs="EPSG:32632"):
        place = {"crs": crs, "transform": Affine(2, 0, x, 0, -2, 5e6)}
        return open_source(write_tif(name, values, **place))

    left, right = image("a.tif", 5e5), image("b.tif", 5e5 + 88)  # two metres in common
    found = mosaic(Path("/x"), [left, right])
    assert found.names == ("a", "b")
    assert found.templates == ("{tile}.tif",)
    assert mosaic(Path("/x"), [left]) is None
    assert mosaic(Path("/x"), [left, image("c.tif", 5e5 + 30)]) is None  # much in common
    assert mosaic(Path("/x"), [left, image("c.tif", 6e5, land.hsi[:5])]) is None
    assert mosaic(Path("/x"), [left, image("c.tif", 6e5, crs="EPSG:32633")]) is None
    unplaced = [open_source(write_tif(f"{n}.tif", land.hsi)) for n in "de"]
    assert mosaic(Path("/x"), unplaced) is None
