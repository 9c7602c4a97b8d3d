from __future__ import annotations

import math

import pytest

from bdgf import config, presets
from bdgf.errors import SettingsError
from bdgf.validation import validate


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("network.window", 10, "odd"),
        ("network.window", 1, "at least 3"),
        ("diffusion.crop", 30, "multiple of 4"),
        ("network.width", 20, "multiple"),
        ("network.branches", ("cnn", "rnn"), "at least one of"),
        ("network.branches", (), "at least one of"),
        ("network.branches", ("cnn", "cnn"), "each once"),
        ("network.guided", ("cnn", "rnn"), "guides none"),
        ("network.groups", 0, "at least 1"),
        ("network.attention_heads", 0, "at least 1"),
        ("network.guided", ("cnn", "cnn"), "each once"),
        ("features.levels", ("fine",), "three of"),
        ("features.levels", ("fine", "finest", "fine"), "three of"),
        ("features.levels", ("none", "none", "none"), "features.source none"),
        ("training.label_smoothing", 1.0, "less than 1"),
        ("training.ema", -0.1, "at least 0"),
        ("training.consistency", -1.0, "at least 0"),
        ("training.consistency_decay", 1.0, "less than 1"),
        ("training.consistency_sure", 1.5, "between 0 and 1"),
        ("training.unlabelled_pixels", 1, "at least 2"),
        ("training.fusion_temperature", 0.0, "greater than 0"),
        ("training.fold_pixels", -1, "at least 0"),
        ("training.fold_pixels", 0, "training.fusion mean"),
        ("training.learning_rate", -1e-3, "greater than 0"),
        ("preparation.clip", 0.0, "greater than 0"),
        ("training.weight_decay", -1.0, "at least 0"),
        ("features.timesteps", (500,), "from 0 to 499"),
        ("features.timesteps", (), "at least one"),
        ("training.channel_dropout", 1.5, "between 0 and 1"),
        ("training.guidance_dropout", -0.1, "between 0 and 1"),
        ("diffusion.steps", 0, "at least 1"),
        ("seed", -1, "at least 0"),
        ("seed", 2**32, "at most 4294967295"),
        ("features.timesteps", (50.5,), "each a whole number"),
        ("features.timesteps", (True,), "each a whole number"),
        ("features.timesteps", ("a",), "each a whole number"),
        ("network.branches", (["cnn"],), "each a text"),
        ("mapping.acquired", "last summer", "ISO 8601"),
        ("network.kind", "x", "one of dense, patch"),
        ("network.pixel_path", "false", "true or false"),
        ("training.steps", 2.0, "a whole number"),
        ("training.steps", True, "a whole number"),
        ("training.noise", math.nan, "neither NaN"),
        ("training.consistency", math.inf, "neither NaN nor infinite"),
        ("training.noise", 10**400, "neither NaN nor infinite"),
        ("diffusion.beta_start", 1.5, "between 0 and 1"),
        ("diffusion.masking.ramp", "linear", "one of"),
        ("features.timesteps", 50, "a list"),
        ("features.source", 5, "a text"),
    ],
)
def test_values_that_cannot_work_are_refused(name: str, value: object, words: str) -> None:
    settings = presets.replace(config.Settings(), {name: value})
    with pytest.raises(SettingsError) as caught:
        validate(settings)
    assert name in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("network.guided", ()),
        ("seed", 2**32 - 1),
        ("features.levels", ("none", "none", "fine")),
        ("training.label_smoothing", 0.2),
        ("training.ema", 0.999),
    ],
)
def test_values_at_their_limits_are_taken(name: str, value: object) -> None:
    validate(presets.replace(config.Settings(), {name: value}))
