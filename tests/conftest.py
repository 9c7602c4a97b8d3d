"""Fixtures that every folder of tests uses."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from torch.utils._python_dispatch import TorchDispatchMode

from bdgf import config, presets
from bdgf.pipeline import Pipeline
from bdgf.progress import Silent
from bdgf.report.results import Results
from bdgf.scene.preparation import Preparation
from bdgf.scene.prepared import PreparedScene
from bdgf.scene.scene import Scene
from bdgf.scene.synthetic.generate import SyntheticSpec, make_scene

HOSTILE = "<script>document.title='run'</script>"
"""A class name that would do harm where it is not treated as text."""

TINY = {
    "diffusion.steps": 6,
    "diffusion.width": 8,
    "diffusion.batch": 4,
    "diffusion.crop": 16,
    "diffusion.checkpoint_every": 2,
    "training.steps": 8,
    "training.batch": 16,
    "training.unlabelled_pixels": 8,
    "training.checkpoint_every": 3,
    "training.folds": 2,
    "training.fold_steps": 1.0,
    "network.width": 16,
    "network.window": 7,
    "network.state": 4,
    "features.components": 4,
    "mapping.tile": 32,
    "evaluation.baselines": False,
    "evaluation.missing_modalities": False,
    "evaluation.trees": 10,
    "evaluation.svm_pixels": 60,
    "report.points": 40,
    "compute.precision": "32",
}
"""Settings by which a whole run takes seconds; what else an evaluation can tell is off."""


class Listener(Silent):
    """Progress that keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def listener() -> Listener:
    """Progress whose lines can be looked at."""
    return Listener()


@pytest.fixture(autouse=True, scope="session")
def _without_waiting_for_the_disk() -> Iterator[None]:
    """A test does not survive a lost power supply, so none waits until files are safe from it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Sums of floats depend on the number of threads; tests compare bits."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real scenes; tests that need it are skipped where it is not there."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("BDGF_TEST_SCENES", beside))
    if not folder.is_dir():
        pytest.skip(f"the real scenes are not on this machine (BDGF_TEST_SCENES; no {folder})")
    return folder


@pytest.fixture(scope="session")
def tiny_values() -> dict[str, object]:
    """Settings by which a whole run takes seconds, by their names."""
    return dict(TINY)


@pytest.fixture(scope="session")
def tiny_settings() -> config.Settings:
    """Settings by which a whole run takes seconds; what else an evaluation can tell is off."""
    return presets.replace(config.Settings(), TINY)


@pytest.fixture(scope="session")
def tiny_scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scene file of one tile with odd sides, three modalities and some nodata."""
    spec = SyntheticSpec(
        height=45, width=51, bands=8, classes=4, train_per_class=12, nodata_share=0.1, seed=1
    )
    return make_scene(tmp_path_factory.mktemp("scene"), spec)


@pytest.fixture(scope="session")
def tiles_scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scene file of many small tiles of different sizes."""
    spec = SyntheticSpec(
        height=18, width=23, bands=6, classes=3, train_per_class=12, tiles=6, seed=2
    )
    return make_scene(tmp_path_factory.mktemp("tiles"), spec)


def _prepare(path: Path) -> PreparedScene:
    scene = Scene.open(path)
    return PreparedScene(scene, Preparation.fit(scene, config.PreparationSettings(), 0))


@pytest.fixture(scope="session")
def prepare() -> Callable[[Path], PreparedScene]:
    """Open and prepare a scene file with the default settings."""
    return _prepare


@pytest.fixture(scope="session")
def prepared(tiny_scene: Path) -> PreparedScene:
    """The tiny scene, prepared."""
    return _prepare(tiny_scene)


@pytest.fixture(scope="session")
def prepared_tiles(tiles_scene: Path) -> PreparedScene:
    """The scene of many tiles, prepared."""
    return _prepare(tiles_scene)


@pytest.fixture(scope="session")
def trained_run(
    tiny_scene: Path, tiny_settings: config.Settings, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Run folder of the tiny scene, trained and mapped; not to be changed."""
    from bdgf.pipeline import Pipeline
    from bdgf.progress import Silent

    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("trained") / "run"
    Pipeline(tiny_scene, out, tiny_settings, Silent()).run(("pretrain", "features", "train", "map"))
    return out


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """Three worker processes of one thread each; one that is killed comes back."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=3, threads_per_worker=1, processes=True, dashboard_address=None
    ) as found:
        yield found


class Killer(Listener):
    """Kills a process as soon as half of a piece of work is done."""

    def __init__(self, pid: int) -> None:
        super().__init__()
        self.pid, self.killed = pid, ""

    def track(self, name: str, done: int, total: int, info: str = "") -> None:
        if 2 * done >= total and not self.killed:
            os.kill(self.pid, signal.SIGKILL)
            self.killed = name


@pytest.fixture
def killer(cluster: Any) -> Iterator[Killer]:
    """Progress that kills one of the three workers; every task lasts, so that one is lost."""
    from distributed import Client

    # nested, so that they go to the workers by value

    def slow_down() -> None:
        from bdgf import cluster as module

        opened = module._opened

        def slow(parcel: Any) -> Any:
            time.sleep(0.2)
            return opened(parcel)

        slow.usual = opened  # type: ignore[attr-defined]
        module._opened = slow

    def go_on() -> None:
        from bdgf import cluster as module

        module._opened = getattr(module._opened, "usual", module._opened)

    with Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(3, timeout=60)
        pids = list(client.run(os.getpid).values())
        assert len(set(pids)) == 3
        client.run(slow_down)
        yield Killer(pids[1])
        client.wait_for_workers(3, timeout=60)
        client.run(go_on)


class ReadBack(TorchDispatchMode):
    """Collects the operations for which the host would wait for a device."""

    WAIT = ("_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "equal", "unique")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        masks = name.startswith("index") and any(
            isinstance(t, torch.Tensor) and t.dtype == torch.bool
            for t in (args[1] if len(args) > 1 and isinstance(args[1], (list, tuple)) else ())
        )
        if masks or name.startswith(self.WAIT):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def read_back() -> ReadBack:
    """Context in which the operations are collected that read values back from a device."""
    return ReadBack()


@pytest.fixture
def no_cpu(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """A device that is not the CPU and holds no values: operations that mix the two fail.

    Values that are read back from it are zeros. It stands for CUDA where there is none.
    """
    device = torch.device("meta")

    def drawn(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        # it has no generators
        return lambda *args, generator=None, **rest: function(*args, **rest)

    for name in ("rand", "randn", "randint"):
        monkeypatch.setattr(torch, name, drawn(getattr(torch, name)))
    generator = SimpleNamespace(device=device)
    for module in ("bdgf.diffusion.pretraining", "bdgf.fusion.training"):
        monkeypatch.setattr(f"{module}.torch_generator", lambda *_, device=None: generator)
    usual = torch.autocast
    monkeypatch.setattr(
        torch,
        "autocast",
        lambda kind, *args, **rest: nullcontext() if kind == "meta" else usual(kind, *args, **rest),
    )

    def to_cpu(tensor: torch.Tensor) -> torch.Tensor:
        return torch.zeros(tensor.shape, dtype=tensor.dtype)

    monkeypatch.setattr(torch.Tensor, "cpu", to_cpu)
    return device


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory, tiny_settings: config.Settings) -> Results:
    """A finished run of one tile with test pixels, nodata and a hostile class name."""
    folder = tmp_path_factory.mktemp("report")
    spec = SyntheticSpec(
        height=40, width=52, bands=6, classes=3, train_per_class=10, nodata_share=0.1, seed=3
    )
    path = make_scene(folder / "scene", spec)
    values = yaml.safe_load(path.read_text())
    values["labels"]["classes"][1] = HOSTILE
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    everything = {"evaluation.baselines": True, "evaluation.missing_modalities": True}
    settings = presets.replace(tiny_settings, everything)
    pipeline = Pipeline(path, folder / "run", settings, Silent())
    pipeline.run()
    return Results(pipeline.scene, pipeline.folder, settings)


@pytest.fixture(scope="session")
def tiles_results(
    tmp_path_factory: pytest.TempPathFactory, tiles_scene: Path, tiny_settings: config.Settings
) -> Results:
    """A finished run of many small tiles."""
    out = tmp_path_factory.mktemp("report_tiles") / "run"
    pipeline = Pipeline(tiles_scene, out, tiny_settings, Silent())
    pipeline.run()
    return Results(pipeline.scene, pipeline.folder, tiny_settings)


@pytest.fixture(scope="session")
def single_results(
    tmp_path_factory: pytest.TempPathFactory, tiny_settings: config.Settings
) -> Results:
    """A finished run of one modality without coordinates, test labels and guidance."""
    folder = tmp_path_factory.mktemp("report_single")
    spec = SyntheticSpec(height=20, width=31, bands=5, classes=2, sar=False, dsm=False)
    path = make_scene(folder / "scene", spec)
    path.write_text(path.read_text().replace("  test: test.tif\n", ""))
    settings = presets.replace(tiny_settings, {"features.source": "none"})
    pipeline = Pipeline(path, folder / "run", settings, Silent())
    pipeline.run()
    return Results(pipeline.scene, pipeline.folder, settings)
