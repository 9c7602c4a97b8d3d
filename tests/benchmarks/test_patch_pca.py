"""The embedding of patches is one value of unit length per pixel, and the same every time."""

from __future__ import annotations

import numpy as np
from benchmarks import patch_pca

from bdgf.scene.scene import Scene


def test_an_embedding_has_unit_length_and_is_the_same_again(tiny_scene, tmp_path, monkeypatch):
    out = tmp_path / "patch_pca.npy"
    monkeypatch.setattr("sys.argv", ["patch_pca.py", str(tiny_scene), str(out)])
    assert patch_pca.main() == 0
    found = np.load(out)
    grid = Scene.open(tiny_scene).tiles[0].grid
    assert found.shape == (patch_pca.VALUES, grid.height, grid.width)
    np.testing.assert_allclose(np.square(found).sum(0), 1.0, atol=1e-5)
    np.testing.assert_array_equal(found, patch_pca.embedding(Scene.open(tiny_scene), 0))


def test_a_scene_of_several_tiles_is_refused(tiles_scene, tmp_path, monkeypatch, capsys):
    out = tmp_path / "patch_pca.npy"
    monkeypatch.setattr("sys.argv", ["patch_pca.py", str(tiles_scene), str(out)])
    assert patch_pca.main() == 2
    assert "name a scene of one" in capsys.readouterr().err
    assert not out.exists()
