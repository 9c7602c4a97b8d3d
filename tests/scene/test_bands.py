"""Rasters that have the same bands in another order are told apart by what they say of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import rasterio

from bdgf.config import PreparationSettings
from bdgf.errors import RunFolderError, SceneError
from bdgf.scene.bands import band_labels, other_order
from bdgf.scene.preparation import Preparation
from bdgf.scene.scene import Scene

RNG = np.random.default_rng(0)


@dataclass
class _Said:
    band_names: tuple[str, ...]
    wavelengths: tuple[float | None, ...]


@pytest.mark.parametrize(
    ("names", "waves", "labels"),
    [
        (("B2", " B3 "), (490.0, 560.0), ("B2", "B3")),
        (("", ""), (490.0, 560.5), ("490 nm", "560.5 nm")),
        (("reflectance", "reflectance"), (490.0, 560.0), ("490 nm", "560 nm")),
        (("B2", ""), (490.0, None), ()),
        (("", ""), (None, None), ()),
    ],
)
def test_what_tells_bands_apart(names, waves, labels) -> None:
    assert band_labels(_Said(names, waves)) == labels


@pytest.mark.parametrize("theirs", [(), ("B2", "B3"), ("B2", "B4"), ("B3",)])
def test_only_the_same_bands_can_have_another_order(theirs) -> None:
    assert other_order(("B2", "B3"), theirs) is None
    assert other_order(("B2", "B3"), ("B3", "B2")) == "B3, B2, and not B2, B3"


def _described(path, names):
    with rasterio.open(path, "r+") as raster:
        raster.descriptions = names


def test_a_scene_with_its_bands_in_another_order_does_not_fit_a_run(write_scene) -> None:
    names = ("B02", "B03", "B04", "B08")
    path = write_scene({"msi": RNG.normal(size=(4, 20, 20)).astype(np.float32)})
    _described(path.parent / "msi.tif", names)
    fitted = Preparation.fit(Scene.open(path), PreparationSettings(), 0)
    arrays, description = fitted.to_tensors(), fitted.to_json()
    run = Preparation.from_parts(arrays, description)
    run.check_fits(Scene.open(path))
    _described(path.parent / "msi.tif", names[::-1])
    with pytest.raises(RunFolderError, match="order B08, B04, B03, B02, and not B02, B03"):
        run.check_fits(Scene.open(path))
    # the way out
    text = path.read_text().replace("role: spectral", "role: spectral\n    bands: [4, 3, 2, 1]")
    path.write_text(text)
    run.check_fits(Scene.open(path))
    # a preparation of an earlier version knows no names
    del description["modalities"][0]["labels"]
    _described(path.parent / "msi.tif", names)
    Preparation.from_parts(arrays, description).check_fits(Scene.open(path))


def test_tiles_share_the_order_of_their_bands(tmp_path, write_tif) -> None:
    for tile, names in {"a": ("B02", "B03"), "b": ("B03", "B02")}.items():
        path = write_tif(f"{tile}/msi.tif", RNG.normal(size=(2, 8, 9)))
        _described(path, names)
    (tmp_path / "scene.yaml").write_text(
        "name: two\ntiles: [a, b]\nmodalities: {msi: {path: '{tile}/msi.tif', role: spectral}}\n"
    )
    with pytest.raises(SceneError, match=r"b/msi\.tif has its bands in the order B03, B02, and"):
        Scene.open(tmp_path)
    _described(tmp_path / "b" / "msi.tif", ("B02", "B03"))
    assert len(Scene.open(tmp_path).tiles) == 2
