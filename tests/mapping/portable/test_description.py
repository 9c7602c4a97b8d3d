from __future__ import annotations

import json
import shutil
from pathlib import Path

import rasterio
import yaml

from bdgf.config import PreparationSettings
from bdgf.mapping.legend import Legend
from bdgf.mapping.portable.description import describe
from bdgf.scene.preparation import Preparation
from bdgf.scene.scene import Scene


def test_bands_units_nodata_and_classes_are_told(tiny_scene: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_scene.parent, tmp_path / "scene")
    path = tmp_path / "scene" / tiny_scene.name
    with rasterio.open(path.parent / "hsi.tif", "r+") as raster:
        values = raster.read()
        values[3] = 7.0
        raster.write(values)
        own = raster.nodata
    content = yaml.safe_load(path.read_text())
    content["modalities"] = {
        "sar": {"path": "sar.tif", "role": "auxiliary", "units": "linear", "nodata": -1},
        "hsi": {"path": "hsi.tif", "role": "spectral", "bands": [1, 3, 4, 5]},
    }
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    scene = Scene.open(path)
    preparation = Preparation.fit(scene, PreparationSettings(), 0)
    legend = Legend.of((2, 7), ('<script>&"', "Wäter"), ("#000000", "#ffffff"))
    about = json.loads(json.dumps(describe(preparation, scene, legend, 56, 11), allow_nan=False))
    sar, hsi = about["modalities"]
    assert about["features"] is None, "nothing guides the branches"
    number = scene.tiles[0].sources[0].bands
    assert (sar["name"], sar["first_band"], sar["bands"]) == ("sar", 0, number)
    assert (sar["units"], sar["nodata"]) == ("linear", -1.0)
    assert sar["brought_to_decibels"] == list(range(1, number + 1))
    assert (hsi["first_band"], hsi["bands"], hsi["read"]) == (number, 4, [1, 3, 4, 5])
    assert hsi["used_bands"] == [1, 2, 4], "the constant band is not used"
    assert hsi["nodata"] == own
    assert hsi["masked"]
    assert about["input"]["shape"][0] == number + 4
    assert about["classes"][0] == {"code": 2, "name": '<script>&"', "color": "#000000"}
    assert (about["halo"], about["stride"], about["smallest_side"]) == (56, 4, 11)
    assert about["crs"] == "EPSG:32632"
