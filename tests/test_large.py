"""Scenes that are too large to be held whole; here they are small and only declared to be large."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import rasterio

from bdgf import config, presets
from bdgf.pipeline import Pipeline
from bdgf.progress import Silent
from bdgf.scene.prepared import PreparedScene

OUTPUTS = ("map.tif", "confidence.tif", "votes.tif")


class Listener(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def copy_of(run: Path, out: Path, *without: str) -> Path:
    """Link a run's files into a new folder, so that its earlier stages count as finished."""
    for path in run.rglob("*"):
        if path.is_file() and path.name not in without:
            target = out / path.relative_to(run)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    stages = json.loads((out / "stages.json").read_text())
    stages.pop("map", None)
    (out / "stages.json").write_text(json.dumps(stages))
    return out


def map_again(scene: Path, out: Path, settings: config.Settings) -> list[str]:
    listener = Listener()
    Pipeline(scene, out, settings, listener).run(("map",))
    return listener.lines


def assert_same_map(a: Path, b: Path) -> None:
    for name in OUTPUTS:
        assert (a / name).read_bytes() == (b / name).read_bytes(), name


def test_a_stopped_map_goes_on_at_the_window_and_ends_the_same(
    trained_run: Path,
    tiny_scene: Path,
    tiny_settings: config.Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from bdgf.mapping import inference

    out = copy_of(trained_run, tmp_path / "run", *OUTPUTS)
    classify, seen = inference.classify, []

    def stops(*arguments: object) -> object:
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(arguments[5])
        return classify(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(inference, "classify", stops)
        with pytest.raises(KeyboardInterrupt):
            map_again(tiny_scene, out, tiny_settings)
    assert (out / "map.tif.partial").is_file()
    assert not [name for name in OUTPUTS if (out / name).exists()]

    def counts(*arguments: object) -> object:
        seen.append(arguments[5])
        return classify(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(inference, "classify", counts)
        lines = map_again(tiny_scene, out, tiny_settings)
    assert len(seen) == len(set(seen)) == 4, "no window is classified twice"
    assert [line for line in lines if "goes on at" in line]
    assert_same_map(out, trained_run)
    assert not list(out.glob("*.partial"))


def test_a_large_scene_gives_the_map_of_its_windows(
    trained_run: Path,
    tiny_scene: Path,
    tiny_settings: config.Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Mapping does not depend on whether the scene counts as large, or features are stored."""
    monkeypatch.setattr("bdgf.scene.scene.WHOLE_PIXELS", 100)
    monkeypatch.setattr(
        PreparedScene, "valid", lambda *_: pytest.fail("the mask of a whole tile is asked for")
    )
    out = copy_of(trained_run, tmp_path / "run", *OUTPUTS)
    (out / "features" / "scene.npy").unlink(missing_ok=True)
    for path in (out / "features").glob("*.npy"):
        path.unlink()
    index = json.loads((out / "features" / "features.json").read_text())
    (out / "features" / "features.json").write_text(json.dumps({**index, "stored": False}))
    map_again(tiny_scene, out, tiny_settings)
    assert_same_map(out, trained_run)


def test_a_whole_run_of_a_large_scene(
    tiny_scene: Path,
    tiny_settings: config.Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bdgf.scene.scene.WHOLE_PIXELS", 100)
    monkeypatch.setattr("bdgf.fusion.patch_source.TABLE_BYTES", 0)
    settings = presets.replace(
        tiny_settings, {"features.stored": "never", "mutual.unlabelled": True}
    )
    with monkeypatch.context() as patch:
        patch.setattr(
            PreparedScene, "valid", lambda *_: pytest.fail("the mask of a whole tile is asked for")
        )
        listener = Listener()
        Pipeline(tiny_scene, tmp_path / "run", settings, listener).run()
    assert [line for line in listener.lines if "computed where they are read" in line]
    assert not list((tmp_path / "run" / "features").glob("*.npy"))
    assert (tmp_path / "run" / "report.html").is_file()
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["methods"]["BDGF"]["all"]["oa"] > 50
    # the same settings, and done a second time: nothing is left to chance
    Pipeline(tiny_scene, tmp_path / "again", settings, Silent()).run(
        ("pretrain", "features", "train", "map")
    )
    assert_same_map(tmp_path / "run", tmp_path / "again")


SPARSE = """
import resource, sys
from pathlib import Path
from bdgf.mapping.pretrained import PretrainedMapper
from bdgf.mapping.other_scene import map_other
from bdgf.progress import Silent
from bdgf.scene.scene import Scene
run, folder = Path(sys.argv[1]), Path(sys.argv[2])
mapper = PretrainedMapper.from_run(run)
for scene, out in ((sys.argv[3], "first"), (sys.argv[4], "second")):
    map_other(mapper, run, Scene.open(scene), folder / out, Silent())
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss counts KiB on Linux")
def test_memory_does_not_grow_with_the_raster(
    trained_run: Path, tiny_scene: Path, tmp_path: Path
) -> None:
    """A raster of 8,000 × 8,000 pixels, of which one corner has data."""
    import subprocess

    side = 8_000
    for name in ("hsi", "sar", "dsm"):
        with rasterio.open(tiny_scene.parent / f"{name}.tif") as small:
            profile = {**small.profile, "height": side, "width": side, "tiled": True}
            profile |= {"blockxsize": 256, "blockysize": 256, "sparse_ok": True}
            values = small.read()
        with rasterio.open(tmp_path / f"{name}.tif", "w", **profile) as large:
            place = rasterio.windows.Window(4500, 6000, values.shape[2], values.shape[1])
            large.write(values, window=place)
    text = tiny_scene.read_text()
    (tmp_path / "scene.yaml").write_text(text[: text.index("labels:")])
    done = subprocess.run(
        [sys.executable, "-c", SPARSE, str(trained_run), str(tmp_path), str(tiny_scene),
         str(tmp_path / "scene.yaml")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second = (int(line) / 1024 for line in done.stdout.split())
    assert second - first < 300, f"{first:.0f} MiB for the small raster, {second:.0f} for the large"
    with rasterio.open(tmp_path / "second" / "map.tif") as mapped:
        assert mapped.shape == (side, side)
        inside = mapped.read(1, window=place)
        assert mapped.overviews(1), "it is cloud-optimised, with overviews"
        corner = mapped.read(1, window=rasterio.windows.Window(0, 0, 2000, 2000))
    assert (inside > 0).mean() > 0.8
    assert not corner.any()
    assert (tmp_path / "second" / "map.tif").stat().st_size < 2 << 20
    # in the middle of the piece it is the map of the small scene: windows lie elsewhere, bits not
    with rasterio.open(tmp_path / "first" / "map.tif") as small_map:
        expected = small_map.read(1)
    agree = (inside == expected)[12:-12, 12:-12]
    assert agree.mean() > 0.9
