"""Quick-looks are written for images, tiles and scene files, with the labels in their colours."""

from __future__ import annotations

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from matplotlib.image import imread

from bdgf.errors import RunFolderError
from bdgf.scene.inspection.gather import gather
from bdgf.scene.inspection.label_files import choose, label_sources
from bdgf.scene.inspection.quicklook import _of_group, quicklooks


def colors(path):
    """Colours (r, g, b) of a PNG, as a set."""
    image = (imread(path)[..., :3] * 255).round().astype(int)
    return {tuple(color) for color in image.reshape(-1, 3).tolist()}


def test_images_with_labels(write_tif, land, place, tmp_path):
    for name in ("hsi", "sar", "dsm", "train", "test"):
        write_tif(f"{name}.tif", getattr(land, name), **place)
    found = gather([tmp_path])
    written = quicklooks(found, tmp_path / "new" / "looks")
    assert sorted(path.name for path in written) == ["dsm.png", "hsi.png", "sar.png"]
    shown = colors(written[1])
    for color in ((0xE6, 0x9F, 0x00), (0x56, 0xB4, 0xE9), (0x00, 0x9E, 0x73)):
        assert color in shown
    again = quicklooks(found, tmp_path / "again")
    assert written[0].read_bytes() == again[0].read_bytes()


def test_without_labels(write_tif, land, tmp_path):
    (path,) = quicklooks(gather([write_tif("hsi.tif", land.hsi)]), tmp_path)
    assert (0xE6, 0x9F, 0x00) not in colors(path)


def test_colours_of_the_label_file_are_used(write_tif, land, tmp_path):
    write_tif("hsi.tif", land.hsi)
    with rasterio.open(write_tif("gt.tif", land.classes), "r+") as dataset:
        dataset.write_colormap(1, {1: (201, 2, 3), 2: (4, 205, 6), 3: (7, 8, 209)})
    (path,) = quicklooks(gather([tmp_path]), tmp_path / "looks")
    assert {(201, 2, 3), (4, 205, 6), (7, 8, 209)} <= colors(path)


def test_tiles(write_tif, land, tmp_path):
    for number in range(7):
        write_tif(f"p{number}/hsi.tif", land.hsi)
        write_tif(f"p{number}/gt.tif", land.classes)
    (path,) = quicklooks(gather([tmp_path]), tmp_path / "looks")
    assert path.name == "hsi.png"
    height, width = imread(path).shape[:2]
    assert height > width  # a few tiles below each other


def test_scene_file(write_scene, land, tmp_path):
    train, test = (np.where(codes == 3, 2, codes) for codes in (land.train, land.test))
    path = write_scene({"hsi": land.hsi, "dsm": land.dsm}, train, test)
    written = quicklooks(gather([path]), tmp_path / "looks")
    assert [p.name for p in written] == ["tiny_hsi.png", "tiny_dsm.png"]
    assert (0x56, 0xB4, 0xE9) in colors(written[0])


def test_names_of_scenes_stay_in_the_folder(write_scene, land, tmp_path):
    train, test = (np.where(codes == 3, 2, codes) for codes in (land.train, land.test))
    changes = {"name": "../Berlin / 2020"}
    path = write_scene({"hsi": land.hsi, "dsm": land.dsm}, train, test, changes)
    written = quicklooks(gather([path]), tmp_path / "looks")
    assert [p.parent for p in written] == [tmp_path / "looks"] * 2
    assert all(p.is_file() for p in written)


def test_bands_in_files_of_their_own(write_tif, land, place, tmp_path):
    for number, name in enumerate(("B02", "B03", "B04", "B08")):
        write_tif(f"T32_{name}.tif", land.hsi[number], **place)
    (path,) = quicklooks(gather([tmp_path]), tmp_path / "looks")
    assert path.name == "s2.png"


def test_tiles_whose_bands_are_in_files_of_their_own(write_tif, land, tmp_path):
    for tile, turned in (("T1", land.hsi), ("T2", land.hsi[:, ::-1])):
        for number, name in enumerate(("B02", "B03", "B04", "B08")):
            write_tif(f"{tile}/{name}.tif", turned[number])
        write_tif(f"{tile}/gt.tif", land.classes)
    found = gather([tmp_path])
    (group,) = found.images
    assert len(group.rasters) == 4
    first, second = (row[0] for row in _of_group(group, choose(label_sources(found))).rows)
    assert first.title.startswith("T1")
    assert second.title.startswith("T2")
    np.testing.assert_array_equal(first.image[::-1], second.image)
    assert (first.image != second.image).any()


def test_polygons(write_tif, land, place, tmp_path):
    write_tif("hsi.tif", land.hsi, **place)
    shapes = [shapely.box(5e5 + x, 4999930, 5e5 + x + 20, 4999990) for x in (5, 45)]
    pyogrio.raw.write(
        tmp_path / "fields.gpkg", shapely.to_wkb(np.array(shapes)), [np.array(["maize", "wheat"])],
        ["crop"], geometry_type="Polygon", crs="EPSG:32632",
    )  # fmt: skip
    (path,) = quicklooks(gather([tmp_path]), tmp_path / "looks")
    assert {(0xE6, 0x9F, 0x00), (0x56, 0xB4, 0xE9)} <= colors(path)


def test_labels_that_do_not_fit_are_left_out(write_tif, land, tmp_path):
    write_tif("hsi.tif", land.hsi)
    write_tif("gt.tif", land.classes[:-3])
    (path,) = quicklooks(gather([tmp_path]), tmp_path / "looks")
    assert (0xE6, 0x9F, 0x00) not in colors(path)


def test_files_that_are_no_quicklooks_are_not_replaced(write_tif, land, tmp_path):
    found = gather([write_tif("hsi.tif", land.hsi), write_tif("dsm.tif", land.dsm)])
    looks = tmp_path / "looks"
    first = quicklooks(found, looks)
    assert quicklooks(found, looks) == first  # one of ours is
    (looks / "dsm.png").write_bytes(b"a user's own")
    (looks / "hsi.png").unlink()
    with pytest.raises(RunFolderError, match=r"dsm\.png exists and is no picture of bdgf"):
        quicklooks(found, looks)
    assert [path.name for path in looks.iterdir()] == ["dsm.png"]
    assert (looks / "dsm.png").read_bytes() == b"a user's own"
