"""What features tell of the classes: t-SNE of raw pixels and diffusion features side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.patches import Patch
from numpy.typing import NDArray
from sklearn.metrics import silhouette_score
from sklearn.neighbors import KNeighborsClassifier

from bdgf import presets
from bdgf.bench.methods import shared_folder
from bdgf.bench.variants import OURS, changes_of, variant
from bdgf.config import Settings
from bdgf.drawing import SCREEN, Say, new_figure, plain_text, save
from bdgf.evaluation.accuracy import score
from bdgf.evaluation.pixels import (
    PixelFeatures,
    band_features,
    deviations,
    filled,
    means,
    stored_features,
)
from bdgf.files import file_name
from bdgf.pipeline import Pipeline
from bdgf.progress import Silent
from bdgf.randomness import numpy_generator
from bdgf.report.projection import to_plane
from bdgf.scene.scene import Scene

PIXELS = 2000
"""Test pixels that are drawn."""

NEIGHBOURS = 5
STEPS = 1000


@dataclass(frozen=True)
class Panel:
    """One kind of features at the drawn test pixels.

    Args:
        title: What the features are.
        classes: Class indices of the pixels (n,).
        plane: Their places in the t-SNE (n, 2).
        oa: Overall accuracy in percent of the nearest training pixels' vote on these pixels, in the
            features themselves and not in the plane.
        aa: Its average accuracy.
        silhouette: Mean silhouette of the classes in the features, −1 to 1, None for one class.
    """

    title: str
    classes: NDArray[np.int64]
    plane: NDArray[np.float32]
    oa: float
    aa: float
    silhouette: float | None

    def describe(self) -> str:
        """Return the scores in one line."""
        told = "–" if self.silhouette is None else f"{self.silhouette:.2f}"
        return f"{NEIGHBOURS}-NN OA {self.oa:.1f}, AA {self.aa:.1f}; silhouette {told}"


def stored_kinds(settings: Settings) -> dict[str, str]:
    """Return the variants whose features are shown, by what their panels say."""
    off = settings.diffusion.masking.ramp == "off"
    return {
        "Untrained denoiser": variant("untrained denoiser"),
        "Pre-trained without masking": OURS if off else variant("no masking"),
        "Pre-trained with masking": variant("cosine masks") if off else OURS,
    }


def panels(scene: Scene, work: Path, settings: Settings) -> tuple[list[Panel], list[str]]:
    """Embed the raw bands and every kind of features that a comparison has left behind.

    Args:
        scene: The scene with all its labels.
        work: Folder of the scene and seed in a comparison, ``work/SCENE/SEED``.
        settings: Settings of the comparison, with the seed.

    Returns:
        The panels, and the variants whose features are not there.
    """
    drawn = _draw(scene, settings.seed)
    raw = band_features(scene, "raw")
    # bands of several sensors have no common unit; components of features have
    found = [embed("Raw bands, standardised", scene, raw, drawn, settings.seed, scale=True)]
    missing = []
    for title, name in stored_kinds(settings).items():
        own = presets.replace(settings, dict(changes_of(name) or {}))
        features = _stored(scene, shared_folder(own, work), own)
        if features is None:
            missing.append(name)
        else:
            found.append(embed(title, scene, features, drawn, settings.seed))
    return found, missing


def embed(
    title: str,
    scene: Scene,
    features: PixelFeatures,
    drawn: NDArray[np.int64],
    seed: int,
    scale: bool = False,
) -> Panel:
    """Embed the features of some test pixels, and score the features themselves.

    Args:
        title: What the features are.
        scene: The scene; its training pixels are the neighbours.
        features: Gives the features of pixels.
        drawn: Indices of the test pixels (n,).
        seed: Seed of the t-SNE.
        scale: Divide every feature by its standard deviation over training and drawn pixels.
    """
    train, classes = features(scene.positions("train")), scene.labels_at("test")[drawn]
    own = features(scene.positions("test")[drawn])
    fill = means(train)
    train, own = filled(train, fill), filled(own, fill)
    if scale:
        spread = deviations(np.concatenate([train, own]))
        train, own = train / spread, own / spread
    labels = scene.labels_at("train")
    neighbours = KNeighborsClassifier(min(NEIGHBOURS, len(labels))).fit(train, labels)
    accuracy = score(classes, neighbours.predict(own).astype(np.int64), len(scene.class_codes))
    several = 1 < len(np.unique(classes)) < len(classes)
    return Panel(
        title,
        classes,
        to_plane(own, seed, STEPS),
        accuracy.oa,
        accuracy.aa,
        float(silhouette_score(own, classes)) if several else None,
    )


def embedding_figure(scene: Scene, found: list[Panel], path: Path) -> None:
    """Draw the panels side by side, classes in their colours, the scores below each.

    Args:
        scene: The scene.
        found: At least one panel.
        path: PNG to write.

    Raises:
        RunFolderError: The folder cannot be written.
    """
    columns = max(1, min(len(scene.class_names), int(3.4 * len(found) / 1.5)))
    rows = -(-len(scene.class_names) // columns)
    size = (3.4 * len(found), 4.0 + 0.22 * rows)
    figure = new_figure(*size, SCREEN)
    colors = np.array(scene.class_colors)
    for number, panel in enumerate(found):
        axes: Any = figure.add_subplot(1, len(found), number + 1)
        x, y = panel.plane.T
        axes.scatter(x, y, s=5, c=colors[panel.classes], linewidths=0.2, edgecolors="#444444")
        axes.set_title(panel.title, fontsize=9)
        axes.set_xlabel(panel.describe(), fontsize=8)
        axes.set_xticks([])
        axes.set_yticks([])
    figure.legend(
        handles=[
            Patch(facecolor=color, edgecolor="#555555", linewidth=0.5, label=name)
            for name, color in zip(scene.class_names, scene.class_colors, strict=True)
        ],
        ncols=columns,
        loc="lower center",
        fontsize=8,
        frameon=False,
        handlelength=1.2,
    )
    figure.suptitle(
        f"{scene.name}: t-SNE of {len(found[0].classes):,} test pixels; scores are of the features"
        " themselves, neighbours are training pixels",
        size=9,
    )
    figure.subplots_adjust(
        left=0.01, right=0.99, top=1 - 0.62 / size[1], bottom=(0.22 * rows + 0.5) / size[1]
    )
    save(figure, path)


def draw_embeddings(scenes: list[Scene], folder: Path, settings: Settings, say: Say) -> list[Path]:
    """Draw the figure of every scene of a comparison, ``figures/SCENE.tsne.png``.

    Args:
        scenes: The scenes with all their labels.
        folder: The folder of the comparison.
        settings: Its settings, with the seed whose features are shown.
        say: Told the scores, what is not there, and signs that no font has.

    Returns:
        The files.

    Raises:
        RunFolderError: The folder cannot be written.
    """
    written = []
    for scene in scenes:
        work = folder / "work" / file_name(scene.name) / str(settings.seed)
        found, missing = panels(scene, work, settings)
        for panel in found:
            say(f"{scene.name}, {panel.title}: {panel.describe()}")
        if missing:
            say(
                f"{scene.name}: no features of {'; '.join(missing)} with these settings and seed"
                f" {settings.seed} in {work}; run them by --methods to see them."
            )
        written.append(folder / "figures" / f"{file_name(scene.name)}.tsne.png")
        with plain_text(say):
            embedding_figure(scene, found, written[-1])
    return written


def _draw(scene: Scene, seed: int) -> NDArray[np.int64]:
    """Draw test pixels, the same for all kinds of features."""
    count = len(scene.positions("test"))
    chosen = numpy_generator(seed, "embedding").permutation(count)[:PIXELS]
    return np.sort(chosen).astype(np.int64)


def _stored(scene: Scene, folder: Path, settings: Settings) -> PixelFeatures | None:
    """Return the features of a run folder, None where it has none of these inputs and settings.

    Those of another source are none of a denoiser, trained or not.
    """
    if settings.features.source != "diffusion" or not folder.is_dir():
        return None
    run = Pipeline(scene, folder, settings, Silent())
    if not all(
        run.folder.finished(stage, run.fingerprints[stage]) for stage in ("prepare", "features")
    ):
        return None
    return stored_features(run.prepared, run.store)
