"""Names, paths and signatures of what methods take from elsewhere."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

from bdgf import checkpoint
from bdgf.bench.cross_model.sources import UNET, Elsewhere, is_elsewhere, named_paths
from bdgf.bench.methods import GROUPS, expand
from bdgf.errors import BdgfError, SettingsError
from bdgf.scene.scene import Scene


def test_names_of_methods():
    given = Elsewhere({"spain": "a.yaml"}, {"AlphaEarth": "e.tif"})
    assert given.methods() == (
        "BDGF, features of AlphaEarth",
        "BDGF, denoiser of spain",
        "BDGF, denoiser of spain as is",
    )
    assert expand(["cross"], given) == (*GROUPS["cross"], *given.methods())
    assert expand(["cross"]) == GROUPS["cross"]
    assert expand(["denoiser of spain as is"]) == ("BDGF, denoiser of spain as is",)
    assert UNET in GROUPS["cross"]
    assert is_elsewhere(UNET)
    assert not is_elsewhere("BDGF")
    for method in (*given.methods(), UNET, "RF raw"):
        given.check(method)


def test_paths_of_methods():
    given = Elsewhere({"a": "runs/a-{seed}", "as is": "b"}, {"e": "e.tif"})
    found, as_is = given.denoiser("BDGF, denoiser of a", 3)
    assert (str(found), as_is) == ("runs/a-3", False)
    assert given.denoiser("BDGF, denoiser of a as is", 3)[1]
    assert given.denoiser("BDGF", 3) is None
    assert given.embedding("BDGF, features of e") == "e.tif"
    assert given.embedding(UNET) is None


@pytest.mark.parametrize(
    ("method", "option"),
    [("BDGF, denoiser of spain", "--denoisers"), ("BDGF, features of it", "--embeddings")],
)
def test_a_method_without_its_path_is_refused(method, option):
    with pytest.raises(SettingsError, match=f"add {option} NAME=PATH"):
        Elsewhere().check(method)


def test_diffusers_missing_is_said_before_anything_runs(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match="diffusers, which is not installed"):
        Elsewhere().check(UNET)


def test_names_and_paths_of_options():
    assert named_paths("", "--denoisers") == {}
    assert named_paths("a=x/y.yaml, b = z", "--denoisers") == {"a": "x/y.yaml", "b": "z"}
    for text, message in (
        ("a", "lists names and paths"),
        ("a=", "lists names and paths"),
        ("a=x,a=y", "is taken"),
        ("diffusers UNet=x.npy", "is taken"),
    ):
        with pytest.raises(SettingsError, match=message):
            named_paths(text, "--embeddings")


def test_signatures_follow_the_files(tiny_scene, tiles_scene, tmp_path):
    scene = Scene.open(tiny_scene)
    weights = tmp_path / "diffusion.safetensors"
    checkpoint.save_tensors(weights, {"a": torch.zeros(2)}, {})
    array = tmp_path / "e.npy"
    np.save(array, np.zeros((2, 45, 51)))
    given = Elsewhere({"run": str(tmp_path), "scene": str(tiles_scene)}, {"e": str(array)})
    methods = [m for m in given.methods() if not m.endswith("as is")]
    first = [given.signature(method, scene, 0) for method in methods]
    assert all(first)
    assert first[2] == Scene.open(tiles_scene).signature("images")
    checkpoint.save_tensors(weights, {"a": torch.ones(2)}, {})
    np.save(array, np.zeros((3, 45, 51)))
    again = [given.signature(method, scene, 0) for method in methods]
    assert [a == b for a, b in zip(first, again, strict=True)] == [False, False, True]
    assert given.signature("BDGF", scene, 0) == ""
    assert given.signature(UNET, scene, 0) == ""
    array.unlink()
    with pytest.raises(BdgfError, match="cannot be read"):
        given.signature("BDGF, features of e", scene, 0)


def test_a_scenes_own_denoiser_is_left_out(tiny_scene, tiles_scene):
    given = Elsewhere({"own": str(tiny_scene), "other": str(tiles_scene)})
    scene = Scene.open(tiny_scene)
    out = [given.left_out(method, scene, 0) for method in given.methods()]
    assert out == [True, True, False, False]
    assert Elsewhere({"own": str(tiny_scene.parent)}).left_out("BDGF, denoiser of own", scene, 0)
    assert not given.left_out("BDGF", scene, 0)
