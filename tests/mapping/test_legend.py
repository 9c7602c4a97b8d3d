"""The legend in every form, with names that would break markup."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
import rasterio.shutil

from bdgf.mapping.legend import Legend

STRANGE = "<script>alert(1)&\"'</script>"
LEGEND = Legend.of((2, 7, 9), (STRANGE, "Wäter\x01 ]]>", "Soil"), ("#1f6b2c", "#3B7DD8", "#d9b382"))


def test_style_of_qgis():
    style = LEGEND.qgis_style()
    assert b"<script>" not in style
    entries = ElementTree.fromstring(style).findall("pipe/rasterrenderer/colorPalette/paletteEntry")
    assert [entry.get("value") for entry in entries] == ["2", "7", "9"]
    assert [entry.get("label") for entry in entries] == [STRANGE, "Wäter ]]>", "Soil"]
    assert [entry.get("color") for entry in entries] == ["#1f6b2c", "#3b7dd8", "#d9b382"]
    assert ElementTree.fromstring(style).tag == "qgis"


def test_gdal_reads_strange_names_from_the_table(tmp_path):
    path = tmp_path / "map.tif"
    with rasterio.open(
        path, "w", driver="GTiff", height=2, width=2, count=1, dtype="uint8", crs="EPSG:32632"
    ) as raster:
        raster.write(np.full((2, 2), 7, np.uint8), 1)
    (tmp_path / "map.tif.aux.xml").write_bytes(LEGEND.attribute_table())
    rasterio.shutil.copy(path, tmp_path / "copy.vrt", driver="VRT")
    root = ElementTree.parse(tmp_path / "copy.vrt")
    rows = [[f.text for f in row] for row in root.findall(".//GDALRasterAttributeTable/Row")]
    assert rows[0] == ["2", STRANGE, "31", "107", "44", "255"]
    assert rows[1][1] == "Wäter ]]>"
    names = [category.text or "" for category in root.findall(".//CategoryNames/Category")]
    assert names[2] == STRANGE
    assert len(names) == 10


def test_classes_of_stac():
    twice = Legend.of((1, 2, 3), ("Wet land", "wet<land", "水"), ("#000000", "#abcdef", "#ffffff"))
    found = twice.stac_classes()
    assert [c["value"] for c in found] == [0, 1, 2, 3]
    assert [c["title"] for c in found[1:]] == ["Wet land", "wet<land", "水"]
    assert [c["name"] for c in found] == ["no_data", "wet_land", "wet_land_2", "class_3"]
    for one in found[1:]:
        assert re.fullmatch(r"[0-9A-Za-z_-]+", one["name"])
        assert re.fullmatch(r"[0-9A-F]{6}", one["color_hint"])
    assert found[0]["nodata"] is True


@pytest.mark.parametrize(
    ("codes", "names", "colors"),
    [((0, 1), ("a", "b"), ("#000000",) * 2), ((1, 2), ("a",), ("#000000",) * 2), ((), (), ())],
)
def test_what_no_map_can_hold_is_refused(codes, names, colors):
    with pytest.raises(ValueError, match=r"65535|one of each"):
        Legend.of(codes, names, colors)
