"""Published figures, each with its protocol and source; shown only beside the same protocol."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources

from bdgf.scene.scene import Scene


@dataclass(frozen=True)
class Published:
    """A published result.

    Args:
        scene: Name of the benchmark scene.
        train: Training pixels of its protocol.
        test: Test pixels of its protocol.
        method: Name of the method.
        oa: Overall accuracy in percent, None where the source does not say.
        aa: Average accuracy in percent.
        kappa: Kappa × 100.
        source: Where the figures were read, and how the epoch was chosen where that is known.
    """

    scene: str
    train: int
    test: int
    method: str
    oa: float | None
    aa: float | None
    kappa: float | None
    source: str


def load_published() -> tuple[Published, ...]:
    """Return all published figures that the package carries."""
    text = resources.files("bdgf.bench").joinpath("published.json").read_text(encoding="utf-8")
    return tuple(Published(**entry) for entry in json.loads(text))


def published_for(scene: Scene) -> tuple[Published, ...]:
    """Return the figures for a scene: the same name, and as many training and test pixels."""
    counts = (len(scene.positions("train")), len(scene.positions("test")))
    return tuple(
        one
        for one in load_published()
        if one.scene == scene.name and (one.train, one.test) == counts
    )
