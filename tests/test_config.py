from __future__ import annotations

import dataclasses

import pytest

from bdgf import config
from bdgf.errors import SettingsError
from bdgf.validation import validate


def test_presets_are_valid_and_differ() -> None:
    for name in config.PRESETS:
        validate(config.preset(name))
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


def test_every_setting_is_documented() -> None:
    def check(kind: type) -> None:
        for field in dataclasses.fields(kind):
            assert f"        {field.name}: " in (kind.__doc__ or ""), (
                f"{kind.__name__}.{field.name}"
            )
            if dataclasses.is_dataclass(field.default_factory):
                check(field.default_factory)  # type: ignore[arg-type]

    check(config.Settings)


@pytest.mark.parametrize("value", ["x", 3, None, ()])
def test_a_group_of_settings_is_no_setting(value: object) -> None:
    with pytest.raises(SettingsError, match=r"compute is .*name one of them, such as compute\."):
        config.from_values({"compute": value})
