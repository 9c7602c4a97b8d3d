from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from bdgf import config, presets
from bdgf.compute import make_fabric
from bdgf.diffusion.store import FeatureStore
from bdgf.fusion.consistency import consistency_loss, fused_teaching
from bdgf.fusion.network import build_network
from bdgf.fusion.patch_source import PatchSource
from bdgf.fusion.training import (
    FusionTraining,
    Labelled,
    UnlabelledPixels,
    head_log_probabilities,
)
from bdgf.history import History
from bdgf.optimisation import optimise
from bdgf.progress import Silent
from bdgf.randomness import numpy_generator
from bdgf.scene.prepared import PreparedScene
from bdgf.scene.windows import Window


def training(
    prepared: PreparedScene,
    settings: config.Settings,
    left_out: int = 0,
    trust: tuple[float, ...] | None = (0.2,) * 5,
    without: int = -1,
    device: torch.device | None = None,
) -> FusionTraining:
    tiles = range(prepared.tiles)
    names, shapes = [t.name for t in prepared.scene.tiles], [prepared.shape(t) for t in tiles]
    store = FeatureStore(None, names, shapes)
    labels = Labelled(prepared.scene.positions("train"), prepared.scene.labels_at("train"))
    labels = labels.select((np.arange(len(labels)) >= left_out) & (labels.classes != without))
    classes = len(prepared.scene.class_codes)
    network = build_network(
        settings.network, prepared.layout, store.level_channels, classes, settings.seed
    )
    source = PatchSource(prepared, store, settings.network.window)
    return FusionTraining(
        network.to(device),
        source,
        labels,
        UnlabelledPixels(prepared),
        settings,
        prepared.layout,
        classes,
        trust=trust,
    )


@pytest.mark.parametrize("kind", ["dense", "patch"])
def test_a_step_stays_on_its_device(
    prepared: PreparedScene, tiny_settings: config.Settings, no_cpu: torch.device, kind: str
) -> None:
    changes = {"mutual.unlabelled": True, "network.kind": kind, "training.ema": 0.9}
    work = training(prepared, presets.replace(tiny_settings, changes), device=no_cpu)
    loss, parts = work.loss(work.model, 3)
    loss.backward()
    work.after_step(3, parts)
    assert loss.device == no_cpu
    assert {p.grad.device for p in work.model.parameters() if p.grad is not None} == {no_cpu}
    assert work.taught.weights().device == no_cpu


def test_the_loss_of_a_step_depends_on_the_step_alone(
    prepared: PreparedScene, tiny_settings: config.Settings
) -> None:
    work = training(prepared, presets.replace(tiny_settings, {"mutual.unlabelled": True}))
    first, parts = work.loss(work.model, 3)
    torch.manual_seed(123)
    again, _ = work.loss(work.model, 3)
    other, _ = work.loss(work.model, 4)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert parts.keys() == {"supervised", "consistency", "agreement", "entropy", "similarity"}


def test_a_step_waits_for_no_device(
    prepared: PreparedScene, tiny_settings: config.Settings, read_back: Any
) -> None:
    changes = {
        "mutual.unlabelled": True,
        "training.ema": 0.9,
        "training.consistency": 1.0,
        "training.modality_dropout": 0.5,
    }
    work = training(prepared, presets.replace(tiny_settings, changes))
    with read_back:
        loss, parts = work.loss(work.model, 3)
        loss.backward()
        work.after_step(3, parts)
    assert read_back.found == []
    with read_back:
        float(loss.detach())  # what it would find
    assert read_back.found == ["_local_scalar_dense"]


def test_heads_learn_from_each_other_only_once_their_worth_is_known(
    prepared: PreparedScene, tiny_settings: config.Settings
) -> None:
    tiny_settings = presets.replace(tiny_settings, {"training.consistency": 0.0})
    alone = training(prepared, tiny_settings, trust=None)
    _, parts = alone.loss(alone.model, 3)
    assert parts.keys() == {"supervised"}
    together = training(prepared, tiny_settings)
    _, parts = together.loss(together.model, 3)
    assert parts.keys() == {"supervised", "entropy", "similarity"}
    # the fusion's own loss follows the trust
    losses = []
    for trust in ((1.0, 0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0, 1.0)):
        work = training(prepared, tiny_settings, trust=trust)
        losses.append(float(work.loss(work.model, 3)[1]["supervised"]))
    assert losses[0] != losses[1]


def test_it_learns_the_training_pixels(
    prepared: PreparedScene, tiny_settings: config.Settings
) -> None:
    work = training(prepared, presets.replace(tiny_settings, {"training.steps": 60}))
    optimizer = torch.optim.AdamW(work.model.parameters(), lr=5e-3)
    for step in range(60):
        work.loss(work.model, step)[0].backward()
        optimizer.step()
        optimizer.zero_grad()
    found = head_log_probabilities(work.model, work.source, work.labelled.positions)
    assert found.shape == (len(work.labelled), 5, 4)
    right = (found.argmax(-1).numpy() == work.labelled.classes[:, None]).mean(0)
    assert (right > 0.8).all()
    assert found.exp().sum(-1).sub(1).abs().max() < 1e-5


def test_what_is_hidden_from_a_sample_is_zero(
    prepared: PreparedScene, tiny_settings: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = presets.replace(
        tiny_settings,
        {"training.modality_dropout": 0.7, "training.noise": 1.0, "mutual.unlabelled": True},
    )
    work = training(prepared, settings)
    seen, drawn = [], []
    gather = work.source.gather

    def listened(*what: Any) -> Any:
        drawn.extend(what[2:])  # the teacher's patches are whole
        return gather(*what)

    monkeypatch.setattr(work.source, "gather", listened)

    class Listener(torch.nn.Module):
        def forward(self, values, missing, guidance, kept):
            seen.append((values, missing))
            return work.model(values, missing, guidance, kept)

    work.loss(Listener(), 0)
    values, missing = seen[0]
    owner = list(prepared.layout.modality_of_channel)
    assert not values[missing[:, owner] > 0].any()
    hidden = drawn[0]
    assert set(hidden[: settings.training.batch]) == {-1, 1, 2}, "an auxiliary modality, or none"
    assert set(hidden[settings.training.batch :]) == {-1}, "only labelled samples lack one"
    for sample, modality in enumerate(hidden):
        assert modality < 0 or missing[sample, modality].all()


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_channels_are_dropped_as_often_as_asked(
    prepared: PreparedScene, tiny_settings: config.Settings, dropout: float
) -> None:
    changes = {"training.channel_dropout": dropout, "training.noise": 0.0, "training.batch": 256}
    work = training(prepared, presets.replace(tiny_settings, changes))
    seen = []

    class Listener(torch.nn.Module):
        def forward(self, values, missing, guidance, kept):
            seen.append((values, kept))
            return work.model(values, missing, guidance, kept)

    work.loss(Listener(), 0)
    values, kept = seen[0]
    if not dropout:
        assert kept is None
        return
    assert kept.shape == values.shape[:2]
    assert set(kept.unique().tolist()) == {0.0, 1.0}
    assert abs((1 - kept).mean() - dropout) < 0.05
    assert (values != 0).any((0, 2, 3)).all(), "the values themselves are whole"


def test_samples_are_not_guided_as_often_as_asked(
    prepared: PreparedScene, tiny_settings: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, taught = [], []
    for dropout in (0.0, 0.3):
        changes = {"training.batch": 256, "training.noise": 0.0}
        work = training(prepared, presets.replace(tiny_settings, changes))
        assert work.guidance_dropout == 0, "few labels"
        work.guidance_dropout = dropout

        def gather(*what: Any, whole: Any = work.source.gather) -> Any:
            patches = whole(*what)
            generator = torch.Generator().manual_seed(len(what))
            size = (len(patches.values), 2, *patches.values.shape[2:])
            features = [torch.randn(size, generator=generator) for _ in range(3)]
            return patches._replace(guidance=features)

        def teach(patches: Any, teach: Any = work.teacher.probabilities) -> Any:
            taught.append(patches.guidance)
            return teach(patches._replace(guidance=[x[:, :0] for x in patches.guidance]))

        class Listener(torch.nn.Module):
            def forward(self, values, missing, guidance, kept):
                seen.append((values, missing, guidance))
                unguided = [x[:, :0] for x in guidance]
                return work.model(values, missing, unguided, kept)  # noqa: B023

        monkeypatch.setattr(work.source, "gather", gather)
        monkeypatch.setattr(work.teacher, "probabilities", teach)
        work.loss(Listener(), 0)
    (values, missing, whole), (same_values, same_missing, guidance) = seen
    assert torch.equal(values, same_values), "of the input nothing goes"
    assert torch.equal(missing, same_missing)
    gone = torch.stack([(level == 0).flatten(1).all(1) for level in guidance], 1)
    assert (gone.all(1) | ~gone.any(1)).all(), "all levels of a sample, or none"
    assert abs(gone[:256, 0].float().mean() - 0.3) < 0.1
    assert gone[256:, 0].any(), "unlabelled samples as well"
    for level, before in zip(guidance, whole, strict=True):
        assert torch.equal(level[~gone[:, 0]], before[~gone[:, 0]]), "the others' is as it was"
    assert len(taught) == 2
    assert all((level != 0).flatten(1).any(1).all() for levels in taught for level in levels), (
        "who teaches sees all"
    )


@pytest.mark.parametrize(("dropout", "least", "most"), [(0.0, 0, 0), (0.4, 0.33, 0.47), (1, 1, 1)])
def test_an_auxiliary_modality_is_hidden_as_often_as_asked(
    prepared: PreparedScene, tiny_settings: config.Settings, dropout: float, least: float, most: int
) -> None:
    work = training(
        prepared, presets.replace(tiny_settings, {"training.modality_dropout": dropout})
    )
    hidden = work._hidden(np.ones(1000, dtype=bool), np.random.default_rng(0))
    assert least <= (hidden >= 0).mean() <= most
    assert set(hidden) <= {-1, 1, 2}
    assert (hidden == 1).sum() == pytest.approx((hidden == 2).sum(), abs=100)
    assert not (work._hidden(np.zeros(1000, dtype=bool), np.random.default_rng(0)) >= 0).any()


def test_class_weights_and_sampling(
    prepared: PreparedScene, tiny_settings: config.Settings
) -> None:
    def balanced(sampling: float, weights: str) -> FusionTraining:
        changes = {"training.class_sampling": sampling, "training.class_weights": weights}
        return training(prepared, presets.replace(tiny_settings, changes), left_out=7)

    work = balanced(0.0, "balanced")
    counts = np.bincount(work.labelled.classes)
    alike, ones = [1 / len(work.labelled)] * len(work.labelled), [1.0] * len(counts)
    assert counts.min() < counts.max()
    weights = work.class_weights.numpy()
    assert weights * counts == pytest.approx([weights[0] * counts[0]] * len(counts), rel=1e-5)
    assert (weights * counts).sum() / counts.sum() == pytest.approx(1.0)
    assert work.pixel_share == pytest.approx(alike)
    for power in ("none", "sqrt", "balanced"):  # what is drawn alike weighs alike
        work = balanced(1.0, power)
        shares = np.bincount(work.labelled.classes, weights=work.pixel_share)
        assert shares == pytest.approx([1 / len(counts)] * len(counts))
        assert work.class_weights.tolist() == pytest.approx(ones)
    plain = balanced(0.0, "none")
    assert plain.class_weights.tolist() == pytest.approx(ones)
    assert plain.pixel_share == pytest.approx(alike)


def test_smoothing_gives_a_class_without_labels_nothing(
    prepared: PreparedScene, tiny_settings: config.Settings
) -> None:
    settings = presets.replace(tiny_settings, {"training.label_smoothing": 0.2})
    weights = training(prepared, settings, without=1).class_weights
    assert weights[1] == 0
    assert (weights[[0, 2, 3]] > 0).all()


def test_unlabelled_pixels_are_valid_and_from_everywhere(prepared_tiles: PreparedScene) -> None:
    drawn = UnlabelledPixels(prepared_tiles).draw(300, np.random.default_rng(0))
    assert set(drawn[:, 0]) == set(range(prepared_tiles.tiles))
    assert all(prepared_tiles.valid(int(t))[r, c] for t, r, c in drawn)


def test_a_few_windows_of_a_large_scene_are_enough(prepared_tiles: PreparedScene) -> None:
    small = UnlabelledPixels(prepared_tiles).draw(300, np.random.default_rng(0), windows=1)
    assert set(small[:, 0]) == set(range(prepared_tiles.tiles)), "a small scene is all at hand"
    assert (np.diff(small[:, 0]) >= 0).all(), "those of a tile come one after the other"
    large = UnlabelledPixels(SimpleNamespace(scene=SimpleNamespace(large=True)))  # type: ignore[arg-type]
    windows = [(0, Window(0, 4 * k, 4, 4)) for k in range(6)]
    flat = [np.arange(16), np.arange(0), np.arange(3), np.arange(5), np.arange(0), np.arange(16)]
    large.__dict__["_places"] = (windows, flat)
    drawn = large.draw(400, np.random.default_rng(0), windows=2)
    used = np.unique(drawn[:, 2] // 4)
    assert len(used) == 2
    assert set(used) <= {0, 2, 3, 5}, "none without a pixel that has data"
    assert (np.diff(drawn[:, 2] // 4) >= 0).all()


def test_settled_pixels_are_all_there_is_to_draw(prepared_tiles: PreparedScene) -> None:
    pixels = UnlabelledPixels(prepared_tiles, seed=3)
    pool = pixels.settle(40, windows=4)
    assert 20 < len(pool) <= 40
    assert all(prepared_tiles.valid(int(t))[r, c] for t, r, c in pool)
    drawn = pixels.draw(500, np.random.default_rng(0))
    assert {tuple(p) for p in drawn} == {tuple(p) for p in pool}
    assert np.array_equal(UnlabelledPixels(prepared_tiles, seed=3).settle(40, windows=4), pool)


def test_label_smoothing_spares_no_head(
    prepared: PreparedScene, tiny_settings: config.Settings
) -> None:
    plain, smooth = (
        training(prepared, presets.replace(tiny_settings, {"training.label_smoothing": share}))
        for share in (0.0, 0.3)
    )
    with torch.no_grad():  # every head is sure of the first class
        for work in (plain, smooth):
            for head in work.model.classifiers.values():
                head.classify.weight.zero_()
                head.classify.bias.copy_(torch.tensor([30.0, 0.0, 0.0, 0.0]))
    values = [float(work.loss(work.model, 0)[1]["supervised"]) for work in (plain, smooth)]
    draws = numpy_generator(plain.seed, plain.course.name, 0)
    size = plain.settings.training.batch
    chosen = draws.choice(len(plain.labelled), size=size, p=plain.pixel_share)
    first = torch.from_numpy(plain.labelled.classes[chosen] == 0)
    weight = plain.class_weights[torch.from_numpy(plain.labelled.classes[chosen])]
    share = float((weight * first).sum() / weight.sum())
    # every one of six terms (five heads and their fusion): 0 where the label is the sure class,
    # else 30; smoothed, a part of 30 in three of four classes for all
    assert values[0] == pytest.approx(6 * 30 * (1 - share), rel=1e-4)
    assert values[1] == pytest.approx(6 * 30 * (0.7 * (1 - share) + 0.3 * 0.75), rel=1e-2)


def test_heads_learn_from_their_own_averages_on_unlabelled_pixels(
    prepared: PreparedScene, tiny_settings: config.Settings
) -> None:
    changes = {
        "training.consistency": 2.0,
        "training.consistency_sure": 0.0,
        "training.unlabelled_pixels": 5,
        "mutual.ramp": 0.0,
    }
    work = training(prepared, presets.replace(tiny_settings, changes), trust=None)
    assert work.teacher is not None
    total, parts = work.loss(work.model, 3)
    assert parts.keys() == {"supervised", "consistency"}
    torch.testing.assert_close(total, parts["supervised"] + 2.0 * parts["consistency"])
    assert parts["consistency"] > 0, "noise, turns and lost channels make a difference"
    # what is asked of the network is what its average says: without learning that stays the same
    with torch.no_grad():
        for weight in work.model.parameters():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    apart = work.loss(work.model, 3)[1]["consistency"]
    for step in range(200):
        work.teacher.average.update(1000 + step)
    assert work.loss(work.model, 3)[1]["consistency"] < 0.5 * apart
    # the same with labels from nowhere: only unlabelled samples are asked
    gradient = torch.autograd.grad(
        work.loss(work.model, 3)[0], list(work.model.parameters()), allow_unused=True
    )
    assert all(torch.isfinite(g).all() for g in gradient if g is not None)


def test_many_labels_leave_less_to_consistency(
    prepared: PreparedScene, tiny_settings: config.Settings
) -> None:
    settings = presets.replace(tiny_settings, {"training.consistency": 2.0})
    work = training(prepared, settings)
    few, labels = work.labelled, work.labelled.positions
    assert len(few) < 1000
    assert work.consistency == 2.0
    for count, expected in ((1000, 2.0), (2500, 1.0), (4000, 0.0), (9000, 0.0)):
        chosen = np.arange(count) % len(labels)
        many = FusionTraining(
            work.model,
            work.source,
            Labelled(labels[chosen], few.classes[chosen]),
            work.unlabelled,
            settings,
            work.layout,
            4,
        )
        assert many.consistency == expected
        assert (many.teacher is None) == (not expected), "what has no say costs nothing"


def test_the_fusion_can_teach_all_heads(
    prepared: PreparedScene, tiny_settings: config.Settings
) -> None:
    settings = presets.replace(tiny_settings, {"training.consistency": 1.0})
    positions = prepared.scene.positions("test")[:7]
    own, fused = (
        training(prepared, presets.replace(settings, {"training.consistency_teacher": kind}))
        for kind in ("head", "fusion")
    )
    said = own._taught(own.teacher, positions, np.random.default_rng(0))
    taught = fused._taught(fused.teacher, positions, np.random.default_rng(0))
    assert (said[:, 0] - said[:, 1]).abs().max() > 1e-4, "the heads differ"
    torch.testing.assert_close(taught, fused_teaching(said, fused.trust))


@pytest.mark.parametrize("stop", [3, 9])
def test_a_teacher_goes_on_where_it_was(
    prepared: PreparedScene, tiny_settings: config.Settings, tmp_path: Path, stop: int
) -> None:
    changes = {
        "training.consistency": 1.0,
        "training.consistency_sure": 0.3,
        "training.steps": 12,
        "training.checkpoint_every": 2,
    }
    settings = presets.replace(tiny_settings, changes)
    fabric = make_fabric(settings.compute, "32-true")
    whole, killed, resumed = (training(prepared, settings) for _ in range(3))
    optimise(whole, fabric, tmp_path / "whole.safetensors", {}, History(None), Silent())
    loss, path = killed.loss, tmp_path / "killed.safetensors"

    def interrupted(model: torch.nn.Module, step: int) -> Any:
        if step == stop:
            raise KeyboardInterrupt
        return loss(model, step)

    killed.loss = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        optimise(killed, fabric, path, {}, History(None), Silent())
    optimise(resumed, fabric, path, {}, History(None), Silent())
    for expected, found in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(expected, found)
    assert whole.teacher is not None
    assert resumed.teacher is not None
    taught = resumed.teacher.average.tensors
    assert all(torch.equal(w, taught[n]) for n, w in whole.teacher.average.tensors.items())
    assert torch.equal(whole.taught.state(), resumed.taught.state())
    assert (whole.taught.state().std(-1) > 0).all(), "something was taught"


@pytest.mark.parametrize("stop", [None, 6])
def test_the_network_ends_with_its_averaged_weights(
    prepared: PreparedScene,
    tiny_settings: config.Settings,
    tmp_path: Path,
    stop: int | None,
) -> None:
    settings = presets.replace(tiny_settings, {"training.ema": 0.5})
    fabric = make_fabric(settings.compute, "32-true")
    path = tmp_path / "train.safetensors"
    work = training(prepared, settings)
    seen = [p.detach().clone() for p in work.model.parameters()]
    update = work.average.update

    def follow(step: int) -> None:
        if step == stop:
            raise KeyboardInterrupt
        update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        for slow, fast in zip(seen, work.model.parameters(), strict=True):
            slow.lerp_(fast.detach(), 1 - decay)

    work.average.update = follow  # type: ignore[method-assign]
    if stop is not None:
        with pytest.raises(KeyboardInterrupt):
            optimise(work, fabric, path, {}, History(None), Silent())
        assert path.is_file()
        whole = training(prepared, settings)
        optimise(whole, fabric, tmp_path / "other.safetensors", {}, History(None), Silent())
        seen = [p.detach().clone() for p in whole.model.parameters()]
        work = training(prepared, settings)
    optimise(work, fabric, path, {}, History(None), Silent())
    for expected, found in zip(seen, work.model.parameters(), strict=True):
        assert torch.allclose(expected, found, atol=1e-7)


RAMPED = {"training.consistency": 1.5, "training.consistency_sure": 0.0, "mutual.ramp": 0.5}
ALONE = {"mutual.entropy_weight": 0.0, "mutual.similarity_weight": 0.0}


@pytest.mark.parametrize(
    "changes",
    [
        {"mutual.entropy_weight": 2.0, "mutual.similarity_weight": 3.0},
        {**ALONE, "mutual.unlabelled": True, "mutual.unlabelled_weight": 0.7},
    ],
)
def test_the_loss_is_the_ramped_sum_of_its_parts(
    prepared: PreparedScene, tiny_settings: config.Settings, changes: dict[str, Any]
) -> None:
    work = training(prepared, presets.replace(tiny_settings, {**RAMPED, **changes}))
    mutual = work.settings.mutual
    for step, ramp in ((0, 0.25), (1, 0.5), (3, 1.0), (7, 1.0)):
        total, parts = work.loss(work.model, step)
        learned = mutual.entropy_weight * parts["entropy"]
        learned = learned + mutual.similarity_weight * parts["similarity"]
        learned = learned + mutual.unlabelled_weight * parts.get("agreement", 0.0)
        assert learned > 1e-4
        expected = parts["supervised"] + ramp * (1.5 * parts["consistency"] + learned)
        torch.testing.assert_close(total.detach(), expected)


def test_what_is_taught_is_compared_with_the_unlabelled_rows(
    prepared: PreparedScene, tiny_settings: config.Settings
) -> None:
    changes = {"training.consistency": 1.0, "training.consistency_sure": 0.0}
    work = training(prepared, presets.replace(tiny_settings, changes))
    seen = []

    class Listener(torch.nn.Module):
        def forward(self, *inputs: Any) -> Any:
            seen.append(work.model(*inputs))
            return seen[-1]

    weights = work.taught.weights().clone()
    _, parts = work.loss(Listener(), 0)
    unlabelled = seen[0].logits[work.settings.training.batch :, ..., 0, 0]
    assert len(unlabelled) == work.settings.training.unlabelled_pixels
    expected = consistency_loss(unlabelled, work._last_taught, 0.0, weights)
    torch.testing.assert_close(parts["consistency"], expected.detach())


def test_the_student_is_turned_and_otherwise_than_its_teacher(
    prepared: PreparedScene, tiny_settings: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = training(prepared, presets.replace(tiny_settings, {"training.consistency": 1.0}))
    gather, turned = work.source.gather, []

    def noted(positions: Any, orientation: Any = None, hidden: Any = None) -> Any:
        turned.append(orientation)
        return gather(positions, orientation, hidden)

    monkeypatch.setattr(work.source, "gather", noted)
    work.loss(work.model, 0)
    student, teacher = turned
    assert len(student.unique()) > 4
    assert len(teacher.unique()) > 2
    assert not torch.equal(student[-len(teacher) :], teacher)


def test_noise_is_a_share_of_each_channels_deviation(
    prepared: PreparedScene, tiny_settings: config.Settings
) -> None:
    seen = []
    for noise in (0.0, 0.5):
        changes = {"training.noise": noise, "training.modality_dropout": 0.0, "training.batch": 64}
        work = training(prepared, presets.replace(tiny_settings, changes))

        class Listener(torch.nn.Module):
            def forward(self, values: Any, missing: Any, *rest: Any, own: Any = work.model) -> Any:
                seen.append((values.clone(), missing))
                return own(values, missing, *rest)

        work.loss(Listener(), 0)
    there = seen[0][1][:, list(prepared.layout.modality_of_channel)] == 0
    added = seen[1][0] - seen[0][0]
    for channel, deviation in enumerate(prepared.preparation.deviation):
        found = float(added[:, channel][there[:, channel]].std())
        assert found == pytest.approx(0.5 * deviation, rel=0.1), channel


def test_classes_are_weighed_in_the_loss_of_the_heads(
    prepared: PreparedScene, tiny_settings: config.Settings
) -> None:
    changes = {"training.class_sampling": 0.0, "training.class_weights": "balanced"}
    work = training(prepared, presets.replace(tiny_settings, changes), left_out=7)
    with torch.no_grad():
        for head in work.model.classifiers.values():
            head.classify.weight.zero_()
            head.classify.bias.copy_(torch.tensor([30.0, 0, 0, 0]))
    drawn = numpy_generator(work.seed, work.course.name, 0).choice(
        len(work.labelled), size=work.settings.training.batch, p=work.pixel_share
    )
    target = torch.from_numpy(work.labelled.classes[drawn])
    weight = work.class_weights[target]
    share = float(weight[target == 0].sum() / weight.sum())
    assert abs(share - float((target == 0).float().mean())) > 0.02
    # six heads of 30 each: five, and the fused one
    supervised = float(work.loss(work.model, 0)[1]["supervised"])
    assert supervised == pytest.approx(180 * (1 - share), rel=1e-4)
