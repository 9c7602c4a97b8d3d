"""What our method reads in place of its own features or random weights, made ready for a case."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bdgf import checkpoint, presets
from bdgf.bench.case import Case
from bdgf.bench.cross_model.sources import UNET, is_elsewhere, is_weights
from bdgf.bench.cross_model.unet import unet_features
from bdgf.diffusion.store import INDEX
from bdgf.pipeline import Pipeline
from bdgf.runfolder import RunFolder


@dataclass(frozen=True)
class Borrowed:
    """Settings by which our method reads something from elsewhere.

    Args:
        changes: The settings that are changed.
        seconds: Seconds that making it took, 0 for what was ready-made.
    """

    changes: Mapping[str, Any]
    seconds: float = 0.0

    def note(self, pipeline: Pipeline) -> str:
        """Return what a run took over, in a few words."""
        if pipeline.guided:
            _, origin = checkpoint.load_tensors(pipeline.folder.diffusion, ("from_run",))
            found = origin["from_run"]
            random = " and ".join(found["random"]) or "nothing"
            return f"{100 * found['share']:.1f} % of the denoiser taken over, {random} random"
        index = json.loads((pipeline.folder.features / INDEX).read_text(encoding="utf-8"))
        return "; ".join(index["origin"].get("notes", []))


def borrow(method: str, case: Case) -> Borrowed | None:
    """Make ready what a method takes from elsewhere, None for a method that takes nothing.

    Raises:
        BdgfError: It is missing or cannot be used on the scene.
    """
    if not is_elsewhere(method):
        return None
    case.elsewhere.check(method)
    if method == UNET:
        source, seconds = unet_features(case.prepared, case.settings, case.folder)
        return Borrowed({"features.source": source}, seconds)
    found = case.elsewhere.denoiser(method, case.seed)
    if found is None:
        return Borrowed({"features.source": case.elsewhere.embedding(method)})
    path, as_is = found
    seconds = 0.0
    if not is_weights(path):
        path, seconds = _pretrained(path, case)
    changes = {"diffusion.from_run": str(path), "diffusion.pretrain": not as_is}
    return Borrowed({"features.source": "diffusion", **changes}, seconds)


def _pretrained(scene: Path, case: Case) -> tuple[Path, float]:
    """Pre-train our denoiser on another scene with the case's settings and seed."""
    changes = {"features.source": "diffusion", "diffusion.from_run": "", "diffusion.pretrain": True}
    settings = presets.replace(case.settings, changes)
    mark = hashlib.sha256(str(scene.resolve()).encode()).hexdigest()[:12]
    folder = case.folder / f"denoiser-{mark}"
    other = Pipeline(scene, folder, settings, case.progress)
    other.run(("pretrain",))
    return folder, sum(RunFolder(folder).seconds().values())
