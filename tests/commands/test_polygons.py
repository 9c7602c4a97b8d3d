from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyogrio.raw
import pytest
import rasterio

from bdgf.cli import main
from bdgf.lock import locked


def test_polygons_of_a_run(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "new" / "map.gpkg"
    command = ["polygons", str(trained_run), "--to", str(target), "--minimum-area", "100"]
    assert main(command) == 0
    told = " ".join(capsys.readouterr().out.split())
    meta, _, wkb, columns = pyogrio.raw.read(target)
    assert f"{len(wkb):,} polygons" in told
    assert "below 100 m²" in told
    areas = dict(zip(meta["fields"], columns, strict=True))["area_m2"]
    with rasterio.open(trained_run / "map.tif") as raster:
        pixel = abs(raster.transform.a * raster.transform.e)
        assert areas.sum() == pytest.approx((raster.read(1) > 0).sum() * pixel)
    before = target.read_bytes()
    assert main(command) == 2
    assert "not overwritten" in capsys.readouterr().err
    assert target.read_bytes() == before


def test_a_map_that_is_not_finished_gives_no_polygons(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(trained_run, tmp_path / "run")
    stages = json.loads((run / "stages.json").read_text())
    del stages["map"]  # as a training anew leaves it
    (run / "stages.json").write_text(json.dumps(stages))
    assert main(["polygons", str(run), "--to", str(tmp_path / "map.gpkg")]) == 2
    assert "the map is not finished" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "map.gpkg").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--minimum-area", "-1"], "0 or more"),
        (["--to", "map.shp"], ".gpkg"),
        ([], "neither map.tif nor"),
    ],
)
def test_bad_input_gets_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["polygons", str(tmp_path), *words]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_sign_that_the_writer_takes_for_its_own_is_refused(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["polygons", str(trained_run), "--to", str(tmp_path / "a!b" / "map.gpkg")]) == 2
    assert "has the sign ! in its path" in capsys.readouterr().err
    assert not (tmp_path / "a!b").exists()


def test_a_run_that_is_at_work_is_left_alone(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(trained_run, tmp_path / "run")
    with locked(run):
        assert main(["polygons", str(run)]) == 2
        assert "is in use by another" in " ".join(capsys.readouterr().err.split())
        assert not (run / "map.gpkg").exists()
        assert main(["polygons", str(run), "--to", str(tmp_path / "map.gpkg")]) == 0
    assert main(["polygons", str(run)]) == 0
