"""A denoiser that was pre-trained on another scene, as the start of this one's.

A layer is taken over whole or not at all. The first and the last layer belong to the channels of
their scene: where modalities or their numbers of channels differ, these two keep random weights.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from bdgf import checkpoint
from bdgf.config import Settings
from bdgf.errors import SettingsError
from bdgf.scene.layout import ChannelLayout

WEIGHTS = "diffusion.safetensors"
"""The denoiser's file in a run folder."""

ENDS = ("stem", "out")
"""The layers that see the channels of a scene."""

Described = list[list[Any]]
"""Of every modality its name, role and number of channels; plain JSON values."""


@dataclass(frozen=True)
class Transfer:
    """What was taken over from another denoiser.

    Args:
        source: The file it was read from.
        scene: Name of the scene that it was pre-trained on.
        steps: Steps of that pre-training, 0 for a denoiser that was left at random weights.
        taken: Layers that were taken over.
        random: Layers that keep random weights.
        share: Share of the parameters that were taken over.
        why: Why the others were not.
        digest: Digest of the file.
    """

    source: str
    scene: str
    steps: int
    taken: tuple[str, ...]
    random: tuple[str, ...]
    share: float
    why: str = ""
    digest: str = ""

    def describe(self) -> str:
        """Return one sentence for the user."""
        text = (
            f"denoiser: starts from that of {self.scene} ({self.steps} steps, {self.source}):"
            f" {len(self.taken)} of {len(self.taken) + len(self.random)} layers taken over,"
            f" {100 * self.share:.1f} % of the parameters"
        )
        if self.random:
            text += f"; {' and '.join(self.random)} keep random weights, {self.why}"
        return text

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        found = dataclasses.asdict(self)
        return {**found, "taken": list(self.taken), "random": list(self.random)}


def described(layout: ChannelLayout) -> Described:
    """Return a layout as it is recorded beside a denoiser's weights."""
    return [[m.name, m.role, m.size] for m in layout.modalities]


def weights_file(path: str | Path) -> Path:
    """Return the file with a denoiser's weights that a run folder or a path stands for.

    Raises:
        SettingsError: There is none.
    """
    found = _named(path)
    if not found.is_file():
        raise SettingsError(
            f"diffusion.from_run: {found} does not exist; give a run folder whose pre-training is"
            f" finished, or the {WEIGHTS} of one."
        )
    return found


def with_absolute_start(settings: Settings) -> Settings:
    """Return settings whose ``diffusion.from_run`` holds in any working directory."""
    start = settings.diffusion.from_run
    if not start or settings.features.source != "diffusion":
        return settings
    diffusion = dataclasses.replace(settings.diffusion, from_run=str(Path(start).resolve()))
    return dataclasses.replace(settings, diffusion=diffusion)


def start_signature(settings: Settings, finished: Path | None = None) -> str:
    """Check the denoiser that ``diffusion.from_run`` names; return what changes when it does.

    Args:
        settings: All settings.
        finished: Weights that may have been pre-trained from it already: then it may be gone.

    Returns:
        A digest of the file; an empty text where no denoiser is named or none of ours is used.

    Raises:
        SettingsError: It is missing, of another width, or what this pre-training writes.
        RunFolderError: It cannot be read.
    """
    start = settings.diffusion.from_run
    if not start or settings.features.source != "diffusion":
        return ""
    if finished is not None and _named(start).resolve() == finished.resolve():
        raise SettingsError(
            f"diffusion.from_run names {finished}, which the pre-training of this run replaces;"
            " give the run another folder, or a copy of these weights."
        )
    if finished is not None and finished.is_file() and not _named(start).is_file():
        _, origin = checkpoint.load_tensors(finished)
        taken = origin.get("from_run", {})
        if taken.get("source") == str(_named(start)):
            return str(taken["digest"])
    path = weights_file(start)
    tensors, _ = checkpoint.load_tensors(path)
    _check_width(tensors, settings.diffusion.width, path)
    return _digest(path)


def take_over(models: Sequence[nn.Module], layout: ChannelLayout, start: str | Path) -> Transfer:
    """Put the weights of another scene's denoiser into denoisers of this scene.

    Args:
        models: Denoisers of one shape, such as a model and its moving average.
        layout: Channels of this scene.
        start: Run folder, or file of the weights.

    Raises:
        SettingsError: The file is missing, or no denoiser of this width.
        RunFolderError: It cannot be read.
    """
    path = weights_file(start)
    tensors, origin = checkpoint.load_tensors(path)
    own = models[0].state_dict()
    _check_width(tensors, len(own["stem.bias"]), path)
    theirs = origin.get("modalities")
    # files without a record of the channels are judged by their shapes alone
    alike = theirs is None or _channels(theirs) == _channels(described(layout))
    layers: dict[str, list[str]] = {}
    for name in own:
        layers.setdefault(name.rpartition(".")[0], []).append(name)
    taken: list[str] = []
    random: list[str] = []
    for layer, names in layers.items():
        fits = all(n in tensors and tensors[n].shape == own[n].shape for n in names)
        (taken if fits and (alike or layer not in ENDS) else random).append(layer)
    if set(random) - set(ENDS):
        raise SettingsError(
            f"diffusion.from_run: {path} has no layer {sorted(set(random) - set(ENDS))[0]} of this"
            " shape, so it is no denoiser of this version; pre-train it again."
        )
    chosen = {name: tensors[name] for layer in taken for name in layers[layer]}
    for model in models:
        model.load_state_dict({**model.state_dict(), **chosen})
    total = sum(value.numel() for value in own.values())
    return Transfer(
        source=str(path),
        scene=str(origin.get("scene", "another scene")),
        steps=_steps(origin),
        taken=tuple(taken),
        random=tuple(random),
        share=sum(value.numel() for value in chosen.values()) / total,
        why=_reason(theirs, layout, alike) if random else "",
        digest=_digest(path),
    )


def _named(path: str | Path) -> Path:
    return Path(path) if Path(path).suffix == ".safetensors" else Path(path) / WEIGHTS


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _reason(theirs: Described | None, layout: ChannelLayout, alike: bool) -> str:
    if alike and theirs is not None:
        return "because one of the two also completes the hidden image"
    ours = _spelled(described(layout))
    if theirs is None:
        return f"because they have other numbers of channels there than here ({ours})"
    return f"because the channels differ (there {_spelled(theirs)}; here {ours})"


def _spelled(modalities: Described) -> str:
    return ", ".join(f"{name} {size}" for name, _, size in modalities)


def _channels(modalities: Described) -> list[tuple[str, int]]:
    return [(str(role), int(size)) for _, role, size in modalities]


def _steps(origin: Mapping[str, Any]) -> int:
    try:
        diffusion = origin["settings"]["diffusion"]
        return int(diffusion["steps"]) if diffusion["pretrain"] else 0
    except (KeyError, TypeError, ValueError):
        return 0


def _check_width(tensors: Mapping[str, Tensor], width: int, path: Path) -> None:
    if "stem.bias" not in tensors or "out.bias" not in tensors:
        raise SettingsError(
            f"diffusion.from_run: {path} holds no denoiser; give a run folder whose pre-training is"
            f" finished, or the {WEIGHTS} of one."
        )
    found = len(tensors["stem.bias"])
    if found != width:
        raise SettingsError(
            f"diffusion.from_run: the denoiser of {path} has width {found}, this run's has {width};"
            f" layers are taken over only at the same width: set diffusion.width to {found}."
        )
