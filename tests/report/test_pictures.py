from __future__ import annotations

import base64
import io
import zlib

import numpy as np
import pytest
from PIL import Image

from bdgf.report.pictures import image_url, modality_picture, packed
from bdgf.report.results import Results


def opened(url: str) -> Image.Image:
    head, _, body = url.partition(";base64,")
    image = Image.open(io.BytesIO(base64.b64decode(body)))
    assert head == f"data:image/{image.format.lower()}"
    return image


def test_small_images_are_kept_exactly_and_large_ones_nearly() -> None:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (40, 30, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(opened(image_url(small))), small)
    large = np.repeat(np.repeat(small, 10, axis=0), 10, axis=1)
    image = opened(image_url(large))
    assert image.format == "JPEG"
    assert image.size == (300, 400)
    assert np.abs(np.asarray(image).astype(int) - large).mean() < 12


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, ">u2"])
def test_arrays_come_back_as_little_endian_bytes(dtype: object) -> None:
    values = np.arange(6).reshape(2, 3).astype(dtype)
    raw = zlib.decompress(base64.b64decode(packed(values)))
    little = np.frombuffer(raw, dtype=values.dtype.newbyteorder("<"))
    np.testing.assert_array_equal(little.reshape(2, 3), values)


def test_every_modality_has_a_picture_of_the_whole_tile(results: Results) -> None:
    tile = results.scene.tiles[0]
    words = {}
    for index, modality in enumerate(results.scene.modalities):
        drawn = modality_picture(results, 0, index)
        assert drawn.name == modality.name
        assert drawn.image.shape == (tile.height, tile.width, 3)
        assert drawn.image.std() > 10
        words[drawn.name] = drawn.words
    assert words["sar"].endswith("in decibels")
    assert "decibels" not in words["hsi"] + words["dsm"]
