"""Which channels of a prepared scene belong to which modality."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ModalityChannels:
    """The channels ``start`` to ``stop - 1`` of a prepared scene belong to one modality."""

    name: str
    role: Literal["spectral", "auxiliary"]
    start: int
    stop: int

    @property
    def size(self) -> int:
        """Number of channels."""
        return self.stop - self.start


@dataclass(frozen=True)
class ChannelLayout:
    """Which channels of a prepared scene belong to which modality, spectral ones first."""

    modalities: tuple[ModalityChannels, ...]

    @property
    def channels(self) -> int:
        """C, number of channels of all modalities."""
        return self.modalities[-1].stop

    @property
    def modality_of_channel(self) -> tuple[int, ...]:
        """Index of the modality of every channel."""
        return tuple(i for i, m in enumerate(self.modalities) for _ in range(m.size))

    @property
    def spectral(self) -> tuple[int, ...]:
        """Indices of the spectral modalities."""
        return tuple(i for i, m in enumerate(self.modalities) if m.role == "spectral")
