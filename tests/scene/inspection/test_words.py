"""Numbers and tables as people read them."""

from __future__ import annotations

import pytest
import yaml
from affine import Affine
from rasterio.crs import CRS

from bdgf.scene.grid import Grid
from bdgf.scene.inspection import words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (12345.0, "12345"), (-9999.0, "-9999"), (0.123456, "0.1235"), (1e20, "1e+20"),
        (float("nan"), "none"), (1234567.8, "1.235e+06"), (65535, "65535"),
    ],
)  # fmt: skip
def test_numbers(value, text):
    assert words.number(value) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0 %"), (1e-5, "under 0.1 %"), (0.5, "50.0 %"), (0.9999, "over 99.9 %"), (1, "100 %"),
        (1 - 1e-12, "100 %"), (-1e-12, "0 %"), (1.2, "100 %"),
    ],
)  # fmt: skip
def test_shares(share, text):
    assert words.percent(share) == text


@pytest.mark.parametrize("value", [0.0, -9999.0, 1e20, -3.4028234663852886e38, 0.1, 1e-20, 1e14])
def test_exact_numbers_are_read_back(value):
    assert yaml.safe_load(words.exact(value)) == value


def test_lists():
    assert words.listed("abc") == "a, b, c"
    assert words.listed("abcdefghij", 4) == "a, b, ..., j"
    assert words.plural(1, "band") == "1 band"
    assert words.plural(2000, "class", "classes") == "2,000 classes"


def test_tables():
    rows = words.columns([("a", "1", "x"), ("bcd", "100", "")], numbers=(1,))
    assert rows == ["  a      1  x", "  bcd  100"]


def test_counts_fill_lines_evenly():
    lines = words.codes({code: 10**code for code in range(1, 9)}, {2: "Roof"})
    assert all(len(line) <= words.WIDTH for line in lines)
    assert "2:         100 Roof" in lines[0]
    assert words.codes({3: 123_456}, {}, about=True) == ["             3: 120,000"]


def test_long_lines_are_wrapped():
    lines = words.line("note", "word " * 50).splitlines()
    assert len(lines) > 1
    assert all(len(line) <= words.WIDTH for line in lines)
    assert words.item("word " * 50).splitlines()[1].startswith("    word")


def test_places():
    feet = Grid(10, 20, Affine(10, 0, 0, 0, -10, 0), CRS.from_epsg(2263))
    assert words.pixel(feet) == "pixel 10 × 10 US survey foot, about 3.05 × 3.05 m"
    assert words.pixel(Grid(10, 20)) == "no pixel size"
    assert words.extent(Grid(10, 20)) == "not known"
    assert words.system(CRS.from_epsg(32632)) == "EPSG:32632 (WGS 84 / UTM zone 32N)"
    named = CRS.from_proj4("+proj=laea +lat_0=12 +lon_0=3 +units=m")
    assert len(words.system(named)) <= 60
    assert words.system(None) == "no coordinate reference system"
