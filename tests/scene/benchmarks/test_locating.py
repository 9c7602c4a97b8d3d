from __future__ import annotations

import os
from dataclasses import replace

import pytest

from bdgf.errors import SceneError
from bdgf.scene.benchmarks.locating import locate


def test_locate_finds_every_container(make, tmp_path, container_name):
    made = make(container_name)
    found = locate(made.benchmark, tmp_path)
    assert found.container is made.container
    assert found.files == made.files


def test_locate_ignores_case_and_looks_three_folders_deep(make, tmp_path):
    made = make("augsburg/original", folder="a/b/c")
    files = dict(made.files)
    files["data_DSM.mat"] = made.files["data_DSM.mat"].rename(tmp_path / "a/b/c/DATA_dsm.MAT")
    assert locate(made.benchmark, tmp_path).files == files


def test_locate_looks_no_deeper_and_not_into_hidden_folders(make, tmp_path):
    make("augsburg/original", folder="a/b/c/d")
    made = make("augsburg/original", folder=".cache")
    with pytest.raises(SceneError, match="none is there"):
        locate(made.benchmark, tmp_path)


def test_locate_takes_files_of_one_container_from_neighbouring_folders(make, tmp_path):
    made = make("augsburg/original")
    files = dict(made.files)
    (tmp_path / "data" / "labels").mkdir()
    for name in ("TrainImage.mat", "TestImage.mat"):
        files[name] = made.files[name].rename(tmp_path / "data" / "labels" / name)
    assert locate(made.benchmark, tmp_path).files == files


@pytest.mark.parametrize("first", ["augsburg", "berlin"])
def test_locate_tells_data_sets_with_the_same_file_names_apart(make, tmp_path, first):
    # The folders' names say nothing; the shapes do.
    made = {
        name: make(f"{name}/original", folder=folder)
        for name, folder in zip(("augsburg", "berlin"), ("one", "two"), strict=True)
    }
    del made["augsburg"].files["data_DSM.mat"]  # not needed by berlin
    found = locate(made[first].benchmark, tmp_path)
    assert {path.parent for path in found.files.values()} == {
        next(iter(made[first].files.values())).parent
    }


def test_locate_tells_the_two_houston_scenes_apart(make, tmp_path):
    made = {year: make(f"houston{year}/index", folder=f"h{year}") for year in (2013, 2018)}
    for year, one in made.items():
        files = locate(one.benchmark, tmp_path).files.values()
        assert {path.parent.name for path in files} == {f"h{year}"}


def test_locate_prefers_the_container_with_more_modalities(make, tmp_path):
    full = make("augsburg/original", folder="far/away")
    index = make("augsburg/index")
    containers = (index.container, full.container)
    found = locate(replace(full.benchmark, containers=containers), tmp_path)
    assert found.container is full.container


def test_locate_prefers_the_folder_that_bears_the_name(make, tmp_path):
    for folder in ("a", "z"):
        make("augsburg/original", folder=folder)
    made = make("augsburg/original", folder="m HS-SAR-DSM Augsburg")
    assert locate(made.benchmark, tmp_path).files == made.files


def test_locate_prefers_a_split_that_comes_along(make, tmp_path):
    split = make("trento/split", folder="far/away")
    drawn = make("trento/original")
    containers = (drawn.container, split.container)
    found = locate(replace(split.benchmark, containers=containers), tmp_path)
    assert found.container is split.container


def test_locate_prefers_the_official_split(make, tmp_path):
    made = make("augsburg/original")
    containers = (replace(made.container, official=False), made.container)
    found = locate(replace(made.benchmark, containers=containers), tmp_path)
    assert found.container is made.container


def test_locate_accepts_other_names_of_a_file(make, tmp_path):
    made = make("houston2013/mat")
    files = dict(made.files)
    files["LiDAR.mat"] = made.files["LiDAR.mat"].rename(tmp_path / "data" / "LiDAR_1.mat")
    assert locate(made.benchmark, tmp_path).files == files


def test_locate_says_what_is_there_and_what_is_missing(make, tmp_path):
    made = make("augsburg/original")
    for name in ("data_DSM.mat", "TestImage.mat"):
        made.files[name].unlink()
    with pytest.raises(SceneError) as error:
        locate(made.benchmark, tmp_path)
    text = str(error.value)
    assert "data_HS_LR.mat, data_SAR_HR.mat and TrainImage.mat are there" in text
    assert "data_DSM.mat and TestImage.mat are missing" in text
    assert made.benchmark.page in text
    assert "index" in text


def test_locate_names_the_usual_container_where_nothing_is_there(make, tmp_path):
    made = make("trento/original", folder="elsewhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SceneError, match=r"none is there, HSI.mat, .*TSLabel.mat are missing"):
        locate(made.benchmark, tmp_path / "empty")


def test_locate_refuses_what_is_no_folder(make, tmp_path):
    made = make("trento/original")
    with pytest.raises(SceneError, match="is no folder"):
        locate(made.benchmark, tmp_path / "nowhere")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="rights do not hold for root")
def test_locate_says_which_folder_cannot_be_read(make, tmp_path):
    made = make("trento/original")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    with pytest.raises(SceneError, match="closed cannot be read"):
        locate(made.benchmark, tmp_path)
