"""A scene of arrays is the scene of the files that hold them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS

from bdgf.config import PreparationSettings
from bdgf.errors import SceneError
from bdgf.scene.description import SplitSpec
from bdgf.scene.preparation import Preparation
from bdgf.scene.scene import Scene
from bdgf.scene.windows import Window

RNG = np.random.default_rng(0)
HSI, SAR = RNG.normal(size=(5, 12, 17)), RNG.normal(size=(2, 12, 17))


def codes(**places):
    labels = np.zeros((12, 17), dtype=np.int64)
    for code, at in enumerate(places.values(), start=1):
        labels[at] = code
    return labels


TRAIN = codes(a=(2, slice(3)), b=(5, slice(4, 6)))
TEST = codes(a=(8, slice(5)), b=(9, slice(2, 9)))


def arrays_of(scene: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    def read(name):
        with rasterio.open(scene.parent / f"{name}.tif") as file:
            array = file.read().astype(np.float64)
            if file.nodata is not None:
                array[array == file.nodata] = np.nan
            return array

    labels = {part: np.nan_to_num(read(part)[0]) for part in ("train", "test")}
    return {name: read(name) for name in ("hsi", "sar", "dsm")}, labels


def test_it_is_the_scene_of_its_files(tiny_scene):
    files = Scene.open(tiny_scene)
    images, labels = arrays_of(tiny_scene)
    scene = Scene.from_arrays(images, labels["train"], labels["test"])
    for part in ("train", "test"):
        np.testing.assert_array_equal(scene.positions(part), files.positions(part))
        np.testing.assert_array_equal(scene.labels_at(part), files.labels_at(part))
    theirs = Preparation.fit(files, PreparationSettings(), 0).to_tensors()
    for name, array in Preparation.fit(scene, PreparationSettings(), 0).to_tensors().items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)


def test_roles_names_and_colours():
    scene = Scene.from_arrays({"sar": SAR, "hsi": HSI}, TRAIN)
    assert [m.role for m in scene.modalities] == ["auxiliary", "spectral"]
    assert scene.class_names == ("class 1", "class 2")
    assert len(scene.positions("test")) == 0
    scene = Scene.from_arrays(
        {"sar": SAR, "hsi": HSI}, TRAIN, classes={2: "water", 1: "wood"}, colors={1: "#112233"},
        roles={"sar": "spectral"}, units={"hsi": "none"}, name="mine",
    )  # fmt: skip
    assert [m.role for m in scene.modalities] == ["spectral", "auxiliary"]
    assert scene.class_names == ("wood", "water")
    assert scene.class_colors[0] == "#112233"
    assert scene.name == scene.tiles[0].name == "mine"


def test_a_split_divides_all_labels():
    both = TRAIN + TEST
    scene = Scene.from_arrays({"hsi": HSI}, both, split=SplitSpec("random", per_class=2))
    assert np.bincount(scene.labels_at("train")).tolist() == [2, 2]
    assert len(scene.positions("train")) + len(scene.positions("test")) == (both > 0).sum()


def test_several_tiles_of_different_sizes():
    other = {"hsi": RNG.normal(size=(5, 7, 8))}
    scene = Scene.from_arrays([{"hsi": HSI}, other], [TRAIN, np.zeros((7, 8))])
    assert [(tile.name, tile.height) for tile in scene.tiles] == [("tile_1", 12), ("tile_2", 7)]
    np.testing.assert_array_equal(
        scene.tiles[1].read(0, Window(1, 2, 3, 4))[0], other["hsi"][:, 1:4, 2:6].astype(np.float32)
    )
    with pytest.raises(SceneError, match="tile 2 has the modalities sar, the first has hsi"):
        Scene.from_arrays([{"hsi": HSI}, {"sar": SAR}])
    with pytest.raises(SceneError, match="1 arrays of train labels and 2 tiles"):
        Scene.from_arrays([{"hsi": HSI}, other], [TRAIN])


def test_arrays_with_other_coordinates_are_resampled():
    xarray = pytest.importorskip("xarray")
    fine = xarray.DataArray(
        np.repeat(np.repeat(SAR, 2, axis=1), 2, axis=2),
        dims=("band", "y", "x"),
        coords={"y": 119.75 - 0.5 * np.arange(24), "x": 0.25 + 0.5 * np.arange(34)},
    )
    place = Affine(1, 0, 0, 0, -1, 120)
    scene = Scene.from_arrays({"hsi": HSI, "sar": fine}, transform=place)
    assert scene.tiles[0].transform == place
    assert any("sar" in note and "resampled" in note for note in scene.notes)
    values, _ = scene.tiles[0].read(1, Window(0, 0, 12, 17))
    np.testing.assert_allclose(values, SAR, rtol=1e-5)


def test_a_dataset_is_a_mapping_of_arrays():
    xarray = pytest.importorskip("xarray")
    dataset = xarray.Dataset(
        {"hsi": (("band", "y", "x"), HSI), "dsm": (("y", "x"), SAR[0])},
        coords={"y": 119.5 - np.arange(12), "x": 0.5 + np.arange(17)},
    )
    scene = Scene.from_arrays(dataset, TRAIN)
    assert [(m.name, m.role) for m in scene.modalities] == [
        ("hsi", "spectral"),
        ("dsm", "auxiliary"),
    ]
    assert scene.tiles[0].transform == Affine(1, 0, 0, 0, -1, 120)
    # as xarray itself opens what rioxarray has written
    crs = xarray.DataArray(0, attrs={"crs_wkt": CRS.from_epsg(32632).to_wkt()})
    placed = Scene.from_arrays(dataset.assign(spatial_ref=crs), TRAIN)
    assert [m.name for m in placed.modalities] == ["hsi", "dsm"]
    assert placed.tiles[0].crs == CRS.from_epsg(32632)


def test_a_transform_of_six_numbers():
    scene = Scene.from_arrays({"hsi": HSI}, TRAIN, transform=(2, 0, 7, 0, -2, 9))
    assert scene.tiles[0].transform == Affine(2, 0, 7, 0, -2, 9)


def test_the_signature_follows_values_and_descriptions():
    def signature(part, images=None, labels=TRAIN, **more):
        return Scene.from_arrays(images or {"hsi": HSI}, labels, **more).signature(part)

    changed, relabelled = HSI.copy(), TRAIN.copy()
    changed[4, 11, 16] += 1e-9
    relabelled[11, 16] = 2
    first = signature("images")
    assert signature("images", {"hsi": HSI.copy()}) == first
    assert signature("images", labels=relabelled) == first
    assert signature("images", {"hsi": changed}) != first
    assert signature("images", nodata=3.0) != first
    assert signature("images", crs="EPSG:32632") != first
    labelled = signature("labels")
    assert signature("labels", {"hsi": changed}) == labelled
    assert signature("labels", labels=relabelled) != labelled
    assert signature("labels", classes={1: "a", 2: "b"}) == labelled
    assert signature("labels", classes={1: "a", 2: "b", 3: "c"}) != labelled


@pytest.mark.parametrize(
    ("images", "changes", "message"),
    [
        ({}, {}, "there is no array"),
        ({"hsi": HSI, "sar": SAR[:, :, 1:]}, {}, "sar is 16 columns wide, hsi is 17"),
        ({"hsi": HSI}, {"labels": TRAIN.T}, "train labels is 17 × 12"),
        (
            {"hsi": HSI.transpose(1, 2, 0)},
            {"labels": TRAIN},
            "12 × 17 .* of train labels: its last axis seems to be that of the bands",
        ),
        ({"hsi": HSI}, {"labels": TRAIN * 1.5}, "train labels holds the value 1.5"),
        ({"hsi": HSI}, {"labels": -TRAIN}, "hold the code -2"),
        ({"hsi": HSI}, {"labels": np.minimum(TRAIN, 1)}, "name 1 class"),
        ({"hsi": HSI}, {"labels": TRAIN, "classes": {1: "a", 3: "b"}}, "names no class 2"),
        ({"hsi": HSI}, {"labels": TRAIN, "classes": {1: "a", 2: "a"}}, "more than one class 'a'"),
        ({"hsi": HSI}, {"labels": TRAIN, "colors": {1: "red"}}, "the colour 'red'"),
        ({"hsi": HSI}, {"labels": TRAIN, "test": TRAIN}, "labelled for training and for testing"),
        ({"hsi": HSI}, {"test": TEST}, "test labels go with training labels"),
        ({"hsi": HSI}, {"roles": {"hs": "spectral"}}, "roles names 'hs', and the arrays are hsi"),
        ({"hsi": HSI}, {"roles": {"hsi": "main"}}, "must be spectral or auxiliary"),
        ({"hsi": HSI}, {"align_to": "sar"}, "align_to is 'sar'"),
        ({"hsi": HSI, "sar": SAR}, {"units": {"sar": "dB"}}, "the units of sar are 'dB'"),
        ({"hsi": HSI}, {"nodata": {"HSI": -1}}, "nodata names 'HSI', and the arrays are hsi"),
        ({"hsi": HSI}, {"nodata": {"hsi": "none"}}, "nodata of hsi is 'none'"),
        ({"hsi": HSI}, {"transform": (1, 0, 0)}, "six numbers"),
        ({"hsi": HSI}, {"labels": TRAIN, "classes": ["a", "b"]}, "classes is"),
        ([HSI, HSI], {"labels": TRAIN}, "hold ndarray where names and arrays belong"),
        (HSI, {"labels": TRAIN}, "hold ndarray where names and arrays belong"),
        ({"hsi": HSI}, {"labels": TRAIN, "classes": {"Forest": 1}}, "give the codes first"),
        ({"hsi": HSI}, {"labels": TRAIN, "colors": {1.5: "#ffffff"}}, "colors has an entry"),
        ({"hsi": HSI}, {"labels": TRAIN, "split": {"random": 5}}, "split is"),
    ],
)
def test_what_does_not_fit_is_refused(images, changes, message):
    with pytest.raises(SceneError, match=message):
        Scene.from_arrays(images, **changes)


def test_a_real_scene_as_data_arrays_is_the_scene_of_its_files(shared_data):
    rioxarray = pytest.importorskip("rioxarray")
    folder = shared_data / "spain_s1s2"
    files = Scene.open(folder)
    opened = {name: rioxarray.open_rasterio(folder / f"{name}.tif") for name in ("s2", "s1")}
    train, test = (rioxarray.open_rasterio(folder / f"{n}.tif")[0] for n in ("train", "test"))
    scene = Scene.from_arrays(opened, train, test)
    assert [m.role for m in scene.modalities] == [m.role for m in files.modalities]
    assert scene.tiles[0].grid.same(files.tiles[0].grid, 1e-6)
    for part in ("train", "test"):
        np.testing.assert_array_equal(scene.positions(part), files.positions(part))
    for modality in range(2):
        for ours, theirs in zip(
            scene.tiles[0].read(modality, Window(100, 50, 200, 300)),
            files.tiles[0].read(modality, Window(100, 50, 200, 300)),
            strict=True,
        ):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("split", "said"),
    [
        (SplitSpec("Random"), "kind of split is 'Random'"),
        (SplitSpec("blocks", size=0), "size of the split is 0"),
        (SplitSpec("random", seed=-1), "seed of the split is -1"),
        (SplitSpec("random", per_class=2.5), "per_class of the split is 2.5"),
        (SplitSpec("blocks", train_share=1.0), "train_share of the split is 1.0"),
    ],
)
def test_a_split_that_cannot_be_is_refused(split, said):
    with pytest.raises(SceneError, match=said):
        Scene.from_arrays({"hsi": HSI}, np.ones(HSI.shape[1:], int), split=split)
