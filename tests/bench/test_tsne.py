"""t-SNE panels: which features are found, and what their scores mean."""

from __future__ import annotations

import numpy as np
import pytest

from bdgf import presets
from bdgf.bench import tsne
from bdgf.bench.methods import FEATURED, shared_folder
from bdgf.bench.tsne import draw_embeddings, embed, panels, stored_kinds
from bdgf.bench.variants import OURS, changes_of, variant
from bdgf.pipeline import Pipeline
from bdgf.progress import Silent


@pytest.fixture(scope="module")
def folder(tiny_scene, tiny_settings, tmp_path_factory):
    """Folder of a comparison that left features with and without masking behind."""
    out = tmp_path_factory.mktemp("bench")
    for name in (OURS, variant("no masking")):
        settings = presets.replace(tiny_settings, dict(changes_of(name)))
        run = shared_folder(settings, out / "work" / "synthetic" / "0")
        run.parent.mkdir(parents=True, exist_ok=True)
        Pipeline(tiny_scene, run, settings, Silent()).run(FEATURED)
    return out


@pytest.fixture
def small(monkeypatch):
    """Fewer pixels, so that the t-SNE takes a second."""
    monkeypatch.setattr(tsne, "PIXELS", 150)


def test_scores_are_of_the_features_and_not_of_the_plane(scene, small):
    reference = scene.labels_at("test")
    drawn = np.arange(0, len(reference), len(reference) // 100)
    shifts = 10.0 * np.eye(4, 6, dtype=np.float32)
    of = {tuple(p): k for part in ("train", "test") for p, k in zip(
        scene.positions(part), scene.labels_at(part), strict=True)}  # fmt: skip

    def clean(positions):
        rng = np.random.default_rng(len(positions))
        classes = [of[tuple(p)] for p in positions]
        return shifts[classes] + rng.normal(size=(len(positions), 6)).astype(np.float32)

    def noise(positions):
        rng = np.random.default_rng(len(positions))
        return rng.normal(size=(len(positions), 6)).astype(np.float32)

    good, bad = (embed("x", scene, features, drawn, 0) for features in (clean, noise))
    assert good.oa == good.aa == 100.0
    assert good.silhouette > 0.5
    assert bad.oa < 60
    assert abs(bad.silhouette) < 0.1
    assert good.plane.shape == (len(drawn), 2)
    np.testing.assert_array_equal(good.classes, reference[drawn])
    again = embed("x", scene, clean, drawn, 0)
    np.testing.assert_array_equal(again.plane, good.plane)
    # scaling makes units of the bands irrelevant
    units = np.array([1, 1e4, 1e-3, 1, 1, 50], dtype=np.float32)
    scaled, other = (
        embed("x", scene, f, drawn, 0, scale=True) for f in (clean, lambda p: clean(p) * units)
    )
    assert scaled.silhouette == pytest.approx(other.silhouette, abs=1e-3)
    assert "5-NN OA 100.0, AA 100.0; silhouette" in good.describe()


def test_panels_are_the_features_that_are_there(scene, folder, tiny_settings, small):
    work = folder / "work" / "synthetic" / "0"
    assert scene.name == "synthetic"
    found, missing = panels(scene, work, tiny_settings)
    assert [panel.title for panel in found] == [
        "Raw bands, standardised",
        "Pre-trained without masking",
        "Pre-trained with masking",
    ]
    assert missing == [variant("untrained denoiser")]
    assert all(len(panel.classes) == 150 for panel in found)
    assert (found[1].plane != found[2].plane).any()
    other = presets.replace(tiny_settings, {"diffusion.steps": 7})
    assert len(panels(scene, work, other)[0]) == 1, "other settings left nothing"
    for source in ("none", "embedding.npy"):
        foreign = presets.replace(tiny_settings, {"features.source": source})
        titles = [panel.title for panel in panels(scene, work, foreign)[0]]
        assert titles == ["Raw bands, standardised"], "of a denoiser only"


def test_where_masking_is_off_by_default_the_masked_features_are_a_variant(tiny_settings):
    kinds = stored_kinds(presets.replace(tiny_settings, {"diffusion.masking.ramp": "off"}))
    assert kinds["Pre-trained without masking"] == OURS
    assert changes_of(kinds["Pre-trained with masking"]) == {"diffusion.masking.ramp": "cosine"}


def test_figure_and_scores_of_a_comparison(scene, folder, tiny_settings, small):
    told = []
    (path,) = draw_embeddings([scene], folder, tiny_settings, told.append)
    assert path == folder / "figures" / "synthetic.tsne.png"
    assert path.is_file()
    assert len(told) == 4
    assert "untrained denoiser" in told[-1]
    before = path.read_bytes()
    draw_embeddings([scene], folder, tiny_settings, told.append)
    assert path.read_bytes() == before
