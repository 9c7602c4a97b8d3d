"""Methods that read something from elsewhere, in one comparison."""

from __future__ import annotations

import numpy as np
import pytest

from bdgf import presets
from bdgf.bench import runner
from bdgf.bench.case import Case
from bdgf.bench.cross_model.sources import Elsewhere
from bdgf.bench.cross_model.taking import borrow
from bdgf.bench.methods import expand
from bdgf.bench.runner import Bench, Plan
from bdgf.errors import SettingsError
from bdgf.pipeline import Pipeline
from bdgf.progress import Silent
from bdgf.scene.scene import Scene


@pytest.fixture(scope="module")
def plan(tiny_scene, tiles_scene, tiny_settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("embedding")
    np.save(folder / "e.npy", np.random.default_rng(0).normal(size=(5, 45, 51)))
    elsewhere = Elsewhere(
        {"own": str(tiny_scene), "tiles": str(tiles_scene)}, {"noise": str(folder / "e.npy")}
    )
    methods = [m for m in expand(["cross"], elsewhere) if "CNN" not in m]
    settings = presets.replace(tiny_settings, {"compute.threads": 1})
    return Plan((tiny_scene,), tuple(methods), (0,), (None,), settings, 0, elsewhere)


@pytest.fixture(scope="module")
def finished(plan, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    return folder, {r.cell.method: r for r in Bench(plan, folder, Silent()).run()}


def test_one_comparison_has_them_all(finished, plan):
    _, results = finished
    assert set(plan.methods) - set(results) == {
        "BDGF, denoiser of own",
        "BDGF, denoiser of own as is",
    }
    ours = [name for name in results if name.startswith("BDGF")]
    assert len(ours) == 5
    predicted = [results[name].predicted.tobytes() for name in ours]
    assert len(set(predicted)) == len(ours), "each reads other features"
    for name in ("BDGF, denoiser of tiles", "BDGF, denoiser of tiles as is"):
        assert "of the denoiser taken over, stem and out random" in results[name].note
    # the seconds of the other scene's pre-training and of the U-Net are counted
    assert results["BDGF, denoiser of tiles"].seconds > results["BDGF"].seconds / 2


def test_what_is_finished_is_kept_and_a_changed_file_is_seen(plan, finished, monkeypatch, tmp_path):
    folder, _ = finished
    monkeypatch.setattr(runner, "work", None)
    Bench(plan, folder, Silent()).run()
    np.save(tmp_path / "other.npy", np.random.default_rng(1).normal(size=(5, 45, 51)))
    changed = Elsewhere(plan.elsewhere.denoisers, {"noise": str(tmp_path / "other.npy")})
    methods = ("BDGF", "BDGF, features of noise")
    other = Plan(plan.scenes, methods, (0,), (None,), plan.settings, 0, changed)
    with pytest.raises(TypeError):
        Bench(other, folder, Silent()).run()
    Bench(
        Plan(plan.scenes, methods[:1], (0,), (None,), plan.settings, 0, changed), folder, Silent()
    ).run()


def test_a_run_gives_its_denoiser(tiny_scene, tiles_scene, tiny_settings, tmp_path):
    other = Pipeline(tiles_scene, tmp_path / "run-3", tiny_settings, Silent())
    other.run(("pretrain",))
    elsewhere = Elsewhere({"run": str(tmp_path / "run-{seed}")})
    settings = presets.replace(tiny_settings, {"seed": 3})
    case = Case(Scene.open(tiny_scene), settings, tmp_path / "case", Silent(), elsewhere)
    found = borrow("BDGF, denoiser of run as is", case)
    assert found.changes == {
        "features.source": "diffusion",  # whatever the comparison itself is guided by
        "diffusion.from_run": str(tmp_path / "run-3"),
        "diffusion.pretrain": False,
    }
    assert found.seconds == 0
    assert borrow("BDGF", case) is None
    assert borrow("RF raw", case) is None
    with pytest.raises(SettingsError, match="--denoisers"):
        borrow("BDGF, denoiser of nothing", case)
