"""Presets by effort, and settings that are changed or read by their dotted names."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from bdgf.config import Settings
from bdgf.errors import SettingsError

PRESETS: dict[str, dict[str, Any]] = {
    "quick": {
        "diffusion.steps": 200,
        "diffusion.width": 32,
        "training.steps": 200,
        "training.fusion": "mean",
        "training.fold_pixels": 1,
        "evaluation.trees": 100,
    },
    "standard": {
        "diffusion.steps": 1500,
        "diffusion.width": 32,
        "training.steps": 300,
        "training.fusion": "cv",
        "training.fold_pixels": 2000,
        "evaluation.trees": 500,
    },
    "full": {
        "diffusion.steps": 20_000,
        "diffusion.width": 64,
        "training.steps": 3000,
        "training.fusion": "cv",
        "training.fold_pixels": 2000,
        "evaluation.trees": 500,
    },
}
"""Presets by effort: the settings that each decides, by their names; standard is the default."""


def replace(settings: Settings, changes: dict[str, Any]) -> Settings:
    """Return the settings with some values changed, named by their dotted names.

    Raises:
        SettingsError: A name that is no setting.
    """
    for name, value in changes.items():
        settings = _replace(settings, name.split("."), value, name)
    return settings


def _replace(node: Any, path: list[str], value: Any, name: str) -> Any:  # noqa: ANN401
    if not dataclasses.is_dataclass(node) or path[0] not in {
        f.name for f in dataclasses.fields(node)
    }:
        raise SettingsError(f"{name} is not a setting; 'bdgf run --help' lists them all.")
    held = getattr(node, path[0])
    if isinstance(value, np.generic):  # such as a seed of an array
        value = value.item()
    if len(path) > 1:
        value = _replace(held, path[1:], value, name)
    elif dataclasses.is_dataclass(held) and not dataclasses.is_dataclass(value):
        raise SettingsError(
            f"{name} is {value!r}; it is a group of settings: name one of them, such as"
            f" {name}.{dataclasses.fields(held)[0].name}."
        )
    return dataclasses.replace(node, **{path[0]: value})  # type: ignore[type-var]


def preset(name: str) -> Settings:
    """Return the settings of a preset.

    Raises:
        SettingsError: A name that is no preset.
    """
    if name not in PRESETS:
        raise SettingsError(f"{name!r} is not a preset; choose one of {', '.join(PRESETS)}.")
    return replace(Settings(), PRESETS[name])


def from_values(values: dict[str, Any]) -> Settings:
    """Return the settings with the values of a nested mapping, the rest at their defaults.

    Raises:
        SettingsError: A name that is no setting.
    """
    return replace(Settings(), flat(values))


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested mapping with dotted names."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found.update(flat(value, f"{prefix}{name}."))
        else:
            found[f"{prefix}{name}"] = tuple(value) if isinstance(value, list) else value
    return found
