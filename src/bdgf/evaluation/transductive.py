"""What a run has seen of the pixels that it is measured on."""

from __future__ import annotations

from bdgf.config import Settings
from bdgf.fusion.label_counts import consistency_weight


def transductive_note(settings: Settings, heads: int, labels: int) -> str:
    """Return what of a run has used pixels without their labels, test pixels among them.

    Args:
        settings: All settings of the run.
        heads: Number of heads of its network; one alone has none to learn from.
        labels: Number of the labelled pixels that it was trained on.
    """
    source = settings.features.source
    steps = ["statistics", "principal components"]
    if source == "diffusion" and settings.diffusion.pretrain:
        steps.append("diffusion pre-training")
    mutual = settings.mutual.unlabelled and heads > 1
    if mutual:
        steps.append("mutual learning")
    consistency = consistency_weight(settings, labels) > 0
    if consistency:
        steps.append("the consistency of the heads")
    weighed = settings.training.fusion == "cv" and settings.training.fold_pixels > 0 and heads > 1
    if weighed:
        steps.append("the weights of the heads")
    note = (
        f"{', '.join(steps[:-1])} and {steps[-1]} use pixels of the whole scene, test pixels among"
        " them, without their labels"
    )
    if not mutual and not consistency and not weighed:
        note += "; the network itself is trained on the labelled training pixels alone"
    if source not in ("diffusion", "none"):
        note += (
            f"; the features that guide it come from {source}, and what their model has seen is not"
            " known here"
        )
    elif source == "diffusion" and settings.diffusion.from_run:
        note += "; the denoiser starts from weights of another run"
    return note
