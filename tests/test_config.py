from __future__ import annotations

import dataclasses

from bdgf import config


def test_every_setting_is_documented() -> None:
    def check(kind: type) -> None:
        for field in dataclasses.fields(kind):
            assert f"        {field.name}: " in (kind.__doc__ or ""), (
                f"{kind.__name__}.{field.name}"
            )
            if dataclasses.is_dataclass(field.default_factory):
                check(field.default_factory)  # type: ignore[arg-type]

    check(config.Settings)
