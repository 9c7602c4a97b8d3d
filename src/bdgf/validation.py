"""Checks of the settings that their types cannot make."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal, get_args, get_origin, get_type_hints

from bdgf.config import (
    DiffusionSettings,
    FeatureSettings,
    NetworkSettings,
    Settings,
    TrainingSettings,
)
from bdgf.errors import SettingsError

_HIGHEST_SEED = 2**32 - 1
"""Largest that scikit-learn takes."""


def validate(settings: Settings) -> None:
    """Check what the types cannot.

    Raises:
        SettingsError: The first value that cannot work, with the rule and the way out.
    """
    # first of all: what follows counts on types, and divides by some of the values
    _check_types(settings)
    for name, value, least in _least(settings):
        if value < least:
            raise SettingsError(f"{name} is {value}; it must be at least {least}.")
    if settings.seed > _HIGHEST_SEED:
        raise SettingsError(f"seed is {settings.seed}; it must be at most {_HIGHEST_SEED}.")
    _check_network(settings.network)
    _check_denoiser(settings.diffusion, settings.features)
    acquired = settings.mapping.acquired
    if acquired and not _is_time(acquired):
        raise SettingsError(
            f"mapping.acquired is {acquired!r}; it must be a date or a time of ISO 8601, such as"
            " 2018-08-27 or 2018-08-27T10:36:00Z."
        )
    for name, value in _positive(settings):
        if not 0 < value < float("inf"):
            raise SettingsError(f"{name} is {value}; it must be greater than 0.")
    for name, value in _shares(settings):
        if not 0 <= value <= 1:
            raise SettingsError(f"{name} is {value}; it must lie between 0 and 1.")
    _check_training(settings.training)


def _check_network(network: NetworkSettings) -> None:
    """Check window, widths and branches."""
    window = network.window
    if window % 2 == 0 or window < 3:
        raise SettingsError(
            f"network.window is {window}; a patch needs a centre pixel, so it must be odd and at"
            f" least 3: use {max(3, window - 1)} or {max(3, window + 1)}."
        )
    for name in ("groups", "attention_heads"):
        parts = getattr(network, name)
        if network.width % parts:
            raise SettingsError(
                f"network.width {network.width} does not divide into network.{name} {parts}; choose"
                " a width that is a multiple of it."
            )
    branches = network.branches
    unknown = set(branches) - {"cnn", "mamba", "transformer"}
    if unknown or not branches or len(set(branches)) < len(branches):
        raise SettingsError(
            f"network.branches is {list(branches)}; it must name at least one of cnn, mamba,"
            " transformer, each once."
        )
    guided = network.guided
    if set(guided) - {"cnn", "mamba", "transformer"} or len(set(guided)) < len(guided):
        raise SettingsError(
            f"network.guided is {list(guided)}; it may name cnn, mamba and transformer, each once:"
            " [] guides none of them."
        )


def _check_denoiser(diffusion: DiffusionSettings, features: FeatureSettings) -> None:
    """Check the crops that the denoiser learns from, and how it is read."""
    crop = diffusion.crop
    if crop % 4 or crop < 8:
        raise SettingsError(
            f"diffusion.crop is {crop}; the denoiser halves it twice, so it must be a multiple of 4"
            f" and at least 8: use {max(8, (crop + 2) // 4 * 4)}."
        )
    levels = features.levels
    if len(levels) != 3 or set(levels) - {"coarse", "middle", "fine", "none"}:
        raise SettingsError(
            f"features.levels is {list(levels)}; it must name three of coarse, middle, fine or"
            " none, one for each level of the branches, such as [middle,middle,middle]."
        )
    if set(levels) == {"none"}:
        raise SettingsError(
            f"features.levels is {list(levels)}, which leaves no guidance; use features.source none"
            " for that, so that nothing is pre-trained in vain."
        )
    last = diffusion.timesteps - 1
    bad_steps = [t for t in features.timesteps if not 0 <= t <= last]
    if bad_steps or not features.timesteps:
        raise SettingsError(
            f"features.timesteps is {list(features.timesteps)}; give at least one, each from 0 to"
            f" {last} (diffusion.timesteps less one)."
        )


def _check_training(training: TrainingSettings) -> None:
    """Check that folds are there for the weights, and that something is learned."""
    if training.fusion == "cv" and not training.fold_pixels:
        raise SettingsError(
            "training.fold_pixels is 0, which trains no folds, and training.fusion is cv, whose"
            " weights come from them: give at least 1, or training.fusion mean."
        )
    for name in ("label_smoothing", "ema", "consistency_decay"):
        value = getattr(training, name)
        if not 0 <= value < 1:
            raise SettingsError(
                f"training.{name} is {value}; it must be at least 0 and less than 1: at 1 nothing"
                " is learned from the labels."
            )


def _check_types(group: Any, prefix: str = "") -> None:  # noqa: ANN401
    """Check that every value is one of its field's type; the command line has done it already."""
    for name, kind in get_type_hints(type(group)).items():
        value, full = getattr(group, name), f"{prefix}{name}"
        if dataclasses.is_dataclass(kind):
            _check_types(value, f"{full}.")
        elif get_origin(kind) is Literal and value not in get_args(kind):
            known = ", ".join(map(str, get_args(kind)))
            raise SettingsError(f"{full} is {value!r}; it must be one of {known}.")
        elif kind in _TYPES and not _TYPES[kind][0](value):
            raise SettingsError(f"{full} is {value!r}; it must be {_TYPES[kind][1]}.")
        elif get_origin(kind) is tuple:
            fits, what = _TYPES[get_args(kind)[0]]
            if not isinstance(value, tuple | list) or not all(map(fits, value)):
                raise SettingsError(f"{full} is {value!r}; it must be a list, each {what}.")


def _is_number(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


_TYPES: dict[Any, tuple[Callable[[object], bool], str]] = {
    bool: (lambda value: isinstance(value, bool), "true or false"),
    int: (lambda v: isinstance(v, int) and not isinstance(v, bool), "a whole number"),
    float: (_is_number, "a number, neither NaN nor infinite"),
    str: (lambda value: isinstance(value, str), "a text"),
}


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _least(s: Settings) -> list[tuple[str, float, float]]:
    return [
        ("seed", s.seed, 0),
        ("preparation.components", s.preparation.components, 1),
        ("preparation.fit_pixels", s.preparation.fit_pixels, 100),
        ("diffusion.width", s.diffusion.width, 4),
        ("diffusion.steps", s.diffusion.steps, 1),
        ("diffusion.batch", s.diffusion.batch, 1),
        ("diffusion.timesteps", s.diffusion.timesteps, 2),
        ("diffusion.checkpoint_every", s.diffusion.checkpoint_every, 1),
        ("diffusion.masking.block", s.diffusion.masking.block, 1),
        ("features.components", s.features.components, 1),
        ("network.members", s.network.members, 1),
        ("network.width", s.network.width, 8),
        ("network.groups", s.network.groups, 1),
        ("network.state", s.network.state, 1),
        ("network.attention_heads", s.network.attention_heads, 1),
        ("network.pooling", s.network.pooling, 0),
        ("training.steps", s.training.steps, 1),
        ("training.batch", s.training.batch, 2),
        ("training.folds", s.training.folds, 2),
        ("training.fold_pixels", s.training.fold_pixels, 0),
        ("training.weight_decay", s.training.weight_decay, 0),
        ("training.noise", s.training.noise, 0),
        ("training.patch_lead", s.training.patch_lead, 0),
        ("training.consistency", s.training.consistency, 0),
        ("training.unlabelled_pixels", s.training.unlabelled_pixels, 2),
        ("mutual.entropy_weight", s.mutual.entropy_weight, 0),
        ("mutual.similarity_weight", s.mutual.similarity_weight, 0),
        ("mutual.unlabelled_weight", s.mutual.unlabelled_weight, 0),
        ("mutual.divergence", s.mutual.divergence, 0),
        ("training.checkpoint_every", s.training.checkpoint_every, 1),
        ("mapping.tile", s.mapping.tile, 16),
        ("evaluation.trees", s.evaluation.trees, 1),
        ("evaluation.svm_pixels", s.evaluation.svm_pixels, 10),
        ("report.points", s.report.points, 0),
        ("compute.threads", s.compute.threads, 0),
    ]


def _positive(s: Settings) -> list[tuple[str, float]]:
    return [
        ("preparation.clip", s.preparation.clip),
        ("diffusion.beta_start", s.diffusion.beta_start),
        ("diffusion.beta_end", s.diffusion.beta_end),
        ("diffusion.learning_rate", s.diffusion.learning_rate),
        ("diffusion.clip_norm", s.diffusion.clip_norm),
        ("training.learning_rate", s.training.learning_rate),
        ("training.clip_norm", s.training.clip_norm),
        ("training.fusion_temperature", s.training.fusion_temperature),
    ]


def _shares(s: Settings) -> list[tuple[str, float]]:
    return [
        ("diffusion.masking.structure_ratio", s.diffusion.masking.structure_ratio),
        ("diffusion.masking.sample_ratio", s.diffusion.masking.sample_ratio),
        ("diffusion.warmup", s.diffusion.warmup),
        ("diffusion.ema_decay", s.diffusion.ema_decay),
        ("diffusion.balance_from", s.diffusion.balance_from),
        ("diffusion.beta_start", s.diffusion.beta_start),
        ("diffusion.beta_end", s.diffusion.beta_end),
        ("mutual.ramp", s.mutual.ramp),
        ("training.warmup", s.training.warmup),
        ("training.class_sampling", s.training.class_sampling),
        ("training.channel_dropout", s.training.channel_dropout),
        ("training.modality_dropout", s.training.modality_dropout),
        ("training.guidance_dropout", s.training.guidance_dropout),
        ("training.fold_steps", s.training.fold_steps),
        ("training.consistency_sure", s.training.consistency_sure),
        ("training.consistency_balance", s.training.consistency_balance),
    ]
