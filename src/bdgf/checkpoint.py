"""Weights and training state as data: safetensors with JSON beside the tensors, never code."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor, nn

from bdgf import processes
from bdgf.errors import RunFolderError
from bdgf.files import JSON_ERRORS, atomic_path

_SMALL = 1 << 20
_COMPRESSED = 64  # a disk that compresses makes weights less small than that


def save_tensors(path: Path, tensors: Mapping[str, Tensor], origin: Mapping[str, Any]) -> None:
    """Write tensors and a JSON of where they come from, whole or not at all.

    Of several processes of one job only the first does it.

    Raises:
        RunFolderError: The folder cannot be written.
    """
    if processes.rank() > 0:
        return
    data = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(data, metadata={"origin": json.dumps(origin, sort_keys=True)}))


def load_tensors(path: Path, needs: Sequence[str] = ()) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what ``save_tensors`` wrote.

    Args:
        path: The file.
        needs: Entries that the JSON must have.

    Raises:
        RunFolderError: The file is missing, damaged, not one of ours, or lacks an entry.
    """
    try:
        _check_stored(path)
        with safe_open(path, framework="pt") as file:  # looks at the header alone
            origin = json.loads((file.metadata() or {})["origin"])
        # not by the open file: each get_tensor of safetensors 0.8 keeps some memory for good
        tensors = load(path.read_bytes())
    except FileNotFoundError:
        raise RunFolderError(
            f"{path} is missing; an earlier stage writes it: run that stage again."
        ) from None
    except (*JSON_ERRORS, SafetensorError, KeyError) as error:
        raise RunFolderError(
            f"{path} cannot be read as weights written by bdgf ({error}); delete it and run the"
            " stage again."
        ) from None
    if not isinstance(origin, dict):
        raise RunFolderError(f"{path} has no origin record; delete it and run the stage again.")
    for name in needs:
        if name not in origin:
            raise RunFolderError(
                f"{path} does not say its {name}, so it is damaged or of another kind; delete it"
                " and run the stage again."
            )
    return tensors, origin


def _check_stored(path: Path) -> None:
    """Refuse a file that promises much more than the disk holds of it: it is read whole.

    Raises:
        ValueError: It is larger than what is stored of it, even if that were well compressed.
    """
    about = path.stat()
    stored = 512 * getattr(about, "st_blocks", about.st_size)  # not known on Windows
    if about.st_size > _SMALL and stored < about.st_size / _COMPRESSED:
        # some disks count the blocks of a new file only later: look for its holes
        stored = max(stored, _data_bytes(path))
        if stored < about.st_size / _COMPRESSED:
            raise ValueError(f"of its {about.st_size:,} bytes the disk holds {stored:,}")


def _data_bytes(path: Path) -> int:
    """Return how many bytes of a file are no holes; where that is not known, all."""
    with path.open("rb") as file:
        size, data, at = file.seek(0, os.SEEK_END), 0, 0
        if not hasattr(os, "SEEK_DATA"):
            return size
        while at < size:
            try:
                start = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:  # ENXIO: a hole up to the end
                    return size
                break
            at = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            data += at - start
    return data


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Put weights into a module after checking that every name and shape fits.

    Raises:
        RunFolderError: A weight that is missing, unknown or of another shape.
    """
    own = module.state_dict()
    for name in sorted(set(own) ^ set(tensors)):
        raise RunFolderError(
            f"{path} does not fit this scene and these settings ({name} is in only one of them);"
            " use the run folder that it was trained in, or another --out."
        )
    for name, value in own.items():
        if value.shape != tensors[name].shape:
            raise RunFolderError(
                f"{path} does not fit this scene and these settings: {name} has shape"
                f" {tuple(tensors[name].shape)}, {tuple(value.shape)} is needed; use the run folder"
                " that it was trained in, or another --out."
            )
    module.load_state_dict(dict(tensors))


def adamw_state(optimizer: torch.optim.Optimizer, module: nn.Module) -> dict[str, Tensor]:
    """Return the moments of AdamW by the names of the module's parameters."""
    found: dict[str, Tensor] = {}
    for name, parameter in module.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            found[f"{key}/{name}"] = torch.as_tensor(value)
    return found


def load_adamw_state(
    optimizer: torch.optim.Optimizer, module: nn.Module, tensors: Mapping[str, Tensor]
) -> None:
    """Put back what ``adamw_state`` returned."""
    for name, parameter in module.named_parameters():
        state = {
            key: tensors[f"{key}/{name}"].clone()
            for key in ("step", "exp_avg", "exp_avg_sq")
            if f"{key}/{name}" in tensors
        }
        for key in state:
            if key != "step":
                # laid out as the parameter is: only so are all updated together
                state[key] = torch.empty_like(parameter).copy_(state[key])
        if state:
            optimizer.state[parameter] = state


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under ``prefix/``."""
    return {f"{prefix}/{name}": value for name, value in tensors.items()}


def under_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors that stand under ``prefix/``, without it."""
    start = f"{prefix}/"
    return {n[len(start) :]: v for n, v in tensors.items() if n.startswith(start)}
