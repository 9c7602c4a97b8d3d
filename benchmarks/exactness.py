"""That the fast ways give the same numbers: the dense map, and features however they are tiled."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from bdgf.fusion.network import fused_log_probabilities
from bdgf.fusion.patch_source import PatchSource
from bdgf.mapping.inference import window_logits
from bdgf.scene.windows import Window, windows_of
from benchmarks.cases import AUGSBURG, SMALL, Mapper, mapper
from benchmarks.results import Values
from benchmarks.timing import Setup

PIXELS = 2000


def exactness(setup: Setup, work: Path) -> Values:
    """Return the largest differences, and how many pixels' classes differ."""
    spec = SMALL if setup.small else replace(AUGSBURG, height=200, width=180)
    case = mapper(work, spec, setup.device)
    with setup.applied(), torch.inference_mode():
        return {**_dense(case, 50 if setup.small else PIXELS), **_tiling(case)}


def _dense(case: Mapper, count: int) -> Values:
    """Compare the map with every pixel's own patch, at random pixels and the edges."""
    height, width = case.prepared.shape(0)
    draws = np.random.default_rng(0)
    corners = [(r, c) for r in (0, 1, height - 1) for c in (0, 1, width - 1)]
    drawn = np.stack([draws.integers(height, size=count), draws.integers(width, size=count)], 1)
    places = np.concatenate([np.array(corners), drawn])
    side = case.settings.mapping.tile
    parts: dict[tuple[int, int], torch.Tensor] = {}
    for window in windows_of(height, width, side):
        logits = window_logits(case.network, case.prepared, case.store, 0, window).cpu()
        inside = (places // side == (window.row // side, window.col // side)).all(1)
        for row, col in places[inside]:
            parts[row, col] = logits[:, :, row - window.row, col - window.col]
    dense = torch.stack([parts[row, col] for row, col in places])  # (n, heads, K)
    source = PatchSource(case.prepared, case.store, case.network.window)
    positions = np.concatenate([np.zeros((len(places), 1), dtype=np.int64), places], 1)
    own = []
    for start in range(0, len(positions), 250):
        patches = source.gather(positions[start : start + 250])
        output = case.network(
            patches.values.to(case.device),
            patches.missing.to(case.device),
            [level.to(case.device) for level in patches.guidance],
        )
        own.append(output.logits[..., 0, 0].cpu())
    patch = torch.cat(own)
    shares = torch.tensor(case.weights)
    classes = [
        fused_log_probabilities(logits[..., None, None], shares)[..., 0, 0].argmax(1)
        for logits in (dense, patch)
    ]
    return {
        "pixels": len(places),
        "logits": float((dense - patch).abs().max()),
        "largest": float(patch.abs().max()),
        "other_classes": int((classes[0] != classes[1]).sum()),
    }


def _tiling(case: Mapper) -> Values:
    """Compare features of windows of several sides with those of the whole scene in one piece."""
    height, width = case.prepared.shape(0)
    whole = case.extractor.levels(0, Window(0, 0, height, width))
    worst = 0.0
    sides = (13, 64, 100)
    for side in sides:
        for window in windows_of(height, width, side):
            found = case.extractor.levels(0, window)
            for level, full in zip(found, whole, strict=True):
                part = full[(slice(None), *window.slices)]
                worst = max(worst, float((level - part).abs().max() / full.abs().max()))
            if side < 32 and window.col > 5 * side:  # small windows: some are enough
                break
    return {"features": worst, "sides": list(sides)}
