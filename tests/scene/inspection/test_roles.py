"""Names tell sensors, labels, parts and bands apart."""

from __future__ import annotations

import pytest

from bdgf.scene.inspection import roles


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("train", "train"), ("TrainImage", "train"), ("TRLabel", "train"), ("y_tr", "train"),
        ("2013_IEEE_GRSS_DF_Contest_Samples_TR", "train"), ("augsburg_train", "train"),
        ("TestImage", "test"), ("mask_test", "test"), ("TSLabel", "test"), ("gt_te", "test"),
        ("2013_IEEE_GRSS_DF_Contest_Samples_VA", "test"), ("val", "validation"),
        ("trainlabels", "train"), ("testlabels", "test"), ("traffic", None),
        ("gt", None), ("train_test_gt", None), ("trento", None), ("terrain", None), ("strip", None),
    ],
)  # fmt: skip
def test_parts(name, part):
    assert roles.part_of([name]) == part


@pytest.mark.parametrize(
    ("name", "sensor"),
    [
        ("data_HS_LR", "spectral"), ("hsi", "spectral"), ("Sentinel-2", "spectral"),
        ("data_SAR_HR", "radar"), ("S1Hand", "radar"), ("s1_vv", "radar"), ("sar", "radar"),
        ("data_DSM", "height"), ("Italy_lidar", "height"), ("CHM", "height"),
        ("LiDAR", "height"),
        ("rgb_10cm", "colour"), ("orthophoto", "colour"), ("summary", None), ("charsar", None),
    ],
)  # fmt: skip
def test_sensors(name, sensor):
    assert roles.kind_of([name], codes=False) == sensor


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["z", "Lidar{1}", "hsi", "campus_hsi_label"], "height"),
        (["Data", "hsi", "campus_hsi_label"], "spectral"),
        (["labels", "sceneLabels", "hsi"], "labels"),
        (["hsi_gt"], "labels"), (["dsm_test"], "height"), (["mask_test"], "labels"),
        (["data", "train"], "labels"), (["x"], None),
    ],
)  # fmt: skip
def test_the_first_name_that_says_anything_decides(texts, kind):
    assert roles.kind_of(texts, codes=True) == kind


def test_labels():
    for name in ("gt", "GroundTruth", "ground_truth", "labels", "LandCover", "allgrd", "my_mask"):
        assert roles.named_label([name])
    for name in ("hsi", "target_image", "height"):
        assert not roles.named_label([name])
    assert roles.surely_label(["gt"])
    assert not roles.surely_label(["cloud_mask"])
    assert roles.named_output(["prediction"])
    assert not roles.named_output(["labels_out"])


@pytest.mark.parametrize(
    ("stem", "found"),
    [
        ("B02", ("", "B02", 0)),
        ("T32TQM_20200101T101_B8A_20m", ("T32TQM_20200101T101", "B8A", 20)),
        ("LC08_L2SP_190027_SR_B4", ("LC08_L2SP_190027_SR", "B04", 0)),
        ("b12", ("", "B12", 0)),
        ("hsi", None),
        ("plot_B", None),
    ],
)
def test_bands_of_satellites(stem, found):
    assert roles.band_of(stem) == found


def test_the_order_of_bands():
    names = ["B11", "B8A", "B02", "B08", "B09"]
    assert sorted(names, key=roles.band_order) == ["B02", "B08", "B8A", "B09", "B11"]


@pytest.mark.parametrize(
    ("texts", "name"),
    [
        (["hsi"], "hsi"), (["data_HS_LR"], "hs"), (["data", "Italy_lidar"], "lidar"),
        (["img", "scan"], "scan"), (["Höhe 2020"], "höhe_2020"), (["data"], "data"),
        (["S1Hand"], "s1"), (["HSI", "all"], "hsi"), (["z", "Lidar{1}", "hsi"], "lidar"),
        (["LiDAR"], "lidar"), (["Lidar1_Trento"], "lidar"), (["Data", "cube"], "cube"),
        ([""], "image"),
    ],
)  # fmt: skip
def test_short_names(texts, name):
    assert roles.short_name(texts) == name
