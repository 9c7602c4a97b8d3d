"""The whole way from raw values to log-probabilities as one module, fit for export.

It treats what it is given as a whole tile: beyond its edges the denoiser sees missing values and
the branches see the tile mirrored, as ``bdgf map`` does at the edges of a scene. Of a piece that is
cut out of a larger raster, the outermost :data:`HALO` pixels and half a patch at every cut are
therefore to be thrown away, and a cut must lie at a multiple of :data:`STRIDE` pixels.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bdgf.diffusion.denoiser import HALO, STRIDE, Denoiser
from bdgf.diffusion.reduction import LARGEST_HALF, Projection, Reduction, levels_in_use
from bdgf.fusion.network import FusionNetwork, fused_log_probabilities
from bdgf.scene.fitted_modality import FittedModality
from bdgf.scene.preparation import Preparation


class PreparedModality(nn.Module):
    """Raw bands of one modality to its channels.

    Args:
        fitted: Its statistics.
        start: First of its bands among those of all modalities.
        clip: How far from the mean channels may be, see ``FittedModality.limits``.
    """

    kept: Tensor
    decibel: Tensor
    floor: Tensor
    mean: Tensor
    limits: Tensor
    matrix: Tensor

    def __init__(self, fitted: FittedModality, start: int, clip: float) -> None:
        super().__init__()
        self.spectral = fitted.role == "spectral"
        self.radar = bool(fitted.decibel.any())

        def keep(name: str, values: np.ndarray) -> None:
            self.register_buffer(name, torch.from_numpy(np.array(values, order="C")))

        keep("kept", fitted.kept + start)
        keep("decibel", fitted.decibel[:, None, None])
        # of bands that stay as they are the logarithm is taken and thrown away: it must exist
        keep("floor", np.maximum(fitted.floor, np.float32(1e-30))[:, None, None])
        keep("mean", fitted.mean[:, None, None])
        matrix = fitted.matrix if self.spectral else np.diagonal(fitted.matrix)
        keep("limits", fitted.limits(clip)[:, None, None])
        keep("matrix", matrix[:, :, None, None] if self.spectral else matrix[:, None, None])

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Prepare.

        Args:
            values: (bands of all modalities, H, W), not finite where they are not valid.

        Returns:
            (C, H, W), 0 where a used band is not valid, and whether it is so (H, W).
        """
        raw = torch.index_select(values, 0, self.kept)
        valid = torch.isfinite(raw).all(0)
        raw = torch.where(valid, raw, torch.zeros_like(raw))
        if self.radar:
            raw = torch.where(self.decibel, 10.0 * torch.log10(torch.maximum(raw, self.floor)), raw)
        centred = raw - self.mean
        if self.spectral:
            out = F.conv2d(centred.unsqueeze(0), self.matrix).squeeze(0)
        else:
            out = centred * self.matrix
        known = valid & torch.isfinite(out).all(0)
        out = torch.clamp(out, -self.limits, self.limits)
        return torch.where(known, out, torch.zeros_like(out)), ~known


class Guidance(nn.Module):
    """Guidance features of prepared channels, see ``FeatureExtractor`` and ``Reduction``.

    They are rounded to 16 bits as the container of a run stores them.

    Args:
        denoiser: With the weights to read.
        reduction: Components of its levels.
        scale: (C,) factor to the denoiser's scale.
        timesteps: At which it is read.
    """

    scale: Tensor

    def __init__(
        self,
        denoiser: Denoiser,
        reduction: Reduction,
        scale: np.ndarray,
        timesteps: Sequence[int],
    ) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.timesteps = tuple(timesteps)
        self.register_buffer("scale", torch.from_numpy(scale).view(1, -1, 1, 1))
        self.used = levels_in_use(reduction.guides)
        self.projections = nn.ModuleList(_Projected(p) for p in reduction.projections)

    def forward(self, values: Tensor, missing: Tensor) -> Tensor:
        """(1, C, H, W) and (1, M, H, W) to the features (1, g, H, W) in float16."""
        height, width = values.shape[2:]
        # whole strides; what is added lies beyond the edge, as the halo does
        down, right = -height % STRIDE, -width % STRIDE
        around = (HALO, HALO + right, HALO, HALO + down)
        x = F.pad(values * self.scale, around)
        gone = F.pad(missing, around, value=1.0)
        found: list[list[Tensor]] = [[], [], []]
        for timestep in self.timesteps:
            t = torch.tensor([timestep])
            decoded = self.denoiser.decode(x, gone, t)
            for level, features, factor in zip(found, decoded, (4, 2, 1), strict=True):
                if factor > 1:
                    features = F.interpolate(
                        features, scale_factor=float(factor), mode="bilinear", align_corners=False
                    )
                level.append(features[:, :, HALO : HALO + height, HALO : HALO + width])
        joined = [torch.cat(found[index], 1) for index in self.used]
        pairs = zip(self.projections, joined, strict=True)
        return torch.cat([project(level) for project, level in pairs], 1)


class _Projected(nn.Module):
    """A projection of features, rounded to float16."""

    mean: Tensor
    matrix: Tensor

    def __init__(self, projection: Projection) -> None:
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(projection.mean)[:, None])
        self.register_buffer("matrix", torch.from_numpy(np.ascontiguousarray(projection.matrix.T)))

    def forward(self, features: Tensor) -> Tensor:
        """(1, g, H, W) to (1, k, H, W)."""
        exact = torch.matmul(self.matrix, features.flatten(2).double() - self.mean)  # (1, k, H·W)
        exact = exact.clamp(-LARGEST_HALF, LARGEST_HALF)
        return exact.float().half().view(1, -1, features.shape[2], features.shape[3])


class ExportedMapper(nn.Module):
    """From raw values of all modalities to log-probabilities of the classes.

    Args:
        preparation: Statistics and components.
        guidance: Gives the guidance features; None where nothing guides the branches.
        levels: Channels of the features that guide each level of the branches, coarse to fine.
        network: The trained network.
        weights: Weight of every head in the fusion, over the temperature.
    """

    weights: Tensor

    def __init__(
        self,
        preparation: Preparation,
        guidance: Guidance | None,
        levels: Sequence[Sequence[int]],
        network: FusionNetwork,
        weights: Sequence[float],
    ) -> None:
        super().__init__()
        starts = np.cumsum([0, *(one.bands for one in preparation.fitted)]).tolist()
        self.order = preparation.order
        self.needed = preparation.layout.spectral or tuple(range(len(self.order)))
        self.modalities = nn.ModuleList(
            PreparedModality(preparation.fitted[i], starts[i], preparation.clip) for i in self.order
        )
        self.guidance = guidance
        self.levels = [list(level) for level in levels]
        self.network = network
        self.register_buffer("weights", torch.tensor(list(weights)))

    @property
    def smallest(self) -> int:
        """Smallest side of a tile: it has to be mirrored at its edges."""
        return self.network.window

    @property
    def halo(self) -> int:
        """Pixels that are not right at a cut, in whole strides."""
        reach = HALO if self.guidance is not None else 0
        return -(-(reach + self.network.window // 2) // STRIDE) * STRIDE

    def forward(self, values: Tensor) -> tuple[Tensor, ...]:
        """Classify every pixel of a tile.

        Args:
            values: (bands, H, W) raw values, the bands of all modalities in the scene's order; NaN
                where a band is not valid.

        Returns:
            (K, H, W) log-probabilities, NaN where the pixel has no spectral value; and with
            guidance its features (g, H, W), float16.
        """
        # 1. raw values to channels, spectral ones first
        parts = [modality(values) for modality in self.modalities]
        channels = torch.cat([part for part, _ in parts]).unsqueeze(0)  # (1, C, H, W)
        gone = torch.stack([missing for _, missing in parts])  # (M, H, W)
        missing = gone.unsqueeze(0).float()
        # 2. guidance
        features = channels[:, :0] if self.guidance is None else self.guidance(channels, missing)
        levels = [_selected(features, level).float() for level in self.levels]
        # 3. the network, on the mirrored tile
        radius = self.network.window // 2
        inputs = [_mirrored(x, radius) for x in (channels, missing, *levels)]
        output = self.network(inputs[0], inputs[1], inputs[2:])
        total = fused_log_probabilities(output.logits, self.weights)
        absent = torch.stack([gone[index] for index in self.needed]).all(0)
        found = torch.where(absent, torch.full_like(total[0], float("nan")), total[0])
        return (found,) if self.guidance is None else (found, features[0])


def _selected(features: Tensor, channels: list[int]) -> Tensor:
    """Some channels of (1, g, H, W), which lie beside each other; none of none."""
    return features[:, channels[0] : channels[-1] + 1] if channels else features[:, :0]


def _mirrored(x: Tensor, radius: int) -> Tensor:
    """Mirror an image (1, C, H, W) at its edge pixels, which must be more than the radius."""
    return F.pad(x, (radius,) * 4, mode="reflect") if x.shape[1] else F.pad(x, (radius,) * 4)


def build_mapper(
    preparation: Preparation,
    denoiser: Denoiser | None,
    reduction: Reduction | None,
    timesteps: Sequence[int],
    network: FusionNetwork,
    weights: Sequence[float],
) -> ExportedMapper:
    """Return the mapper of a trained run, with copies of its parts on the CPU."""
    guidance: Guidance | None = None
    levels: list[list[int]] = [[], [], []]
    if denoiser is not None and reduction is not None:
        levels = reduction.levels
        guidance = Guidance(
            copy.deepcopy(denoiser), reduction, preparation.diffusion_scale, timesteps
        )
    mapper = (
        ExportedMapper(preparation, guidance, levels, copy.deepcopy(network), weights).cpu().eval()
    )
    for parameter in mapper.parameters():
        parameter.data = parameter.data.contiguous()
        parameter.requires_grad_(False)
    return mapper
