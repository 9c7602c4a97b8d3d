"""The stage ``pretrain`` of a run: weights of the denoiser, and how it balances the modalities."""

from __future__ import annotations

from typing import Any, cast

from bdgf import checkpoint, processes
from bdgf.compute import Precision, exact, make_fabric
from bdgf.config import Settings
from bdgf.diffusion.pretraining import Pretraining
from bdgf.diffusion.reliance import measure_reliance
from bdgf.diffusion.transfer import described, take_over
from bdgf.files import remove
from bdgf.history import History
from bdgf.optimisation import optimise
from bdgf.progress import Progress
from bdgf.randomness import numpy_generator, torch_generator
from bdgf.runfolder import RunFolder
from bdgf.scene.prepared import PreparedScene
from bdgf.stages import plain

RELIANCE_CROPS = 64


def pretrain(
    prepared: PreparedScene,
    settings: Settings,
    folder: RunFolder,
    origin: dict[str, Any],
    history: History,
    progress: Progress,
) -> None:
    """Pre-train the denoiser, or give it the weights that it starts from, and measure its balance.

    Args:
        prepared: The scene.
        settings: All settings.
        folder: The run folder; what was begun there with the same origin goes on.
        origin: What the outputs belong to; plain JSON values.
        history: Receives the losses.
        progress: Receives lines and steps.

    Raises:
        BdgfError: The weights to start from do not fit, or the folder cannot be written.
    """
    work = Pretraining(prepared, settings.diffusion, settings.compute, settings.seed)
    recorded = {
        **origin,
        "settings": plain(settings),
        "modalities": described(prepared.layout),
    }
    if settings.diffusion.from_run:
        models = [work.model, work.average]
        transfer = take_over(models, prepared.layout, settings.diffusion.from_run)
        progress.say(transfer.describe())
        recorded["from_run"] = transfer.to_json()
    resumable = folder.path / "pretrain.checkpoint.safetensors"
    if settings.diffusion.pretrain:
        work.estimate(progress)
        fabric = make_fabric(settings.compute, _precision(work, folder, origin))
        optimise(work, fabric, resumable, origin, history, progress)
    else:
        weights = "the weights taken over" if settings.diffusion.from_run else "its random weights"
        progress.say(f"pre-training: off, the denoiser keeps {weights} (control)")
        history.restart("pretrain", 0)
        history.save()
    denoiser = work.average
    checkpoint.save_tensors(folder.diffusion, denoiser.state_dict(), recorded)
    _measure_balance(work, prepared, settings.seed, folder, progress)
    remove(resumable)


@exact()
def _measure_balance(
    work: Pretraining, prepared: PreparedScene, seed: int, folder: RunFolder, progress: Progress
) -> None:
    values, missing = work.crops.draw(RELIANCE_CROPS, numpy_generator(seed, "reliance"))
    work.model.load_state_dict(work.average.state_dict())
    reliance = measure_reliance(
        work.clean_features(work.probe_timestep),
        values,
        missing,
        prepared.layout,
        torch_generator(seed, "reliance"),
    )
    folder.write_json(folder.balance, reliance.to_json())
    progress.say(reliance.describe())


def _precision(work: Pretraining, folder: RunFolder, origin: dict[str, Any]) -> Precision:
    """Choose the precision once per run: a resumed run must go on in the same."""
    path = folder.path / "precision.json"

    def kept() -> Precision | None:
        found = folder.read_json(path, "pretrain") if path.is_file() else {}
        if found.get("origin") == origin and found.get("precision") in ("32-true", "bf16-mixed"):
            return cast(Precision, found["precision"])
        return None

    known = processes.of_first(kept)
    if known is not None:
        return known
    precision = work.precision()
    folder.write_json(path, {"precision": precision, "origin": origin})
    return precision
