from __future__ import annotations

from bdgf import config, presets
from bdgf.stages import STAGES, fingerprints


def changed(name: str, value: object) -> set[str]:
    """Stages whose fingerprint a setting changes."""
    before = fingerprints(config.Settings(), "images", "labels")
    after = fingerprints(presets.replace(config.Settings(), {name: value}), "images", "labels")
    return {stage for stage in STAGES if before[stage] != after[stage]}


def test_a_setting_changes_its_stage_and_all_that_follow() -> None:
    assert changed("seed", 1) == set(STAGES)
    assert changed("diffusion.width", 8) == set(STAGES[1:])
    assert changed("training.steps", 8) == set(STAGES[3:])
    assert changed("mapping.tile", 64) == set(STAGES[4:])
    assert changed("evaluation.trees", 64) == set(STAGES[5:])
    assert changed("compute.threads", 2) == set()
    assert changed("diffusion.checkpoint_every", 2) == set()
    assert changed("training.checkpoint_every", 2) == set()
    assert changed("features.components", 2) == set(STAGES[2:])
    assert changed("features.source", "none") == set(STAGES[1:])
    assert changed("diffusion.from_run", "elsewhere") == set(), "its weights count, not its place"


def test_files_of_another_model_count_as_inputs() -> None:
    settings = config.Settings()
    before = fingerprints(settings, "images", "labels", "a.npy 10 1")
    after = fingerprints(settings, "images", "labels", "a.npy 10 2")
    assert [before[s] == after[s] for s in STAGES] == [True] * 2 + [False] * 5


def test_weights_of_another_run_count_as_inputs_of_pretraining() -> None:
    settings = config.Settings()
    before = fingerprints(settings, "images", "labels", start="some weights")
    after = fingerprints(settings, "images", "labels", start="other weights")
    assert [before[s] == after[s] for s in STAGES] == [True] + [False] * 6


def test_labels_change_only_what_depends_on_them() -> None:
    settings = config.Settings()
    before = fingerprints(settings, "images", "labels")
    after = fingerprints(settings, "images", "other labels")
    assert [before[s] == after[s] for s in STAGES] == [True] * 3 + [False] * 4
    assert before["prepare"] != fingerprints(settings, "other images", "labels")["prepare"]


def test_when_the_rasters_were_taken_changes_no_stage() -> None:
    assert changed("mapping.acquired", "2020-05-06") == set()
