from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bdgf import config
from bdgf.cli import main
from bdgf.errors import RunFolderError, SettingsError
from bdgf.mapping.cluster import Job, classify_group, groups
from bdgf.mapping.pretrained import PretrainedMapper
from bdgf.mapping.transfer import map_other
from bdgf.pipeline import Pipeline
from bdgf.progress import Silent
from bdgf.scene.layout import Window, windows_of
from bdgf.scene.scene import Scene

OUTPUTS = ("map.tif", "confidence.tif", "votes.tif")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Three worker processes of one thread each."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=3, threads_per_worker=1, processes=True, dashboard_address=None
    ) as found:
        yield found


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


class Killer(Silent):
    """Kills a worker that is at work as soon as half of the map is there."""

    def __init__(self, cluster: Any) -> None:
        self.cluster, self.killed = cluster, 0

    def track(self, name: str, done: int, total: int, info: str = "") -> None:
        if name == "map" and 2 * done >= total and not self.killed:
            self.killed = self.cluster.workers[1].pid
            os.kill(self.killed, signal.SIGKILL)


def slow_down() -> None:
    """Make every task last, in a worker, so that there is one to be lost."""
    from bdgf.mapping import cluster

    opened = cluster._Opened.classify

    def slow(self: Any, tile: int, window: Window) -> bytes:
        time.sleep(0.2)
        return opened(self, tile, window)

    cluster._Opened.classify = slow  # type: ignore[method-assign]


def test_the_map_of_a_cluster_that_loses_a_worker_is_the_map_of_one_process(
    cluster: Any,
    trained_run: Path,
    tiny_scene: Path,
    tiny_settings: config.Settings,
    tmp_path: Path,
) -> None:
    from distributed import Client

    settings = config.replace(tiny_settings, {"mapping.tile": 16})
    alone = unmapped(trained_run, tmp_path / "alone")
    Pipeline(tiny_scene, alone, settings, Silent()).run(("map",))
    with Client(cluster) as client:
        pids = set(client.run(os.getpid).values())
        client.run(slow_down)
    assert len(pids) == 3
    many, killer = unmapped(trained_run, tmp_path / "many"), Killer(cluster)
    Pipeline(tiny_scene, many, settings, killer, cluster.scheduler_address).run(("map",))
    assert killer.killed in pids
    for name in OUTPUTS:
        assert (many / name).read_bytes() == (alone / name).read_bytes(), name
    assert not list(many.glob("*.partial"))


def test_groups_hold_neighbours_and_every_window_once() -> None:
    windows = windows_of(1000, 1500, 100)
    for threads in (1, 3, 100):
        found = groups(windows, 100, threads)
        assert sorted(w for group in found for w in map(repr, group)) == sorted(map(repr, windows))
        assert len(found) >= min(len(windows), 8 * threads)
        for group in found:
            rows, cols = ({w.row for w in group}, {w.col for w in group})
            assert len(group) == len(rows) * len(cols), "a group is a rectangle"
    assert len(groups(windows_of(10_000, 10_000, 100), 100, 1)) == 13**2


def test_a_worker_of_another_version_is_refused(trained_run: Path, tiny_scene: Path) -> None:
    mapper = PretrainedMapper.from_run(trained_run)
    job = Job(mapper, Scene.open(tiny_scene).spec, 1, version="0.0.0")
    with pytest.raises(RunFolderError, match="install the same on all machines"):
        classify_group(job, 0, [Window(0, 0, 8, 8)])


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
    monkeypatch.setattr("bdgf.mapping.cluster.CONNECT_SECONDS", 1)
    out = unmapped(trained_run, tmp_path / "run")
    assert main(["map", str(out), "--scheduler", "tcp://127.0.0.1:9"]) == 2
    assert "no scheduler answers at tcp://127.0.0.1:9" in capsys.readouterr().err
    assert not (out / "map.tif").exists()


def test_features_of_another_model_stay_with_their_run(
    tiny_scene: Path, tiny_settings: config.Settings, tmp_path: Path
) -> None:
    other = config.replace(tiny_settings, {"features.source": "features.npy"})
    with pytest.raises(SettingsError, match="belong to one scene"):
        Pipeline(tiny_scene, tmp_path / "new", other, Silent(), "tcp://127.0.0.1:9")
    assert not (tmp_path / "new").exists()
