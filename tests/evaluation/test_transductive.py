"""The note of a run says what its settings did, and nothing else."""

from __future__ import annotations

import pytest

from bdgf import config, presets
from bdgf.evaluation.transductive import transductive_note

SEEN = " use pixels of the whole scene, test pixels among them, without their labels"
ALONE = "; the network itself is trained on the labelled training pixels alone"


@pytest.mark.parametrize(
    ("changes", "heads", "note"),
    [
        (
            {},
            5,
            f"statistics, principal components and diffusion pre-training{SEEN}{ALONE}",
        ),
        (
            {"mutual.unlabelled": True},
            5,
            f"statistics, principal components, diffusion pre-training and mutual learning{SEEN}",
        ),
        (
            {"mutual.unlabelled": True},
            1,
            f"statistics, principal components and diffusion pre-training{SEEN}{ALONE}",
        ),
        ({"diffusion.pretrain": False}, 5, f"statistics and principal components{SEEN}{ALONE}"),
        ({"features.source": "none"}, 5, f"statistics and principal components{SEEN}{ALONE}"),
        (
            {"features.source": "other.npy"},
            5,
            f"statistics and principal components{SEEN}{ALONE}; the features that guide it come"
            " from other.npy, and what their model has seen is not known here",
        ),
        (
            {"diffusion.from_run": "runs/a", "diffusion.pretrain": False},
            5,
            f"statistics and principal components{SEEN}{ALONE}; the denoiser starts from weights"
            " of another run",
        ),
    ],
)
def test_the_note_follows_the_settings(changes: dict[str, object], heads: int, note: str) -> None:
    nothing = {"training.consistency": 0.0, "training.fusion": "mean"}
    alone = presets.replace(config.Settings(), {**nothing, **changes})
    assert transductive_note(alone, heads, 100) == note


def test_what_the_heads_learn_without_labels_is_told() -> None:
    note = transductive_note(config.Settings(), 1, 100)
    assert note == (
        "statistics, principal components, diffusion pre-training and the consistency of the"
        f" heads{SEEN}"
    )
    assert transductive_note(config.Settings(), 1, 4000).endswith(ALONE), "labels are enough"


def test_weights_that_come_from_the_scene_are_told() -> None:
    weighed = presets.replace(config.Settings(), {"training.consistency": 0.0})
    assert transductive_note(weighed, 7, 100) == (
        "statistics, principal components, diffusion pre-training and the weights of the"
        f" heads{SEEN}"
    )
    without = presets.replace(weighed, {"training.fold_pixels": 0})
    assert transductive_note(without, 7, 100).endswith(ALONE)
