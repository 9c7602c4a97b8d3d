"""The stage ``evaluate`` of a run: accuracy, confidence, and what the run has cost."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdgf import checkpoint
from bdgf.compute import peak_memory
from bdgf.diffusion.reliance import Reliance
from bdgf.errors import RunFolderError
from bdgf.evaluation.accuracy import score_methods
from bdgf.evaluation.confidence import (
    compare_temperatures,
    evaluate_confidence,
    map_log_probabilities,
)
from bdgf.evaluation.missing import evaluate_without
from bdgf.evaluation.transductive import transductive_note
from bdgf.mapping.reading import confidence_at
from bdgf.run import Run

_RECORD = ("heads", "fusion_weights", "temperature", "parameters")
"""What the file of the network says beside the weights."""


def evaluate(run: Run) -> dict[str, Any]:
    """Measure a run whose map is written.

    Args:
        run: The run.

    Returns:
        The content of ``metrics.json``.
    """
    positions = run.scene.positions("test")
    _, origin = checkpoint.load_tensors(run.folder.network, _RECORD)
    methods: dict[str, Any] = {}
    missing: dict[str, Any] = {}
    believed: dict[str, Any] = {}
    unmapped = 0
    if len(positions):
        mapped = run.mapped_classes(positions)
        unmapped = int((mapped < 0).sum())
        if unmapped:
            run.progress.say(
                f"evaluate: {unmapped:,} of {len(positions):,} test pixels have no spectral value"
                " and no class in the map; they count as errors"
            )
        methods = score_methods(run.scene, run.leak, mapped, run.settings, run.progress.say)
        accuracy = methods["BDGF"]["all"]
        run.tracker.follow("test", 0, {name: accuracy[name] for name in ("oa", "aa", "kappa")})
        missing = _without_each(run)
        believed = calibration(run, mapped)
    else:
        run.progress.say("evaluate: the scene has no test pixel, so accuracy is not measured")
    train_pixels = len(run.scene.positions("train"))
    metrics = {
        "scene": run.scene.name,
        "seed": run.settings.seed,
        "transductive": transductive_note(
            run.settings, len(origin["heads"]), origin.get("labels", train_pixels)
        ),
        "notes": list(run.scene.notes),
        "classes": dict(zip(map(str, run.scene.class_codes), run.scene.class_names, strict=True)),
        "train_pixels": train_pixels,
        "test_pixels": len(positions),
        "test_pixels_unmapped": unmapped,
        "leak": {"window": run.settings.network.window, "inside": run.leak.inside},
        "methods": methods,
        "missing": missing,
        "calibration": believed,
        "heads": origin["heads"],
        "fusion_weights": origin["fusion_weights"],
        "parameters": origin["parameters"],
        "seconds": run.folder.seconds(),
        "peak_memory_mb": round(peak_memory() / 2**20),
    }
    if run.folder.balance.is_file() and run.guided:
        metrics["balance"] = _balance(run)
        _, denoiser = checkpoint.load_tensors(run.folder.diffusion)
        if "from_run" in denoiser:
            metrics["denoiser_from"] = denoiser["from_run"]
    return metrics


def _balance(run: Run) -> dict[str, Any]:
    path = run.folder.balance
    try:
        return Reliance.from_json(run.folder.read_json(path, "pretrain")).to_json()
    except ValueError as error:
        raise RunFolderError(
            f"{path} cannot be read ({error}); delete it and run 'bdgf pretrain' again."
        ) from None


def _without_each(run: Run) -> dict[str, Any]:
    """Return the accuracies without each modality, nothing where they are not asked for."""
    s = run.settings
    if not s.evaluation.missing_modalities or len(run.prepared.layout.modalities) < 2:
        return {}
    network, weights = run.trained(run.store)
    note = ""
    if not run.guided and s.features.source != "none":
        note = (
            f"the features of {s.features.source} cannot be made without it and are kept, so"
            " they may tell what it saw"
        )
    return evaluate_without(
        run.prepared,
        run.leak,
        network,
        weights,
        run.features_of,
        s.mapping.tile,
        s.seed,
        run.progress,
        note,
    )


def calibration(run: Run, mapped: NDArray[np.int64]) -> dict[str, Any]:
    """Return how far the map's confidence can be believed, and what the temperature did.

    Args:
        run: The run, its map written.
        mapped: Class index of the map at the test pixels, −1 where it has none.
    """
    positions, reference = run.scene.positions("test"), run.scene.labels_at("test")
    paths = [run.map_paths(tile)[1] for tile in range(len(run.scene.tiles))]
    found = evaluate_confidence(
        reference,
        mapped,
        confidence_at(paths, positions),
        run.leak.is_far(positions),
    )
    return {**found, **temperatures(run)}


def temperatures(run: Run) -> dict[str, Any]:
    """Return the confidence of a run's network before and after temperature scaling.

    Args:
        run: The run, its network trained, on a scene with test pixels.

    Returns:
        What `compare_temperatures` gives, of the test pixels that are mapped.
    """
    _, origin = checkpoint.load_tensors(run.folder.network, _RECORD)
    store = run.store
    network, _ = run.trained(store)
    plain_weights = [float(w) for w in origin["fusion_weights"]]  # at temperature 1
    seen, values = map_log_probabilities(
        network,
        plain_weights,
        run.prepared,
        store,
        run.settings.mapping.tile,
        run.settings.seed,
    )
    reference = run.scene.labels_at("test")[seen]
    return compare_temperatures(values, reference, origin["temperature"])
