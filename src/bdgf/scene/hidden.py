"""A prepared scene as it would be had one of its sensors not been there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bdgf.scene.prepared import PreparedScene
from bdgf.scene.windows import Edge, Window


class SceneWithout(PreparedScene):
    """A view of a prepared scene in which one modality is missing at every pixel.

    Statistics and components stay those that the scene was prepared with: the networks were trained
    on them. Blocks are read through the scene and kept in its memory, not a second time here.

    Attributes:
        hidden: Index of the modality in ``layout``, None for a view that hides nothing.
    """

    def __init__(self, prepared: PreparedScene, hidden: int | None) -> None:
        super().__init__(prepared.scene, prepared.preparation, cache_bytes=0)
        self._whole = prepared
        self.hidden = hidden
        left = [m for m in range(len(self.layout.modalities)) if m != hidden]
        self._needed = [m for m in left if m in self.layout.spectral] or left

    @property
    def kept_pixels(self) -> int:
        """How many pixels of the whole scene stay in memory once they are prepared."""
        return self._whole.kept_pixels

    def window(
        self, tile: int, window: Window, edge: Edge
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return prepared channels of a window, those of the hidden modality 0 and missing."""
        values, missing = self._whole.window(tile, window, edge)
        if self.hidden is not None:
            modality = self.layout.modalities[self.hidden]
            values[modality.start : modality.stop] = 0.0
            missing[self.hidden] = True
        return values, missing

    def valid_in(self, tile: int, window: Window) -> NDArray[np.bool_]:
        """Return which pixels (h, w) of a window the other modalities can tell something about.

        These have another spectral modality; any other modality where no spectral one is left.
        """
        _, missing = self.window(tile, window, "missing")
        return np.asarray(~missing[self._needed].all(axis=0), dtype=bool)

    def load(self, tile: int, window: Window) -> None:
        """Prepare what a window needs of the files; the whole scene keeps it."""
        self._whole.load(tile, window)
