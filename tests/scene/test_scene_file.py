"""The scene file: every field is checked, and messages name the way out."""

from __future__ import annotations

import pytest

from bdgf.errors import SceneError
from bdgf.scene.description import LabelFile
from bdgf.scene.scene_file import load_scene_file

MINIMAL = "name: a\nmodalities:\n  hsi: {path: hsi.tif, role: spectral}\n"


def test_minimal_scene_is_one_tile_named_after_the_scene(load, tmp_path):
    spec = load(MINIMAL)
    assert (spec.name, spec.tiles, spec.labels) == ("a", ("a",), None)
    assert spec.modalities[0].units == "auto"
    assert spec.files() == [tmp_path / "hsi.tif"]


def test_folder_stands_for_its_scene_file(load, tmp_path):
    load(MINIMAL)
    assert load_scene_file(tmp_path).name == "a"


def test_every_field_arrives(load):
    spec = load(
        "name: a\nmodalities:\n"
        "  hsi: {path: hsi.tif, role: spectral, nodata: -9999, units: none}\n"
        "labels:\n  train: t.tif\n  test: u.tif\n  key: k\n  test_key: l\n"
        "  classes: {2: forest, 1: water}\n  colors: {1: '#0000ff'}\n"
    )
    modality = spec.modalities[0]
    assert (modality.nodata, modality.units, modality.role) == (-9999.0, "none", "spectral")
    files = dict(spec.labels.files())
    assert files == {"train": LabelFile("t.tif", key="k"), "test": LabelFile("u.tif", key="l")}
    assert list(spec.labels.classes) == [1, 2]
    assert spec.labels.colors == {1: "#0000ff"}


@pytest.mark.parametrize(
    ("text", "value"), [("1e20", 1e20), ("-3.4e38", -3.4e38), ("'-9999'", -9999.0)]
)
def test_nodata_that_yaml_takes_for_a_text(load, text, value):
    spec = load(MINIMAL.replace("}", f", nodata: {text}, key: 2}}"))
    assert spec.modalities[0].nodata == value
    assert spec.modalities[0].key == "2"


def test_tiles_of_digits_are_named_as_they_are_written(tmp_path):
    path = tmp_path / "scene.yaml"
    for name in ("001", "10_20", "7", "0412-15"):
        (tmp_path / f"{name}.tif").touch()
    tiled = MINIMAL.replace("hsi.tif", "'{tile}.tif'")
    path.write_text(f"{tiled}tiles: [001, 10_20, 7, 0412-15]\n")
    assert load_scene_file(path).tiles == ("001", "10_20", "7", "0412-15")


def test_tiles_from_a_pattern_are_those_that_exist(tmp_path):
    for name in ("plot_2", "plot_1", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}_hsi.tif").touch()
    path = tmp_path / "scene.yaml"
    path.write_text(
        "name: a\ntiles: plot_*\n"
        "modalities: {hsi: {path: '{tile}/{tile}_hsi.tif', role: spectral}}\n"
    )
    assert load_scene_file(path).tiles == ("plot_1", "plot_2")
    # brackets of a path are no pattern
    (tmp_path / "plot_1").rename(tmp_path / "year[1]")
    path.write_text(
        "name: a\ntiles: plot_*\n"
        "modalities: {hsi: {path: 'year[1]/{tile}_hsi.tif', role: spectral}}\n"
    )
    assert load_scene_file(path).tiles == ("plot_1",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modalities: {hsi: {path: hsi.tif, role: spectral}}", "has no name"),
        ("name: a\n", "modalities of scene.yaml is empty"),
        ("name: a\nmodalities: {}\n", "at least one modality"),
        ("- a\n- b\n", "must be a mapping"),
        (MINIMAL.replace("name: a", "name: 2013"), "must be a text: quote it"),
        (MINIMAL + "modality: {}\n", "did you mean modalities"),
        (MINIMAL.replace("role", "rolle"), "did you mean role"),
        (MINIMAL.replace("spectral", "optical"), "must be one of spectral, auxiliary"),
        (MINIMAL.replace(", role: spectral", ""), "role of modality hsi of scene.yaml is empty"),
        (MINIMAL.replace("}", ", nodata: none}"), "nodata of modality hsi"),
        (MINIMAL.replace("}", ", units: dB}"), "one of auto, linear, db, none"),
        (MINIMAL + "  hsi: {path: hsi.tif, role: spectral}\n", "'hsi' a second time"),
        (MINIMAL.replace("hsi.tif", "gone.tif"), "gone.tif does not exist"),
        (MINIMAL.replace("hsi.tif", "'{tile}.tif'"), "no tiles are listed"),
        (MINIMAL.replace("hsi.tif", "'{name}.tif'"), r"has \{name\}"),
        (MINIMAL + "tiles: [a, b]\n", "same for all 2 tiles"),
        (MINIMAL + "tiles: [a, a]\n", "lists 'a' twice"),
        (MINIMAL + "tiles: 'x*'\n", r"has no \{tile\}"),
        (MINIMAL + "tiles: 'x/*'\n", "must be a list of names or a pattern"),
        (MINIMAL + "tiles: [a/b]\n", "has no slash"),
        (MINIMAL + "tiles: []\n", "must be a list of names or a pattern"),
        (MINIMAL.replace("hsi.tif", "[]"), "empty list"),
        (MINIMAL.replace("hsi.tif", "[hsi.tif, hsi.tif]"), "lists 'hsi.tif' twice"),
        (MINIMAL.replace("hsi.tif", "[hsi.tif, 3]"), "a list of paths"),
        (MINIMAL.replace("}", ", axes: HWX}"), "H rows, W columns, C bands"),
        (MINIMAL.replace("}", ", bands: [0]}"), "band numbers from 1 on"),
        (MINIMAL.replace("}", ", bands: [1, 1]}"), "each once"),
        (MINIMAL.replace("}", ", bands: [1-3, 3]}"), "each once"),
        (MINIMAL.replace("}", ", bands: [1, 5-3]}"), r"or \[1-107, 114-151\]"),
        (MINIMAL.replace("}", ", bands: [1, 2-99999]}"), "band numbers from 1 on"),
        (MINIMAL.replace("}", ", bands: [1, true]}"), "band numbers from 1 on"),
        (MINIMAL + "align: sar\n", "names the modality whose grid"),
    ],
)
def test_bad_field_is_named(load, text, message):
    with pytest.raises(SceneError, match=message):
        load(text)


def test_missing_scene_file(tmp_path):
    with pytest.raises(SceneError, match=r"none\.yaml does not exist"):
        load_scene_file(tmp_path / "none.yaml")


def test_pattern_without_a_match(tmp_path):
    path = tmp_path / "scene.yaml"
    path.write_text(
        "name: a\ntiles: 'x*'\nmodalities: {hsi: {path: '{tile}.tif', role: spectral}}\n"
    )
    with pytest.raises(SceneError, match=r"no file fits x\*\.tif"):
        load_scene_file(path)


def test_files_of_every_kind_arrive(load, tmp_path) -> None:
    for name in ("b2.tif", "b3.tif", "map.mat", "crowns.gpkg"):
        (tmp_path / name).touch()
    spec = load(
        "name: a\nalign: dsm\nmodalities:\n"
        "  s2: {path: [b2.tif, b3.tif], role: spectral, axes: chw, bands: [7, 2-4, 1 - 1]}\n"
        "  dsm: {path: 'https://host/dsm.tif?token=1', role: auxiliary}\n"
        "labels:\n  column: taxon\n  ignore: [-1, 255]\n"
        "  train: {path: crowns.gpkg, column: class, layer: crowns}\n"
        "  test: {path: map.mat, key: test_index, index_base: 1}\n"
        "  map: {path: map.mat, key: gt, axes: WH}\n"
        "  classes: {1: water, 2: forest}\n"
    )
    s2 = spec.modalities[0]
    assert (s2.paths, s2.axes, s2.bands) == (("b2.tif", "b3.tif"), "CHW", (7, 2, 3, 4, 1))
    assert (spec.reference, spec.align) == (1, "dsm")
    assert spec.labels.ignore == (-1, 255)
    assert spec.labels.train == LabelFile("crowns.gpkg", column="class", layer="crowns")
    test = LabelFile("map.mat", key="test_index", column="taxon", index_base=1)
    assert spec.labels.test == test
    assert spec.labels.map == LabelFile("map.mat", key="gt", axes="WH", column="taxon")
    assert [path.name for path in spec.image_files()] == ["b2.tif", "b3.tif", "dsm.tif"]
    assert [path.name for path in spec.label_files()] == ["crowns.gpkg", "map.mat"]


def test_only_the_reference_has_to_name_the_tile(tmp_path) -> None:
    for name in ("a.tif", "b.tif", "chm.tif", "crowns.gpkg"):
        (tmp_path / name).touch()
    path = tmp_path / "scene.yaml"
    path.write_text(
        "name: a\ntiles: [a, b]\nmodalities:\n  hsi: {path: '{tile}.tif', role: spectral}\n"
        "  chm: {path: chm.tif, role: auxiliary}\n"
        "labels: {train: crowns.gpkg, classes: {1: water, 2: forest}}\n"
    )
    spec = load_scene_file(path)
    assert [file.name for file in spec.files()] == ["a.tif", "chm.tif", "b.tif", "crowns.gpkg"]


def test_a_name_that_no_system_takes_does_not_exist(load):
    with pytest.raises(SceneError, match="does not exist"):
        load(MINIMAL.replace("hsi.tif", "a" * 5000))
