"""The text of an inspection names what files hold."""

from __future__ import annotations

import numpy as np
import pyogrio
import rasterio
import scipy.io
import shapely

from bdgf.scene.inspection.describe import describe
from bdgf.scene.inspection.gather import gather


def squeezed(text):
    return " ".join(text.split())


def test_raster(write_tif, land, place):
    land.hsi[:, :4] = -1
    path = write_tif("hsi [1].tif", land.hsi, nodata=-1, **place)
    text = describe(gather([path]))
    assert text.splitlines()[0] == str(path)
    text = squeezed(text)
    for part in (
        "40 × 45 pixels (rows × columns), 8 bands, float32",
        "EPSG:32632 (WGS 84 / UTM zone 32N), pixel 2 × 2 m",
        "x 500000 to 500090, y 4999920 to 5000000 (90 m × 80 m)",
        "value -1; 10.0 % of the pixels are missing",
    ):
        assert part in text
    kept = land.hsi[:, 4:]
    low, middle, high = np.percentile(kept, (2, 50, 98))
    shown = [kept.min(), low, middle, high, kept.max()]
    assert " ".join(["all bands", *(f"{value:.4g}" for value in shown)]) in text


def test_degrees_are_also_told_in_metres(write_tif, land):
    from affine import Affine

    place = {"crs": "EPSG:4326", "transform": Affine(1e-4, 0, 9.0, 0, -1e-4, 60.0)}
    text = squeezed(describe(gather([write_tif("dsm.tif", land.dsm, **place)])))
    assert "pixel 0.0001 × 0.0001 degrees, about 5.57 × 11.1 m" in text
    assert "longitude 9.00000 to 9.00450, latitude 59.99600 to 60.00000" in text


def test_few_bands_are_told_one_by_one(write_tif, land):
    path = write_tif("s1.tif", land.sar)
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = ("VV", "VH")
    lines = describe(gather([path])).splitlines()
    (row,) = [line.split() for line in lines if line.split()[:1] == ["VH"]]
    assert row[1:] == [
        f"{value:.4g}"
        for value in (
            land.sar[1].min(),
            *np.percentile(land.sar[1], (2, 50, 98)),
            land.sar[1].max(),
        )
    ]


def test_wavelengths_and_band_names(write_tif, land):
    path = write_tif("hsi.tif", land.hsi)
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = tuple(f"{400 + 20 * band} nm" for band in range(8))
    assert "400 to 540 nm, 20 nm apart" in describe(gather([path]))
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = tuple(f"B{band}" for band in range(8))
    assert "bands      B0, B1, B2, B3, B4, B5, B6, B7" in describe(gather([path]))


def test_label_raster_is_counted(write_tif, land):
    text = squeezed(describe(gather([write_tif("gt.tif", land.train)])))
    labelled = (land.train > 0).sum()
    assert f"3 codes on {labelled:,} of 1,800 pixels ({labelled / 18:.1f} %)" in text
    for code in (1, 2, 3):
        assert f"{code}: {(land.train == code).sum()}" in text


def test_mat_lists_every_array(tmp_path, land):
    arrays = {
        "HSI": land.hsi.transpose(1, 2, 0), "gt": land.classes, "waves": np.arange(8.0),
        "train": np.argwhere(land.train > 0), "info": "by someone",
    }  # fmt: skip
    scipy.io.savemat(tmp_path / "a.mat", arrays)
    text = describe(gather([tmp_path / "a.mat"]))
    assert f"{tmp_path / 'a.mat'}, array HSI" in text
    assert f"list of {(land.train > 0).sum()} pixel positions" in text
    assert "waves" in text
    assert "info" in text


def test_axes_that_were_put_right_are_told(tmp_path, land):
    scipy.io.savemat(tmp_path / "hsi.mat", {"hsi": land.hsi})
    scipy.io.savemat(tmp_path / "gt.mat", {"gt": land.classes})
    text = squeezed(describe(gather([tmp_path])))
    assert "40 × 45 pixels (rows × columns), 8 bands" in text
    assert "its axes are read as bands × rows × columns" in text


def test_vectors_and_regions(write_tif, land, place, tmp_path):
    write_tif("hsi.tif", land.hsi, **place)
    shapes = np.array([shapely.box(5e5 + 9 * i, 4999930, 5e5 + 9 * i + 5, 4999940) for i in (0, 1)])
    pyogrio.raw.write(
        tmp_path / "fields.gpkg", shapely.to_wkb(shapes),
        [np.array([1, 2]), np.array(["wheat", "maize"])], ["code", "crop"],
        geometry_type="Polygon", crs="EPSG:32632",
    )  # fmt: skip
    head = ["; ENVI Output of ROIs", "; Number of ROIs: 1", "; File Dimension: 45 x 40"]
    rois = [*head, "; ROI name: water", "; ROI npts: 2", "; ID X Y", "1 1 1", "2 2 1"]
    (tmp_path / "rois.txt").write_text("\n".join(rois))
    text = squeezed(describe(gather([tmp_path])))
    assert "fields: 2 features, polygon" in text
    assert "crop, text, 2 different: " in text
    assert "wheat (1)" in text
    assert "water: 2" in text


def test_names_of_classes_are_told(write_tif, land, tmp_path):
    path = write_tif("gt.tif", land.classes)
    names = "".join(f"<Category>{n}</Category>" for n in ("", "Roof", "Lawn", "Pond"))
    (tmp_path / "gt.tif.aux.xml").write_text(
        f"<PAMDataset><PAMRasterBand band='1'><CategoryNames>{names}</CategoryNames>"
        "</PAMRasterBand></PAMDataset>"
    )
    assert f"2: {(land.classes == 2).sum()} Lawn" in describe(gather([path]))


def test_tiles_are_told_once(write_tif, land, tmp_path):
    for number in range(12):
        write_tif(f"p{number:02}/hsi.tif", land.hsi[:, : 20 + number])
        if number != 3:
            write_tif(f"p{number:02}/gt.tif", land.classes[: 20 + number])
    text = describe(gather([tmp_path]))
    assert text.count("{tile}/hsi.tif\n") == 1
    text = squeezed(text)
    assert "11 with the same files: p00, p01, p02, p04, ..., p11" in text
    assert "1 tile without some of the files: p03" in text
    assert "20 × 45 to 31 × 45 pixels" in text


def test_several_paths_and_what_looks_wrong(write_tif, land):
    paths = [
        write_tif("hsi.tif", land.hsi),
        write_tif("dsm.tif", np.where(land.dsm > 405, land.dsm, -9999)),
    ]
    text = describe(gather(paths))
    assert "dsm.tif  same size" in text
    assert "  - dsm.tif has the value -9999" in text
    assert max(map(len, text.splitlines())) <= 120
    assert "nothing was found" in describe(gather(paths[:1]))


def test_unreadable_files_of_a_folder(write_tif, land, tmp_path):
    write_tif("hsi.tif", land.hsi)
    (tmp_path / "broken.tif").write_bytes(b"no raster")
    assert "  - broken.tif: " in describe(gather([tmp_path]))


def test_real_files(shared_data):
    text = describe(gather([shared_data / "spain_s1s2", shared_data / "trento_lidar"]))
    assert "216,424" in text
    assert "array mask_test" in text
