"""The scene and the untrained mapper that the parts measure.

Weights are random, since time and exactness do not depend on what was learned; settings are the
defaults of the product.
"""

from __future__ import annotations

import functools
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from bdgf import config
from bdgf.compute import place
from bdgf.config import Settings
from bdgf.diffusion.denoiser import Denoiser
from bdgf.diffusion.features import FeatureExtractor, extract
from bdgf.diffusion.pretraining import build_denoiser
from bdgf.diffusion.reduction import REDUCTION, Reduction
from bdgf.diffusion.store import INDEX, FeatureStore
from bdgf.fusion.network import FusionNetwork, build_network
from bdgf.progress import Silent
from bdgf.scene.preparation import Preparation
from bdgf.scene.prepared import PreparedScene
from bdgf.scene.scene import Scene
from bdgf.scene.synthetic.generate import SyntheticSpec, make_scene
from benchmarks.origin import code

AUGSBURG = SyntheticSpec(height=332, width=485, bands=180, sar_bands=4, train_per_class=110)
"""Size of the Augsburg scene: 180 bands, four of radar, a surface model, seven classes."""
BERLIN = SyntheticSpec(
    height=1723, width=476, bands=244, sar_bands=4, dsm=False, classes=8, train_per_class=350
)
"""Size of the Berlin scene: 244 bands, four of radar, eight classes."""
SMALL = SyntheticSpec(height=60, width=52, bands=20, sar_bands=4, train_per_class=10)
"""For trying the program."""


def scene_file(work: Path, spec: SyntheticSpec) -> Path:
    """Write a synthetic scene, unless this code has written it before, and return its scene file.

    What another code has left in its folder, such as features, goes.
    """
    name = (
        f"scene-{spec.height}x{spec.width}-{spec.bands}-{spec.sar_bands}-{int(spec.dsm)}"
        f"-{spec.classes}-{spec.train_per_class}"
    )
    folder = work / "scenes" / name
    written_by = folder / "code.txt"
    if not (written_by.is_file() and written_by.read_text(encoding="utf-8") == code()):
        shutil.rmtree(folder, ignore_errors=True)
        make_scene(folder, spec)
        written_by.write_text(code(), encoding="utf-8")
    return folder / "scene.yaml"


@dataclass
class Mapper:
    """All that maps a scene.

    Args:
        settings: The defaults.
        prepared: The scene.
        extractor: The untrained denoiser on it.
        reduction: Components of its features.
        store: Its features.
        network: The untrained branches.
        device: Where it runs.
    """

    settings: Settings
    prepared: PreparedScene
    extractor: FeatureExtractor
    reduction: Reduction
    store: FeatureStore
    network: FusionNetwork
    device: torch.device

    @property
    def denoiser(self) -> Denoiser:
        """The denoiser."""
        return self.extractor.denoiser

    @property
    def weights(self) -> list[float]:
        """Fusion weights: every head the same."""
        return [1.0 / len(self.network.heads)] * len(self.network.heads)


@functools.lru_cache(maxsize=2)
def mapper(work: Path, spec: SyntheticSpec, device: str) -> Mapper:
    """Return the mapper of a scene; scene and features are kept in the folder of the work."""
    settings = config.Settings()
    scene = Scene.open(scene_file(work, spec))
    prepared = PreparedScene(scene, Preparation.fit(scene, settings.preparation, 0))
    where = torch.device(device)
    denoiser = place(build_denoiser(settings.diffusion, prepared.layout, 0), where)
    extractor = FeatureExtractor(
        denoiser, prepared, settings.features, settings.diffusion, 0, where
    )
    folder = scene.spec.path.parent / f"features-{device}"
    folder.mkdir(exist_ok=True)
    if not (folder / INDEX).is_file():
        extract(extractor, folder, {}, Silent())
    shapes = [prepared.shape(tile) for tile in range(prepared.tiles)]
    store = FeatureStore(folder, [tile.name for tile in scene.tiles], shapes)
    network = build_network(
        settings.network, prepared.layout, store.level_channels, len(scene.class_codes), 0
    )
    return Mapper(
        settings,
        prepared,
        extractor,
        Reduction.load(folder / REDUCTION),
        store,
        network.to(where).eval(),
        where,
    )
