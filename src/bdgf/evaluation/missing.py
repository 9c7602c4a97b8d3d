"""Accuracy where a sensor is missing from the whole scene: what the network says from the rest.

Input and guidance features are both made without the modality: features that had seen it would
tell the branches what it saw. The network, its fusion weights and the statistics stay the run's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdgf.diffusion.store import FeatureStore
from bdgf.evaluation.accuracy import score
from bdgf.evaluation.metrics import confusion_matrix
from bdgf.fusion.network import FusionNetwork
from bdgf.mapping.inference import window_log_probabilities
from bdgf.progress import Progress
from bdgf.randomness import numpy_generator
from bdgf.scene.hidden import SceneWithout
from bdgf.scene.leak import Leak
from bdgf.scene.prepared import PreparedScene
from bdgf.scene.windows import Window, by_window

MOST_PIXELS = 1_000_000
"""Pixels of the windows that are looked at; of a larger scene windows are drawn."""

NO_MAP = (
    "a map has no class where every spectral modality is missing; these are the classes that the"
    " network gives from the rest"
)

Features = Callable[[SceneWithout], FeatureStore]
"""Gives the guidance features of a view of the scene."""


def windows_with(
    positions: NDArray[np.int64],
    shapes: Sequence[tuple[int, int]],
    side: int,
    most_pixels: int,
    seed: int,
) -> list[tuple[int, Window, NDArray[np.int64]]]:
    """Return the map's windows that hold some of the pixels.

    Args:
        positions: (n, 3) tile, row and column.
        shapes: (H, W) of every tile.
        side: Side of the windows that the map was computed in.
        most_pixels: Windows are drawn until they have this many pixels together.
        seed: Seed of the draw.

    Returns:
        Tile, window and the indices of its pixels in ``positions``, each.
    """
    places, members = by_window(positions, side)
    windows = [
        Window(row, col, side, side).inside(*shapes[tile]) for tile, row, col in places.tolist()
    ]
    areas = np.array([window.height * window.width for window in windows])
    chosen = np.arange(len(places))
    if areas.sum() > most_pixels:
        drawn = numpy_generator(seed, "windows of the evaluation").permutation(len(places))
        before = np.cumsum(areas[drawn]) - areas[drawn]
        chosen = np.sort(drawn[before < most_pixels])
    return [(int(places[i, 0]), windows[i], members[i]) for i in chosen]


def predict(
    network: FusionNetwork,
    weights: Sequence[float],
    view: SceneWithout,
    store: FeatureStore,
    positions: NDArray[np.int64],
    places: Sequence[tuple[int, Window, NDArray[np.int64]]],
) -> NDArray[np.int64]:
    """Return the class indices of some pixels, as a map of the view would have them.

    Args:
        network: The trained branches.
        weights: Fusion weight of every head.
        view: The scene without a modality.
        store: Guidance features of the view.
        positions: (n, 3) tile, row and column.
        places: Windows and their pixels, as ``windows_with`` gives them.

    Returns:
        (n,), −1 where the rest of the modalities has nothing, and outside of the windows.
    """
    network.eval()
    found = np.full(len(positions), -1, dtype=np.int64)
    for tile, window, inside in places:
        known = view.valid_in(tile, window)
        if not known.any():
            continue
        fused = window_log_probabilities(network, weights, view, store, tile, window)
        # as the map takes it, so that ties are broken alike
        index = fused.exp().max(0).indices.numpy()
        rows, cols = positions[inside, 1] - window.row, positions[inside, 2] - window.col
        found[inside] = np.where(known[rows, cols], index[rows, cols], -1)
    return found


def evaluate_without(
    prepared: PreparedScene,
    leak: Leak,
    network: FusionNetwork,
    weights: Sequence[float],
    features: Features,
    side: int,
    seed: int,
    progress: Progress,
    note: str = "",
    most_pixels: int = MOST_PIXELS,
) -> dict[str, Any]:
    """Score the network on the test pixels without each modality in turn.

    Args:
        prepared: The scene, with test labels and at least two modalities.
        leak: What ``bdgf.scene.leak.leakage`` found for the patch in use.
        network: The trained branches.
        weights: Fusion weight of every head.
        features: Gives the guidance features of a view.
        side: Side of the windows that the map was computed in.
        seed: Seed of the draw of windows.
        progress: Receives the modalities.
        note: What else is to be said of every figure.
        most_pixels: Pixels of the windows that are looked at.

    Returns:
        By the name of the modality: accuracies in the form of ``compare``, and a note.
    """
    scene, layout = prepared.scene, prepared.layout
    positions, reference = scene.positions("test"), scene.labels_at("test")
    shapes = prepared.shapes
    places = windows_with(positions, shapes, side, most_pixels, seed)
    seen = np.sort(np.concatenate([inside for _, _, inside in places]))
    far = leak.is_far(positions)[seen]
    classes = len(scene.class_codes)
    notes = [note]
    if len(seen) < len(positions):
        notes.append(
            f"on {len(seen)} of {len(positions)} test pixels, those in windows of about"
            f" {most_pixels} pixels drawn from the scene"
        )
    found = {}
    for index, modality in enumerate(layout.modalities):
        view = SceneWithout(prepared, index)
        store = features(view)
        predicted = predict(network, weights, view, store, positions, places)[seen]
        truth = reference[seen]
        own = [NO_MAP] if layout.spectral == (index,) else []
        found[modality.name] = {
            "all": score(truth, predicted, classes).to_json(),
            "far": score(truth[far], predicted[far], classes).to_json(),
            "confusion": confusion_matrix(truth, predicted, classes).tolist(),
            "note": "; ".join(text for text in (*own, *notes) if text),
        }
        progress.track("without a modality", index + 1, len(layout.modalities))
    return found
