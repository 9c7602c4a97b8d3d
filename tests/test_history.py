from __future__ import annotations

from pathlib import Path

import pytest

from bdgf.errors import RunFolderError
from bdgf.history import History


def test_a_restart_forgets_what_is_done_again(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    history = History(path)
    history.add("pretrain", 10, loss=1 / 3)
    history.add("pretrain", 20, loss=0.2)
    history.add("train", 5, loss=0.5)
    history.save()
    again = History(path)
    again.restart("pretrain", 10)
    assert [(r["stage"], r["step"]) for r in again.rows] == [("pretrain", 10), ("train", 5)]
    assert again.rows[0]["loss"] == 0.333333333


def test_a_follower_is_told_every_row_as_it_is_kept(tmp_path: Path) -> None:
    told: list[object] = []
    history = History(tmp_path / "h.jsonl", lambda *row: told.append(row))
    history.add("train", 10, loss=1 / 3)
    assert told == [("train", 10, {"loss": 0.333333333})]
    History(tmp_path / "h.jsonl", lambda *row: told.append(row)).restart("train", 0)
    assert len(told) == 1, "what is read back was told before"


@pytest.mark.parametrize(
    "text", ['{"stage": "train"', '{"stage": "train"}\n', "[1]\n", "3\n", 3000 * "["]
)
def test_a_damaged_history_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "history.jsonl").write_text(text)
    with pytest.raises(RunFolderError, match=r"history\.jsonl cannot be read .*bdgf train"):
        History(tmp_path / "history.jsonl")


@pytest.mark.parametrize(
    "row", ['"stage": 1, "step": 1, "loss": 1', '"stage": "a", "step": "1", "loss": 1',
            '"stage": "a", "step": 1, "loss": null', '"stage": "a", "step": 1, "loss": [1]',
            '"stage": "a", "step": 1, "loss": 1, "x": true', '"stage": "a", "loss": 1']
)  # fmt: skip
def test_a_row_of_another_form_is_named(tmp_path: Path, row: str) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text('{"stage": "a", "step": 1, "loss": NaN}\n{' + row + "}\n")
    with pytest.raises(RunFolderError, match="cannot be read"):
        History(path)


def test_stages_of_other_settings_are_forgotten() -> None:
    history = History(None)
    for stage in ("pretrain", "train fold 1", "train fold 2", "train fold 3", "train"):
        history.add(stage, 1, loss=1.0)
    history.keep("train fold", ["train fold 1", "train fold 2"])
    kept = [row["stage"] for row in history.rows]
    assert kept == ["pretrain", "train fold 1", "train fold 2", "train"]
