"""How much the diffusion features rest on each modality.

Reliance of a feature map f on modality m:

    S_m = E‖f(x) − f(x with m replaced by m of another place)‖ / E‖f(x) − mean f‖

It is centred: the uncentred norm hides everything behind the features' mean. Both means are over
the places where m is present before and after, and beside it a modality of the other side, so that
a sensor which covers a part of the scene counts by what the features make of it and not by its
cover. Balance is the reliance on the spectral modalities over that on the auxiliary ones, wanted
near 1 [C].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bdgf.scene.layout import ChannelLayout


@dataclass(frozen=True)
class Reliance:
    """Reliance of the features on each modality, mean over the levels.

    Args:
        modalities: Names of the modalities.
        reliance: S_m of each, None where it was present nowhere.
        explained: Linear R² of each raw modality from the finest features.
        balance: S_spectral / S_auxiliary, None with one side only.
    """

    modalities: tuple[str, ...]
    reliance: tuple[float | None, ...]
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
                tuple(_maybe(values["reliance"][name]) for name in names),
                tuple(float(values["explained_r2"][name]) for name in names),
                _maybe(balance),
            )
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"no reliance: {type(error).__name__} {error}") from None

    def describe(self) -> str:
        """Return one line for people."""
        parts = [
            f"{name} is not in the crops looked at"
            if value is None
            else f"{name} {value:.2f} (linear R² {r2:.2f})"
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
    shift = int(torch.randint(1, batch, (1,), generator=generator)) if batch > 1 else 1
    base = [level.float().cpu() for level in features(values, missing)]
    reliance: list[float | None] = []
    explained = []
    for index, modality in enumerate(layout.modalities):
        partner = _partners(missing[:, index], shift)
        other, gone = values.clone(), missing.clone()
        channels = slice(modality.start, modality.stop)
        other[:, channels] = values[partner, channels]
        gone[:, index] = missing[partner, index]
        there = (missing[:, index] + gone[:, index]) < 0.5  # (B, H, W)
        there[partner == torch.arange(batch)] = False
        beside = there & _other_side(missing, layout, index)
        there = beside if beside.any() else there
        if there.any():
            changed = [level.float().cpu() for level in features(other, gone)]
            ratios = [_ratio(a, b, there) for a, b in zip(base, changed, strict=True)]
            reliance.append(sum(ratios) / len(ratios))
        else:
            reliance.append(None)
        explained.append(_linear_r2(base[-1], values[:, channels], 1.0 - missing[:, index].float()))
    return Reliance(
        tuple(m.name for m in layout.modalities),
        tuple(reliance),
        tuple(explained),
        balance_of(reliance, layout),
    )


def balance_of(reliance: Sequence[float | None], layout: ChannelLayout) -> float | None:
    """Return mean reliance on spectral over mean reliance on auxiliary modalities."""
    sides = sides_of(reliance, layout)
    return None if sides is None else sides[0] / max(sides[1], 1e-9)


def sides_of(values: Sequence[float | None], layout: ChannelLayout) -> tuple[float, float] | None:
    """Return the means of what is known of spectral and of auxiliary modalities.

    Args:
        values: A value of every modality, None where it is not known.
        layout: The modalities.

    Returns:
        None where nothing is known of one side.
    """
    known = [(i in layout.spectral, value) for i, value in enumerate(values) if value is not None]
    spectral = [value for is_spectral, value in known if is_spectral]
    auxiliary = [value for is_spectral, value in known if not is_spectral]
    if not spectral or not auxiliary:
        return None
    return sum(spectral) / len(spectral), sum(auxiliary) / len(auxiliary)


def _maybe(value: Any) -> float | None:  # noqa: ANN401
    return None if value is None else float(value)


def _partners(missing: Tensor, shift: int) -> Tensor:
    """For every crop (B, H, W) another that has the modality too; itself where it has none."""
    partner = torch.arange(len(missing))
    own = torch.nonzero((missing < 0.5).flatten(1).any(1)).flatten()
    if len(own) > 1:
        step = 1 + (shift - 1) % (len(own) - 1)  # never the same place
        partner[own] = own[(torch.arange(len(own)) + step) % len(own)]
    return partner


def _other_side(missing: Tensor, layout: ChannelLayout, index: int) -> Tensor:
    """Where (B, H, W) some modality of the other side is, on which the features could rest."""
    side = index in layout.spectral
    others = [i for i in range(len(layout.modalities)) if (i in layout.spectral) != side]
    return (missing[:, others] < 0.5).any(1)


def _ratio(level: Tensor, changed: Tensor, there: Tensor) -> float:
    """How far a level moves over how far it spreads, at the places (B, H, W) that count."""
    if there.shape[1:] != level.shape[2:]:
        there = F.adaptive_max_pool2d(there[:, None].float(), level.shape[2:])[:, 0] > 0
    mean = level.mean((0, 2, 3)) if there.all() else level.transpose(0, 1)[:, there].mean(1)
    moved = (level - changed).norm(dim=1)[there].mean()
    spread = (level - mean[:, None, None]).norm(dim=1)[there].mean()
    return max(float(moved), 1e-12) / max(float(spread), 1e-12)


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
