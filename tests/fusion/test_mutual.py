from __future__ import annotations

import math

import pytest
import torch

from bdgf.fusion.mutual import mutual_losses, unlabelled_agreement


def test_identical_heads_have_no_loss():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 1, 5, generator=generator).expand(6, 3, 5)
    embedding = torch.randn(6, 1, 8, generator=generator).expand(6, 3, 8)
    losses = mutual_losses(logits, embedding, 1.0)
    assert abs(float(losses.entropy)) < 1e-6
    assert abs(float(losses.similarity)) < 1e-6
    assert abs(float(unlabelled_agreement(logits, torch.full((3,), 1 / 3)))) < 1e-6


def test_a_single_head_has_nothing_to_align():
    logits = torch.randn(4, 1, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    losses = mutual_losses(logits, logits, 1.0)
    (losses.entropy + losses.similarity).backward()
    assert losses.entropy.item() == 0
    assert losses.similarity.item() == 0
    assert not logits.grad.any()


def test_entropy_alignment_of_two_classes_in_closed_form():
    # head 0 is undecided (H = 1), head 1 has p = (0.8, 0.2)
    p = torch.tensor([0.8, 0.2], dtype=torch.float64)
    logits = torch.stack([torch.zeros(2, dtype=torch.float64), p.log()])[None].float()
    entropy = float(-(p * p.log()).sum() / math.log(2))
    q = torch.tensor([0.5, 0.5], dtype=torch.float64)
    kl = float((p * (p / q).log()).sum() + (q * (q / p).log()).sum())
    for divergence in (0.0, 1.0, 0.3):
        expected = (2 * (1 - entropy) ** 2 + divergence * kl) / 2
        found = mutual_losses(logits, torch.ones(1, 2, 4), divergence).entropy
        assert float(found) == pytest.approx(expected, abs=1e-6)


def test_similarity_of_two_samples_in_closed_form():
    # the samples are orthogonal for head 0, equal for head 1, opposite for head 2
    embedding = torch.tensor(
        [[[1.0, 0.0], [3.0, 0.0], [1.0, 1.0]], [[0.0, 2.0], [1.0, 0.0], [-2.0, -2.0]]]
    )
    found = mutual_losses(torch.zeros(2, 3, 2), embedding, 1.0).similarity
    # off-diagonal cosines 0, 1, -1; half of each matrix is the diagonal
    assert float(found) == pytest.approx((1 + 1 + 4) / 3 / 2, abs=1e-6)


def test_similarity_does_not_see_the_length_of_a_vector():
    embedding = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor([1.0, 7.0, 0.1])[None, :, None]
    logits = torch.zeros(5, 3, 2)
    assert torch.allclose(
        mutual_losses(logits, embedding, 1.0).similarity,
        mutual_losses(logits, embedding * lengths, 1.0).similarity,
        atol=1e-6,
    )


def test_divergence_gives_no_gradient_to_the_teacher():
    # equal entropies, so only the divergence pulls; each head moves towards the other, as far as
    # the other as a teacher asks for, and not as a student would answer twice
    logits = torch.tensor([[[1.0, -1.0], [-1.0, 1.0]]], requires_grad=True)
    mutual_losses(logits, torch.ones(1, 2, 3), 1.0).entropy.backward()
    p = torch.softmax(logits.detach(), 2)[0]
    # d KL(sg(p_j) ‖ p_i) / d logits_i = p_i - p_j, and there are two ordered pairs
    assert torch.allclose(logits.grad[0, 0], (p[0] - p[1]) / 2, atol=1e-6)
    assert torch.allclose(logits.grad[0, 1], (p[1] - p[0]) / 2, atol=1e-6)


@pytest.mark.parametrize("trust", [(0.5, 0.5), (0.9, 0.1), (1.0, 0.0)])
def test_agreement_in_closed_form_with_the_consensus_as_a_constant(trust):
    logits = torch.tensor([[[2.0, 0.0], [0.0, 0.0]]], requires_grad=True)
    loss = unlabelled_agreement(logits, torch.tensor(trust))
    loss.backward()
    p = torch.softmax(logits.detach(), 2)[0].double()
    m = trust[0] * p[0] + trust[1] * p[1]
    expected = sum(float((m * (m / q).log()).sum()) for q in p) / 2
    assert float(loss.detach()) == pytest.approx(expected, abs=1e-6)
    assert torch.allclose(logits.grad[0].double(), (p - m) / 2, atol=1e-6)


def test_extreme_logits_stay_finite():
    logits = torch.tensor([[[200.0, -200.0], [-200.0, 200.0]]], requires_grad=True)
    embedding = torch.zeros(1, 2, 3, requires_grad=True)
    losses = mutual_losses(logits, embedding, 1.0)
    total = losses.entropy + losses.similarity
    total = total + unlabelled_agreement(logits, torch.tensor([0.5, 0.5]))
    total.backward()
    assert torch.isfinite(total)
    assert torch.isfinite(logits.grad).all()
    assert torch.isfinite(embedding.grad).all()
