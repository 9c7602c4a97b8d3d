"""How much the diffusion features rest on each modality.

Reliance of a feature map f on modality m:

    S_m = E‖f(x) − f(x with m replaced by m of another place)‖ / E‖f(x) − mean f‖

It is centred: the uncentred norm hides everything behind the features' mean. Balance is the
reliance on the spectral modalities over that on the auxiliary ones, wanted near 1 [C].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bdgf.scene.layout import ChannelLayout


@dataclass(frozen=True)
class Reliance:
    """Reliance of the features on each modality, mean over the levels.

    Args:
        modalities: Names of the modalities.
        reliance: S_m of each.
        explained: Linear R² of each raw modality from the finest features.
        balance: S_spectral / S_auxiliary, None with one side only.
    """

    modalities: tuple[str, ...]
    reliance: tuple[float, ...]
    explained: tuple[float, ...]
    balance: float | None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "reliance": dict(zip(self.modalities, self.reliance, strict=True)),
            "explained_r2": dict(zip(self.modalities, self.explained, strict=True)),
            "balance_spectral_over_auxiliary": self.balance,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Reliance:
        """Return what ``to_json`` gave.

        Raises:
            ValueError: It is something else.
        """
        try:
            names = tuple(values["reliance"])
            balance = values["balance_spectral_over_auxiliary"]
            return cls(
                names,
                tuple(float(values["reliance"][name]) for name in names),
                tuple(float(values["explained_r2"][name]) for name in names),
                None if balance is None else float(balance),
            )
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"no reliance: {type(error).__name__} {error}") from None

    def describe(self) -> str:
        """Return one line for people."""
        parts = [
            f"{name} {value:.2f} (linear R² {r2:.2f})"
            for name, value, r2 in zip(self.modalities, self.reliance, self.explained, strict=True)
        ]
        line = "reliance of the features: " + ", ".join(parts)
        if self.balance is not None:
            line += f"; balance spectral / auxiliary {self.balance:.2f}"
        return line


Features = Callable[[Tensor, Tensor], Sequence[Tensor]]
"""Maps (values (B, C, H, W), missing (B, M, H, W)) to levels (B, g, h, w)."""


@torch.no_grad()
def measure_reliance(
    features: Features,
    values: Tensor,
    missing: Tensor,
    layout: ChannelLayout,
    generator: torch.Generator,
) -> Reliance:
    """Measure the reliance of features on every modality.

    Args:
        features: The feature map under test.
        values: Crops from different places, (B, C, H, W), B at least 2, on the CPU.
        missing: Where a modality is missing, (B, M, H, W).
        layout: Channels of the modalities.
        generator: Draws which place replaces which.

    Returns:
        Reliance and linear R² per modality.
    """
    batch = values.shape[0]
    shift = int(torch.randint(1, batch, (1,), generator=generator)) if batch > 1 else 0
    partner = (torch.arange(batch) + shift) % batch  # never the same place
    base = [level.float().cpu() for level in features(values, missing)]
    spread = [_norm(level - level.mean(dim=(0, 2, 3), keepdim=True)) for level in base]
    reliance, explained = [], []
    for index, modality in enumerate(layout.modalities):
        other, gone = values.clone(), missing.clone()
        channels = slice(modality.start, modality.stop)
        other[:, channels] = values[partner, channels]
        gone[:, index] = missing[partner, index]
        changed = [level.float().cpu() for level in features(other, gone)]
        moved = [_norm(a - b) for a, b in zip(base, changed, strict=True)]
        ratios = [m / s for m, s in zip(moved, spread, strict=True)]
        reliance.append(sum(ratios) / len(ratios))
        explained.append(_linear_r2(base[-1], values[:, channels], 1.0 - missing[:, index].float()))
    return Reliance(
        tuple(m.name for m in layout.modalities),
        tuple(reliance),
        tuple(explained),
        balance_of(reliance, layout),
    )


def balance_of(reliance: Sequence[float], layout: ChannelLayout) -> float | None:
    """Return mean reliance on spectral over mean reliance on auxiliary modalities."""
    spectral = [reliance[i] for i in layout.spectral]
    auxiliary = [r for i, r in enumerate(reliance) if i not in layout.spectral]
    if not spectral or not auxiliary:
        return None
    low = sum(auxiliary) / len(auxiliary)
    return sum(spectral) / len(spectral) / max(low, 1e-9)


def _norm(x: Tensor) -> float:
    """Mean over the pixels of the Euclidean norm over the channels; at least 1e-12."""
    return max(float(x.norm(dim=1).mean()), 1e-12)


def _linear_r2(features: Tensor, target: Tensor, present: Tensor) -> float:
    """R² of a ridge regression of the target's channels from the features, at present pixels."""
    keep = present.reshape(-1) > 0.5
    f = features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])[keep].double()
    y = target.permute(0, 2, 3, 1).reshape(-1, target.shape[1])[keep].double()
    if len(f) < 2:
        return 0.0
    f, y = f - f.mean(0), y - y.mean(0)
    gram = f.T @ f
    ridge = 1e-4 * gram.diagonal().mean() + 1e-12
    eye = torch.eye(gram.shape[0], dtype=gram.dtype, device=gram.device)
    weights = torch.linalg.solve(gram + ridge * eye, f.T @ y)
    left = float(((y - f @ weights) ** 2).sum())
    return 1.0 - left / max(float((y**2).sum()), 1e-12)
