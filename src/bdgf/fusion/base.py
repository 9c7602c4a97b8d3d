"""What the two networks have in common: input, pixel path, heads, output."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bdgf.config import NetworkSettings
from bdgf.fusion.layers import FeatureEmbedding, Head, PatchEmbedding, PixelEmbedding
from bdgf.fusion.sliding.trained import crop
from bdgf.scene.layout import ChannelLayout

LEVELS = 3
"""Levels of guidance, coarse to fine."""


PATCH_HEADS = ("patch", "guided patch")
"""Heads that see the patch as a whole."""


class NetworkOutput(NamedTuple):
    """What a network says of every pixel.

    Args:
        logits: (B, heads, K, h, w).
        embedding: (B, heads, D, h, w), what each head's classifier reads.
    """

    logits: Tensor
    embedding: Tensor


def step_bias(count: int) -> Tensor:
    """Biases whose softplus are step sizes from 0.01 to 0.3, evenly in their logarithm."""
    steps = torch.linspace(math.log(0.01), math.log(0.3), count).exp()
    return torch.log(torch.expm1(steps))


class FusionNetwork(nn.Module):
    """What is trained and mapped with: from patches to the logits of its heads.

    Attributes:
        heads: Names of the heads.
        window: P, side of the patch that decides a pixel.
        channels: C, prepared channels of the scene.
        modalities: M.
        guidance_channels: Channels of the three levels of guidance that it is given, coarse to
            fine; 0 for none.
    """

    heads: tuple[str, ...]
    window: int
    channels: int
    modalities: int
    guidance_channels: tuple[int, ...]

    def forward(
        self,
        values: Tensor,
        missing: Tensor,
        guidance: Sequence[Tensor],
        kept: Tensor | None = None,
    ) -> NetworkOutput:
        """Classify every pixel whose whole patch lies in the image.

        Args:
            values: (B, C, H, W) prepared channels; what stands at missing pixels is not looked at,
                as long as it is finite.
            missing: (B, M, H, W), 1 where a modality is missing, else 0.
            guidance: (B, g_l, H, W) of three levels, coarse to fine.
            kept: (B, C), 0 for the channels of a sample that channel dropout takes in training.

        Returns:
            Logits and embeddings of h = H - P + 1 by w = W - P + 1 pixels.

        Raises:
            ValueError: The shapes do not fit the network.
        """
        raise NotImplementedError


class GuidedNetwork(FusionNetwork):
    """Base of the networks of branches: a pixel path, one head per branch, and what these add.

    Args:
        settings: Window, width, branches and the rest.
        layout: Channels of the modalities.
        guidance_channels: Channels of the three levels of guidance, coarse to fine; 0 for none.
        classes: K.

    Attributes:
        heads: "pixel" (the pixel alone), "diffusion" (the pixel and its features), "patch" (the
            patch as a whole) and "guided patch" (the patch and its features) first if the settings
            ask for them, then the branches.
        guides: Channels of the guidance that some branch reads, 0 for the rest.
    """

    modality_of_channel: Tensor

    def __init__(
        self,
        settings: NetworkSettings,
        layout: ChannelLayout,
        guidance_channels: Sequence[int],
        classes: int,
    ) -> None:
        super().__init__()
        width = settings.width
        by_features = settings.feature_path and any(guidance_channels)
        guided_patch = settings.patch_path and settings.guided_patch and any(guidance_channels)
        self.heads = (
            *(("pixel",) if settings.pixel_path else ()),
            *(("diffusion",) if by_features else ()),
            *(("patch",) if settings.patch_path else ()),
            *(("guided patch",) if guided_patch else ()),
            *settings.branches,
        )
        self.window = settings.window
        self.channels, self.modalities = layout.channels, len(layout.modalities)
        self.guidance_channels = tuple(guidance_channels)
        # features that guide no branch in use are left alone
        guided = set(settings.guided) & set(settings.branches)
        self.guides = self.guidance_channels if guided else (0,) * len(self.guidance_channels)
        self.register_buffer(
            "modality_of_channel", torch.tensor(layout.modality_of_channel), persistent=False
        )
        inputs = self.channels + self.modalities
        self.pixel = PixelEmbedding(inputs, width)
        self.features = FeatureEmbedding(sum(guidance_channels), width) if by_features else None
        self.patches = nn.ModuleDict()
        over_batch = settings.patch_norm == "batch"
        if settings.patch_path:
            self.patches["patch"] = PatchEmbedding(inputs, width, settings.window, over_batch)
        if guided_patch:
            seen = inputs + sum(guidance_channels)
            self.patches["guided patch"] = PatchEmbedding(seen, width, settings.window, over_batch)
        self.norms = nn.ModuleDict({name: nn.LayerNorm(width) for name in settings.branches})
        self.classifiers = nn.ModuleDict(
            {
                name: Head(width if name == "pixel" else 2 * width, width, classes)
                for name in self.heads
            }
        )

    def branch_outputs(
        self, values: Tensor, missing: Tensor, guidance: Sequence[Tensor]
    ) -> list[Tensor]:
        """Run the branches.

        Args:
            values: (B, H, W, C), zero where missing.
            missing: (B, H, W, M).
            guidance: (B, g_l, H, W) of three levels, coarse to fine.

        Returns:
            (B, h, w, D) of each branch, in the order of the settings.
        """
        raise NotImplementedError

    def forward(
        self,
        values: Tensor,
        missing: Tensor,
        guidance: Sequence[Tensor],
        kept: Tensor | None = None,
    ) -> NetworkOutput:
        """Run the pixel path, the branches and their heads; see the base class.

        Channel dropout spares the head "patch": by it a head holds far from the labels, without it
        it is more accurate among them, and the fusion has some of both [C].
        """
        self._check(values, missing, guidance)
        # 1. channels last, zero where missing
        unknown = missing.permute(0, 2, 3, 1).contiguous()  # (B, H, W, M)
        known = (1 - unknown)[..., self.modality_of_channel]  # (B, H, W, C)
        complete = values.permute(0, 2, 3, 1) * known  # (B, H, W, C)
        pixels = complete if kept is None else complete * kept[:, None, None]
        # 2. the pixel itself
        radius = self.window // 2
        centre = torch.cat([crop(pixels, radius), crop(unknown, radius)], 3)  # (B, h, w, C+M)
        pixel = self.pixel(centre)  # (B, h, w, D)
        # 3. its features, its patch, and the branches
        branches = self.branch_outputs(pixels, unknown, guidance)
        inputs = [pixel] if "pixel" in self.heads else []
        if self.features is not None:
            seen = [crop(level.permute(0, 2, 3, 1), radius) for level in guidance]
            inputs.append(torch.cat([self.features(torch.cat(seen, 3)), pixel], 3))
        if "patch" in self.patches:  # not told which pixel is meant
            inputs.append(self.patches["patch"](torch.cat([complete, unknown], 3)))
        if "guided patch" in self.patches:
            around = [level.permute(0, 2, 3, 1) for level in guidance]
            joined = torch.cat([pixels, unknown, *around], 3)  # (B, H, W, C+M+g)
            inputs.append(self.patches["guided patch"](joined))
        inputs += [
            torch.cat([norm(branch), pixel], 3)
            for norm, branch in zip(self.norms.values(), branches, strict=True)
        ]  # (B, h, w, D or 2D)
        # 4. heads
        read = [head(x) for head, x in zip(self.classifiers.values(), inputs, strict=True)]
        return NetworkOutput(
            torch.stack([logits for logits, _ in read], 1).permute(0, 1, 4, 2, 3),
            torch.stack([hidden for _, hidden in read], 1).permute(0, 1, 4, 2, 3),
        )

    def _check(self, values: Tensor, missing: Tensor, guidance: Sequence[Tensor]) -> None:
        batch, channels, height, width = values.shape
        if channels != self.channels:
            raise ValueError(
                f"The image has {channels} channels, the network was built for {self.channels}:"
                " use the scene's layout that it was built with."
            )
        if min(height, width) < self.window:
            raise ValueError(
                f"The image is {height} × {width} pixels, the network's window {self.window} ×"
                f" {self.window}: pad the image by {self.window // 2} pixels on each side."
            )
        if missing.shape != (batch, self.modalities, height, width):
            raise ValueError(
                f"The missing indicator has shape {tuple(missing.shape)}; it must be"
                f" {(batch, self.modalities, height, width)}, one channel per modality."
            )
        if len(guidance) != LEVELS or any(
            level.shape[0] != batch or level.shape[2:] != (height, width) for level in guidance
        ):
            raise ValueError(
                f"Guidance has shapes {[tuple(level.shape) for level in guidance]}; it must be"
                f" {LEVELS} levels of {batch} × g × {height} × {width}, coarse to fine."
            )
        found = tuple(level.shape[1] for level in guidance)
        if found != self.guidance_channels:
            raise ValueError(
                f"Guidance has {found} channels, the network was built for"
                f" {self.guidance_channels}: use the features that it was trained with."
            )
