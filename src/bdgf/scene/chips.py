"""A scene as samples of fixed size, with the keys that torchgeo's data sets have."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from bdgf.errors import SceneError
from bdgf.scene.grid import apply
from bdgf.scene.scene import Scene
from bdgf.scene.windows import Window


class SceneChips(Dataset[dict[str, Any]]):
    """Square samples of a scene, raw values as they are in the files.

    Each sample is a dictionary as torchgeo's data sets give it, and works with its transforms and
    with ``torch.utils.data.DataLoader`` (with torchgeo's ``stack_samples``, since a CRS is no
    tensor):

    - ``image`` (C, S, S) float32: the bands of all modalities in the scene's order, 0 where there
      is no data or the sample hangs over the edge of its tile,
    - ``valid`` (C, S, S) bool: where there is data,
    - ``mask`` (S, S) int64: class codes, 0 where unlabelled; only where the scene has labels,
    - ``bounds`` (4,) float64: left, bottom, right, top in map coordinates, or in columns and rows
      (top above bottom in value) where the tile has none,
    - ``transform`` (9,) float64: from (column, row) of the sample to the same coordinates, the
      rows of the matrix one after the other,
    - ``crs``: rasterio's, None where the tile has none,
    - ``tile``, ``row``, ``col``: where the sample lies in the scene.

    Args:
        scene: The scene; its rasters are read when a sample is asked for.
        size: S, rows and columns of a sample.
        stride: Rows and columns between two samples; ``size`` by default, so that they touch.
        part: Labels in ``mask``: train or test.
        labelled_only: Leave out samples without a labelled pixel of the part.

    Raises:
        SceneError: A size or stride that is not positive, another part, or labels asked for where
            there are none.
    """

    def __init__(
        self,
        scene: Scene,
        size: int = 64,
        stride: int | None = None,
        part: Literal["train", "test"] = "train",
        labelled_only: bool = False,
    ) -> None:
        step = size if stride is None else stride
        if size < 1 or step < 1:
            raise SceneError(f"size is {size} and stride {step}; both must be at least 1.")
        if part not in ("train", "test"):
            raise SceneError(f"part is {part!r}; it must be train or test.")
        if labelled_only and not scene.has_labels:
            raise SceneError(f"{scene.name} has no labels, and labelled_only needs them.")
        self.scene, self.size, self.part = scene, size, part
        self.places = [
            (number, row, col)
            for number, tile in enumerate(scene.tiles)
            for row in _starts(tile.height, size, step)
            for col in _starts(tile.width, size, step)
        ]
        if labelled_only:
            self.places = [p for p in self.places if (self._mask(*p) > 0).any()]

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.places)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return one sample."""
        number, row, col = self.places[index]
        tile = self.scene.tiles[number]
        inside = Window(row, col, self.size, self.size).inside(tile.height, tile.width)
        bands = [source.bands for source in tile.sources]
        image = np.zeros((sum(bands), self.size, self.size), dtype=np.float32)
        valid = np.zeros(image.shape, dtype=bool)
        start = 0
        for modality, count in enumerate(bands):
            part = (slice(start, start + count), slice(inside.height), slice(inside.width))
            image[part], valid[part] = tile.read(modality, inside)
            start += count
        sample: dict[str, Any] = {
            "image": torch.from_numpy(image),
            "valid": torch.from_numpy(valid),
            **self._place(number, row, col),
        }
        if self.scene.has_labels:
            sample["mask"] = torch.from_numpy(self._mask(number, row, col))
        return sample

    def _mask(self, number: int, row: int, col: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        tile = self.scene.tiles[number]
        codes = np.array((*self.scene.class_codes, 0), dtype=np.int64)  # the last one is index −1
        inside = Window(row, col, self.size, self.size).inside(tile.height, tile.width)
        mask = np.zeros((self.size, self.size), dtype=np.int64)
        mask[: inside.height, : inside.width] = codes[tile.labels(self.part).part(inside)]
        return mask

    def _place(self, number: int, row: int, col: int) -> dict[str, Any]:
        tile = self.scene.tiles[number]
        numbers = (1.0, 0.0, float(col), 0.0, 1.0, float(row))
        if tile.transform is not None:
            t = tile.transform
            left, top = apply(t, float(col), float(row))
            numbers = (t.a, t.b, left, t.d, t.e, top)
        a, b, c, d, e, f = numbers
        far = self.size
        xs = [c, c + a * far, c + b * far, c + (a + b) * far]
        ys = [f, f + d * far, f + e * far, f + (d + e) * far]
        return {
            "bounds": torch.tensor([min(xs), min(ys), max(xs), max(ys)], dtype=torch.float64),
            "transform": torch.tensor((*numbers, 0.0, 0.0, 1.0), dtype=torch.float64),
            "crs": tile.crs,
            "tile": tile.name,
            "row": row,
            "col": col,
        }


def _starts(length: int, size: int, step: int) -> list[int]:
    """Return first rows that cover a side; the last sample is moved in where the side allows it."""
    last = max(0, length - size)
    return sorted({min(start, last) for start in range(0, length, step)})
