"""Everything in files and folders is found, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
import scipy.io

from bdgf.errors import SceneError
from bdgf.scene.inspection.findings import each_tile
from bdgf.scene.inspection.gather import gather


def kinds(found):
    return {group.name: group.kind for group in found.groups}


def test_a_folder(write_tif, land, tmp_path):
    write_tif("hsi.tif", land.hsi)
    write_tif("rgb.tif", (land.hsi[:3] / 20).astype(np.uint8))
    write_tif("s1_vv.tif", land.sar[0])
    write_tif("forest.tif", land.classes)
    scipy.io.savemat(tmp_path / "lidar.mat", {"data": land.dsm, "wave": np.arange(8.0)})
    (tmp_path / "readme.txt").write_text("nothing")
    (tmp_path / ".hidden.tif").write_bytes(b"")
    (tmp_path / "broken.tif").write_bytes(b"no raster")
    found = gather([tmp_path])
    assert kinds(found) == {
        "hsi": "spectral", "rgb": "colour", "s1": "radar", "forest": "labels", "lidar": "height",
    }  # fmt: skip
    assert found.reference.name == "hsi"
    assert [path.name for path, _ in found.unreadable] == ["broken.tif"]


def test_files_that_belong_together_are_one(land, tmp_path, write_tif):
    with rasterio.open(
        tmp_path / "hsi.dat", "w", driver="ENVI", count=8, height=40, width=45, dtype="float32"
    ) as dataset:
        dataset.write(land.hsi)
    write_tif("dsm.tif", land.dsm)
    (tmp_path / "dsm.tif.aux.xml").write_text("<PAMDataset/>")
    named = [*sorted(tmp_path.iterdir()), tmp_path / "dsm.tif"]
    assert {"hsi.hdr", "dsm.tif.aux.xml"} <= {path.name for path in named}
    assert sorted(kinds(gather(named))) == ["dsm", "hsi"]


def test_a_named_file_that_is_broken_is_an_error(tmp_path):
    (tmp_path / "broken.tif").write_bytes(b"no raster")
    with pytest.raises(SceneError, match=r"broken\.tif"):
        gather([tmp_path / "broken.tif"])


def test_what_is_not_there(tmp_path):
    with pytest.raises(SceneError, match="does not exist"):
        gather([tmp_path / "none.tif"])
    with pytest.raises(SceneError, match="holds no raster"):
        gather([tmp_path])


def test_rasters_deep_below(write_tif, land, tmp_path):
    for name in ("B02", "B03", "B04"):
        write_tif(f"x.SAFE/GRANULE/L2A/{name}.tif", land.hsi[0])
    (group,) = gather([tmp_path]).groups
    assert len(group.rasters) == 3


def test_a_scene_file_goes_before_the_files_beside_it(write_scene, land):
    path = write_scene({"hsi": land.hsi})
    assert gather([path.parent]).scenes == [path]
    assert gather([path]).scenes == [path]
    found = gather([path.parent], scenes=False)
    assert not found.scenes
    assert kinds(found) == {"hsi": "spectral"}


@pytest.mark.parametrize(
    ("array", "is_list"),
    [
        (np.argwhere(np.ones((9, 8))), True),
        (np.argwhere(np.ones((9, 8))).T + 1.0, True),
        (np.arange(60)[None], True),
        (np.repeat([1, 2, 3], 20)[:, None], False),  # labels of single pixels
        (np.linspace(0.4, 2.5, 60)[:, None], False),
        (np.arange(6)[None], False),
    ],
)
def test_lists_of_pixels(tmp_path, land, array, is_list):
    scipy.io.savemat(tmp_path / "gt.mat", {"gt": land.classes})
    scipy.io.savemat(tmp_path / "index.mat", {"train": array})
    found = gather([tmp_path])
    assert [one.key for one in found.lists] == ["train"] * is_list
    assert "labels" in kinds(found).values()


def test_wavelengths_are_no_list(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"wavelengths": np.arange(400, 500), "x": np.eye(5)})
    assert gather([tmp_path]).lists == []


def test_lists_in_numpy_files(tmp_path, land):
    np.save(tmp_path / "hsi.npy", land.hsi)
    np.save(tmp_path / "train_index.npy", np.argwhere(land.train > 0))
    found = gather([tmp_path])
    assert found.lists[0].pixels == (land.train > 0).sum()
    assert kinds(found) == {"hsi": "spectral"}


def test_tiles_are_measured_together(write_tif, land, tmp_path):
    for number in range(15):
        labels = np.full((10, 12), number % 3 + 1, dtype=np.uint8)
        write_tif(f"p{number}/gt.tif", labels)
        write_tif(f"p{number}/hsi.tif", land.hsi[:, :10, :12] + number)
    found = gather([tmp_path])
    (labels,) = found.labels
    assert labels.statistics.labels == {1: 600, 2: 600, 3: 600}
    assert len(labels.sizes) == 15
    image = found.reference.first
    assert 1 < len(image.medians) <= 15
    assert [name for name, _ in each_tile(image)] == [f"p{n}" for n in sorted(range(15), key=str)]


def test_labels_by_looks_alone(write_tif, land, tmp_path):
    write_tif("x.tif", land.classes)
    write_tif("y.tif", (land.dsm - 400).astype(np.int16) * 3)  # negative values: heights
    write_tif("z.tif", land.classes.astype(np.float32))  # floats that no name calls labels
    assert kinds(gather([tmp_path])) == {"x": "labels", "y": "image", "z": "image"}


def test_a_folder_of_very_many_files(write_tif, land, tmp_path, monkeypatch):
    monkeypatch.setattr("bdgf.scene.inspection.gather.MOST_FILES", 3)
    for number in range(5):
        write_tif(f"{number}.tif", land.dsm)
    found = gather([tmp_path])
    assert len(found.groups) == 3
    assert found.left_out == 2
