"""The map as GDAL reads it back, and that no half map is left."""

from __future__ import annotations

import os
import shutil
import subprocess
import warnings
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine

from bdgf.errors import RunFolderError, TrainingError
from bdgf.mapping.votes import VotesWriter
from bdgf.mapping.writing import MapWriter
from bdgf.scene.windows import Window, windows_of

FILES = ["confidence.tif", "map.qml", "map.tif", "map.tif.aux.xml"]
NAMES = ("Forest & shrub", "Wäter <deep>", "Soil")
PLACE = Affine(5.0, 0.0, 6e5, 0.0, -5.0, 5.3e6)
COLORS = ("#1f6b2c", "#3b7dd8", "#d9b382")


def _grid(height=37, width=51, placed=True):
    return SimpleNamespace(
        height=height,
        width=width,
        crs=rasterio.CRS.from_epsg(32632) if placed else None,
        transform=PLACE if placed else None,
    )


def _writer(folder, codes=(1, 4, 9), **grid):
    return MapWriter(
        folder / "map.tif", folder / "confidence.tif", _grid(**grid), codes, NAMES, COLORS
    )


def _values(height=37, width=51):
    rng = np.random.default_rng(0)
    classes = rng.integers(-1, 3, (height, width))
    return classes, rng.random((height, width)).astype(np.float32)


@pytest.mark.parametrize("codes", [(1, 4, 9), (1, 4, 3000)])
def test_round_trip_by_windows(tmp_path, codes):
    classes, confidence = _values()
    with _writer(tmp_path, codes) as writer:
        for window in windows_of(37, 51, 16):
            writer.write(window, classes[window.slices], confidence[window.slices])
        assert not [name for name in os.listdir(tmp_path) if not name.startswith(".")]
    assert sorted(os.listdir(tmp_path)) == FILES
    with rasterio.open(tmp_path / "map.tif") as raster:
        assert raster.dtypes == ("uint8" if max(codes) < 256 else "uint16",)
        assert raster.nodata == 0
        assert raster.crs.to_epsg() == 32632
        assert raster.transform == PLACE
        np.testing.assert_array_equal(raster.read(1), np.array([0, *codes])[classes + 1])
        assert raster.tags()[f"CLASS_{codes[1]}"] == NAMES[1]
    with rasterio.open(tmp_path / "confidence.tif") as raster:
        assert np.isnan(raster.nodata)
        np.testing.assert_array_equal(
            raster.read(1), np.where(classes >= 0, confidence, np.float32(np.nan))
        )


def test_gdal_reads_palette_names_and_table(tmp_path):
    with _writer(tmp_path):
        pass
    with rasterio.open(tmp_path / "map.tif") as raster:
        palette = raster.colormap(1)
        assert palette[4] == (0x3B, 0x7D, 0xD8, 255)
        assert palette[0][3] == 0
        assert raster.colorinterp[0].name == "palette"
    # A virtual raster repeats in XML what GDAL has understood of the file and its sidecar.
    rasterio.shutil.copy(tmp_path / "map.tif", tmp_path / "copy.vrt", driver="VRT")
    band = ElementTree.parse(tmp_path / "copy.vrt").getroot().find("VRTRasterBand")
    names = [category.text or "" for category in band.find("CategoryNames")]
    assert names == ["", NAMES[0], "", "", NAMES[1], "", "", "", "", NAMES[2]]


@pytest.mark.parametrize("last", [9, 3000])
def test_gdal_reads_the_attribute_table(tmp_path, last):
    with _writer(tmp_path, (1, 4, last)):
        pass
    rasterio.shutil.copy(tmp_path / "map.tif", tmp_path / "copy.vrt", driver="VRT")
    table = ElementTree.parse(tmp_path / "copy.vrt").find(".//GDALRasterAttributeTable")
    usages = [int(column.find("Usage").text) for column in table.findall("FieldDefn")]
    assert usages == [5, 2, 6, 7, 8, 9]
    rows = [[field.text for field in row] for row in table.findall("Row")]
    assert rows[1][:2] == ["4", NAMES[1]]
    assert rows[2] == [str(last), "Soil", "217", "179", "130", "255"]


def test_unwritten_pixels_have_no_data(tmp_path):
    with _writer(tmp_path, height=300, width=300) as writer:
        writer.write(Window(0, 0, 2, 3), np.ones((2, 3), int), np.ones((2, 3)))
    with (
        rasterio.open(tmp_path / "map.tif") as codes,
        rasterio.open(tmp_path / "confidence.tif") as confidence,
    ):
        assert codes.read(1).astype(bool).sum() == 6
        assert np.isfinite(confidence.read(1)).sum() == 6


def test_failure_leaves_the_old_map(tmp_path):
    classes, confidence = _values()
    with _writer(tmp_path) as writer:
        writer.write(Window(0, 0, 37, 51), classes, confidence)
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}

    def stopped():
        with _writer(tmp_path) as writer:
            writer.write(Window(0, 0, 37, 51), np.zeros_like(classes), confidence)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == before


def test_same_input_gives_the_same_bytes(tmp_path):
    classes, confidence = _values()
    for name in ("a", "b"):
        with _writer(tmp_path / name) as writer:
            writer.write(Window(0, 0, 37, 51), classes, confidence)
    for name in os.listdir(tmp_path / "a"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_map_without_a_place_on_earth_warns_of_nothing(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with _writer(tmp_path, placed=False):
            pass


TURNED = (
    "+proj=ob_tran +o_proj=longlat +o_lon_p=0 +o_lat_p=39.25 +lon_0=18"
    " +to_meter=0.0174532925199433 +R=6371229 +no_defs"
)


@pytest.mark.parametrize("system", [TURNED, "+proj=tpers +h=5500000 +lat_0=40 +R=6371229"])
def test_a_system_that_geotiff_has_no_words_for_stands_beside(tmp_path, system):
    crs = rasterio.CRS.from_user_input(system)
    grid = SimpleNamespace(height=5, width=7, crs=crs, transform=Affine(0.1, 0, -10, 0, -0.1, 10))
    paths = [tmp_path / "map.tif", tmp_path / "confidence.tif", tmp_path / "votes.tif"]
    for _ in range(2):
        with (
            MapWriter(paths[0], paths[1], grid, (1, 4, 9), NAMES, COLORS) as writer,
            VotesWriter(paths[2], grid, (1, 4, 9), ("pixel",)) as votes,
        ):
            zeros = np.zeros((5, 7), int)
            writer.write(Window(0, 0, 5, 7), zeros, np.ones((5, 7), np.float32))
            votes.write(Window(0, 0, 5, 7), zeros[None])
        for path in paths:
            with rasterio.open(path) as raster:
                assert raster.crs == crs
                assert raster.transform.almost_equals(grid.transform)
    assert sorted(os.listdir(tmp_path)) == sorted(
        [*FILES, "confidence.tif.aux.xml", "votes.tif", "votes.tif.aux.xml"]
    )
    with rasterio.open(paths[0]) as raster:
        assert raster.tags()["CLASS_4"] == NAMES[1]
    with _writer(tmp_path):
        pass
    assert "confidence.tif.aux.xml" not in os.listdir(tmp_path)
    with rasterio.open(paths[1]) as raster:
        assert raster.crs.to_epsg() == 32632


def test_both_are_cloud_optimised(tmp_path):
    classes = np.zeros((600, 700), int)
    classes[:, ::2] = 1
    classes[:, ::8] = -1
    confidence = np.where(classes == 0, 0.5, 0.75)
    with _writer(tmp_path, height=600, width=700) as writer:
        for window in windows_of(600, 700, 256):
            writer.write(window, classes[window.slices], confidence[window.slices])
    assert sorted(os.listdir(tmp_path)) == FILES
    for name in ("map.tif", "confidence.tif"):
        with rasterio.open(tmp_path / name) as raster:
            assert raster.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert raster.compression.name == "deflate"
            assert raster.block_shapes == [(256, 256)]
            assert raster.overviews(1) == [2, 4]
    with rasterio.open(tmp_path / "map.tif", overview_level=0) as raster:
        found = raster.read(1)
        # a pair of columns has both classes alike, or one class and no data
        assert set(np.unique(found)) <= {1, 4}, "codes are chosen, not averaged"
        assert (found[:, ::4] == 1).all(), "no data does not outvote a class"
    with rasterio.open(tmp_path / "confidence.tif", overview_level=0) as raster:
        found = raster.read(1)
        np.testing.assert_allclose(found[:, ::4], 0.5, err_msg="no data is left out of the mean")
        np.testing.assert_allclose(found[:, 1::4], 0.625)


def test_gdals_own_tool_opens_all(tmp_path):
    tool = shutil.which("gdalinfo")
    if tool is None:
        pytest.skip("gdalinfo is not installed (Debian: gdal-bin)")
    with _writer(tmp_path, height=300, width=300) as writer:
        writer.write(Window(0, 0, 300, 300), np.ones((300, 300), int), np.full((300, 300), 0.5))
    told = {
        name: subprocess.run(
            [tool, "-mm", str(tmp_path / name)], capture_output=True, text=True, check=True
        )
        for name in ("map.tif", "confidence.tif")
    }
    assert not any(one.stderr for one in told.values()), "no warning"
    assert "LAYOUT=COG" in told["map.tif"].stdout
    assert "CLASS_4=Wäter <deep>" in told["map.tif"].stdout
    assert "GDALRasterAttributeTable" in told["map.tif"].stdout
    assert "<F>Wäter &lt;deep&gt;</F>" in told["map.tif"].stdout
    assert "4: 59,125,216,255" in told["map.tif"].stdout
    assert "Computed Min/Max=4.000,4.000" in told["map.tif"].stdout
    assert "Computed Min/Max=0.500,0.500" in told["confidence.tif"].stdout


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "run").touch()
    with (
        pytest.raises(RunFolderError, match=r"map\.tif cannot be written"),
        _writer(tmp_path / "run"),
    ):
        pass


@pytest.mark.parametrize(
    ("window", "classes"),
    [
        (Window(30, 0, 10, 10), np.zeros((10, 10), int)),
        (Window(0, 0, 4, 4), np.zeros((3, 4), int)),
        (Window(0, 0, 2, 2), np.full((2, 2), 3)),
    ],
)
def test_values_that_do_not_fit_are_refused(tmp_path, window, classes):
    with _writer(tmp_path) as writer, pytest.raises(ValueError, match=r"must|is not inside"):
        writer.write(window, classes, np.ones(classes.shape))


def test_codes_that_the_file_cannot_hold_are_refused(tmp_path):
    with pytest.raises(ValueError, match="65535"):
        _writer(tmp_path, (0, 1, 2))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_never_reach_a_map(tmp_path, value):
    classes, confidence = np.zeros((4, 4), np.int64), np.full((4, 4), 0.5)
    confidence[1, 2] = value
    told = "not finite, in the window of 4 × 4 pixels at row 0"
    with pytest.raises(TrainingError, match=told), _writer(tmp_path) as out:
        out.write(Window(0, 0, 4, 4), classes, confidence)
    assert list(tmp_path.iterdir()) == []
    classes[1, 2] = -1
    with _writer(tmp_path) as out:
        out.write(Window(0, 0, 4, 4), classes, confidence)
    with rasterio.open(tmp_path / "confidence.tif") as raster:
        assert np.isnan(raster.read(1)[1, 2])


def test_a_copy_that_a_full_disk_cut_short_is_refused(tmp_path, monkeypatch):
    """GDAL writes its end as it closes the file, and tells nobody when that fails."""
    classes, confidence = _values()
    copy = rasterio.shutil.copy

    def cut(source, target, **options):
        copy(source, target, **options)
        if "confidence" in str(target):
            os.truncate(target, os.path.getsize(target) - 100)

    monkeypatch.setattr(rasterio.shutil, "copy", cut)
    with pytest.raises(RunFolderError, match="bytes were written"), _writer(tmp_path) as writer:
        writer.write(Window(0, 0, 37, 51), classes, confidence)
    assert os.listdir(tmp_path) == []
