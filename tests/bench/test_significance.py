"""Paired tests against their definitions."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest

from bdgf.bench.significance import mcnemar, signed_rank


def test_mcnemar_is_the_exact_binomial_of_the_disagreements():
    reference = np.zeros(40, dtype=np.int64)
    first, second = reference.copy(), reference.copy()
    first[:3] = 1  # only the second is right
    second[3:12] = 1  # only the first is right
    first[12:20] = second[12:20] = 1  # both are wrong
    ours, theirs, p = mcnemar(reference, first, second)
    assert (ours, theirs) == (9, 3)
    assert p == pytest.approx(2 * sum(comb(12, k) for k in range(4)) / 2**12)
    assert mcnemar(reference, first, first) == (0, 0, 1.0)


def test_seeds_that_differ_by_as_many_pixels_share_a_rank():
    right, pixels = np.array([700, 711, 705, 720, 698]), np.array([2, -1, 2, 1, -2])
    shares = (100 * right / 1003, 100 * (right - pixels) / 1003)
    assert signed_rank(*shares) == signed_rank(right * 1.0, right - pixels * 1.0)
    assert signed_rank(*shares) == pytest.approx(0.8125)


def test_a_small_difference_is_one():
    first = np.full(5, 90.0)
    assert signed_rank(first + 1e-4, first) == pytest.approx(2 / 2**5)
    assert signed_rank(first + 1e-13, first) == 1.0


def test_signed_rank_needs_five_seeds():
    low, high = np.arange(5.0), 2 * np.arange(5.0) + 1
    assert signed_rank(low[:4], high[:4]) is None
    assert signed_rank(low, low) == 1.0
    assert signed_rank(high, low) == pytest.approx(2 / 2**5)
