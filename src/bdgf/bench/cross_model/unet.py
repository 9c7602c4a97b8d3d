"""Features of a diffusion model that was built independently of ours: diffusers' plain U-Net.

A `UNet2DModel` learns to predict the noise of a `DDPMScheduler` on the prepared spectral channels
of a scene and on nothing else: no auxiliary modality, no masks, no indicator of what is missing.
Its features are read from the three levels of its decoder and written as arrays on the scene's
grid, which `features.source` takes like those of any other model.

Its normalisation and its attention reach over the whole window that it is given, so its features at
a pixel depend on the window. They are read from windows that overlap by half, and the inner half of
each is kept.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib
import importlib.util
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.lib.format import open_memmap
from torch import Tensor, nn

from bdgf import __version__
from bdgf.compute import device_of, exact
from bdgf.config import DiffusionSettings, Settings
from bdgf.diffusion.crops import CropSampler
from bdgf.diffusion.external import LEVEL
from bdgf.errors import RunFolderError, SceneError, SettingsError
from bdgf.files import JSON_ERRORS, atomic_path, atomic_write_text, reserve
from bdgf.optimisation import Course, forked_seed
from bdgf.randomness import numpy_generator, torch_generator
from bdgf.scene.description import TILE
from bdgf.scene.prepared import PreparedScene
from bdgf.scene.windows import Window, windows_of

STRIDE = 8
"""Sides of what the U-Net sees are multiples of it; it halves them, and fails where it cannot."""

RECORD = "unet.json"

_USED = ("width", "steps", "batch", "crop", "timesteps", "beta_start", "beta_end", "learning_rate",
         "warmup", "clip_norm")  # fmt: skip


def check_installed() -> None:
    """Refuse where diffusers is not installed.

    Raises:
        SettingsError: It is not.
    """
    if importlib.util.find_spec("diffusers") is None:
        raise SettingsError(
            "the features of diffusers' U-Net need the package diffusers, which is not installed:"
            " install it with \"pip install '.[diffusers]'\" in the checkout of bdgf, or leave this"
            " method out."
        )


def unet_features(prepared: PreparedScene, settings: Settings, within: Path) -> tuple[str, float]:
    """Train the U-Net on a scene and write its features, unless that was done before.

    Args:
        prepared: The scene; its labels have no part in it.
        settings: They give steps, batch, crop, noise schedule, learning rate, width and timestep,
            as for our denoiser.
        within: The features come into a folder of their own in this one.

    Returns:
        What ``features.source`` is set to, and the seconds that training and reading took.

    Raises:
        SettingsError: diffusers is not installed.
        SceneError: The scene has no spectral modality.
    """
    check_installed()
    if not prepared.layout.spectral:
        raise SceneError(
            f"{prepared.scene.name} has no spectral modality, which the U-Net is trained on; leave"
            " the method out, or give a modality the role spectral."
        )
    timestep = settings.features.timesteps[0]
    depends = {
        "bdgf": __version__,
        "images": prepared.scene.signature("images"),
        "seed": settings.seed,
        "preparation": dataclasses.asdict(settings.preparation),
        "diffusion": {name: getattr(settings.diffusion, name) for name in _USED},
        "timestep": timestep,
    }
    mark = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:12]
    folder = within / f"unet-{mark}"
    source = str(folder.resolve() / LEVEL / f"{TILE}.npy")
    record = folder / RECORD
    if not record.is_file():
        start = time.perf_counter()
        device = device_of(settings.compute)
        model = train_unet(prepared, settings.diffusion, settings.seed, device)
        _write(model, prepared, settings.diffusion, timestep, folder, device)
        values = {
            "model": "diffusers.UNet2DModel",
            "parameters": sum(p.numel() for p in model.parameters()),
            "seconds": time.perf_counter() - start,
            "timestep": timestep,
        }
        # last: its presence says that the arrays are complete
        atomic_write_text(record, json.dumps(values, indent=2) + "\n")
    try:
        seconds = float(json.loads(record.read_text(encoding="utf-8"))["seconds"])
    except (*JSON_ERRORS, KeyError, TypeError) as error:
        raise RunFolderError(
            f"{record} cannot be read ({error}); remove its folder, and 'bdgf bench' makes it"
            " again."
        ) from None
    return source, seconds


def build_unet(channels: int, width: int, seed: int) -> nn.Module:
    """Return diffusers' U-Net with random weights: three levels as in our denoiser, else defaults.

    Args:
        channels: C_s, spectral channels.
        width: Channels of the finest level; the coarser levels have twice as many.
        seed: Seed of the weights.
    """
    with forked_seed(seed, "diffusers U-Net"):
        model: nn.Module = _diffusers().UNet2DModel(
            in_channels=channels,
            out_channels=channels,
            block_out_channels=(width, 2 * width, 2 * width),
            down_block_types=("DownBlock2D",) * 3,
            up_block_types=("UpBlock2D",) * 3,
            norm_num_groups=math.gcd(width, 32),
            attention_head_dim=math.gcd(2 * width, 8),
        )
    return model


@exact()
def train_unet(
    prepared: PreparedScene, settings: DiffusionSettings, seed: int, device: torch.device
) -> nn.Module:
    """Train the U-Net to predict noise on the spectral channels of a scene.

    Source: Ho et al. 2020, algorithm 1. AdamW with warm-up and cosine decay, no moving average.

    Args:
        prepared: The scene.
        settings: Steps, batch, crop (rounded up to a multiple of 8), noise schedule, learning rate.
        seed: Seed of weights and draws.
        device: Where it is trained.
    """
    channels = _spectral(prepared)
    schedule = _diffusers().DDPMScheduler(
        settings.timesteps, settings.beta_start, settings.beta_end
    )
    model = build_unet(len(channels), settings.width, seed).to(device).train()
    crops = CropSampler(prepared, _side(settings), seed)
    owner = [prepared.layout.modality_of_channel[channel] for channel in channels]
    course = Course(
        "diffusers U-Net", settings.steps, settings.learning_rate, 0.01, settings.warmup,
        settings.clip_norm, settings.steps,
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=course.learning_rate, weight_decay=0.01)
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = course.rate(step)
        values, missing = crops.draw(settings.batch, numpy_generator(seed, "U-Net crops", step))
        x0, present = values[:, channels].to(device), 1.0 - missing[:, owner].to(device)
        draws = torch_generator(seed, "U-Net diffusion", step, device=device)
        t = torch.randint(settings.timesteps, (len(x0),), generator=draws, device=device)
        noise = torch.randn(x0.shape, generator=draws, device=device)
        predicted = model(schedule.add_noise(x0, noise, t), t).sample
        loss = ((predicted - noise).square() * present).sum() / present.sum().clamp(min=1.0)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), course.clip_norm)
        optimizer.step()
    return model.eval()


@exact()
@torch.inference_mode()
def read_unet(
    model: nn.Module,
    prepared: PreparedScene,
    tile: int,
    window: Window,
    timestep: int,
    device: torch.device,
) -> list[Tensor]:
    """Return the features of the decoder's levels in a window, coarse to fine.

    They are what the last residual block of each level gives, before its upsampling, and are
    interpolated bilinearly to the scene's pixels.

    Args:
        model: The U-Net.
        prepared: The scene.
        tile: Index of the tile.
        window: Its sides are multiples of 8; beyond the tile's edge the tile is mirrored.
        timestep: Timestep that the clean input is read at.
        device: Where the U-Net lies.

    Returns:
        Three tensors (g_l, h, w).
    """
    found: list[Tensor] = []
    blocks: Any = model.up_blocks
    hooks = [
        block.resnets[-1].register_forward_hook(lambda _module, _inputs, out: found.append(out))
        for block in blocks
    ]
    try:
        values, _ = prepared.window(tile, window, edge="reflect")
        scale = prepared.preparation.diffusion_scale[:, None, None]
        x = torch.from_numpy((values * scale)[_spectral(prepared)][None]).to(device)
        model(x, torch.tensor([timestep], device=device))
    finally:
        for hook in hooks:
            hook.remove()
    size = (window.height, window.width)
    return [
        F.interpolate(level, size=size, mode="bilinear", align_corners=False)[0] for level in found
    ]


def _write(
    model: nn.Module,
    prepared: PreparedScene,
    settings: DiffusionSettings,
    timestep: int,
    folder: Path,
    device: torch.device,
) -> None:
    """Write an array (g_l, H, W) per level and tile, ``LEVEL/TILE.npy``, in float16."""
    side = 2 * _side(settings)
    margin = side // 4 // STRIDE * STRIDE
    inner = side - 2 * margin
    for tile in range(prepared.tiles):
        height, width = prepared.shape(tile)
        name = f"{prepared.scene.tiles[tile].name}.npy"
        parts: list[np.memmap[Any, np.dtype[np.float16]]] = []
        with contextlib.ExitStack() as files:
            paths = [
                files.enter_context(atomic_path(folder / str(level) / name)) for level in (1, 2, 3)
            ]
            for window in windows_of(height, width, inner):
                around = Window(window.row - margin, window.col - margin, side, side)
                levels = read_unet(model, prepared, tile, around, timestep, device)
                if not parts:
                    parts = [
                        open_memmap(
                            path, mode="w+", dtype=np.float16, shape=(len(level), height, width)
                        )
                        for path, level in zip(paths, levels, strict=True)
                    ]
                    for path in paths:
                        reserve(path)
                rows = slice(margin, margin + window.height)
                cols = slice(margin, margin + window.width)
                for part, level in zip(parts, levels, strict=True):
                    part[(slice(None), *window.slices)] = level[:, rows, cols].cpu().numpy()
            for part in parts:
                part.flush()


def _diffusers() -> Any:  # noqa: ANN401
    # an extra, and slow to import
    return importlib.import_module("diffusers")


def _spectral(prepared: PreparedScene) -> list[int]:
    """Return the channels of the spectral modalities."""
    modalities = [prepared.layout.modalities[index] for index in prepared.layout.spectral]
    return [channel for m in modalities for channel in range(m.start, m.stop)]


def _side(settings: DiffusionSettings) -> int:
    """Return the side of the training crops."""
    return -(-settings.crop // STRIDE) * STRIDE
