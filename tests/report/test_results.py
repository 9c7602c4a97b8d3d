from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from bdgf.errors import RunFolderError
from bdgf.report.results import Results


def test_what_a_run_left_is_read(results: Results, single_results: Results) -> None:
    assert {row["stage"] for row in results.history} >= {"pretrain", "train"}
    assert [one.name for one in results.preparation.fitted] == ["hsi", "sar", "dsm"]
    assert results.store.window(0, _whole(results)).shape[1:] == (40, 52)
    assert single_results.store.channels == 0
    assert results.environment["packages"].keys() >= {"torch", "numpy"}


def test_damaged_metrics_are_named(results: Results, tmp_path: Path) -> None:
    class Folder:
        metrics = tmp_path / "metrics.json"

    Folder.metrics.write_text("{")
    broken = dataclasses.replace(results, folder=Folder())  # type: ignore[arg-type]
    with pytest.raises(RunFolderError, match=r"metrics\.json cannot be read.*bdgf evaluate"):
        _ = broken.metrics
    values = json.loads(results.folder.metrics.read_text())
    del values["missing"]
    Folder.metrics.write_text(json.dumps(values))
    older = dataclasses.replace(results, folder=Folder())  # type: ignore[arg-type]
    assert older.metrics["missing"] == {}, "an older run has no such figures"


@pytest.mark.parametrize("text", ["null", "3", '"methods"', "[[]]", "{}", '{"methods": [1]}'])
def test_json_of_another_form_is_named(results: Results, tmp_path: Path, text: str) -> None:
    class Folder:
        path = tmp_path
        metrics = tmp_path / "metrics.json"
        warnings = tmp_path / "warnings.json"

    broken = dataclasses.replace(results, folder=Folder())  # type: ignore[arg-type]
    for name in ("metrics", "warnings", "environment"):
        (tmp_path / f"{name}.json").write_text(text)
        with pytest.raises(RunFolderError, match=rf"{name}\.json cannot be read \(.*again"):
            getattr(broken, name)


def _whole(results: Results) -> object:
    from bdgf.scene.windows import Window

    tile = results.scene.tiles[0]
    assert np.prod((tile.height, tile.width)) == 40 * 52
    return Window(0, 0, tile.height, tile.width)
