"""Reading YAML files that people write: safe loading, and checks that name the field."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from bdgf.errors import SceneError

_TURNS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # the direction of writing
_MERGE = "tag:yaml.org,2002:merge"


class WrittenInt(int):
    """A whole number that is written otherwise than Python writes it, such as ``007``.

    Attributes:
        text: As it is written: where a name stands, it is the name.
    """

    text: str


class _UniqueKeyLoader(yaml.SafeLoader):
    """Safe loader that refuses a key given twice, which YAML loaders silently let win."""

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        value: int = super().construct_yaml_int(node)
        text = str(node.value)
        if str(value) == text:
            return value
        written = WrittenInt(value)
        written.text = text
        return written

    def construct_yaml_timestamp(self, node: yaml.ScalarNode) -> Any:  # noqa: ANN401
        try:
            return super().construct_yaml_timestamp(node)
        except ValueError:  # it looks like a date, and there is no such day
            return str(node.value)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys: list[Any] = []
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            if key in keys:
                raise SceneError(
                    f"line {key_node.start_mark.line + 1} of the scene file gives {key!r} a"
                    " second time; names are unique: remove or rename one of them."
                )
            keys.append(key)
        return super().construct_mapping(node, deep)


_UniqueKeyLoader.add_constructor("tag:yaml.org,2002:int", _UniqueKeyLoader.construct_yaml_int)
_UniqueKeyLoader.add_constructor(
    "tag:yaml.org,2002:timestamp", _UniqueKeyLoader.construct_yaml_timestamp
)


def load_yaml(path: Path) -> Any:  # noqa: ANN401
    """Return what a YAML file holds.

    Raises:
        SceneError: The file is not there, is no valid YAML, or gives a key twice.
    """
    try:
        # A subclass of SafeLoader: no tag of it runs code.
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except FileNotFoundError as error:
        raise SceneError(
            f"{path} does not exist; name a scene file, or write one with 'bdgf inspect FILES'."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise SceneError(f"{path} cannot be read as a text file ({error}).") from error
    except RecursionError:
        raise SceneError(
            f"{path.name} is nested too deeply to be read; a scene file has a few levels."
        ) from None
    except (yaml.YAMLError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise SceneError(f"{path.name} is not valid YAML: {reason}.") from error
    return content


class Fields:
    """A mapping of the scene file together with the words that name it in messages."""

    def __init__(self, values: Any, where: str) -> None:  # noqa: ANN401
        if not isinstance(values, Mapping):
            raise SceneError(
                f"{where} is {shown(values)}; it must be a mapping of names to values."
            )
        self.values: Mapping[Any, Any] = values
        self.where = where

    def only(self, *known: str) -> None:
        """Refuse a field that is not known, and suggest the nearest."""
        for key in self.values:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"it knows {', '.join(known)}."
                raise SceneError(f"{self.where} has an unknown field {key!r}; {hint}")

    def text(self, key: str) -> str:
        """Return a text that has to be there."""
        value = self.optional_text(key)
        if value is None:
            raise SceneError(f"{self.where} has no {key}; add '{key}: ...'.")
        return value

    def optional_text(self, key: str) -> str | None:
        """Return a text, or None where the field is missing or empty."""
        value = self.values.get(key)
        if value is not None and (not isinstance(value, str) or not value.strip()):
            raise SceneError(
                f"{key} of {self.where} is {shown(value)}; it must be a text: quote it."
            )
        if value is not None:
            check_visible(value, f"{key} of {self.where}")
        return value

    def optional_name(self, key: str) -> str | None:
        """Return the name of an array or page, which may be a number; None where it is missing."""
        value = self.values.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return value.text if isinstance(value, WrittenInt) else str(value)
        return self.optional_text(key)

    def choice(self, key: str, known: tuple[str, ...], default: str | None = None) -> str:
        """Return one of a few texts."""
        value = self.values.get(key, default)
        if value not in known:
            raise SceneError(
                f"{key} of {self.where} is {shown(value)}; it must be one of {', '.join(known)}."
            )
        return str(value)

    def number(self, key: str, default: float, low: float, high: float) -> float:
        """Return a number from ``low`` to ``high``."""
        value = self.values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise SceneError(f"{key} of {self.where} is {shown(value)}; it must be a number.")
        if not low <= value <= high:
            limits = f"from {low:g} to {high:g}" if high < 1e9 else f"at least {low:g}"
            raise SceneError(f"{key} of {self.where} is {value}; it must be {limits}.")
        return value

    def whole(self, key: str, default: int, low: int) -> int:
        """Return a whole number from ``low`` on."""
        value = self.number(key, default, low, 2**31)
        if value != int(value):
            raise SceneError(f"{key} of {self.where} is {value}; it must be a whole number.")
        return int(value)

    def axes(self) -> str | None:
        """Return what each axis of an array is, in capital letters; None where nothing says so."""
        axes = self.optional_text("axes")
        if axes is not None and sorted(axes.upper()) not in (sorted("HW"), sorted("HWC")):
            raise SceneError(
                f"axes of {self.where} is {axes!r}; it names what each axis of the array is, H"
                " rows, W columns, C bands, such as HWC or CHW."
            )
        return axes.upper() if axes else None


def check_visible(text: str, what: str) -> None:
    """Refuse a text with control characters: it is printed, and stands in files of many kinds.

    Raises:
        SceneError: It has one.
    """
    hidden = next((c for c in text if unicodedata.category(c) in ("Cc", "Cs") or c in _TURNS), None)
    if hidden is not None:
        raise SceneError(
            f"{what} is {text!a} and holds the control character {hidden!a}; texts are"
            " made of visible characters: take it out."
        )


def shown(value: object) -> str:
    """Write a value as messages show it."""
    return "empty" if value is None else repr(value)


def flow(value: object) -> str:
    """Write a value as YAML on one line."""
    text = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=1_000_000
    )
    return str(text).removesuffix("...\n").strip()
