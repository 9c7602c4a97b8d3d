from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from bdgf.config import PreparationSettings
from bdgf.scene.cautions import find_cautions
from bdgf.scene.preparation import Preparation
from bdgf.scene.prepared import PreparedScene
from bdgf.scene.scene import Scene

SIDE = 60
CLASSES = {1: "Water", 2: "Soil", 3: "Wood"}


def fields(seed: int = 0) -> NDArray[np.int64]:
    """Class codes (H, W) of fields of odd sizes, with no symmetry."""
    rng = np.random.default_rng(seed)
    rows, cols = np.cumsum(rng.integers(4, 9, 12)), np.cumsum(rng.integers(4, 9, 12))
    r, c = np.searchsorted(rows, np.arange(SIDE)), np.searchsorted(cols, np.arange(SIDE))
    return rng.integers(1, 4, (13, 13))[r][:, c]


def image(codes: NDArray[np.int64], seed: int = 1) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    means = np.array([[0, 0, 0, 0], [9, 1, 2, 3], [4, 9, 1, 7], [1, 5, 9, 2]], dtype=np.float32)
    noise = rng.normal(size=(4, SIDE, SIDE)).astype(np.float32)
    return means[codes].transpose(2, 0, 1) + noise


def sparse(codes: NDArray[np.int64], seed: int = 2) -> NDArray[np.int64]:
    """Codes of a part of the pixels, 0 elsewhere."""
    return np.where(np.random.default_rng(seed).random(codes.shape) < 0.15, codes, 0)


Look = Callable[..., list[str]]


@pytest.fixture
def look() -> Look:
    def look(
        values: NDArray[np.float32],
        labels: NDArray[np.int64],
        classes: dict[int, str] | None = None,
    ) -> list[str]:
        scene = Scene.from_arrays({"hsi": values}, labels, classes=classes or CLASSES)
        prepared = PreparedScene(scene, Preparation.fit(scene, PreparationSettings(), 0))
        return find_cautions(prepared, 0)

    return look


@pytest.mark.parametrize("seed", range(4))
def test_a_good_scene_gets_no_warning(look: Look, seed: int) -> None:
    codes = fields(seed)
    assert look(image(codes), sparse(codes, seed)) == []


@pytest.mark.parametrize(("down", "right"), [(3, 0), (-2, 4), (0, -5)])
def test_shifted_labels_are_told_with_the_way_back(look: Look, down: int, right: int) -> None:
    codes = fields()
    labels = sparse(np.roll(codes, (down, right), (0, 1)))
    inside = np.zeros_like(labels)
    inside[8:-8, 8:-8] = labels[8:-8, 8:-8]
    (warning,) = look(image(codes), inside)
    assert f"moved by {-down:+d} rows and {-right:+d} columns" in warning


@pytest.mark.parametrize(
    ("turn", "words"),
    [
        (lambda a: a.T, "rows and columns exchanged"),
        (lambda a: a[::-1], "mirrored top to bottom"),
        (lambda a: a[:, ::-1], "mirrored left to right"),
        (lambda a: a[::-1, ::-1], "turned by half"),
    ],
)
def test_swapped_axes_are_told(
    look: Look, turn: Callable[[NDArray[np.int64]], NDArray[np.int64]], words: str
) -> None:
    codes = fields()
    (warning,) = look(image(codes), sparse(turn(codes)))
    assert words in warning


def test_bands_that_are_there_twice_are_told(look: Look) -> None:
    codes = fields()
    values = image(codes)
    (warning,) = look(np.concatenate([values, values[1:2]]), sparse(codes))
    assert "bands 2 and 5 of modality hsi hold the same values" in warning


def test_a_class_without_training_pixels_is_told(look: Look) -> None:
    codes = fields()
    (warning,) = look(image(codes), sparse(codes), {**CLASSES, 7: "Ice"})
    assert "class 7 (Ice) has no training pixel" in warning


def test_labels_on_nodata_are_told(look: Look) -> None:
    codes = fields()
    values = image(codes)
    labels = sparse(codes)
    values[:, labels == 3] = np.nan
    assert any(
        "class 3 (Wood) has" in w and "none with image data" in w for w in look(values, labels)
    )


def test_training_pixels_unlike_the_scene_are_told(look: Look) -> None:
    codes = fields()
    values = image(codes)
    values[:, :6] += 60.0
    labels = np.zeros_like(codes)
    labels[:6] = codes[:6]
    assert any("far from the scene in modality hsi" in warning for warning in look(values, labels))


def test_few_labels_are_not_judged(look: Look) -> None:
    codes = fields()
    labels = np.zeros_like(codes)
    labels[10:14, 10:20] = np.roll(codes, 4, 0)[10:14, 10:20]
    labels[30, 30:33] = (1, 2, 3)
    assert look(image(codes), labels) == []
