from __future__ import annotations

import pytest

from bdgf import config
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
        ("training.fusion_temperature", 0.0, "greater than 0"),
        ("training.learning_rate", -1e-3, "greater than 0"),
        ("preparation.clip", 0.0, "greater than 0"),
        ("training.weight_decay", -1.0, "at least 0"),
        ("features.timesteps", (500,), "from 0 to 499"),
        ("features.timesteps", (), "at least one"),
        ("training.channel_dropout", 1.5, "between 0 and 1"),
        ("diffusion.steps", 0, "at least 1"),
        ("seed", -1, "at least 0"),
        ("mapping.acquired", "last summer", "ISO 8601"),
    ],
)
def test_values_that_cannot_work_are_refused(name: str, value: object, words: str) -> None:
    settings = config.replace(config.Settings(), {name: value})
    with pytest.raises(SettingsError) as caught:
        validate(settings)
    assert name in str(caught.value)
    assert words in str(caught.value)
