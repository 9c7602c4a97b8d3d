from __future__ import annotations

import dataclasses

import pytest

from bdgf import config
from bdgf.errors import SettingsError


def test_presets_are_valid_and_differ() -> None:
    for name in config.PRESETS:
        config.validate(config.preset(name))
    assert config.preset("standard") == config.Settings()
    names = [set(changes) for changes in config.PRESETS.values()]
    assert names[0] == names[1] == names[2], "each preset decides what another may have changed"
    steps = [config.preset(n).diffusion.steps for n in ("quick", "standard", "full")]
    assert steps == sorted(set(steps))
    with pytest.raises(SettingsError, match="'slow' is not a preset; choose one of quick"):
        config.preset("slow")


def test_replace_reaches_nested_settings_and_refuses_unknown_names() -> None:
    changed = config.replace(config.Settings(), {"diffusion.masking.ramp": "off", "seed": 3})
    assert changed.diffusion.masking.ramp == "off"
    assert changed.seed == 3
    for name in ("diffusion.mask.ramp", "seeds", "seed.more"):
        with pytest.raises(SettingsError, match=f"{name} is not a setting"):
            config.replace(config.Settings(), {name: 1})


def test_values_go_through_plain_mappings_unchanged() -> None:
    changed = config.replace(
        config.Settings(), {"features.timesteps": (10, 50), "network.branches": ("cnn",)}
    )
    values = {
        name: list(v) if isinstance(v, tuple) else v
        for name, v in dataclasses.asdict(changed).items()
    }
    assert config.from_values(values) == changed


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
    ],
)
def test_values_that_cannot_work_are_refused(name: str, value: object, words: str) -> None:
    settings = config.replace(config.Settings(), {name: value})
    with pytest.raises(SettingsError) as caught:
        config.validate(settings)
    assert name in str(caught.value)
    assert words in str(caught.value)


def test_every_setting_is_documented() -> None:
    def check(kind: type) -> None:
        for field in dataclasses.fields(kind):
            assert f"        {field.name}: " in (kind.__doc__ or ""), (
                f"{kind.__name__}.{field.name}"
            )
            if dataclasses.is_dataclass(field.default_factory):
                check(field.default_factory)  # type: ignore[arg-type]

    check(config.Settings)
