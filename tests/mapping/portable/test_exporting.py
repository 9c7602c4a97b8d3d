"""The exported programs against the run's own map, on every pixel and at several sizes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bdgf import config
from bdgf.errors import RunFolderError, SettingsError
from bdgf.mapping.portable.exporting import Agreement, Comparison, export_run, read_raw
from bdgf.mapping.portable.graph import build_mapper
from bdgf.mapping.trained import TrainedRun
from bdgf.progress import Silent
from bdgf.scene.layout import Window
from bdgf.scene.scene import Scene

TOLERANCE = 1e-4


@pytest.fixture(params=["mapper.onnx", "mapper.pt2"])
def program(request: pytest.FixtureRequest, exported) -> Callable[[Tensor, Tensor], Tensor]:
    path = exported.folder / request.param
    if path.suffix == ".pt2":
        return torch.export.load(path).module()
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [one.name for one in session.get_inputs()] == ["values", "valid"]

    def carry_out(values: Tensor, valid: Tensor) -> Tensor:
        inputs = {"values": values.numpy(), "valid": valid.numpy()}
        return torch.from_numpy(session.run(["log_probabilities"], inputs)[0])

    return carry_out


def test_the_whole_scene_gets_the_run_s_own_map(exported, program) -> None:
    about = json.loads((exported.folder / "mapper.json").read_text())
    whole = Window(0, 0, 45, 51)
    compare = Comparison(exported.run, exported.scene, 0, whole, about["halo"])
    found = compare(program)
    assert found.pixels == int(compare.known.sum()) > 1500
    assert found.largest <= TOLERANCE
    assert found.differing == 0, "the same class on every pixel but exact ties"


@pytest.mark.parametrize("size", [(45, 51), (30, 33), (44, 40), (7, 50), (9, 7)])
def test_tiles_of_any_size(exported, program, size: tuple[int, int]) -> None:
    run = exported.run
    steps = run.settings.features.timesteps
    mapper = build_mapper(run.preparation, run.denoiser, run.reduction, steps, run.members)
    prepared, _ = run.on(exported.scene, run.settings)
    inputs = read_raw(prepared, 0, Window(0, 0, *size))
    with torch.inference_mode():
        found, expected = program(*inputs), mapper(*inputs)
    torch.testing.assert_close(found, expected, equal_nan=True, atol=TOLERANCE, rtol=0)


def test_what_a_user_needs_is_there(exported) -> None:
    names = {path.name for path in exported.folder.iterdir()}
    assert names == {"mapper.onnx", "mapper.pt2", "mapper.json", "map_tile.py"}
    import onnx

    model = onnx.load(exported.folder / "mapper.onnx")
    onnx.checker.check_model(model)
    assert not any(tensor.external_data for tensor in model.graph.initializer)


def test_disagreement_is_refused() -> None:
    Agreement(10, 5e-5, 0).check("mapper.onnx")
    for largest in (2e-4, float("inf"), float("nan")):
        with pytest.raises(RunFolderError, match=r"mapper\.onnx differs"):
            Agreement(10, largest, 0).check("mapper.onnx")


def test_comparison_sees_every_kind_of_difference(trained_run: Path, tiny_scene: Path) -> None:
    run, scene = TrainedRun(trained_run), Scene.open(tiny_scene)
    compare = Comparison(run, scene, 0, Window(16, 20, 8, 12), 56)
    assert compare.inputs[0].shape[1:] == (45, 51), "with the halo, cut at the edge of the tile"
    right = torch.full((len(run.legend.codes), 45, 51), torch.nan)
    right[:, 16:24, 20:32] = torch.where(compare.known, compare.expected, torch.nan)
    assert compare(lambda *_: right) == Agreement(int(compare.known.sum()), 0.0, 0)
    row, col = np.argwhere(compare.known.numpy())[0] + (16, 20)
    wrong = right.clone()
    wrong[:, row, col] = wrong[:, row, col].flip(0)
    assert compare(lambda *_: wrong).differing == 1
    wrong[:, row, col] = torch.nan
    assert compare(lambda *_: wrong).largest == float("inf")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("network.kind", "patch", "one patch at a time"), ("features.noised", True, "noise")],
)
def test_what_cannot_be_exported_is_refused(
    trained_run: Path, tiny_scene: Path, tmp_path: Path, name: str, value: object, words: str
) -> None:
    run = TrainedRun(trained_run)
    run.settings = config.replace(run.settings, {name: value})
    with pytest.raises(SettingsError, match=words):
        export_run(run, Scene.open(tiny_scene), tmp_path / "out", Silent())
    assert not (tmp_path / "out").exists()


def test_folders_and_packages_that_are_wrong(
    trained_run: Path, tiny_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, scene = TrainedRun(trained_run), Scene.open(tiny_scene)
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(RunFolderError, match=r"no mapper\.json"):
        export_run(run, scene, tmp_path, Silent())
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(SettingsError, match=r"onnxscript.*pip install 'bdgf\[export\]'"):
        export_run(run, scene, tmp_path / "out", Silent())
