"""The settings: frozen dataclasses that are the single source for YAML, command line and docs.

Marks in the docstrings: [P] named by the paper, [C] our choice, [M] measured by us. Dimension
letters used in the whole package: B batch, C channels, H W rows and columns, P patch size,
L tokens, D embedding width, N state size, K classes, M modalities, T diffusion steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class PreparationSettings:
    """Statistics, decibels and principal components of the modalities.

    Args:
        components: Largest number of principal components kept of a spectral modality.
        fit_pixels: Number of valid pixels, spread over all tiles, that statistics are fitted on.
        clip: Values of auxiliary bands beyond this many standard deviations are cut to it, and
            components of spectral ones beyond as many of the first or three times their own.
    """

    components: int = 30
    fit_pixels: int = 200_000
    clip: float = 8.0


@dataclass(frozen=True)
class MaskingSettings:
    """Adaptive modality masking of the spectral image [P]; formulas and values [C].

    Args:
        ramp: How the strength varies with the iteration: off (no masks), fixed (full strength from
            the first step), cosine (rises over the first half), adaptive (cosine times a gain from
            the ratio of the modalities' losses).
        structure: Hide random square blocks of pixels.
        sample: Hide the whole spectral image of some samples.
        block: Side of a block of the structure mask, in pixels.
        structure_ratio: Mean share of blocks hidden at full strength.
        sample_ratio: Probability that a sample is hidden whole at full strength.
        hidden_loss: Loss at hidden positions: eps (noise prediction as elsewhere), none, or x0
            (completion of the clean image by extra output channels).
    """

    ramp: Literal["off", "fixed", "cosine", "adaptive"] = "cosine"
    structure: bool = True
    sample: bool = True
    block: int = 4
    structure_ratio: float = 0.5
    sample_ratio: float = 0.3
    hidden_loss: Literal["eps", "none", "x0"] = "eps"


@dataclass(frozen=True)
class DiffusionSettings:
    """The denoiser and its pre-training.

    Args:
        pretrain: False leaves the denoiser at its random weights: the control of every claim
            that pre-training helps.
        from_run: Run folder, or its diffusion.safetensors, of another scene whose denoiser this
            one starts from, layers of other channels excepted; empty for random weights.
            Pre-training goes on from there; with pretrain False it stays as it was taken over.
        width: Channels of the finest level; the coarser levels have twice as many.
        steps: Optimiser steps of the pre-training.
        batch: Crops per step.
        crop: Side of a crop in pixels, a multiple of 4.
        timesteps: T, number of steps of the noise schedule.
        beta_start: First beta of the linear schedule.
        beta_end: Last beta of the linear schedule.
        learning_rate: Peak learning rate of AdamW.
        warmup: Share of the steps over which the learning rate rises.
        clip_norm: Largest norm of the gradient.
        ema_decay: Final decay of the moving average of the weights.
        loss_weights: plain (mean over all channels), modality (each modality counts the same), or
            controlled (weights and strength of the masks follow the measured reliance, so that no
            modality dominates the features).
        balance_from: Share of the steps after which controlled steers. The spectral image is
            learned last: what is steered before changes by itself.
        checkpoint_every: Steps between two resumable checkpoints.
        masking: Adaptive modality masking.
    """

    pretrain: bool = True
    from_run: str = ""
    width: int = 32
    steps: int = 1500
    batch: int = 16
    crop: int = 32
    timesteps: int = 500
    beta_start: float = 1e-4
    beta_end: float = 0.02
    learning_rate: float = 5e-4
    warmup: float = 0.05
    clip_norm: float = 1.0
    ema_decay: float = 0.999
    loss_weights: Literal["plain", "modality", "controlled"] = "controlled"
    balance_from: float = 0.5
    checkpoint_every: int = 250
    masking: MaskingSettings = field(default_factory=MaskingSettings)


@dataclass(frozen=True)
class FeatureSettings:
    """The features that guide the branches.

    Args:
        source: diffusion (ours), none (zero guidance), or a path of any other model's features: an
            array (.npy (C, H, W)) on the scene's grid, or a raster, which is placed by its CRS and
            transform; {tile} becomes the tile's name, {level} the guidance level, 1 to 3.
        timesteps: Timesteps at which the denoiser is read; features of several are joined.
        noised: Add noise of the timestep to the input before reading it (False reads clean input).
        components: Principal components kept per level.
        levels: Decoder level (coarse, middle, fine, or none) that guides each of the branches'
            three levels, coarse to fine; one name three times guides all of them by that level.
        stored: Write the features of the whole scene to the disk: auto (where it has room), always,
            or never (they are computed where they are read, with the same result).
    """

    source: str = "diffusion"
    timesteps: tuple[int, ...] = (50,)
    noised: bool = False
    components: int = 12
    levels: tuple[str, ...] = ("coarse", "middle", "fine")
    stored: Literal["auto", "always", "never"] = "auto"


@dataclass(frozen=True)
class NetworkSettings:
    """The network of three guided branches.

    Args:
        kind: dense (valid and sliding-window operators, the map is computed once) or patch (padded
            operators on every pixel's own patch).
        members: Networks that are trained, each from a seed of its own; their log-probabilities
            are averaged.
        window: P, side of the patch that decides a pixel, odd.
        width: D, channels of every branch.
        groups: Channel groups of the Mamba branch's group channel attention.
        state: N, state size of the state-space layers.
        attention_heads: Heads of the transformer's attention and of the dense Mamba branch's scan.
        guidance_gain: Start value of the gates by which guidance enters.
        branches: Branches in use.
        guided: Branches that the features guide; the others are as if there were none.
        cross_query: What asks in the transformer's cross-attention: task (the scene's tokens ask,
            the diffusion tokens are keys and values) or diffusion (the other way round).
        pooling: Radius in pixels of the mean that each branch's features are pooled by before its
            head, part of the window; 0 reads the centre alone. Of the dense network.
        pixel_path: Add a head that sees only the pixel itself.
        patch_path: Add a head that sees the patch as a whole: two convolutions, a maximum between
            them, the mean over what they leave.
        patch_norm: What the heads that see the patch as a whole normalise after their convolutions:
            the channels of a pixel, or every channel over the batch, which leaves how strong a
            pixel is and is much better with few labels. auto takes the batch below 30 labelled
            pixels per class in the mean.
        guided_patch: Add a second head of the patch, which sees its diffusion features as well;
            with the patch path.
        feature_path: Add a head that sees the pixel and its diffusion features, and nothing around
            it.
    """

    kind: Literal["dense", "patch"] = "dense"
    members: int = 1
    window: int = 11
    width: int = 48
    groups: int = 8
    state: int = 16
    attention_heads: int = 4
    guidance_gain: float = 0.1
    branches: tuple[str, ...] = ("cnn", "mamba", "transformer")
    guided: tuple[str, ...] = ("cnn", "mamba", "transformer")
    cross_query: Literal["task", "diffusion"] = "task"
    pooling: int = 1
    pixel_path: bool = True
    patch_path: bool = True
    patch_norm: Literal["auto", "pixel", "batch"] = "auto"
    guided_patch: bool = True
    feature_path: bool = False


@dataclass(frozen=True)
class MutualSettings:
    """Mutual learning of the branches [P]; formulas and values [C].

    Args:
        entropy_weight: Weight of the entropy alignment.
        similarity_weight: Weight of the feature-similarity alignment.
        divergence: Share of the Kullback-Leibler term inside the entropy alignment.
        unlabelled: Let the heads learn from their consensus on unlabelled pixels as well. It costs
            as much as the labelled pixels do, and good heads lose by it where poor ones are near.
        unlabelled_weight: Weight of the unlabelled part.
        ramp: Share of the steps over which its weight rises from zero.
    """

    entropy_weight: float = 0.1
    similarity_weight: float = 0.1
    divergence: float = 1.0
    unlabelled: bool = False
    unlabelled_weight: float = 0.5
    ramp: float = 0.2


@dataclass(frozen=True)
class TrainingSettings:
    """Training of the network.

    Args:
        steps: Optimiser steps for up to 1000 labelled pixels; more labels get more steps, in
            proportion to their number, up to eight times as many.
        batch: Labelled pixels per step.
        learning_rate: Peak learning rate of AdamW.
        weight_decay: Weight decay of AdamW.
        warmup: Share of the steps over which the learning rate rises.
        clip_norm: Largest norm of the gradient.
        class_sampling: Draw labelled pixels in proportion to count**(1 - class_sampling): 0 as they
            come, 1 every class equally often. It falls to 0 between one and four thousand labelled
            pixels.
        class_weights: Weights of the classes in the loss by how often they are drawn: none, sqrt
            (inverse square root) or balanced (inverse). Of classes that are drawn equally often
            all weigh 1.
        label_smoothing: Share of the target that is spread evenly over all classes.
        ema: Final decay of the moving average of the network's weights, which the map is then made
            with; 0 takes the weights of the last step.
        unlabelled_pixels: Unlabelled pixels per step, where any are learned from.
        consistency: Weight of the consistency under augmentation on unlabelled pixels: each head is
            to say of a patch that is turned and disturbed what the network's moving average, where
            that is sure, says of it undisturbed. 0 for none. It falls to nothing between one and
            four thousand labelled pixels.
        consistency_teacher: What of that moving average teaches: each head itself, or the fusion of
            the heads all of them.
        consistency_sure: Least probability of which that average (or that head of it) is sure.
        consistency_decay: Final decay of that moving average of the weights.
        consistency_balance: How far a class that is taught counts as much as that average says that
            there is of it, sure or not: 0 for as often as it is sure, 1 for fully.
        noise: Noise added to the input, as a share of each channel's standard deviation. The same
            noise for all channels would drown the weak components that tell species apart.
        channel_dropout: Probability that an input channel is set to zero, for all heads but the
            one that sees the patch and no features.
        modality_dropout: Probability that one auxiliary modality, each as likely, is hidden from a
            labelled sample: from its input and from the features that guide it. Without a spectral
            modality none is hidden.
        guidance_dropout: Probability that a sample is not guided in training: its features are
            zero, for every head. The map is always guided. It comes in between one and four
            thousand labelled pixels: with many of them a network learns their places by the
            features, and is lost elsewhere.
        fusion: Fusion of the heads: mean of log-probabilities (but for patch_lead), or cv (weights
            from spatially grouped cross-validation on the training pixels, and from how far the
            heads agree on the scene's pixels).
        folds: Folds of the cross-validation.
        fold_pixels: Folds are trained, one after the other, until so many labelled pixels have been
            held out, also where they weigh no heads: their predictions scale the confidence. 0
            trains none, and then it is not scaled. The quick preset trains one.
        fold_steps: Share of the steps that each fold trains for.
        fusion_temperature: Points of a head's worth, its held-out mean of OA and AA moved by how
            far the scene is from the held-out pixels, that multiply its weight by e.
        patch_lead: Points by which the heads that see the patch as a whole are taken to be better
            than the others where there are fewer than 30 labelled pixels per class in the mean; it
            counts as much as 100 held-out pixels. 0 for none.
        checkpoint_every: Steps between two resumable checkpoints.
    """

    steps: int = 300
    batch: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    warmup: float = 0.05
    clip_norm: float = 1.0
    class_sampling: float = 1.0
    class_weights: Literal["none", "sqrt", "balanced"] = "sqrt"
    label_smoothing: float = 0.0
    ema: float = 0.0
    unlabelled_pixels: int = 32
    consistency: float = 1.0
    consistency_teacher: Literal["head", "fusion"] = "head"
    consistency_sure: float = 0.95
    consistency_decay: float = 0.99
    consistency_balance: float = 1.0
    noise: float = 0.1
    channel_dropout: float = 0.1
    modality_dropout: float = 0.1
    guidance_dropout: float = 0.5
    fusion: Literal["mean", "cv"] = "cv"
    folds: int = 3
    fold_pixels: int = 2000
    fold_steps: float = 0.5
    fusion_temperature: float = 16.0
    patch_lead: float = 18.0
    checkpoint_every: int = 200


@dataclass(frozen=True)
class MappingSettings:
    """Mapping of the whole scene.

    Args:
        tile: Side in pixels of the windows that the map is computed in.
        acquired: When the rasters were taken (ISO 8601), for the STAC item beside the map; the
            item has the time of mapping where this is empty.
    """

    tile: int = 256
    acquired: str = ""


@dataclass(frozen=True)
class EvaluationSettings:
    """Accuracy on the test pixels, and the simple methods beside it.

    Args:
        baselines: Run a random forest and an SVM on the same pixels.
        trees: Trees of the random forest.
        svm_pixels: Most training pixels that the SVM's grid is searched with, drawn by class; it is
            fitted to all, or 20,000.
        missing_modalities: Measure the accuracy without each modality in turn as well.
    """

    baselines: bool = True
    trees: int = 500
    svm_pixels: int = 2000
    missing_modalities: bool = True


@dataclass(frozen=True)
class ReportSettings:
    """The report and the figures.

    Args:
        points: Labelled pixels of the t-SNE of the diffusion features, 0 for none.
    """

    points: int = 800


@dataclass(frozen=True)
class ComputeSettings:
    """Where and how it is computed.

    Args:
        accelerator: auto (CUDA when it is there), cpu or cuda.
        precision: Of pre-training: auto (bf16 where the device has units for it and a probe shows
            that it is faster), 32 or bf16. The branches are small and trained in 32 bits.
        threads: CPU threads, 0 for all; with ``--scheduler`` those of a task, 0 for one.
    """

    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "32", "bf16"] = "auto"
    threads: int = 0


@dataclass(frozen=True)
class Settings:
    """All settings of a run.

    Args:
        seed: Seed of everything that is drawn.
        preparation: Statistics and principal components.
        diffusion: The denoiser and its pre-training.
        features: The features that guide the branches.
        network: The three branches.
        mutual: Mutual learning.
        training: Training of the network.
        mapping: Mapping of the scene.
        evaluation: Accuracy and baselines.
        report: The report and the figures.
        compute: Devices and precision.
        logger: Experiment tracker that gets the curves of the run beside history.jsonl: none,
            tensorboard, mlflow or wandb.
    """

    seed: int = 0
    preparation: PreparationSettings = field(default_factory=PreparationSettings)
    diffusion: DiffusionSettings = field(default_factory=DiffusionSettings)
    features: FeatureSettings = field(default_factory=FeatureSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    mutual: MutualSettings = field(default_factory=MutualSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    mapping: MappingSettings = field(default_factory=MappingSettings)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    report: ReportSettings = field(default_factory=ReportSettings)
    compute: ComputeSettings = field(default_factory=ComputeSettings)
    logger: Literal["none", "tensorboard", "mlflow", "wandb"] = "none"
