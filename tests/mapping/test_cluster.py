from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bdgf import config, presets
from bdgf.cli import main
from bdgf.mapping.other_scene import map_other
from bdgf.mapping.pretrained import PretrainedMapper
from bdgf.pipeline import Pipeline
from bdgf.progress import Silent
from bdgf.scene.scene import Scene

OUTPUTS = ("map.tif", "confidence.tif", "votes.tif")


def unmapped(run: Path, out: Path) -> Path:
    """Copy a run as it was before its map."""
    for path in run.rglob("*"):
        if path.is_file() and path.name not in OUTPUTS:
            target = out / path.relative_to(run)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    stages = json.loads((out / "stages.json").read_text())
    stages.pop("map", None)
    (out / "stages.json").write_text(json.dumps(stages))
    return out


def test_the_map_of_a_cluster_that_loses_a_worker_is_the_map_of_one_process(
    cluster: Any,
    killer: Any,
    trained_run: Path,
    tiny_scene: Path,
    tiny_settings: config.Settings,
    tmp_path: Path,
) -> None:
    settings = presets.replace(tiny_settings, {"mapping.tile": 16})
    alone = unmapped(trained_run, tmp_path / "alone")
    Pipeline(tiny_scene, alone, settings, Silent()).run(("map",))
    many = unmapped(trained_run, tmp_path / "many")
    Pipeline(tiny_scene, many, settings, killer, cluster.scheduler_address).run(("map",))
    assert killer.killed == "map"
    for name in OUTPUTS:
        assert (many / name).read_bytes() == (alone / name).read_bytes(), name
    assert not list(many.glob("*.partial"))


@pytest.mark.parametrize("workers", [1, 2])
def test_other_numbers_of_workers_write_the_same_map(
    workers: int,
    trained_run: Path,
    tiny_scene: Path,
    tiny_settings: config.Settings,
    tmp_path: Path,
) -> None:
    distributed = pytest.importorskip("distributed")
    out = unmapped(trained_run, tmp_path / "out")
    with distributed.LocalCluster(
        n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None
    ) as few:
        Pipeline(tiny_scene, out, tiny_settings, Silent(), few.scheduler_address).run(("map",))
    for name in OUTPUTS:
        assert (out / name).read_bytes() == (trained_run / name).read_bytes(), name


def test_a_cluster_maps_another_scene(
    cluster: Any, tiny_scene: Path, trained_run: Path, tmp_path: Path
) -> None:
    mapper, scene = PretrainedMapper.from_run(trained_run), Scene.open(tiny_scene)
    map_other(mapper, trained_run, scene, tmp_path / "alone", Silent())
    address = cluster.scheduler_address
    map_other(mapper, trained_run, scene, tmp_path / "many", Silent(), address)
    for name in OUTPUTS[:2]:
        alone, many = ((tmp_path / part / name).read_bytes() for part in ("alone", "many"))
        assert alone == many, name


def test_a_scheduler_that_is_not_there_is_one_sentence(
    trained_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("bdgf.cluster.CONNECT_SECONDS", 1)
    out = unmapped(trained_run, tmp_path / "run")
    assert main(["map", str(out), "--scheduler", "tcp://127.0.0.1:9"]) == 2
    assert "no scheduler answers at tcp://127.0.0.1:9" in capsys.readouterr().err
    assert not (out / "map.tif").exists()
