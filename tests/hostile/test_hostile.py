"""Files of strangers: nothing of them runs, reaches out, or leaves its place."""

from __future__ import annotations

import ast
import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import rasterio.shutil
import shapely
import yaml

import bdgf
from bdgf.bench.tables import _escaped, _no_formula
from bdgf.cli import main
from bdgf.console import harmless
from bdgf.errors import BdgfError, SceneError
from bdgf.evaluation.table import markdown_cell
from bdgf.scene.confinement import VARIABLE
from bdgf.scene.formats.opening import open_source
from bdgf.scene.scene_file import load_scene_file
from bdgf.scene.windows import Window

SOURCES = sorted(Path(bdgf.__file__).parent.rglob("*.py"))

FORBIDDEN = {
    "pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "torch.load",
    "torch.jit.load", "torch.package", "yaml.unsafe_load", "yaml.full_load", "os.system",
    "os.popen", "eval", "exec", "compile",
}  # fmt: skip
"""What runs what it reads; the estimator's users may pickle it, and do so themselves."""


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.name)
def test_nothing_that_is_read_can_run(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules.append(node.module or "")
    imported = {module.split(".")[0] for module in modules}
    assert not imported & FORBIDDEN
    for name, call in calls(tree):
        assert name not in FORBIDDEN, f"{path.name}:{call.lineno} calls {name}"
        words = {word.arg: word.value for word in call.keywords}
        line = f"{path.name}:{call.lineno}"
        if name in ("np.load", "numpy.load"):
            assert ast.unparse(words["allow_pickle"]) == "False", line
        if name == "yaml.load":
            assert ast.unparse(words["Loader"]) == "_UniqueKeyLoader", line
        if name.startswith("subprocess."):
            assert "shell" not in words, line
            assert not isinstance(call.args[0], ast.Constant | ast.JoinedStr), line


def test_the_check_would_find_them() -> None:
    found = [name for name, _ in calls(ast.parse("import torch\ntorch.load('x')\neval('1')"))]
    assert found == ["torch.load", "eval"]


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system ['touch ran']",
        "!!python/name:os.system",
        "!!python/tuple [1]",
    ],
)
def test_a_scene_file_with_a_tag_of_code_is_refused(tag: str, tmp_path: Path) -> None:
    (tmp_path / "scene.yaml").write_text(f"name: {tag}\n")
    with pytest.raises(SceneError, match="not valid YAML"):
        load_scene_file(tmp_path / "scene.yaml")
    assert not (tmp_path / "ran").exists()


def test_arrays_of_objects_are_refused(tmp_path: Path) -> None:
    for name in ("a.npy", "a.npz"):
        with (tmp_path / name).open("wb") as file:
            (np.save if name == "a.npy" else np.savez)(file, np.array([{"a": 1}] * 9, dtype=object))
        with pytest.raises(SceneError):
            open_source(tmp_path / name)


@pytest.fixture
def outside(tiny_scene: Path, tmp_path: Path) -> Path:
    """Scene file of which one raster lies in another folder."""
    shutil.copytree(tiny_scene.parent, tmp_path / "own")
    (tmp_path / "other").mkdir()
    shutil.move(tmp_path / "own" / "dsm.tif", tmp_path / "other" / "dsm.tif")
    path = tmp_path / "own" / "scene.yaml"
    values = yaml.safe_load(path.read_text())
    values["modalities"]["dsm"]["path"] = "../other/dsm.tif"
    path.write_text(yaml.safe_dump(values))
    return path


def test_scene_files_stay_in_their_folders_where_that_is_asked_for(
    outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_scene_file(outside)
    monkeypatch.setenv(VARIABLE, "")
    with pytest.raises(SceneError, match="lies outside of its folder"):
        load_scene_file(outside)
    monkeypatch.setenv(VARIABLE, str(outside.parents[1] / "other"))
    load_scene_file(outside)
    # a link is followed before it is judged
    monkeypatch.setenv(VARIABLE, "")
    (outside.parent / "dsm.tif").symlink_to(outside.parents[1] / "other" / "dsm.tif")
    outside.write_text(outside.read_text().replace("../other/dsm.tif", "dsm.tif"))
    with pytest.raises(SceneError, match="lies outside of its folder"):
        load_scene_file(outside)
    address = "https://user:secret@example.org/a.tif"
    outside.write_text(outside.read_text().replace("path: dsm.tif", f"path: '{address}'"))
    with pytest.raises(SceneError, match="is an address") as caught:
        load_scene_file(outside)
    assert "secret" not in str(caught.value)


def test_no_raster_takes_its_values_from_other_files_there(
    outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = outside.parents[1] / "other" / "dsm.tif"
    own = outside.parent
    shutil.copy(other, own / "inside.tif")
    with rasterio.open(other) as source:
        rasterio.shutil.copy(source, own / "dsm.vrt", driver="VRT")
    text = (own / "dsm.vrt").read_text()
    forms = {
        "dsm.vrt": text,
        "vrt.tif": text,  # GDAL goes by content
        "late.tif": "xx" + text,
        "blank.dat": "\n" * 200 + text,
        "inside.vrt": text.replace("../other/dsm.tif", "inside.tif"),
    }
    geometry = np.array([shapely.box(0, -45, 51, 0)])
    pyogrio.raw.write(
        own / "a.gti.gpkg", shapely.to_wkb(geometry), [np.array([str(other)], dtype=object)],
        ["location"], geometry_type="Polygon", crs="EPSG:32632",
    )  # fmt: skip
    for name, content in forms.items():
        (own / name).write_text(content)
        monkeypatch.delenv(VARIABLE, raising=False)
        assert open_source(own / name).read(Window(0, 0, 2, 2))[1].any()
        monkeypatch.setenv(VARIABLE, str(other.parent))
        with pytest.raises(SceneError, match="GDAL's format VRT that may take its values"):
            open_source(own / name)
    for value in (None, ""):
        if value is None:
            monkeypatch.delenv(VARIABLE)
        else:
            monkeypatch.setenv(VARIABLE, value)
        with pytest.raises(SceneError, match=r"a\.gti\.gpkg is an index of other rasters"):
            open_source(own / "a.gti.gpkg")
    assert open_source(own / "inside.tif").read(Window(0, 0, 2, 2))[1].any()
    with rasterio.open(own / "inside.tif", "r+") as dataset:
        dataset.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=str(other))
    with pytest.raises(SceneError, match="format GTiff that may take its values"):
        open_source(own / "inside.tif")


@pytest.mark.parametrize("ending", [".msk", ".ovr"])
def test_what_lies_beside_a_raster_counts_as_the_raster(
    outside: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    other = outside.parents[1] / "other"
    own = outside.parent
    shutil.copy(other / "dsm.tif", own / "dsm.tif")
    outside.write_text(outside.read_text().replace("../other/dsm.tif", "dsm.tif"))
    monkeypatch.setenv(VARIABLE, "")
    (own / "dsm.hdr").write_text("of another program")
    load_scene_file(outside)
    beside = own / f"dsm.tif{ending}"
    beside.symlink_to(other / "dsm.tif")
    with pytest.raises(SceneError, match=rf"with dsm\.tif\{ending}, which lies outside"):
        load_scene_file(outside)
    beside.unlink()
    beside.write_text(VRT.format(other / "dsm.tif"))
    with pytest.raises(SceneError, match="is no TIFF, as masks and overviews"):
        load_scene_file(outside)
    beside.write_bytes((other / "dsm.tif").read_bytes())
    load_scene_file(outside)


VRT = (
    '<VRTDataset rasterXSize="4" rasterYSize="4"><VRTRasterBand dataType="Byte" band="1">'
    '<SimpleSource><SourceFilename relativeToVRT="0">{}</SourceFilename><SourceBand>1</SourceBand>'
    "</SimpleSource></VRTRasterBand></VRTDataset>"
)


@pytest.mark.parametrize(
    "text",
    [
        VRT.format("/vsicurl/http://127.0.0.1:9/a.tif"),
        VRT.format("http://127.0.0.1:9/a.tif"),
        "xx" + VRT.format("http://127.0.0.1:9/a.tif"),
        "\n" * 100 + VRT.format("http://127.0.0.1:9/a.tif"),
        VRT.format("/vsizip//vsicurl/http://127.0.0.1:9/a.zip/a.tif"),
        "\n <GDAL_WMS><Service name='TMS'><ServerUrl>http://127.0.0.1:9/</ServerUrl></Service>"
        "</GDAL_WMS>",
        "<WCS_GDAL><ServiceURL>http://127.0.0.1:9/</ServiceURL></WCS_GDAL>",
    ],
)
@pytest.mark.parametrize("name", ["a.vrt", "a.tif"])
def test_a_local_file_does_not_reach_out(text: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SceneError, match="describes data on the network"):
        open_source(tmp_path / name)


def test_a_nested_description_does_not_reach_out_either(tmp_path: Path) -> None:
    (tmp_path / "inner.vrt").write_text(VRT.format("/vsicurl/http://127.0.0.1:9/a.tif"))
    (tmp_path / "outer.vrt").write_text(VRT.format(tmp_path / "inner.vrt"))
    with pytest.raises(SceneError):
        open_source(tmp_path / "outer.vrt").read(Window(0, 0, 4, 4))


def test_an_ordinary_vrt_is_read(tmp_path: Path) -> None:
    profile = {"driver": "GTiff", "height": 4, "width": 4, "count": 1, "dtype": "uint8"}
    with rasterio.open(tmp_path / "a.tif", "w", **profile) as raster:
        raster.write(np.full((1, 4, 4), 7, np.uint8))
    (tmp_path / "a.vrt").write_text(VRT.format(tmp_path / "a.tif"))
    source = open_source(tmp_path / "a.vrt")
    assert (source.read(Window(0, 0, 4, 4))[0] == 7).all()


def test_python_inside_of_a_vrt_does_not_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (tmp_path / "a.vrt").write_text(
        '<VRTDataset rasterXSize="2" rasterYSize="2"><VRTRasterBand dataType="Byte" band="1"'
        ' subClass="VRTDerivedRasterBand"><PixelFunctionType>f</PixelFunctionType>'
        "<PixelFunctionLanguage>Python</PixelFunctionLanguage><PixelFunctionCode><![CDATA[\n"
        f"def f(*a, **k):\n    open({str(ran)!r}, 'w')\n]]></PixelFunctionCode>"
        "</VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(BdgfError):
        open_source(tmp_path / "a.vrt").read(Window(0, 0, 2, 2))
    assert not ran.exists()


NAMES = ["=cmd|' /C calc'!A0", "+1", "-1", "@x", "\\input{/etc/passwd}", "a|b", "<img src=x>"]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_only_text_in_tables(name: str) -> None:
    assert _no_formula(name)[0] not in "=+-@"
    assert "\\input" not in _escaped(name)
    assert "<" not in markdown_cell(name)
    assert "|" not in markdown_cell(name).replace("\\|", "")


@pytest.mark.parametrize("hidden", ["\x1b[2J", "\n", "\u202e", "\x07"])
@pytest.mark.parametrize("where", ["name", "modality", "class", "tile"])
def test_names_with_control_characters_are_refused(
    hidden: str, where: str, tiny_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = yaml.safe_load(tiny_scene.read_text())
    if where == "name":
        values["name"] += hidden + "x"
    elif where == "modality":
        values["modalities"][f"a{hidden}x"] = values["modalities"].pop("dsm")
    elif where == "tile":
        values["tiles"] = ["a" + hidden + "x"]
    else:
        values["labels"]["classes"][1] += hidden + "x"
    (tmp_path / "scene.yaml").write_text(yaml.safe_dump(values))
    assert main(["inspect", str(tmp_path / "scene.yaml")]) == 2
    said = capsys.readouterr().err
    assert "control character" in said
    assert hidden.strip("\n") not in said or hidden == "\n"


@pytest.mark.parametrize(
    "tile", ["", ".", "..", ".a", "../a", "a\\b", 300 * "a", 70 * "概"], ids=ascii
)
def test_tiles_have_names_that_their_maps_can_have(
    tile: str, tiny_scene: Path, tmp_path: Path
) -> None:
    values = yaml.safe_load(tiny_scene.read_text())
    values["tiles"] = [tile]
    (tmp_path / "scene.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(SceneError, match="a tile's name also names its map"):
        load_scene_file(tmp_path / "scene.yaml")


def test_tiles_that_a_pattern_finds_are_checked_too(tmp_path: Path) -> None:
    (tmp_path / "._plot.tif").touch()
    modality = {"path": "{tile}.tif", "role": "spectral"}
    values = {"name": "x", "modalities": {"a": modality}, "tiles": "*"}
    (tmp_path / "scene.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(SceneError, match="does not begin with a dot"):
        load_scene_file(tmp_path / "scene.yaml")


@pytest.mark.parametrize("command", [["inspect"], ["run", "--out", "RUN"]])
def test_a_scene_file_that_is_nested_too_deeply_is_refused(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "scene.yaml").write_text("name: " + 3000 * "[")
    words = [str(tmp_path / "run") if word == "RUN" else word for word in command]
    assert main([words[0], str(tmp_path / "scene.yaml"), *words[1:]]) == 2
    assert "scene.yaml is nested too deeply" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_what_is_printed_moves_no_cursor() -> None:
    assert harmless("a\x1b[2Jb\tc\nd\u202e") == "a\\u001b[2Jb\tc\nd\\u202e"
    assert harmless("größe, 概要 – fine") == "größe, 概要 – fine"
    assert io.StringIO(harmless("\x9b31m")).read() == "\\u009b31m"
