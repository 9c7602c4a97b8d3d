"""The stages of a run in their order, and what the outputs of each depend on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

from bdgf import __version__
from bdgf.config import Settings

STAGES = ("prepare", "pretrain", "features", "train", "map", "evaluate", "report")
"""Stages in their order; each depends on all before it."""

_SETTINGS_OF = {
    "prepare": ("seed", "preparation"),
    "pretrain": ("seed", "diffusion", "compute"),
    "features": ("seed", "features", "compute"),
    "train": ("seed", "network", "mutual", "training", "compute"),
    "map": ("mapping",),
    "evaluate": ("seed", "evaluation"),
    "report": ("seed", "report"),
}


NEUTRAL = (
    "diffusion.checkpoint_every",
    "diffusion.from_run",
    "features.stored",
    "training.checkpoint_every",
)
"""Settings that change nothing of what a finished training has learned: how often it was saved, and
where things lie."""


def plain(settings: Settings) -> dict[str, Any]:
    """Return the settings as JSON-like values."""
    found: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(settings)))
    return found


def fingerprints(
    settings: Settings,
    images: str,
    labels: str,
    features: str = "",
    start: str = "",
    legend: str = "",
) -> dict[str, str]:
    """Return what every stage's outputs depend on, as a hash per stage.

    Args:
        settings: All settings.
        images: Signature of the scene's rasters.
        labels: Signature of the scene's labels; only stages from training on depend on it.
        features: Signature of the feature files of another model, where they are used.
        start: Signature of the denoiser that pre-training starts from, where there is one.
        legend: Name of the scene, names and colours of its classes; only the map and what follows
            it depend on them.
    """
    values = plain(settings)
    values["compute"].pop("threads")
    for name in NEUTRAL:
        group, _, setting = name.partition(".")
        values[group].pop(setting)
    # when the rasters were taken is a word beside the map
    values["mapping"].pop("acquired")
    # the weights count, not where they lie
    values["diffusion"]["from_run"] = start
    found: dict[str, str] = {}
    before = f"{__version__}/{images}"
    for stage in STAGES:
        if stage == "train":
            before += labels
        own = {name: values[name] for name in _SETTINGS_OF[stage]}
        if stage == "pretrain":
            # with features of another model nothing is pre-trained
            own["guided"] = settings.features.source == "diffusion"
        if stage == "features":
            own["files"] = features
        if stage == "map":
            own["legend"] = legend
        text = json.dumps([before, stage, own], sort_keys=True)
        before = hashlib.sha256(text.encode()).hexdigest()
        found[stage] = before
    return found
