"""The exported programs against the run's own map, on every pixel and at several sizes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bdgf import presets
from bdgf.errors import RunFolderError, SettingsError
from bdgf.mapping.portable.comparison import (
    FEATURE_TOLERANCE,
    TOLERANCE,
    Carry,
    Comparison,
    read_raw,
)
from bdgf.mapping.portable.exporting import all_pieces, export_run
from bdgf.mapping.portable.graph import build_mapper
from bdgf.mapping.pretrained import PretrainedMapper
from bdgf.progress import Silent
from bdgf.scene.scene import Scene
from bdgf.scene.windows import Window


@pytest.fixture(scope="module", params=["mapper.onnx", "mapper.pt2"])
def program(request: pytest.FixtureRequest, exported) -> Carry:
    path = exported.folder / request.param
    if path.suffix == ".pt2":
        return torch.export.load(path).module()
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [one.name for one in session.get_inputs()] == ["values"]

    def carry_out(values: Tensor) -> list[Tensor]:
        found = session.run(["log_probabilities", "features"], {"values": values.numpy()})
        return [torch.from_numpy(output) for output in found]

    return carry_out


def test_the_whole_scene_gets_the_run_s_own_map(exported, program) -> None:
    about = json.loads((exported.folder / "mapper.json").read_text())
    whole = Window(0, 0, 45, 51)
    compare = Comparison(exported.run, exported.scene, 0, whole, about["halo"])
    found = compare(program)
    assert found.pixels == int(compare.known.sum()) > 1500
    assert found.largest <= TOLERANCE
    assert found.excess <= FEATURE_TOLERANCE
    assert found.rounded < 0.05 * found.features
    assert found.differing == 0, "the same class on every pixel but exact ties"


@pytest.mark.parametrize("size", [(45, 51), (30, 33), (44, 40), (7, 50), (9, 7)])
def test_tiles_of_any_size(exported, program, size: tuple[int, int]) -> None:
    run = exported.run
    steps = run.settings.features.timesteps
    mapper = build_mapper(
        run.preparation, run.denoiser, run.reduction, steps, run.network, run.weights
    )
    values = read_raw(exported.scene, 0, Window(0, 0, *size))
    with torch.inference_mode():
        found, expected = program(values), mapper(values)
    torch.testing.assert_close(found[0], expected[0], equal_nan=True, atol=TOLERANCE, rtol=0)
    assert found[1].dtype == torch.float16
    torch.testing.assert_close(found[1], expected[1], atol=FEATURE_TOLERANCE, rtol=2**-10)


def test_the_pieces_of_the_whole_are_all_of_its_pixels(exported) -> None:
    prepared, _ = exported.run.on(exported.scene)
    height, width = prepared.shape(0)
    covered = np.zeros((height, width), int)
    for tile, piece in all_pieces(prepared, 7, side=16):
        assert (tile, piece.row % 4, piece.col % 4) == (0, 0, 0)
        covered[piece.slices] += 1
    assert (covered == 1).all()
    assert not all_pieces(prepared, height + 1), "too small for a program"


def test_what_a_user_needs_is_there(exported) -> None:
    names = {path.name for path in exported.folder.iterdir()}
    assert names == {"mapper.onnx", "mapper.pt2", "mapper.json", "map_tile.py"}
    import onnx

    model = onnx.load(exported.folder / "mapper.onnx")
    onnx.checker.check_model(model)
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    about = json.loads((exported.folder / "mapper.json").read_text())
    assert [one.name for one in model.graph.output] == [
        about["output"]["name"],
        about["features"]["name"],
    ]
    assert about["features"]["shape"][0] == exported.run.reduction.channels


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("network.kind", "patch", "one patch at a time"), ("features.noised", True, "noise")],
)
def test_what_cannot_be_exported_is_refused(
    trained_run: Path, tiny_scene: Path, tmp_path: Path, name: str, value: object, words: str
) -> None:
    run = PretrainedMapper.from_run(trained_run)
    run.settings = presets.replace(run.settings, {name: value})
    with pytest.raises(SettingsError, match=words):
        export_run(run, Scene.open(tiny_scene), tmp_path / "out", Silent())
    assert not (tmp_path / "out").exists()


def test_folders_and_packages_that_are_wrong(
    trained_run: Path, tiny_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, scene = PretrainedMapper.from_run(trained_run), Scene.open(tiny_scene)
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(RunFolderError, match=r"no mapper\.json"):
        export_run(run, scene, tmp_path, Silent())
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(SettingsError, match=r"onnxscript.*pip install '\.\[export\]'"):
        export_run(run, scene, tmp_path / "out", Silent())
