"""Land-cover maps from co-registered rasters, by balanced diffusion-guided fusion (BDGF)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bdgf import config as config
    from bdgf import presets as presets
    from bdgf.config import Settings as Settings
    from bdgf.estimator import BDGFClassifier as BDGFClassifier
    from bdgf.pipeline import Pipeline as Pipeline
    from bdgf.scene.chips import SceneChips as SceneChips
    from bdgf.scene.scene import Scene as Scene

__version__ = "0.1.0"

_HOMES = {
    "BDGFClassifier": "bdgf.estimator",
    "config": "bdgf.config",
    "Pipeline": "bdgf.pipeline",
    "presets": "bdgf.presets",
    "Scene": "bdgf.scene.scene",
    "SceneChips": "bdgf.scene.chips",
    "Settings": "bdgf.config",
}

__all__ = [
    "BDGFClassifier",
    "Pipeline",
    "Scene",
    "SceneChips",
    "Settings",
    "__version__",
    "config",
    "presets",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Import a public name when it is first asked for: the command line starts without torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'bdgf' has no attribute {name!r}")
    from importlib import import_module

    home = import_module(_HOMES[name])
    found = home if home.__name__ == f"{__name__}.{name}" else getattr(home, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
