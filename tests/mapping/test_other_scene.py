"""A run maps scenes that it has not seen."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml

from bdgf.errors import RunFolderError, SceneError
from bdgf.estimator import BDGFClassifier
from bdgf.mapping.other_scene import map_other
from bdgf.mapping.polygons import find_maps
from bdgf.mapping.pretrained import PretrainedMapper
from bdgf.pipeline import Pipeline
from bdgf.progress import Silent
from bdgf.scene.scene import Scene
from bdgf.scene.synthetic.generate import SyntheticSpec, make_scene


def _unlabelled(scene: Path, folder: Path) -> Path:
    """Copy a scene without its labels."""
    shutil.copytree(scene.parent, folder)
    path = folder / scene.name
    values = yaml.safe_load(path.read_text())
    del values["labels"], values["split"]
    values["name"] = "other"
    # in another order than the run's: names tell them apart
    values["modalities"] = dict(reversed(values["modalities"].items()))
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def _rewrite(path: Path, change) -> None:
    with rasterio.open(path, "r+") as raster:
        values = raster.read()
        known = values != raster.nodata
        raster.write(np.where(known, change(values), values))


def test_the_same_rasters_without_labels_get_the_same_map(
    trained_run: Path, tiny_scene: Path, tmp_path: Path, listener
) -> None:
    path = _unlabelled(tiny_scene, tmp_path / "scene")
    before = {p: p.stat().st_mtime_ns for p in trained_run.rglob("*")}
    run = PretrainedMapper.from_run(trained_run)
    assert map_other(run, trained_run, Scene.open(path), tmp_path / "out", listener) == []
    for name in ("map.tif", "confidence.tif", "map.qml", "map.tif.aux.xml"):
        assert (tmp_path / "out" / name).read_bytes() == (trained_run / name).read_bytes(), name
    assert {p: p.stat().st_mtime_ns for p in trained_run.rglob("*")} == before
    record = json.loads((tmp_path / "out" / "mapped.json").read_text())
    assert (record["scene"], record["run"]) == ("other", str(trained_run))
    assert json.loads((tmp_path / "out" / "map.json").read_text())["id"] == "other"
    assert not any("warning" in line for line in listener.lines)
    # again into the same folder, but never among other files
    map_other(run, trained_run, Scene.open(path), tmp_path / "out", listener)
    with pytest.raises(RunFolderError, match="holds files but no mapped"):
        map_other(run, trained_run, Scene.open(path), path.parent, listener)
    with pytest.raises(RunFolderError, match="holds files but no mapped"):
        map_other(run, trained_run, Scene.open(path), trained_run, listener)


def test_a_scene_of_which_no_pixel_can_be_mapped_is_refused(
    trained_run: Path, tiny_scene: Path, tmp_path: Path, listener
) -> None:
    path = _unlabelled(tiny_scene, tmp_path / "scene")
    with rasterio.open(path.parent / "hsi.tif", "r+") as raster:
        raster.write(np.full(raster.shape, raster.nodata, raster.dtypes[0]), 3)
    run = PretrainedMapper.from_run(trained_run)
    with pytest.raises(SceneError, match="no pixel of other can be mapped: the run uses band 3"):
        map_other(run, trained_run, Scene.open(path), tmp_path / "out", listener)
    assert not (tmp_path / "out").exists()


def test_one_process_at_a_time_writes_to_a_folder(trained_run: Path, tiny_scene: Path, tmp_path):
    run, scene = PretrainedMapper.from_run(trained_run), Scene.open(tiny_scene)
    refused = []

    class Second(Silent):
        def track(self, name, done, total):
            with pytest.raises(RunFolderError, match="in use by another bdgf process") as error:
                map_other(run, trained_run, scene, tmp_path / "out", Silent())
            refused.append(error)

    map_other(run, trained_run, scene, tmp_path / "out", Second())
    assert refused
    assert not (tmp_path / "out" / ".lock").exists()


def test_what_a_killed_process_left_goes(trained_run: Path, tiny_scene: Path, tmp_path: Path):
    run, scene = PretrainedMapper.from_run(trained_run), Scene.open(tiny_scene)
    out = tmp_path / "out"
    out.mkdir()
    # killed while the record was written, and while the map was
    for name in (
        ".lock",
        ".mapped.bdgf-0123abcd.json",
        ".map.bdgf-0123abcd.tif",
        ".map.bdgf-0123abcd.plain.tif",
    ):
        (out / name).write_text("half")
    map_other(run, trained_run, scene, out, Silent())
    assert (out / "map.tif").is_file()
    assert not [path.name for path in out.iterdir() if path.name.startswith(".")]


def test_another_place_in_several_tiles(trained_run: Path, tmp_path: Path, listener) -> None:
    spec = SyntheticSpec(
        height=24, width=20, bands=8, classes=4, train_per_class=12, tiles=2, seed=9
    )
    scene = Scene.open(make_scene(tmp_path / "scene", spec))
    run = PretrainedMapper.from_run(trained_run)
    map_other(run, trained_run, scene, tmp_path / "out", listener)
    for tile in scene.tiles:
        with rasterio.open(tmp_path / "out" / "maps" / f"{tile.name}.tif") as raster:
            assert raster.shape == (tile.height, tile.width)
            assert raster.transform == tile.transform
            assert set(np.unique(raster.read(1))) <= {0, *run.classes.codes}


def test_values_that_are_far_are_told(
    trained_run: Path, tiny_scene: Path, tmp_path: Path, listener
) -> None:
    path = _unlabelled(tiny_scene, tmp_path / "scene")
    spread = PretrainedMapper.from_run(trained_run).preparation.fitted[0].spread

    def shifted(values):
        values[2] += np.round(5 * spread[2]).astype(values.dtype)
        return values

    _rewrite(path.parent / "hsi.tif", shifted)
    run = PretrainedMapper.from_run(trained_run)
    (shift,) = map_other(run, trained_run, Scene.open(path), tmp_path / "out", listener)
    assert (shift.modality, shift.bands) == ("hsi", (3,))
    told = next(line for line in listener.lines if "warning" in line)
    assert "1 of 8 bands of modality hsi" in told
    assert "band 3 by +5.0 standard deviations" in told
    assert json.loads((tmp_path / "out" / "mapped.json").read_text())["warnings"] == [
        shift.describe()
    ]


@pytest.mark.parametrize("change", ["bands", "name", "less"])
def test_other_modalities_or_bands_are_refused(
    trained_run: Path, tiny_scene: Path, tmp_path: Path, listener, change: str
) -> None:
    path = _unlabelled(tiny_scene, tmp_path / "scene")
    values = yaml.safe_load(path.read_text())
    if change == "bands":
        values["modalities"]["hsi"]["bands"] = [1, 2, 3]
    elif change == "name":
        values["modalities"]["lidar"] = values["modalities"].pop("dsm")
    else:
        del values["modalities"]["sar"]
    path.write_text(yaml.safe_dump(values))
    run = PretrainedMapper.from_run(trained_run)
    with pytest.raises(RunFolderError, match=r"run was made for hsi \(spectral, 8 bands\)"):
        map_other(run, trained_run, Scene.open(path), tmp_path / "out", listener)
    assert not (tmp_path / "out").exists()


def test_maps_of_two_scenes_are_no_map(
    trained_run: Path, tiny_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, out = PretrainedMapper.from_run(trained_run), tmp_path / "out"
    map_other(run, trained_run, Scene.open(tiny_scene), out, Silent())
    assert json.loads((out / "mapped.json").read_text())["finished"]
    assert find_maps(out)

    def full(*_: object, **__: object) -> None:
        raise RunFolderError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("bdgf.mapping.other_scene.write_maps", full)
        with pytest.raises(RunFolderError, match="No space"):
            map_other(run, trained_run, Scene.open(tiny_scene), out, Silent())
    with pytest.raises(RunFolderError, match="holds maps that are not finished"):
        find_maps(out)
    map_other(run, trained_run, Scene.open(tiny_scene), out, Silent())
    assert find_maps(out)


def test_it_is_mapped_at_the_run_s_pixel_size(
    trained_run: Path, tiny_scene: Path, tmp_path: Path, listener
) -> None:
    """Whatever sensor its scene file names first; another size is told."""
    path = _unlabelled(tiny_scene, tmp_path / "scene")
    with rasterio.open(path.parent / "sar.tif") as raster:
        values, profile = raster.read()[:, ::2, ::2], raster.profile
    place = profile["transform"] @ profile["transform"].scale(2)
    _, profile["height"], profile["width"] = values.shape
    with rasterio.open(path.parent / "sar.tif", "w", **{**profile, "transform": place}) as raster:
        raster.write(values)
    values = yaml.safe_load(path.read_text())
    names = list(values["modalities"])
    names.sort(key=lambda name: name != "sar")
    values["modalities"] = {name: values["modalities"][name] for name in names}
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    run = PretrainedMapper.from_run(trained_run)
    map_other(run, trained_run, Scene.open(path), tmp_path / "out", listener)
    with (
        rasterio.open(tmp_path / "out" / "map.tif") as found,
        rasterio.open(trained_run / "map.tif") as own,
    ):
        assert (found.transform, found.shape) == (own.transform, own.shape)
    assert not any("pixels of this scene" in line for line in listener.lines)
    values["align"] = "sar"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    map_other(run, trained_run, Scene.open(path), tmp_path / "coarse", listener)
    record = json.loads((tmp_path / "coarse" / "mapped.json").read_text())
    (told,) = [line for line in record["warnings"] if "pixels of this scene" in line]
    assert any(told in line for line in listener.lines)


def test_test_labels_alone_are_enough_to_map_and_score(
    trained_run: Path, tiny_scene: Path, tmp_path: Path, listener
) -> None:
    whole = Scene.open(tiny_scene)
    path = _unlabelled(tiny_scene, tmp_path / "scene")
    values = yaml.safe_load(path.read_text())
    given = yaml.safe_load(tiny_scene.read_text())["labels"]
    values["labels"] = {"test": given.get("test", given.get("all")), "classes": given["classes"]}
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    scene = Scene.open(path)
    assert len(scene.positions("train")) == 0
    assert len(scene.positions("test")) > 0
    map_other(
        PretrainedMapper.from_run(trained_run), trained_run, scene, tmp_path / "out", listener
    )
    found = BDGFClassifier.from_pretrained(trained_run)
    assert found.score(path) > 1 / len(whole.class_codes)
    with pytest.raises(SceneError, match="labels for testing only"):
        Pipeline(path, tmp_path / "run", found.settings, Silent()).run()
