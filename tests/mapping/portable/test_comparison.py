"""What the comparison of a program with its run lets pass, and what not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bdgf.errors import RunFolderError
from bdgf.mapping.portable.comparison import Agreement, Comparison
from bdgf.mapping.pretrained import PretrainedMapper
from bdgf.scene.prepared import PreparedScene
from bdgf.scene.scene import Scene
from bdgf.scene.windows import Window

PIECE = Window(16, 20, 8, 12)


@pytest.fixture
def compare(trained_run: Path, tiny_scene: Path) -> Comparison:
    run = PretrainedMapper.from_run(trained_run)
    return Comparison(run, Scene.open(tiny_scene), 0, PIECE, 56)


def right(compare: Comparison) -> list[torch.Tensor]:
    """What a program gives that agrees to the last bit."""
    found = torch.full((len(compare.run.classes.codes), 45, 51), torch.nan)
    known = compare.known
    found[(..., *PIECE.slices)] = torch.where(known, compare.expected, torch.nan)
    return [found, torch.from_numpy(compare.store.window(0, Window(0, 0, 45, 51))).half()]


def test_disagreement_is_refused() -> None:
    Agreement(10, 5e-5, excess=5e-5).check("mapper.onnx")
    for wrong in (2e-4, float("inf"), float("nan")):
        with pytest.raises(RunFolderError, match=r"mapper\.onnx differs"):
            Agreement(10, wrong).check("mapper.onnx")
        with pytest.raises(RunFolderError, match="beyond their rounding"):
            Agreement(10, 0.0, excess=wrong).check("mapper.onnx")


def test_pieces_together_are_as_bad_as_the_worst() -> None:
    first, second = (
        Agreement(10, 1e-6, 40, 3, 0.0, 2e-5, 1),
        Agreement(20, 5e-6, 80, 1, 1e-7, 0.0, 2),
    )
    assert first + second == second + first == Agreement(30, 5e-6, 120, 4, 1e-7, 2e-5, 3)
    for wrong in (float("inf"), float("nan")):
        with pytest.raises(RunFolderError, match=r"mapper\.onnx differs"):
            (first + Agreement(1, wrong) + second).check("mapper.onnx")


def test_only_the_piece_is_looked_at(compare: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = compare.prepared.valid(0)
    np.testing.assert_array_equal(compare.known.numpy(), whole[PIECE.slices])

    def refuse(*_: object) -> None:
        raise AssertionError("the validity of a whole tile was asked for")

    monkeypatch.setattr(PreparedScene, "valid", refuse)
    again = Comparison(compare.run, compare.prepared.scene, 0, PIECE, 56)
    assert torch.equal(again.known, compare.known)


def test_it_sees_every_kind_of_difference(compare: Comparison) -> None:
    assert compare.values.shape[1:] == (45, 51), "with the halo, cut at the edge of the tile"
    found = compare(lambda *_: right(compare))
    assert found == Agreement(int(compare.known.sum()), 0.0, compare.features.size)
    row, col = np.argwhere(compare.known.numpy())[0] + (16, 20)
    wrong, features = right(compare)
    wrong[:, row, col] = wrong[:, row, col].flip(0)
    assert compare(lambda *_: (wrong, features)).differing == 1
    wrong[:, row, col] = torch.nan
    assert compare(lambda *_: (wrong, features)).largest == float("inf")


def test_a_feature_may_round_the_other_way_and_no_more(compare: Comparison) -> None:
    scores, features = right(compare)
    place = (1, 18, 25)
    value = np.float16(features[place])
    for steps in (1, 2):
        moved, next_ = features.clone(), value
        for _ in range(steps):
            next_ = np.nextafter(next_, np.float16("inf"))
        moved[place] = float(next_)
        found = compare(lambda *_, moved=moved: (scores, moved))
        assert found.rounded == 1
        assert found.on_map == 0.0, "these are the map's own"
        assert found.largest > 0.0, "the networks see the features of the program"
        if steps == 1:
            assert found.excess == 0.0
        else:
            assert found.excess == pytest.approx(float(np.spacing(np.abs(value))), rel=0.6)
    features[place] = torch.nan
    with pytest.raises(RunFolderError, match="beyond their rounding"):
        compare(lambda *_: (scores, features)).check("mapper.onnx")
    outside = right(compare)[1]
    outside[:, 0, 0] = 9.0  # beyond what the networks read of it
    assert compare(lambda *_: (scores, outside)).rounded == 0
