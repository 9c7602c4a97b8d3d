"""Comparison of an exported program with what the run itself computes.

A run stores its diffusion features in 16 bits. Sums in another order move a feature by about its
rounding in 32 bits, and where that carries it over the middle between two numbers of 16 bits, the
whole step between them is the result. No tolerance of the log-probabilities can tell such a step
from a fault. The two parts of a program are therefore compared one after the other: its features
with the run's, where a step is allowed and counted; and its log-probabilities with those that the
run's own networks give for *the program's* features, where nothing is rounded and the tolerance is
tight. What both parts come to, against the run's own map, is told beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bdgf.diffusion.store import FeatureStore
from bdgf.errors import RunFolderError
from bdgf.mapping.pretrained import PretrainedMapper
from bdgf.scene.scene import Scene
from bdgf.scene.windows import Window

TOLERANCE = 1e-4
"""Largest difference of a log-probability, both sides having the same features."""

FEATURE_TOLERANCE = 1e-4
"""Largest difference of a feature beyond one step of 16 bits; a tenth of the step at the spread of
the first component, which is 1. Only features near 0, where steps are small, come to need it."""

Carry = Callable[[Tensor], Sequence[Tensor]]
"""A program: values (bands, H, W) to log-probabilities (K, H, W), and with guidance the features
(g, H, W)."""


@dataclass(frozen=True)
class Agreement:
    """How a program compares with the run.

    Args:
        pixels: Number of pixels compared.
        largest: Largest difference of a log-probability, both sides having the same features.
        features: Number of features compared.
        rounded: How many of them are another number of 16 bits.
        excess: Most by which a feature differs beyond one step of 16 bits; 0 where none does.
        on_map: Largest difference of a log-probability from that of the run's own map.
        differing: Pixels of another class than in the run's own map, where the two best classes
            are not exactly alike.
    """

    pixels: int
    largest: float
    features: int = 0
    rounded: int = 0
    excess: float = 0.0
    on_map: float = 0.0
    differing: int = 0

    def __add__(self, other: Agreement) -> Agreement:
        """Return what both pieces show together."""
        return Agreement(
            pixels=self.pixels + other.pixels,
            largest=_worst(self.largest, other.largest),
            features=self.features + other.features,
            rounded=self.rounded + other.rounded,
            excess=_worst(self.excess, other.excess),
            on_map=_worst(self.on_map, other.on_map),
            differing=self.differing + other.differing,
        )

    def check(self, name: str) -> None:
        """Refuse a program that does not agree.

        Raises:
            RunFolderError: A log-probability differs by more than ``TOLERANCE``, or a feature by
                more than its rounding and ``FEATURE_TOLERANCE``.
        """
        report = "nothing was written: report it with the versions of torch, onnx and onnxruntime."
        if not self.excess <= FEATURE_TOLERANCE:
            raise RunFolderError(
                f"{name} has features that differ from the run's own by {self.excess:.1e} beyond"
                f" their rounding to 16 bits, more than {FEATURE_TOLERANCE:.0e}; {report}"
            )
        if not self.largest <= TOLERANCE:
            raise RunFolderError(
                f"{name} differs from the run's own networks by {self.largest:.1e} in a"
                f" log-probability, more than {TOLERANCE:.0e}; {report}"
            )

    def describe(self, scene: str) -> str:
        """Return a sentence for the user."""
        steps = ""
        if self.features:
            share = 100 * self.rounded / self.features
            steps = f"{share:.2f} % of the features are the next number of 16 bits, "
        return (
            f"{self.pixels:,} pixels of {scene} agree with the run: largest difference of a"
            f" log-probability {self.largest:.1e} from the same features, {steps}largest"
            f" difference from the run's own map {self.on_map:.1e}, {self.differing} pixels of"
            " another class"
        )


class Comparison:
    """Compares programs with the run on a piece of a scene.

    Args:
        run: What the run has learned.
        scene: The scene.
        tile: Index of a tile.
        piece: The piece, which begins at multiples of the stride.
        halo: How much more is read around it.
    """

    def __init__(
        self, run: PretrainedMapper, scene: Scene, tile: int, piece: Window, halo: int
    ) -> None:
        self.run, self.tile, self.piece = run, tile, piece
        self.prepared, self.store = run.on(scene)
        shape = self.prepared.shape(tile)
        self.around = piece.grow(halo).inside(*shape)
        self.values = read_raw(self.prepared.scene, tile, self.around)
        # what the networks read of the features to classify the piece
        radius = run.network.window // 2
        self.read = piece.grow(radius).inside(*shape)
        self.known = torch.from_numpy(self.prepared.valid_in(tile, piece))
        self.expected = run.log_probabilities(self.prepared, self.store, tile, piece)
        self.features = self.store.window(tile, self.read).astype(np.float16)

    def __call__(self, program: Carry) -> Agreement:
        """Carry a program out and compare."""
        with torch.inference_mode():
            outputs = program(self.values)
        found = outputs[0][self._cut(self.piece)]
        if not torch.equal(torch.isfinite(found).all(0), self.known):
            return Agreement(0, float("inf"))
        if not self.known.any():
            return Agreement(0, 0.0)
        given, expected, rounded, excess = self.store, self.expected, 0, 0.0
        if self.store.channels:
            features = outputs[1][self._cut(self.read)].numpy()
            rounded, excess = _steps(features, self.features)
            given = self._store_of(features)
            expected = self.run.log_probabilities(self.prepared, given, self.tile, self.piece)
        found, mapped, expected = (t[:, self.known] for t in (found, self.expected, expected))
        best = mapped.topk(2, dim=0).values
        differ = (found.argmax(0) != mapped.argmax(0)) & (best[0] != best[1])
        return Agreement(
            pixels=found.shape[1],
            largest=float((found - expected).abs().max()),
            features=self.features.size,
            rounded=rounded,
            excess=excess,
            on_map=float((found - mapped).abs().max()),
            differing=int(differ.sum()),
        )

    def _cut(self, window: Window) -> tuple[slice, slice, slice]:
        """Return where a window lies in what the program gives."""
        top, left = window.row - self.around.row, window.col - self.around.col
        return slice(None), slice(top, top + window.height), slice(left, left + window.width)

    def _store_of(self, features: NDArray[np.float16]) -> FeatureStore:
        """Return a store of the scene that holds other features where the piece needs them."""
        store = FeatureStore(None, [], self.store.shapes)
        store.levels, store.channels = self.store.levels, self.store.channels
        # zeros take memory only where something is written
        whole = np.zeros((store.channels, *store.shapes[self.tile]), dtype=np.float16)
        whole[(slice(None), *self.read.slices)] = features
        store.arrays = [whole] * len(store.shapes)
        return store


def _worst(*values: float) -> float:
    """Return the largest value, and not a number where one is none."""
    return float(np.max(values))


def read_raw(scene: Scene, tile: int, window: Window) -> Tensor:
    """Read what an exported mapper takes of a window that lies within the tile.

    Returns:
        Raw values (bands, h, w) of all modalities, NaN where they are not valid.
    """
    read = [scene.tiles[tile].read(m, window) for m in range(len(scene.modalities))]
    parts = [np.where(valid, values, np.float32(np.nan)) for values, valid in read]
    return torch.from_numpy(np.concatenate(parts))


def _steps(found: NDArray[np.float16], expected: NDArray[np.float16]) -> tuple[int, float]:
    """Return how many features differ, and the most by which one does beyond one step."""
    # the step at the larger of the two, which is the larger step where they lie on two sides of 2^n
    step = np.spacing(np.maximum(np.abs(found), np.abs(expected))).astype(np.float64)
    difference = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    # not a number on one side compares as false, and must not pass
    excess = np.where(difference <= step, 0.0, difference - step)
    return int((found != expected).sum()), float(excess.max(initial=0.0))
