"""Our method and its ablations: each is the default with some settings changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OURS = "BDGF"

CONTROLS: dict[str, Mapping[str, Any]] = {
    "untrained denoiser": {"diffusion.pretrain": False},
    "no guidance": {"features.source": "none"},
}
"""What stands beside every claim that pre-training or guidance helps."""

ABLATIONS: dict[str, Mapping[str, Any]] = {
    **CONTROLS,
    "no masking": {"diffusion.masking.ramp": "off"},
    "structure mask only": {"diffusion.masking.sample": False},
    "sample mask only": {"diffusion.masking.structure": False},
    "fixed masks": {"diffusion.masking.ramp": "fixed"},
    "adaptive masks": {"diffusion.masking.ramp": "adaptive"},
    "no loss on hidden": {"diffusion.masking.hidden_loss": "none"},
    "completion of hidden": {"diffusion.masking.hidden_loss": "x0"},
    "plain loss": {"diffusion.loss_weights": "plain"},
    "modality loss": {"diffusion.loss_weights": "modality"},
    "t = 10": {"features.timesteps": (10,)},
    "t = 200": {"features.timesteps": (200,)},
    "t = 10, 50, 200": {"features.timesteps": (10, 50, 200)},
    "noised input": {"features.noised": True},
    "CNN branch alone": {"network.branches": ("cnn",)},
    "Mamba branch alone": {"network.branches": ("mamba",)},
    "transformer branch alone": {"network.branches": ("transformer",)},
    "no pixel path": {"network.pixel_path": False},
    "no feature path": {"network.feature_path": False},
    "patch network": {"network.kind": "patch"},
    "full guidance gain": {"network.guidance_gain": 1.0},
    "no entropy term": {"mutual.entropy_weight": 0.0},
    "no similarity term": {"mutual.similarity_weight": 0.0},
    "no mutual learning": {"mutual.entropy_weight": 0.0, "mutual.similarity_weight": 0.0},
    "unlabelled mutual learning": {"mutual.unlabelled": True},
    "mean fusion": {"training.fusion": "mean"},
    "no class weights": {"training.class_weights": "none"},
    "balanced weights": {"training.class_weights": "balanced"},
    "balanced sampling": {"training.class_sampling": 1.0, "training.class_weights": "none"},
    "no noise": {"training.noise": 0.0},
    "no channel dropout": {"training.channel_dropout": 0.0},
    "no modality dropout": {"training.modality_dropout": 0.0},
}
"""One change each; a name in a table is the whole difference to the default."""


def changes_of(name: str) -> Mapping[str, Any] | None:
    """Return the settings that a variant changes, None for a name that is no variant."""
    if name == OURS:
        return {}
    prefix = f"{OURS}, "
    return ABLATIONS.get(name.removeprefix(prefix)) if name.startswith(prefix) else None


def variant(name: str) -> str:
    """Return the full name of an ablation."""
    return f"{OURS}, {name}"
