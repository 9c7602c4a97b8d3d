from __future__ import annotations

from pathlib import Path

import pytest

from bdgf.errors import SettingsError
from bdgf.progress import Silent
from bdgf.report.figures.writing import write_figures
from bdgf.report.results import Results

PICTURES = {"modality_hsi", "modality_sar", "modality_dsm", "map", "confidence", "errors"}
PLOTS = {"overview", "pretraining", "training", "confidence_curves", "confusion", "tsne"}


def test_a_run_gives_all_figures_in_both_formats(results: Results, tmp_path: Path) -> None:
    written = write_figures(results, tmp_path, ("png", "pdf"), None, "scene", Silent())
    names = {f"{name}.{kind}" for name in PICTURES | PLOTS for kind in ("png", "pdf")}
    assert {path.name for path in written} == {path.name for path in tmp_path.iterdir()} == names
    assert all(path.stat().st_size > 1000 for path in written)


def test_tiles_are_shown_together_or_one_alone(tiles_results: Results, tmp_path: Path) -> None:
    together = write_figures(tiles_results, tmp_path / "all", ("png",), None, "safe", Silent())
    assert {"map.png", "overview.png"} <= {path.name for path in together}
    name = tiles_results.scene.tiles[2].name
    write_figures(tiles_results, tmp_path / "one", ("png",), name, "safe", Silent())
    whole, one = (tmp_path / folder / "map.png" for folder in ("all", "one"))
    assert whole.read_bytes() != one.read_bytes()
    with pytest.raises(SettingsError, match="'nowhere' is no tile of"):
        write_figures(tiles_results, tmp_path / "x", ("png",), "nowhere", "safe", Silent())
    assert not (tmp_path / "x").exists()


def test_a_run_without_test_labels_and_features(single_results: Results, tmp_path: Path) -> None:
    written = write_figures(single_results, tmp_path, ("png",), None, "scene", Silent())
    assert {path.stem for path in written} == {
        "modality_hsi", "map", "confidence", "overview", "training",
    }  # fmt: skip
