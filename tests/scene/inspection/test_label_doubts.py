"""Faults of labels are said with the way out."""

from __future__ import annotations

import numpy as np
import pyogrio
import pytest
import shapely

from bdgf.scene.inspection.gather import gather
from bdgf.scene.inspection.label_doubts import few_pixels, label_doubts


@pytest.fixture
def said(tmp_path):
    """Return what looks wrong with the labels of the folder, as one text."""
    return lambda: " ".join(label_doubts(gather([tmp_path], scenes=False)))


@pytest.fixture
def files(write_tif, land):
    """Write the image and labels."""

    def write(image=None, **labels):
        write_tif("hsi.tif", land.hsi if image is None else image, nodata=-1)
        for name, codes in labels.items():
            write_tif(f"{name}.tif", codes)

    return write


def test_a_column_of_codes_that_no_map_holds(files, land, said, tmp_path):
    files()
    points = shapely.to_wkb(shapely.points([1.0, 2.0], [1.0, 2.0]))
    path = tmp_path / "fields.gpkg"
    numbers = [np.array([276_000_000_001, 276_000_000_002])]
    pyogrio.raw.write(path, points, numbers, ["parcel"], geometry_type="Point", crs="EPSG:32632")
    assert "column parcel of fields.gpkg holds no code from 1 to 65535" in said()


def test_a_table_without_places_holds_no_labels(files, land, said, tmp_path):
    files(train=land.train, test=land.test)
    numbers = [np.array([70_001, 70_002])]
    options = {"geometry_type": None, "crs": None}
    pyogrio.raw.write(tmp_path / "owners.gpkg", None, numbers, ["code"], **options)
    assert said() == ""


def test_good_labels(files, land, said):
    files(train=land.train, test=land.test)
    assert said() == ""


def test_pixels_in_both_parts(files, land, said):
    land.test[land.train > 0] = land.train[land.train > 0] % 3 + 1  # of whichever class
    files(train=land.train, test=land.test)
    assert f"{(land.train > 0).sum():,} pixels are labelled in train.tif and in test.tif" in said()


def test_classes_of_one_part_only(files, land, said):
    land.train[land.train == 2] = 0
    land.test[land.test == 3] = 0
    files(train=land.train, test=land.test)
    text = said()
    assert f"no pixel of class 2 ({(land.test == 2).sum()} test pixels)" in text
    assert "test.tif has no pixel of class 3, which train.tif has" in text


def test_small_classes(files, land, said):
    land.train[land.train == 2] = 0
    land.train[0, :4] = 2
    files(train=land.train, test=np.where(land.train > 0, 0, land.test).astype(np.uint8))
    assert "fewer than 10 pixels of class 2 (4)" in said()
    assert few_pixels("x", {"a": 10, "b": 3})[0].startswith("x has fewer than 10 pixels of class b")
    assert few_pixels("x", {"a": 10}) == []


def test_no_labelled_pixel(files, land, said):
    files(train=land.train * 0, test=land.test)
    assert "train.tif has no labelled pixel" in said()


def test_gaps(files, land, said):
    codes = land.classes.copy()
    codes[codes == 3] = 4
    codes[:20][codes[:20] == 1] = 5
    files(gt=codes)
    assert "codes up to 5 and none of 3" in said()
    files(gt=codes * 10)  # codes of a nomenclature
    assert said() == ""


def test_codes_that_mean_no_label(files, land, said):
    files(gt=np.where(land.train > 0, land.classes, 255).astype(np.uint8))
    assert "ignore: [255]" in said()
    files(gt=np.where(land.train > 0, land.classes - 1, 255).astype(np.uint8))
    assert "is 0 a class?" in said()


def test_labels_that_are_images(files, land, said):
    files(labels=(land.hsi[:3] / 20).astype(np.uint8), ground_truth=land.dsm)
    text = said()
    assert "labels.tif is named like labels and has 3 bands" in text
    assert "ground_truth.tif is named like labels and holds values such as" in text


def test_labels_where_the_image_has_no_data(files, land, said):
    land.hsi[:, 30:] = -1
    files(image=land.hsi, train=land.train, test=land.test)
    lost = (land.train[30:] > 0).sum()
    assert f"train.tif labels {lost} of {(land.train > 0).sum()} pixels where hsi.tif" in said()


def test_zeros_beside_a_declared_nodata_may_be_a_class(write_tif, land, said):
    write_tif("hsi.tif", land.hsi, nodata=-1)
    codes = np.where(land.train > 0, land.train - 1, 255).astype(np.uint8)
    write_tif("train.tif", codes, nodata=255)
    assert f"says that 255 means unlabelled and has 0 on {(codes == 0).sum():,} other" in said()
    write_tif("train.tif", land.train, nodata=255)
    assert "is 0 a class" not in said(), "no pixel is nodata, so 0 is what is unlabelled"
