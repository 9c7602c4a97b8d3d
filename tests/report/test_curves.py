from __future__ import annotations

import numpy as np
import pytest

from bdgf.report.curves import confidence_charts, pretraining_charts, training_charts
from bdgf.report.results import Results

ROWS = [
    {"stage": "pretrain", "step": 10, "loss": 2.0, "loss_hsi": 1.0, "loss_my_sar": 3.0},
    {"stage": "pretrain", "step": 20, "loss": 1.0, "loss_hsi": 0.5, "loss_my_sar": 1.5,
     "reliance_hsi": 0.7, "reliance_my_sar": 0.9, "mask_gain": 1.1},
    {"stage": "train fold 1", "step": 10, "loss": 4.0, "entropy": 0.2},
    {"stage": "train", "step": 10, "loss": 3.0},
    {"stage": "train", "step": 20, "loss": 2.0, "entropy": 0.1},
]  # fmt: skip


def test_values_of_modalities_are_in_one_chart() -> None:
    charts = {chart.title: chart for chart in pretraining_charts(ROWS, ["hsi", "my_sar"])}
    assert [line.name for line in charts["Loss"].lines] == ["hsi", "my_sar", "all"]
    reliance = charts["Reliance of the features on each modality"]
    assert [line.name for line in reliance.lines] == ["hsi", "my_sar"]
    np.testing.assert_array_equal(reliance.lines[1].x, [20])
    np.testing.assert_array_equal(reliance.lines[1].y, [0.9])
    assert [line.name for line in charts["Gain of the masks"].lines] == ["all"]
    assert len(charts) == 3
    (alone,) = pretraining_charts([{"stage": "pretrain", "step": 1, "loss": 2, "loss_a": 2}], ["a"])
    assert [line.name for line in alone.lines] == ["a"], "of one modality nothing is drawn twice"


def test_every_training_is_a_line_the_one_of_the_map_first() -> None:
    charts = {chart.title: chart for chart in training_charts(ROWS)}
    assert [line.name for line in charts["Loss"].lines] == ["train", "train fold 1"]
    np.testing.assert_array_equal(charts["Loss"].lines[0].y, [3, 2])
    entropy = charts["Difference of the branches' entropies"]
    np.testing.assert_array_equal(entropy.lines[0].x, [20])
    assert not training_charts(ROWS[:2])
    assert not pretraining_charts(ROWS[2:], ["hsi"])


def test_confidence_ends_at_the_accuracy_of_the_run(
    results: Results, single_results: Results
) -> None:
    coverage, confidence = confidence_charts(results.metrics["calibration"])
    accuracy = results.metrics["methods"]["BDGF"]["all"]["oa"]
    assert coverage.lines[0].x[-1] == 100
    assert coverage.lines[0].y[-1] == pytest.approx(accuracy)
    line, even = confidence.lines
    assert np.isfinite(line.y).all(), "empty bins are left out"
    assert (np.diff(line.x) > 0).all()
    np.testing.assert_array_equal(even.x, even.y)
    assert confidence_charts(single_results.metrics["calibration"]) == []
