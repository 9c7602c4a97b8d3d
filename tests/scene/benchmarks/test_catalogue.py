from __future__ import annotations

import re

import numpy as np
import pytest
import rasterio
import scipy.io

from bdgf.errors import SceneError
from bdgf.scene.benchmarks.catalogue import BENCHMARKS, find


def _container(name):
    first, second = name.split("/")
    return BENCHMARKS[first], next(c for c in BENCHMARKS[first].containers if c.name == second)


def _counts(codes):
    values, numbers = np.unique(codes[codes > 0].astype(int), return_counts=True)
    return dict(zip(values.tolist(), numbers.tolist(), strict=True))


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("Augsburg", "augsburg"),
        ("HOUSTON-2013", "houston2013"),
        ("houston 2018", "houston2018"),
        ("LCZ HK", "lcz-hk"),
        ("HS-SAR_Berlin", "berlin"),
        ("yellow river estuary 18", "yellow-river-18"),
    ],
)
def test_find_ignores_case_spaces_and_hyphens(written, name):
    assert find(written).name == name


def test_find_suggests_a_near_name():
    with pytest.raises(SceneError, match=r"Did you mean augsburg\?"):
        find("augsberg")


def test_find_lists_all_where_nothing_is_near():
    with pytest.raises(SceneError, match=r"berlin, augsburg.* scene file"):
        find("qqqqqq")


def test_find_says_which_data_sets_share_a_name():
    with pytest.raises(SceneError, match=r"yellow-river-5 .* and yellow-river-18 .*name one"):
        find("Yellow River Estuary")


def test_names_of_benchmarks_and_containers_are_unique():
    assert all(name == benchmark.name for name, benchmark in BENCHMARKS.items())
    for benchmark in BENCHMARKS.values():
        names = [container.name for container in benchmark.containers]
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=lambda one: one.name)
def test_classes_have_distinct_names_and_colours(benchmark):
    names = [name for name, _ in benchmark.classes.values()]
    colors = [color for _, color in benchmark.classes.values()]
    assert len(set(names)) == len(names)
    assert len(set(colors)) == len(colors)
    assert all(re.fullmatch("#[0-9a-f]{6}", color) for color in colors)
    assert list(benchmark.classes) == sorted(benchmark.classes)


@pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=lambda one: one.name)
def test_downloads_are_complete(benchmark):
    containers = {container.name: container for container in benchmark.containers}
    for download in benchmark.downloads:
        sums = [download.sha256, *download.unpacked.values()]
        assert all(one is None or re.fullmatch("[0-9a-f]{64}", one) for one in sums)
        assert download.container in containers
        assert download.archive == bool(download.unpacked)
        assert download.url.split("/")[2] in download.hosts
        assert download.page.startswith("https://")


@pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=lambda one: one.name)
def test_fetched_files_make_their_container_complete(benchmark):
    got = {
        name.rsplit("/", 1)[-1]
        for download in benchmark.downloads
        for name in (download.unpacked or {download.file: None})
    }
    for download in benchmark.downloads:
        container = next(c for c in benchmark.containers if c.name == download.container)
        assert set(container.files()) <= got


def test_container_declares_labels_and_counts_that_fit(container_name):
    benchmark, container = _container(container_name)
    parts = {"train": container.train, "test": container.test, "all": container.all}
    given = {name for name, stored in parts.items() if stored is not None}
    assert given == ({"train", "test"} if container.split == "given" else {"all"})
    for counts, stored in (
        (container.counts_train, container.train),
        (container.counts_test, container.test),
    ):
        if counts is None:
            assert "counts" in container.doubts
            continue
        assert set(counts) == set(benchmark.classes)
        assert min(counts.values()) > 0
        if stored is not None and stored.form == "pixels":
            assert stored.shape == (sum(counts.values()), 2)
    assert (container.codes is not None) == (
        container.train is not None and container.train.form == "pixels"
    )


def test_container_has_one_spectral_modality_at_least_and_one_grid(container_name):
    _, container = _container(container_name)
    assert any(modality.role == "spectral" for modality in container.modalities)
    if container.align is None:
        sizes = {s.shape[:2] for s in container.used().values() if s.form != "pixels"}
        assert len(sizes) == 1
    else:
        assert container.align in {modality.name for modality in container.modalities}


def test_official_numbers_of_pixels():
    totals = {
        name: tuple(
            sum(counts.values())
            for counts in (_container(name)[1].counts_train, _container(name)[1].counts_test)
        )
        for name in ("augsburg/original", "berlin/original", "houston2013/contest", "trento/split")
    }
    assert totals == {
        "augsburg/original": (761, 77_533),
        "berlin/original": (2_820, 461_851),
        "houston2013/contest": (2_832, 12_197),
        "trento/split": (819, 29_395),
    }
    muufl = _container("muufl/original")[1]
    assert sum((muufl.counts_train | muufl.counts_test).values()) > 0
    assert sum(muufl.counts_train.values()) + sum(muufl.counts_test.values()) == 53_687
    for name in ("houston2018/index", "houston2018/contest"):
        _, container = _container(name)
        both = sum(container.counts_train.values()) + sum(container.counts_test.values())
        assert both == 2_018_910


def test_augsburg_counts_are_those_of_the_real_label_maps(shared_data):
    _, container = _container("augsburg/original")
    for stored, counts in (
        (container.train, container.counts_train),
        (container.test, container.counts_test),
    ):
        path = shared_data / "label_maps" / f"augsburg_{stored.file}"
        codes = scipy.io.loadmat(path)[stored.key]
        assert codes.shape == stored.shape
        assert codes.dtype == stored.dtype
        assert _counts(codes) == counts


def test_houston_counts_are_those_of_the_real_masks(shared_data):
    _, container = _container("houston2013/contest-masks")
    for stored, counts in (
        (container.train, container.counts_train),
        (container.test, container.counts_test),
    ):
        with rasterio.open(shared_data / "label_maps" / stored.file) as dataset:
            codes = dataset.read(1)
        assert codes.shape == stored.shape
        assert _counts(codes) == counts


def test_trento_is_what_the_real_files_hold(shared_data):
    benchmark, container = _container("trento/original")
    lidar = container.modalities[1].stored
    array = scipy.io.loadmat(shared_data / "trento_lidar" / lidar.file)[lidar.key]
    assert array.shape == lidar.shape
    assert array.dtype == lidar.dtype
    codes = scipy.io.loadmat(shared_data / "trento_lidar" / container.all.file)[container.all.key]
    split = next(c for c in benchmark.containers if c.name == "split")
    for one in (container, split):
        both = {code: one.counts_train[code] + one.counts_test[code] for code in one.counts_train}
        assert _counts(codes) == both
