"""Normalisation over the batch: against torch's own, alone and with a batch that is shared."""

from __future__ import annotations

import torch
from torch import nn

from bdgf.fusion import normalisation
from bdgf.fusion.normalisation import BatchNorm


def test_it_is_torchs_own() -> None:
    torch.manual_seed(0)
    ours, theirs = BatchNorm(5).double(), nn.BatchNorm2d(5).double()
    with torch.no_grad():
        for parameter, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            parameter.copy_(torch.randn(5))
            other.copy_(parameter)
    for _ in range(3):
        x = (3 * torch.randn(7, 4, 6, 5, dtype=torch.double) + 2).requires_grad_()
        found, expected = ours(x), theirs(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        torch.testing.assert_close(found, expected)
        toward = torch.randn_like(found)
        for module, out in ((ours, found), (theirs, expected)):
            module.zero_grad()
            out.backward(toward, retain_graph=True, inputs=[x, *module.parameters()])
        torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)
        torch.testing.assert_close(ours.bias.grad, theirs.bias.grad)
        (mine,) = torch.autograd.grad(found, x, toward)
        x = x.detach().requires_grad_()
        other = nn.functional.batch_norm(
            x.permute(0, 3, 1, 2), None, None, theirs.weight, theirs.bias, training=True
        ).permute(0, 2, 3, 1)
        torch.testing.assert_close(mine, torch.autograd.grad(other, x, toward)[0])
    torch.testing.assert_close(ours.mean, theirs.running_mean)
    torch.testing.assert_close(ours.variance, theirs.running_var)
    x = torch.randn(2, 3, 3, 5, dtype=torch.double)
    found = ours.eval()(x)
    torch.testing.assert_close(found, theirs.eval()(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


def test_in_evaluation_a_pixel_depends_on_no_other() -> None:
    norm = BatchNorm(3)
    norm(torch.randn(4, 5, 5, 3))
    before = norm.mean.clone()
    x = torch.randn(2, 5, 5, 3)
    found = norm.eval()(x)
    torch.testing.assert_close(norm(x[:1, 2:3, 2:3]), found[:1, 2:3, 2:3])
    assert torch.equal(norm.mean, before)


def test_a_batch_of_one_pixel_is_no_division_by_zero() -> None:
    norm = BatchNorm(3)
    assert torch.isfinite(norm(torch.randn(1, 1, 1, 3))).all()
    assert torch.isfinite(norm.variance).all()


def test_the_sum_over_processes_has_the_sum_of_their_gradients(monkeypatch) -> None:
    # three processes that all have the same share
    monkeypatch.setattr(normalisation.processes, "count", lambda: 3)
    monkeypatch.setattr(normalisation.processes, "total", lambda tensor: 3 * tensor)
    shared, alone = BatchNorm(4).double(), BatchNorm(4).double()
    x = torch.randn(5, 2, 2, 4, dtype=torch.double, requires_grad=True)
    toward = torch.randn_like(x)
    found = torch.autograd.grad(shared(x), x, toward)[0]
    monkeypatch.undo()
    whole = torch.cat([x, x, x])
    expected = torch.autograd.grad(alone(whole), x, torch.cat([toward] * 3))[0]
    # each of the three gets the gradient of its own share, a third of that of x three times
    torch.testing.assert_close(3 * found, expected)
