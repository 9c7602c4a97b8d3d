from __future__ import annotations

import dataclasses

import pytest

from bdgf import config, presets
from bdgf.errors import SettingsError
from bdgf.validation import validate


def test_presets_are_valid_and_differ() -> None:
    for name in presets.PRESETS:
        validate(presets.preset(name))
    assert presets.preset("standard") == config.Settings()
    names = [set(changes) for changes in presets.PRESETS.values()]
    assert names[0] == names[1] == names[2], "each preset decides what another may have changed"
    steps = [presets.preset(n).diffusion.steps for n in ("quick", "standard", "full")]
    assert steps == sorted(set(steps))
    with pytest.raises(SettingsError, match="'slow' is not a preset; choose one of quick"):
        presets.preset("slow")


def test_replace_reaches_nested_settings_and_refuses_unknown_names() -> None:
    changed = presets.replace(config.Settings(), {"diffusion.masking.ramp": "off", "seed": 3})
    assert changed.diffusion.masking.ramp == "off"
    assert changed.seed == 3
    for name in ("diffusion.mask.ramp", "seeds", "seed.more"):
        with pytest.raises(SettingsError, match=f"{name} is not a setting"):
            presets.replace(config.Settings(), {name: 1})


def test_values_go_through_plain_mappings_unchanged() -> None:
    changed = presets.replace(
        config.Settings(), {"features.timesteps": (10, 50), "network.branches": ("cnn",)}
    )
    values = {
        name: list(v) if isinstance(v, tuple) else v
        for name, v in dataclasses.asdict(changed).items()
    }
    assert presets.from_values(values) == changed


@pytest.mark.parametrize("value", ["x", 3, None, ()])
def test_a_group_of_settings_is_no_setting(value: object) -> None:
    with pytest.raises(SettingsError, match=r"compute is .*name one of them, such as compute\."):
        presets.from_values({"compute": value})
