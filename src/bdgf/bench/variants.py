"""Our method and its ablations: each is the default with some settings changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bdgf import config, presets

OURS = "BDGF"

CONTROLS: dict[str, Mapping[str, Any]] = {
    "untrained denoiser": {"features.source": "diffusion", "diffusion.pretrain": False},
    "no guidance": {"features.source": "none"},
}
"""What stands beside every claim that pre-training or guidance helps."""

EQUAL_STEPS, EQUAL_TIME = "patch network", "patch network at equal time"
"""The patch network for as many steps as the default, and for as many as take the default's time
by the speed that the first of the two was measured with."""

_ALONE: Mapping[str, Any] = {
    "network.pixel_path": False,
    "network.patch_path": False,
    "network.feature_path": False,
}
"""Without the heads that stand beside the branches."""

ALL_ABLATIONS: dict[str, Mapping[str, Any]] = {
    **CONTROLS,
    # masks, and how their strength varies
    "no masking": {"diffusion.masking.ramp": "off"},
    "structure mask only": {"diffusion.masking.sample": False},
    "sample mask only": {"diffusion.masking.structure": False},
    "fixed masks": {"diffusion.masking.ramp": "fixed"},
    "cosine masks": {"diffusion.masking.ramp": "cosine"},
    "adaptive masks": {"diffusion.masking.ramp": "adaptive"},
    "no loss on hidden": {"diffusion.masking.hidden_loss": "none"},
    "completion of hidden": {"diffusion.masking.hidden_loss": "x0"},
    # weights of the modalities in the loss of the pre-training
    "plain loss": {"diffusion.loss_weights": "plain"},
    "loss per modality": {"diffusion.loss_weights": "modality"},
    "controlled loss": {"diffusion.loss_weights": "controlled"},
    "controlled from the start": {"diffusion.balance_from": 0.0},
    # how the denoiser is read
    "t = 10": {"features.timesteps": (10,)},
    "t = 50": {"features.timesteps": (50,)},
    "t = 200": {"features.timesteps": (200,)},
    "t = 10 + 50 + 200": {"features.timesteps": (10, 50, 200)},
    "noised input": {"features.noised": True},
    "coarse features only": {"features.levels": ("coarse", "coarse", "coarse")},
    "middle features only": {"features.levels": ("middle", "middle", "middle")},
    "fine features only": {"features.levels": ("fine", "fine", "fine")},
    "guided at the coarse level only": {"features.levels": ("coarse", "none", "none")},
    "guided at the middle level only": {"features.levels": ("none", "middle", "none")},
    "guided at the fine level only": {"features.levels": ("none", "none", "fine")},
    # branches, and how each is guided
    "CNN branch alone": {"network.branches": ("cnn",), **_ALONE},
    "Mamba branch alone": {"network.branches": ("mamba",), **_ALONE},
    "transformer branch alone": {"network.branches": ("transformer",), **_ALONE},
    "no pixel head": {"network.pixel_path": False},
    "feature path": {"network.feature_path": True},
    "no feature path": {"network.feature_path": False},
    "no guided patch": {"network.guided_patch": False},
    "no heads of the features": {"network.feature_path": False, "network.guided_patch": False},
    "patch path": {"network.patch_path": True},
    "no patch path": {"network.patch_path": False},
    "patch normalised by pixel": {"network.patch_norm": "pixel"},
    "patch normalised by batch": {"network.patch_norm": "batch"},
    "no pooling": {"network.pooling": 0},
    "no feature fusion": {"network.guided": ("mamba", "transformer")},
    "no group channel attention": {"network.guided": ("cnn", "transformer")},
    "no cross-attention": {"network.guided": ("cnn", "mamba")},
    "keys and values swapped": {"network.cross_query": "diffusion"},
    "full guidance gain": {"network.guidance_gain": 1.0},
    EQUAL_STEPS: {"network.kind": "patch"},
    EQUAL_TIME: {"network.kind": "patch"},
    # mutual learning
    "no entropy term": {"mutual.entropy_weight": 0.0},
    "no similarity term": {"mutual.similarity_weight": 0.0},
    "neither term": {"mutual.entropy_weight": 0.0, "mutual.similarity_weight": 0.0},
    "no consistency": {"training.consistency": 0.0},
    "unbalanced consistency": {"training.consistency_balance": 0.0},
    "consistency with the fusion": {"training.consistency_teacher": "fusion"},
    "mutual learning on unlabelled": {"mutual.unlabelled": True},
    "no mutual learning on unlabelled": {"mutual.unlabelled": False},
    # training
    "two members": {"network.members": 2},
    "four members": {"network.members": 4},
    "mean fusion": {"training.fusion": "mean"},
    "no lead of the patch": {"training.patch_lead": 0.0},
    "no class balancing": {"training.class_sampling": 0.0, "training.class_weights": "none"},
    "sqrt weights": {"training.class_sampling": 0.0, "training.class_weights": "sqrt"},
    "balanced weights": {"training.class_sampling": 0.0, "training.class_weights": "balanced"},
    "balanced sampling": {"training.class_sampling": 1.0, "training.class_weights": "sqrt"},
    "label smoothing": {"training.label_smoothing": 0.1},
    "no label smoothing": {"training.label_smoothing": 0.0},
    "EMA of weights": {"training.ema": 0.99},
    "no EMA of weights": {"training.ema": 0.0},
    "no noise": {"training.noise": 0.0},
    "no channel dropout": {"training.channel_dropout": 0.0},
    "no modality dropout": {"training.modality_dropout": 0.0},
    "no guidance dropout": {"training.guidance_dropout": 0.0},
}
"""One change each, by its name in tables; some may be what the default already is."""

ABLATIONS: dict[str, Mapping[str, Any]] = {
    name: changes
    for name, changes in ALL_ABLATIONS.items()
    if presets.replace(config.Settings(), dict(changes)) != config.Settings()
}
"""Those that differ from the default: a name in a table is the whole difference to it."""


def changes_of(name: str) -> Mapping[str, Any] | None:
    """Return the settings that a variant changes, None for a name that is no variant."""
    if name == OURS:
        return {}
    prefix = f"{OURS}, "
    return ALL_ABLATIONS.get(name.removeprefix(prefix)) if name.startswith(prefix) else None


def variant(name: str) -> str:
    """Return the full name of an ablation."""
    return f"{OURS}, {name}"
