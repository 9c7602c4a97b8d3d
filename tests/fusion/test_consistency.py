from __future__ import annotations

import pytest
import torch

from bdgf import config
from bdgf.diffusion.store import FeatureStore
from bdgf.fusion.consistency import TaughtClasses, Teacher, consistency_loss, fused_teaching
from bdgf.fusion.network import build_network, fused_log_probabilities
from bdgf.fusion.patch_source import PatchSource
from bdgf.scene.prepared import PreparedScene


def test_the_loss_is_the_cross_entropy_of_what_the_teacher_is_sure_of() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 3, 5, generator=generator, requires_grad=True)
    taught = (4 * torch.randn(7, 3, 5, generator=generator)).softmax(-1)
    weights = 0.5 + torch.rand(3, 5, generator=generator)
    found = consistency_loss(logits, taught, 0.8, weights)
    reference, gradient = 0.0, torch.zeros(7, 3, 5, dtype=torch.float64)
    p = logits.detach().double().softmax(-1)
    for sample in range(7):
        for head in range(3):
            target = int(taught[sample, head].argmax())
            if taught[sample, head, target] >= 0.8:
                share = float(weights[head, target]) / 7
                reference -= share * float(p[sample, head, target].log())
                gradient[sample, head] = share * p[sample, head]
                gradient[sample, head, target] -= share
    assert 0 < int((taught.amax(-1) >= 0.8).sum()) < 21, "of some it is sure, of others not"
    assert found.item() == pytest.approx(reference, rel=1e-6)
    (own,) = torch.autograd.grad(found, logits)
    torch.testing.assert_close(own.double(), gradient, rtol=0, atol=1e-6)


def test_nothing_is_learned_of_what_the_teacher_does_not_know() -> None:
    logits = torch.randn(4, 2, 3, requires_grad=True)
    alike = torch.ones(2, 3)
    found = consistency_loss(logits, torch.full((4, 2, 3), 1 / 3), 0.95, alike)
    assert found.item() == 0.0
    assert not torch.autograd.grad(found, logits)[0].any()
    sure = torch.tensor([200.0, 0.0, -200.0]).expand(4, 2, 3)
    assert torch.isfinite(consistency_loss(-sure, sure.softmax(-1), 0.95, alike))


def test_a_class_counts_as_much_as_the_teacher_says_that_there_is_of_it() -> None:
    # of 20 samples the first head is sure of 12 and 4, of the others it is in doubt, which are most
    # of class 2 and a little of class 3; the second head is sure of nothing
    taught = torch.full((20, 2, 4), 0.25)
    taught[:12, 0] = torch.tensor([0.97, 0.01, 0.01, 0.01])
    taught[12:16, 0] = torch.tensor([0.01, 0.97, 0.01, 0.01])
    taught[16:, 0] = torch.tensor([0.01, 0.28, 0.70, 0.01])
    plain, full, half = (TaughtClasses(2, 4, balance) for balance in (0.0, 1.0, 0.5))
    assert torch.equal(full.weights(), torch.ones(2, 4)), "nothing is known yet"
    for found in (plain, full, half):
        for _ in range(1000):
            found.update(taught, 0.95)
    torch.testing.assert_close(full.sure[0], torch.tensor([0.75, 0.25, 0.0, 0.0]))
    said = taught[:, 0].mean(0)
    torch.testing.assert_close(full.said[0], said)
    weights = full.weights()
    torch.testing.assert_close((weights * full.sure).sum(1), torch.ones(2))  # as much as without
    ratio = float(weights[0, 1] / weights[0, 0])
    assert ratio == pytest.approx(float((said[1] / 0.25) / (said[0] / 0.75)), rel=1e-4)
    assert float(weights[0, 2] / weights[0, 1]) == pytest.approx(
        5 / float(said[1] / 0.25), rel=1e-4
    )
    torch.testing.assert_close(weights[1], torch.ones(4))
    torch.testing.assert_close(plain.weights(), torch.ones(2, 4))
    found = half.weights()[0]
    assert float(found[1] / found[0]) == pytest.approx(ratio**0.5, rel=1e-4)


def test_the_fusion_teaches_every_head_the_same() -> None:
    generator = torch.Generator().manual_seed(0)
    taught = torch.randn(6, 3, 4, generator=generator).softmax(-1)
    trust = torch.tensor([0.5, 0.2, 0.3])
    found = fused_teaching(taught, trust)
    expected = fused_log_probabilities(taught.log()[..., None, None], trust)[..., 0, 0].exp()
    for head in range(3):
        torch.testing.assert_close(found[:, head], expected)
    # one head that is certain does not outvote the others
    certain = torch.tensor([[[1.0, 0.0], [0.01, 0.99], [0.01, 0.99]]])
    even = fused_teaching(certain, torch.full((3,), 1 / 3))
    assert even[0, 0, 0] == pytest.approx(1 / (1 + (1e-8 * 99**2) ** (1 / 3)), rel=1e-4)
    alone = fused_teaching(taught[:, :1], torch.ones(1))
    torch.testing.assert_close(alone, taught[:, :1])


def test_the_teacher_is_the_average_of_the_network_and_has_no_gradient(
    prepared: PreparedScene, tiny_settings: config.Settings
) -> None:
    names, shapes = [t.name for t in prepared.scene.tiles], [prepared.shape(0)]
    store = FeatureStore(None, names, shapes)
    network = build_network(
        tiny_settings.network, prepared.layout, store.level_channels, classes=4, seed=1
    )
    source = PatchSource(prepared, store, tiny_settings.network.window)
    patches = source.gather(prepared.scene.positions("test")[:6])
    teacher = Teacher(network, decay=0.5)
    network.train()
    before = teacher.probabilities(patches)
    assert network.training, "the network goes on as it was"
    assert not before.requires_grad
    with torch.no_grad():
        expected = network.eval()(*patches).logits[..., 0, 0].softmax(-1)
    torch.testing.assert_close(before, expected)
    network.train()
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.1)
    torch.testing.assert_close(teacher.probabilities(patches), before)  # its weights are its own
    teacher.average.update(step=100)
    moved = teacher.probabilities(patches)
    assert (moved - before).abs().max() > 1e-4
