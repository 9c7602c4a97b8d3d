"""Plain networks to compare with: a perceptron of single pixels and a two-layer patch CNN.

They see the prepared channels, or these and the diffusion features joined. No guidance, no mutual
learning, no fusion: cross-entropy on the labelled pixels to the last step.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from bdgf.diffusion.store import FeatureStore
from bdgf.fusion.patch_source import PatchSource
from bdgf.randomness import derived_seed, numpy_generator, torch_generator
from bdgf.scene.prepared import PreparedScene

STEPS = 2000  # as for any number of labels: to the last step, so that no stop is tuned
BATCH = 64  # as our own training
LEARNING_RATE = 1e-3  # the usual one of Adam
WEIGHT_DECAY = 1e-2  # the default of AdamW
HIDDEN = 128  # units of a hidden layer: as many as the filters of the CNN
FILTERS = (64, 128)  # doubled where pooling halves the sides
CHUNK = 512  # pixels that are predicted at a time: bounds the memory


class PixelPerceptron(nn.Module):
    """Two hidden layers on the prepared channels of a pixel.

    Args:
        channels: C, prepared channels and missing indicators.
        classes: K.
    """

    window = 1
    draws = "PixelPerceptron"  # names its random streams

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(channels, HIDDEN),
            nn.GELU(),
            nn.Dropout(0.1),
            nn.Linear(HIDDEN, HIDDEN),
            nn.GELU(),
            nn.Dropout(0.1),
            nn.Linear(HIDDEN, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, 1, 1) to logits (B, K)."""
        logits: Tensor = self.layers(x[:, :, 0, 0])
        return logits


class PatchCnn(nn.Module):
    """Two 3 × 3 convolutions with pooling on an 11 × 11 patch, then a linear layer.

    Args:
        channels: C, prepared channels and missing indicators.
        classes: K.
    """

    window = 11
    draws = "PatchNetwork"  # names its random streams

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        first, second = FILTERS
        self.layers = nn.Sequential(
            nn.Conv2d(channels, first, 3),
            nn.BatchNorm2d(first),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(first, second, 3),
            nn.BatchNorm2d(second),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(second, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, 11, 11) to logits (B, K)."""
        logits: Tensor = self.layers(x)
        return logits


Plain = PixelPerceptron | PatchCnn


def train_and_predict(
    kind: type[PixelPerceptron] | type[PatchCnn],
    prepared: PreparedScene,
    seed: int,
    store: FeatureStore | None = None,
    alike: bool = False,
) -> NDArray[np.int64]:
    """Train on the training pixels of a scene and predict its test pixels, (n_test,).

    Args:
        kind: The network.
        prepared: The scene.
        seed: Seed of weights and batches.
        store: Features that are joined to the prepared channels; None for these alone.
        alike: Whether the classes are drawn alike, or the pixels.
    """
    scene = prepared.scene
    positions, labels = scene.positions("train"), torch.from_numpy(scene.labels_at("train"))
    known = prepared.valid_at(positions)  # ours learns from no others either
    positions, labels = positions[known], labels[torch.from_numpy(known)]
    if store is None:
        names = [tile.name for tile in scene.tiles]
        store = FeatureStore(None, names, prepared.shapes)
    source = PatchSource(prepared, store, kind.window)
    channels = prepared.layout.channels + len(prepared.layout.modalities) + store.channels
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derived_seed(seed, kind.draws))
        network = kind(channels, len(scene.class_codes))
        _train(network, source, positions, labels, seed, alike)
    return _predict(network, source, scene.positions("test"))


def _train(
    network: Plain,
    source: PatchSource,
    positions: NDArray[np.int64],
    labels: Tensor,
    seed: int,
    alike: bool,
) -> None:
    shares = 1.0 / np.bincount(labels)[labels]
    shares /= shares.sum()
    optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    course = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    purpose = network.draws
    for step in range(STEPS):
        draws = numpy_generator(seed, purpose, step)
        if alike:
            chosen = draws.choice(len(positions), size=BATCH, p=shares)
        else:
            chosen = draws.integers(len(positions), size=BATCH)
        turned = torch.randint(8, (BATCH,), generator=torch_generator(seed, purpose, step))
        logits = network(_inputs(source, positions[chosen], turned))
        loss = F.cross_entropy(logits, labels[chosen])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        course.step()


def _inputs(
    source: PatchSource, positions: NDArray[np.int64], turned: Tensor | None = None
) -> Tensor:
    patches = source.gather(positions, turned)
    inputs = [patches.values, patches.missing]
    if source.store.channels:
        # levels may share channels; each enters once
        flat = [channel for level in source.store.levels for channel in level]
        once = [flat.index(channel) for channel in range(source.store.channels)]
        inputs.append(torch.cat(patches.guidance, dim=1)[:, once])
    return torch.cat(inputs, dim=1)


@torch.inference_mode()
def _predict(
    network: Plain, source: PatchSource, positions: NDArray[np.int64]
) -> NDArray[np.int64]:
    network.eval()
    found = np.empty(len(positions), dtype=np.int64)
    for start in range(0, len(positions), CHUNK):
        part = slice(start, start + CHUNK)
        found[part] = network(_inputs(source, positions[part])).argmax(1).numpy()
    return found
