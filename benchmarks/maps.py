"""A whole map, computed densely, against networks that classify each pixel by its own patch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bdgf.diffusion.features import extract
from bdgf.diffusion.store import FeatureStore
from bdgf.mapping.inference import map_windows
from bdgf.progress import Silent
from bdgf.scene.windows import Window, windows_of
from benchmarks.cases import AUGSBURG, SMALL, Mapper, mapper
from benchmarks.opponents import opponents
from benchmarks.results import Values
from benchmarks.timing import Setup, Work, interleaved

CROP = 16
"""Side of the patch that the denoiser sees of a pixel: it holds the network's window."""
SAMPLE = 256


def maps(setup: Setup, work: Path) -> Values:
    """Return microseconds a pixel of every way to map a scene, and the pixels."""
    case = mapper(work, SMALL if setup.small else AUGSBURG, setup.device)
    height, width = case.prepared.shape(0)
    count = 32 if setup.small else SAMPLE
    patches = OwnPatches(case, count)
    ways: dict[str, Work] = {
        **dense(case, work / "features"),
        "features, own patch": patches.features,
        "branches, own patch": patches.classify,
    }
    bands = case.prepared.scene.tiles[0].sources[0].bands
    spectral = sum(case.prepared.layout.modalities[i].size for i in case.prepared.layout.spectral)
    auxiliary = case.prepared.layout.channels - spectral
    drawn = torch.Generator().manual_seed(0)
    for one in opponents(bands, spectral, auxiliary, len(case.prepared.scene.class_codes)):
        radius = one.patch // 2
        channels = spectral if one.components else bands
        # their time does not depend on the values, so those are drawn
        shape = (height + 2 * radius, width + 2 * radius)
        image, other = (torch.randn(c, *shape, generator=drawn) for c in (channels, auxiliary))
        network = one.network.to(case.device)
        ways[one.name] = _classifier(network, image, other, one.patch, patches.places, case.device)
    seconds = interleaved(setup, ways)
    pixels = height * width
    for name in seconds:
        seconds[name] *= 1e6 / (pixels if name.endswith("dense") else count)
    return {"pixels": pixels, "sample": count, "us": seconds}


def dense(case: Mapper, folder: Path) -> dict[str, Work]:
    """Return the two halves of a dense map: features, which go to a folder, and branches."""
    folder.mkdir(exist_ok=True)
    height, width = case.prepared.shape(0)

    def features() -> None:
        extract(case.extractor, folder, {}, Silent())

    def classify() -> None:
        names = [tile.name for tile in case.prepared.scene.tiles]
        store = FeatureStore(folder, names, [(height, width)])
        windows = windows_of(height, width, case.settings.mapping.tile)
        for _ in map_windows(case.network, case.weights, case.prepared, store, 0, windows):
            pass

    return {"features, dense": features, "branches, dense": classify}


def _classifier(
    network: torch.nn.Module,
    image: Tensor,
    other: Tensor,
    side: int,
    places: list[tuple[int, int]],
    device: torch.device,
) -> Work:
    """Classify the sample: patches of one padded image, in batches of 64 as its authors use."""

    @torch.inference_mode()
    def work() -> None:
        for start in range(0, len(places), 64):
            at = places[start : start + 64]
            inputs = (
                torch.stack([x[:, r : r + side, c : c + side] for r, c in at]).to(device)
                for x in (image, other)
            )
            network(*inputs).argmax(1).cpu()

    return work


class OwnPatches:
    """Our own networks with the weights that they have, patch by patch.

    Args:
        case: The scene and its mapper.
        count: Pixels of the sample.
    """

    def __init__(self, case: Mapper, count: int) -> None:
        self.case = case
        height, width = case.prepared.shape(0)
        draws = np.random.default_rng(1)
        rows, cols = draws.integers(height, size=count), draws.integers(width, size=count)
        self.places = [(int(r), int(c)) for r, c in zip(rows, cols, strict=True)]
        whole = Window(0, 0, height, width).grow(CROP)
        values, missing = case.prepared.window(0, whole, edge="reflect")
        self.values, self.missing = torch.from_numpy(values), torch.from_numpy(missing).float()
        self.scale = torch.from_numpy(case.prepared.preparation.diffusion_scale).view(1, -1, 1, 1)
        self.guidance = [torch.empty(0)]
        self.features()

    def _cut(self, image: Tensor, side: int) -> Tensor:
        """The patches of the sample, (n, C, side, side)."""
        shift = CROP - side // 2
        return torch.stack(
            [
                image[:, r + shift : r + shift + side, c + shift : c + shift + side]
                for r, c in self.places
            ]
        )

    @torch.inference_mode()
    def features(self) -> None:
        """Guidance of every pixel's window from its own crop."""
        case, window = self.case, self.case.network.window
        first = CROP // 2 - window // 2
        inside = slice(first, first + window)
        found: list[list[Tensor]] = [[], [], []]
        crops, gone = (self._cut(image, CROP) for image in (self.values, self.missing))
        for start in range(0, len(crops), 64):
            part = slice(start, start + 64)
            t = torch.full((len(crops[part]),), case.settings.features.timesteps[0])
            levels = case.denoiser.decode(
                (crops[part] * self.scale).to(case.device),
                gone[part].to(case.device),
                t.to(case.device),
            )
            for index, (level, projection) in enumerate(
                zip(levels, case.reduction.projections, strict=True)
            ):
                factor = CROP // level.shape[2]
                if factor > 1:
                    level = torch.nn.functional.interpolate(
                        level, scale_factor=float(factor), mode="bilinear", align_corners=False
                    )
                mean = torch.from_numpy(projection.mean).float().to(case.device)
                matrix = torch.from_numpy(projection.matrix).float().to(case.device)
                pixels = level[:, :, inside, inside].permute(0, 2, 3, 1) - mean
                found[index].append((pixels @ matrix).permute(0, 3, 1, 2))
        self.guidance = [torch.cat(level) for level in found]

    @torch.inference_mode()
    def classify(self) -> None:
        """Classes of the sample from its patches."""
        case, window = self.case, self.case.network.window
        values, gone = (self._cut(image, window) for image in (self.values, self.missing))
        for start in range(0, len(values), 64):
            part = slice(start, start + 64)
            output = case.network(
                values[part].to(case.device),
                gone[part].to(case.device),
                [level[part] for level in self.guidance],
            )
            output.logits.mean(1).argmax(1).cpu()
