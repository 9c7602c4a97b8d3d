from __future__ import annotations

from pathlib import Path

import pytest
import scipy.io
import yaml

from bdgf.scene.benchmarks.checking import check_counts, check_files
from bdgf.scene.benchmarks.locating import locate
from bdgf.scene.benchmarks.writing import scene_file
from bdgf.scene.scene import Scene


def _written(made, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    found = check_files(made)
    target.write_text(scene_file(found, target), encoding="utf-8")
    return found, yaml.safe_load(target.read_text(encoding="utf-8"))


def test_scene_file_has_every_declared_field(make, tmp_path, container_name):
    made = make(container_name)
    found, content = _written(made, tmp_path / "run" / "scene.yaml")
    container = made.container
    assert content["name"] == made.benchmark.name
    assert list(content["modalities"]) == [m.name for m in container.modalities]
    for modality in container.modalities:
        fields = content["modalities"][modality.name]
        path = tmp_path / "run" / fields["path"]
        assert path.resolve() == made.files[modality.stored.file].resolve()
        assert fields.get("key") == found.opened(modality.stored).key
        assert fields["role"] == modality.role
    labels = content["labels"]
    assert list(labels["classes"]) == list(made.benchmark.classes) == list(labels["colors"])
    for part in ("train", "test", "all"):
        assert (part in labels) == (getattr(container, part) is not None)
    assert ("map" in labels) == (container.codes is not None)
    assert tuple(labels.get("ignore", ())) == container.ignore
    assert content["split"] == container.split
    assert content.get("align") == container.align


def test_scene_opens_and_has_the_declared_counts(make, tmp_path, container_name):
    made = make(container_name)
    target = tmp_path / "run" / "scene.yaml"
    found, _ = _written(locate(made.benchmark, tmp_path), target)
    scene = Scene.open(target)
    for part, counts in (
        ("train", made.container.counts_train),
        ("test", made.container.counts_test),
    ):
        assert len(scene.labels_at(part)) == sum(counts.values())
    check_counts(found, scene)


def test_scene_opens_from_mat_files_of_version_7_3(make, tmp_path):
    made = make("muufl/original", hdf5=True)
    found, _ = _written(made, tmp_path / "scene.yaml")
    check_counts(found, Scene.open(tmp_path / "scene.yaml"))


def test_scene_file_says_what_differs_from_the_declaration(make, tmp_path):
    made = make("augsburg/original")
    hsi = made.container.modalities[0].stored
    values = scipy.io.loadmat(made.files[hsi.file])[hsi.key]
    scipy.io.savemat(made.files[hsi.file], {"other": values.transpose(2, 1, 0)})
    found, content = _written(made, tmp_path / "scene.yaml")
    fields = content["modalities"]["hsi"]
    assert (fields["key"], fields["axes"]) == ("other", "CWH")
    scene = Scene.open(tmp_path / "scene.yaml")
    assert (scene.tiles[0].height, scene.tiles[0].width) == hsi.shape[:2]
    check_counts(found, scene)


def test_scene_file_says_source_licence_and_split(make, tmp_path):
    made = make("trento/original")
    text = scene_file(check_files(made), tmp_path / "scene.yaml")
    comments = " ".join(line.lstrip("# ") for line in text.splitlines() if line[0] == "#")
    for part in (made.benchmark.page, "Licence: Not stated.", "Cite: B. Rasti", "not official"):
        assert part in comments
    assert max(map(len, (line for line in text.splitlines() if line[0] == "#"))) <= 100


def test_scene_file_says_what_is_not_confirmed(make, tmp_path):
    text = scene_file(check_files(make("lcz-hk/mat")), tmp_path / "scene.yaml")
    assert "# Not confirmed in two places: files, size, counts, classes." in text


def test_scene_file_writes_far_paths_in_full(make, tmp_path):
    made = make("trento/original")
    for target, absolute in (
        (tmp_path / "a" / "scene.yaml", False),
        (tmp_path / "a" / "b" / "c" / "d" / "scene.yaml", True),
    ):
        content = yaml.safe_load(scene_file(check_files(made), target))
        path = Path(content["modalities"]["hsi"]["path"])
        assert path.is_absolute() is absolute


@pytest.mark.parametrize(("name", "expected"), [("contest", list(range(1, 49))), ("index", None)])
def test_scene_file_leaves_out_bands_without_a_spectrum(make, tmp_path, name, expected):
    made = make(f"houston2018/{name}")
    content = yaml.safe_load(scene_file(check_files(made), tmp_path / "scene.yaml"))
    assert content["modalities"]["hsi"].get("bands") == expected


def test_scene_file_counts_lists_from_zero(make, tmp_path):
    content = yaml.safe_load(scene_file(check_files(make("berlin/index")), tmp_path / "s.yaml"))
    assert content["labels"]["train"] == {
        "path": "data/berlin_index.mat",
        "key": "berlin_train",
        "index_base": 0,
    }
    assert content["labels"]["map"] == {"path": "data/berlin_gt.mat", "key": "berlin_gt"}
