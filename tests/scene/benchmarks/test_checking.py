from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import scipy.io

from bdgf.errors import SceneError
from bdgf.scene.benchmarks.catalogue import BENCHMARKS
from bdgf.scene.benchmarks.checking import check_counts, check_files
from bdgf.scene.benchmarks.declaration import Found, Opened
from bdgf.scene.benchmarks.locating import locate


def _load(path):
    return {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith("__")}


def _change(path, change):
    """Replace the arrays of a .mat file by those that a function makes of them."""
    scipy.io.savemat(path, change(_load(path)))


def test_check_files_accepts_every_container_as_declared(make, tmp_path, container_name):
    made = make(container_name)
    checked = check_files(made)
    assert checked.files == made.files
    for stored in made.container.used().values():
        assert checked.opened(stored).axes is None


def test_check_files_tells_another_data_set_and_says_which(tmp_path):
    benchmark = BENCHMARKS["augsburg"]
    original = benchmark.containers[0]
    for stored in original.used().values():
        scipy.io.savemat(
            tmp_path / stored.file, {stored.key: np.zeros((349, 1905, stored.bands), np.uint8)}
        )
    hsi = original.modalities[0].stored
    scipy.io.savemat(tmp_path / hsi.file, {hsi.key: np.zeros((349, 1905, 144), np.uint8)})
    found = Found(benchmark, original, {name: tmp_path / name for name in original.files()})
    with pytest.raises(SceneError) as error:
        check_files(found)
    text = str(error.value)
    assert f"data_HS_LR.mat in {tmp_path} holds data_HS_LR of 349 × 1905 × 144" in text
    assert "Augsburg's hsi is 332 × 485 × 180, and this looks like Houston 2013's hsi" in text
    assert benchmark.page in text


def test_check_files_tells_a_wrong_geotiff(make):
    made = make("houston2013/contest-masks")
    hsi = made.container.modalities[0].stored
    path = made.files[hsi.file]
    with rasterio.open(path) as dataset:
        profile = dataset.profile | {"count": 3}
        values = dataset.read([1, 2, 3])
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(values)
    with pytest.raises(SceneError, match=r"holds 22 × 120 × 3; Houston 2013's hsi is 22 × 120 × 1"):
        check_files(made)


def test_check_files_accepts_another_key_where_one_array_fits(make):
    made = make("augsburg/original")
    hsi = made.container.modalities[0].stored
    small = np.zeros((3, 3))
    _change(made.files[hsi.file], lambda arrays: {"cube": arrays[hsi.key], "wavelengths": small})
    checked = check_files(made)
    assert checked.opened(hsi) == Opened("cube")
    assert checked.notes == ("data_HS_LR.mat calls data_HS_LR cube",)


def test_check_files_refuses_two_arrays_that_fit(make):
    made = make("augsburg/original")
    hsi = made.container.modalities[0].stored
    _change(made.files[hsi.file], lambda arrays: {"raw": arrays[hsi.key], "clean": arrays[hsi.key]})
    with pytest.raises(SceneError, match="raw and clean both have the shape"):
        check_files(made)


def test_check_files_takes_the_first_of_arrays_that_differ_in_a_number(make):
    made = make("augsburg/original")
    hsi = made.container.modalities[0].stored
    _change(made.files[hsi.file], lambda arrays: {f"date{n}": arrays[hsi.key] for n in (1, 2)})
    assert check_files(made).opened(hsi) == Opened("date1")


def test_check_files_accepts_exchanged_axes_and_says_so(make):
    made = make("augsburg/original")
    hsi, dsm = made.container.modalities[0].stored, made.container.modalities[2].stored
    _change(made.files[hsi.file], lambda a: {hsi.key: a[hsi.key].transpose(2, 1, 0)})
    _change(made.files[dsm.file], lambda a: {dsm.key: a[dsm.key].T})
    checked = check_files(made)
    assert checked.opened(hsi) == Opened(hsi.key, "CWH")
    assert checked.opened(dsm) == Opened(dsm.key, "WH")
    assert "data_DSM.mat has its axes in the order WH" in checked.notes


def test_check_files_says_what_a_file_without_the_array_holds(make):
    made = make("augsburg/original")
    _change(made.files["data_DSM.mat"], lambda _: {"x": np.zeros((4, 5))})
    with pytest.raises(SceneError, match=r"holds x \(4 × 5\), and none of these is Augsburg's dsm"):
        check_files(made)


def test_check_files_wants_a_list_of_pixels(make):
    made = make("augsburg/index")
    _change(made.files["augsburg_index.mat"], lambda a: a | {"augsburg_train": np.zeros((5, 4))})
    with pytest.raises(SceneError, match=r"augsburg_train of .* is 5 × 4, and .* are a list"):
        check_files(made)


def test_check_files_accepts_a_list_under_a_longer_name(make):
    made = make("yellow-river-18/index")
    train = made.container.train
    _change(
        made.files["data_index.mat"],
        lambda a: {f"my_{k}" if k == train.key else k: v for k, v in a.items()},
    )
    assert check_files(made).opened(train) == Opened("my_train_index")


def test_check_files_accepts_another_size_where_that_is_not_known(make):
    made = make("lcz-hk/mat")
    for stored in made.container.used().values():
        _change(made.files[stored.file], lambda a: {k: v[:-3] for k, v in a.items()})
    assert check_files(made).notes == ()


def test_check_files_still_wants_the_bands_where_the_size_is_not_known(make):
    made = make("lcz-hk/mat")
    _change(made.files["data_SAR.mat"], lambda a: {k: v[..., :3] for k, v in a.items()})
    with pytest.raises(SceneError, match="LCZ Hong Kong's sar is of 4 bands"):
        check_files(made)


def test_check_files_takes_the_names_of_regions(make):
    made = make("houston2013/contest")
    assert check_files(made).names[1] == "grass_healthy"
    assert check_files(made).names[15] == "running_track"


def test_check_files_takes_regions_by_name_in_any_order(make):
    made = make("houston2013/contest")
    text = made.files["2013_IEEE_GRSS_DF_Contest_Samples_TR.txt"].read_text()
    swapped = text.replace("grass_healthy", "x").replace("running_track", "grass_healthy")
    for path in made.files.values():
        if path.suffix == ".txt":
            path.write_text(swapped.replace("ROI name: x", "ROI name: running_track"))
    assert check_files(made).names == check_files(make("houston2013/contest", "b")).names


def test_check_files_refuses_too_few_regions(make):
    made = make("houston2013/contest")
    for path in made.files.values():
        if path.suffix == ".txt":
            path.write_text(path.read_text().replace("ROI name: soil", "ROI name: water"))
    with pytest.raises(SceneError, match=r"14 regions of different names.* has 15 classes"):
        check_files(made)


def test_check_files_refuses_regions_that_are_named_differently(make):
    made = make("houston2013/contest")
    path = made.files["2013_IEEE_GRSS_DF_Contest_Samples_VA.txt"]
    path.write_text(path.read_text().replace("ROI name: soil", "ROI name: Soil"))
    with pytest.raises(SceneError, match="a region Soil that the other label file names otherwise"):
        check_files(made)


def test_check_files_accepts_matlab_7_3(make, tmp_path):
    made = make("augsburg/original", hdf5=True)
    checked = check_files(made)
    for stored in made.container.used().values():
        assert checked.opened(stored).key == stored.key


def test_check_files_accepts_the_real_lidar_and_labels_of_trento(shared_data):
    benchmark = BENCHMARKS["trento"]
    original = next(c for c in benchmark.containers if c.name == "original")
    partly = replace(original, modalities=original.modalities[1:])
    only = replace(benchmark, containers=(partly,))
    checked = check_files(locate(only, shared_data / "trento_lidar"))
    assert checked.notes == ()


class _Scene:
    """Labels as a scene gives them."""

    def __init__(self, train, test):
        self.class_codes = tuple(train)
        self._numbers = {"train": train, "test": test}

    def labels_at(self, which):
        numbers = list(self._numbers[which].values())
        return np.repeat(np.arange(len(numbers)), numbers)


def _augsburg(changes):
    benchmark = BENCHMARKS["augsburg"]
    container = benchmark.containers[0]
    scene = _Scene(dict(container.counts_train) | changes, dict(container.counts_test))
    return Found(benchmark, container, {"a.mat": _FOLDER / "a.mat"}), scene


_FOLDER = Path("somewhere")


def test_check_counts_accepts_the_declared_split():
    check_counts(*_augsburg({}))


def test_check_counts_lists_the_classes_that_differ():
    with pytest.raises(SceneError) as error:
        check_counts(*_augsburg({3: 20, 7: 0}))
    text = str(error.value)
    assert "train class 3 (Industrial) has 20 pixels instead of 21" in text
    assert "train class 7 (Water) has 0 pixels instead of 23" in text
    assert "bdgf inspect somewhere --write scene.yaml" in text


def test_check_counts_only_reports_numbers_that_could_not_be_confirmed(caplog):
    found, scene = _augsburg({3: 20})
    doubtful = replace(found, container=replace(found.container, doubts=("counts",)))
    with caplog.at_level(logging.WARNING):
        check_counts(doubtful, scene)
    assert "train class 3 (Industrial)" in caplog.text


def test_check_counts_passes_where_no_numbers_are_known():
    found, scene = _augsburg({3: 20})
    unknown = replace(found.container, counts_train=None, counts_test=None)
    check_counts(replace(found, container=unknown), scene)
